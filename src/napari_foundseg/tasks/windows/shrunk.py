"""Slice shrunk into the middle of a window, so that an object that fills the slice does not fill the window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.objects import Candidates

__all__ = ["Shrunk"]


class Shrunk:
    """Slice in the middle of a window that is filled with one colour, the median of the slice's rim.

    Parameters
    ----------
    rgb : (M, N, 3) ndarray of uint8
        The slice.
    window : int
        Side of the model's window.
    times : int
        How often the slice is halved; at 0, its longer side is the window's side.
    """

    def __init__(self, rgb: NDArray[np.uint8], window: int, times: int) -> None:
        from PIL.Image import Resampling, fromarray

        self._shape = (rgb.shape[0], rgb.shape[1])
        side = max(1, window >> times)
        height, width = (max(1, round(n * side / max(self._shape))) for n in self._shape)
        self._size = (height, width)
        self._at = ((window - height) // 2, (window - width) // 2)
        small = np.asarray(fromarray(rgb).resize((width, height), Resampling.BILINEAR))
        rim = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
        self.rgb = np.empty((window, window, 3), np.uint8)
        self.rgb[:] = np.median(rim, axis=0)
        self.rgb[self._part] = small

    @property
    def _part(self) -> tuple[slice, slice]:
        """Place of the slice in the window."""
        y, x = (slice(at, at + n) for at, n in zip(self._at, self._size, strict=True))
        return y, x

    def prompt(self, prompt: Prompt) -> Prompt:
        """Return a prompt of points, converted to pixels of the window."""
        places = zip(self._shape, self._size, self._at, strict=True)
        scales = [(small / n, at) for n, small, at in places]
        points = [[(v + 0.5) * by - 0.5 + at for v, (by, at) in zip(p, scales, strict=True)] for p in prompt.points]
        return Prompt(points, prompt.labels)

    def candidates(self, found: Candidates) -> Candidates:
        """Return candidates of the window, converted to pixels of the slice."""
        logits = [_resized(one[self._part], self._shape) for one in found.logits]
        return Candidates(np.stack(logits), found.predicted_iou, found.stability_score)


def _resized(logits: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    from PIL.Image import Resampling, fromarray

    picture = fromarray(np.ascontiguousarray(logits, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Resampling.BILINEAR))

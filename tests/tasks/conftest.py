from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.objects import Candidates, GridOptions


def _true_maps(truth: NDArray[Any]) -> NDArray[np.uint8]:
    """The decoder maps of a label image, in 8 bits and channels last: an RGB picture that `Oracle` reads back."""
    maps = np.ones((*truth.shape, 3), np.float32)
    maps[..., 0] = truth > 0
    for i, part in enumerate(ndimage.find_objects(truth), 1):
        if part is None:
            continue
        inside = truth[part] == i
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        away = np.hypot(*(np.indices(inside.shape) - np.array([y, x])[:, None, None]))
        maps[part][inside, 1] = away[inside] / max(1.0, away[inside].max())
        maps[part][inside, 2] = 1.5 / (1.5 + depth[inside])
    return (maps * 255).round().astype(np.uint8)


class Oracle:
    """A model that reads the truth off the picture: red is foreground, green and blue are the distances."""

    name, device, window = "foundseg-tiny", "cpu", 128
    maps_window = 128

    def __init__(self) -> None:
        self.key = f"oracle@{uuid4()}"  # windows that one test encoded are not another's
        self.seen: list[tuple[int, int]] = []

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.append(rgb.shape[:2])
        return np.moveaxis(rgb, -1, 0) / np.float32(255)

    def grid_masks(
        self, embedding: NDArray[np.uint8], points: NDArray[np.float64], _options: GridOptions, poll: Callable[[], None]
    ) -> list[Mask]:
        """Return, for each point, the connected part of the red channel under it."""
        poll()
        self.seen.append(embedding.shape[:2])
        parts, _ = ndimage.label(embedding[..., 0] > 127)
        x, y = (points * embedding.shape[1::-1]).astype(int).T
        return [Mask.from_array(parts == i, predicted_iou=0.9) for i in np.unique(parts[y, x]) if i]

    def encode(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.seen.append(rgb.shape[:2])
        return rgb

    def decode(
        self, embedding: NDArray[np.uint8], prompts: Sequence[Prompt], *, multimask: bool, **_: Any
    ) -> list[Candidates]:
        parts, _ = ndimage.label(embedding[..., 0] > 127)
        out = []
        for prompt in prompts:
            y, x = prompt.points[0] if prompt.points else np.add(prompt.box[:2], prompt.box[2:]) / 2
            part = parts[int(y), int(x)]
            inside = (parts == part) & (part > 0)
            count = 3 if multimask else 1
            logits = np.repeat(np.where(inside, 5, -5)[None].astype(np.float32), count, 0)
            scores = np.linspace(0.5, 0.9, count, dtype=np.float32)
            out.append(Candidates(logits, scores, scores))
        return out


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture
def true_maps() -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    return _true_maps

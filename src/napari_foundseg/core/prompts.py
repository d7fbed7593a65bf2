"""`Prompt`: points, a box and a mask that mark one object."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import PromptError

__all__ = ["Prompt"]


@dataclass(frozen=True, eq=False)
class Prompt:
    """Points, a box and a mask that mark one object, in data pixels of one slice.

    Parameters
    ----------
    points : sequence of sequence of float
        N points, each ``(y, x)``, or with the slice's indices first, such as ``(z, y, x)``, in the order of the
        image's axes. Integers are pixel centres.
    labels : sequence of int
        One per point: 1 is on the object, 0 is not. All 1 by default.
    box : sequence of float, optional
        First and last pixel of the object's bounding box, both included: ``(y0, x0, y1, x1)``, or with
        the slice's indices in both corners, ``(z, y0, x0, z, y1, x1)``.
    mask : array-like of bool, optional
        (M, N) rough mask of the object in its slice.
    index : sequence of int, optional
        The slice of a prompt with only a mask, in an image with slices.

    Raises
    ------
    PromptError
        If it is empty or malformed.
    """

    points: Sequence[Sequence[float]] = ()
    labels: Sequence[int] | None = None
    box: Sequence[float] | None = None
    mask: Any = None
    index: Sequence[int] | None = None

    def __post_init__(self) -> None:
        points = _numbers(self.points, "points")
        labels = np.ones(len(points)) if self.labels is None else _numbers(self.labels, "labels")
        if labels.shape != (len(points),) or not np.isin(labels, (0, 1)).all():
            raise PromptError(f"labels must be one 0 or 1 for each of {len(points)} points, got {self.labels!r}.")
        if len(points) and (points.ndim != 2 or points.shape[1] < 2):
            raise PromptError(f"points must be (y, x) or (z, y, x) each, got {self.points!r}.")
        object.__setattr__(self, "points", tuple(tuple(float(v) for v in p) for p in points))
        object.__setattr__(self, "labels", tuple(int(v) for v in labels))
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        if self.mask is not None:
            object.__setattr__(self, "mask", _checked_mask(self.mask))
        if self.index is not None:
            object.__setattr__(self, "index", tuple(int(v) for v in self.index))
        if not len(points) and self.box is None and self.mask is None:
            raise PromptError("The prompt is empty: give at least a point, a box or a mask.")

    def in_plane(self, shape: Sequence[int], axes: str) -> tuple[tuple[int, ...], Prompt]:
        """Split the prompt into its slice and a prompt of (y, x) coordinates in that slice.

        Parameters
        ----------
        shape : sequence of int
            The image's shape without channels.
        axes : str
            The axes of `shape`, such as ``"ZYX"``.

        Returns
        -------
        tuple of int
            The slice's index.
        Prompt
            The same prompt with coordinates in rows and columns.

        Raises
        ------
        PromptError
            If the number of coordinates does not fit, the prompt spans slices, or it is outside the image.
        """
        corners = [] if self.box is None else [self.box[: len(self.box) // 2], self.box[len(self.box) // 2 :]]
        rows = [*self.points, *corners]
        if wrong := {len(row) for row in rows} - {len(axes)}:
            raise PromptError(
                f"The image has axes {axes} (shape {tuple(shape)}), so a prompt has {len(axes)} coordinates "
                f"({', '.join(axes.lower())}), got {max(wrong)}."
            )
        coordinates = np.array(rows, float).reshape(len(rows), len(axes))
        slices = [i for i, axis in enumerate(axes) if axis not in "YX"]
        plane = [axes.index("Y"), axes.index("X")]
        index = self._slice_of(coordinates[:, slices].round().astype(int), len(slices))
        _check_inside(coordinates, len(self.points), index, shape, slices)
        height = shape[plane[0]]
        width = shape[plane[1]]
        if self.mask is not None and self.mask.shape != (height, width):
            raise PromptError(f"The mask's shape must be the slice's, {(height, width)}, got {self.mask.shape}.")
        in_plane = coordinates[:, plane]
        n = len(self.points)
        box = None if self.box is None else _clipped_box(in_plane[n:].ravel(), height, width).tolist()
        return index, Prompt(in_plane[:n].tolist(), self.labels, box, self.mask)

    def to_json(self) -> dict[str, Any]:
        """Return the prompt as plain numbers and text, for `from_json`.

        Returns
        -------
        dict
            Only the keys that are set. The mask is the base64 text of its zlib-compressed packed bits.
        """
        out: dict[str, Any] = {}
        if self.points:
            out |= {"points": [list(p) for p in self.points], "labels": list(self.labels or ())}
        if self.box is not None:
            out["box"] = list(self.box)
        if self.mask is not None:
            packed = base64.b64encode(zlib.compress(np.packbits(self.mask).tobytes())).decode("ascii")
            out["mask"] = {"shape": list(self.mask.shape), "bits": packed}
        if self.index is not None:
            out["index"] = list(self.index)
        return out

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the prompt that a result of `to_json` describes.

        Parameters
        ----------
        value : dict
            A result of `to_json`.

        Returns
        -------
        Prompt
            An equal prompt.

        Raises
        ------
        PromptError
            If `value` is not such a dict.
        """
        value = dict(value)
        if unknown := value.keys() - cls.__dataclass_fields__.keys():
            names = ", ".join(cls.__dataclass_fields__)
            raise PromptError(f"A prompt has no {', '.join(sorted(unknown))}; it has {names}.")
        if isinstance(stored := value.get("mask"), dict):
            value["mask"] = _unpacked(stored)
        return cls(**value)

    def _slice_of(self, indices: NDArray[np.int_], count: int) -> tuple[int, ...]:
        if len(indices) == 0:
            index = tuple(self.index or ())
            if len(index) != count:
                raise PromptError(
                    f"A mask prompt in an image with {count} slice axes needs index=, got {self.index!r}."
                )
            return index
        if (indices != indices[0]).any():
            raise PromptError(
                "The points and boxes of one prompt must be in one slice, got slices "
                f"{np.unique(indices, axis=0).tolist()}."
            )
        return tuple(int(v) for v in indices[0])


def _unpacked(stored: dict[str, Any]) -> NDArray[np.bool_]:
    """Return a stored mask. At most as many bytes are decompressed as its shape needs."""
    try:
        height, width = (int(n) for n in stored["shape"])
        size = height * width
        packed = zlib.decompressobj().decompress(base64.b64decode(stored["bits"]), -(-size // 8) or 1)
        bits = np.unpackbits(np.frombuffer(packed, np.uint8))[:size]
        return bits.reshape(height, width).astype(bool)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise PromptError(
            f"A prompt's mask is damaged ({error}): it has a shape, and as bits the base64 of zlib's bytes."
        ) from error


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values if hasattr(values, "__len__") else list(values), dtype=float)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name} must be numbers, got {values!r}.") from error
    if not np.isfinite(array).all():
        raise PromptError(f"{name} must be finite numbers, got {values!r}.")
    return array


def _checked_box(box: Any) -> tuple[float, ...]:
    numbers = _numbers(box, "box")
    if numbers.ndim != 1 or len(numbers) < 4 or len(numbers) % 2:
        raise PromptError(f"box must be (y0, x0, y1, x1), or with slices (z, y0, x0, z, y1, x1), got {box!r}.")
    first = numbers[: len(numbers) // 2]
    last = numbers[len(numbers) // 2 :]
    return tuple(float(v) for v in (*np.minimum(first, last), *np.maximum(first, last)))


def _checked_mask(mask: Any) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "bui":
        raise PromptError(f"mask must be a 2-D array of bool, got {array.dtype} of shape {array.shape}.")
    array = array.astype(bool)
    if not array.any():
        raise PromptError("The prompt's mask is empty: paint at least one pixel.")
    return array


def _clipped_box(box: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    return np.clip(box, 0, [height - 1, width - 1, height - 1, width - 1])


def _check_inside(
    coordinates: NDArray[np.float64], n_points: int, index: tuple[int, ...], shape: Sequence[int], slices: list[int]
) -> None:
    """Raise `PromptError` for a slice or point outside the image.

    A box may extend beyond the edge, but not be wholly outside.
    """
    size = np.asarray(shape, float)
    points = coordinates[:n_points]
    corners = coordinates[n_points:]
    outside = any(not 0 <= i < shape[axis] for i, axis in zip(index, slices, strict=True))
    outside |= bool(((points < -0.5) | (points > size - 0.5)).any())
    if len(corners):
        outside |= bool((corners[1] < -0.5).any() or (corners[0] > size - 0.5).any())
    if outside:
        where = coordinates.tolist() if len(coordinates) else index
        raise PromptError(f"The prompt at {where} is outside the image (shape {tuple(shape)}).")

"""Loaded networks that predict the class of each pixel: preparation of pictures, and classes from scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.loaded import LoadedClasses

if TYPE_CHECKING:
    import torch

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PixelClasses", "Preparation", "named_or_numbered"]

#: For red, green and blue with values from 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preparation:
    """How pictures are resized, normalised and padded for a network. Padding repeats the last row and column."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of each input channel, values from 0 to 1; one channel is the mean of red, green and blue."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each input channel."""
    window: int = 512
    """Longest side in pixels of the network's input; larger pictures are shrunk to it."""
    size: tuple[int, int] | None = None
    """Rows and columns that every picture is resized to, regardless of its aspect ratio; None: not resized."""
    multiple: int = 1
    """Sides are padded to multiples of this number."""
    least: int = 1
    """Sides are padded to at least this many pixels."""
    of_each_picture: bool = False
    """Whether to use the mean and deviation of the picture's own channels instead of `mean` and `std`."""


class PixelClasses(LoadedClasses):
    """A network that maps pictures (1, C, M, N) to scores (1, K, M, N); implements `SemanticClasses`.

    Parameters
    ----------
    network : Module
        The network.
    row : CatalogRow
        Its row.
    preparation : Preparation
        How pictures are prepared for it.
    independent : bool
        Whether classes are independent: a pixel is background if no score is above the threshold.
    threshold : float
        Threshold for the scores of independent classes.
    """

    def __init__(
        self,
        network: Any,
        row: CatalogRow,
        preparation: Preparation,
        *,
        independent: bool = False,
        threshold: float = 0.0,
    ) -> None:
        super().__init__(network, row)
        self.classes = _in_own_colours(self.classes, self.first, row.options.get("palette"))
        self._threshold = threshold
        self.preparation = preparation
        self._independent = independent or len(row.classes) == 1

    @property
    def window(self) -> int:
        """Longest side of the network's input in pixels."""
        return self.preparation.window

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        return self._decided(self.scores(rgb))

    def scores(self, rgb: NDArray[np.uint8]) -> torch.Tensor:
        """Return the scores of a picture's pixels, (K, M, N)."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            inputs, (height, width) = self._prepared(rgb)
            found = self._run(inputs)[..., :height, :width]
            if found.shape[-2:] != rgb.shape[:2]:
                found = functional.interpolate(found, rgb.shape[:2], mode="bilinear", align_corners=False)
            return found[0]

    def _run(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(inputs)
        return found

    def _prepared(self, rgb: NDArray[np.uint8]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return the network's input, and the size of the picture in it, which starts at the first row and column."""
        import torch
        from torch.nn import functional

        chosen = self.preparation
        picture = torch.as_tensor(np.ascontiguousarray(rgb)).to(self.device).movedim(-1, 0)[None].float().div(255)
        size = chosen.size or _fitting((rgb.shape[0], rgb.shape[1]), chosen.window)
        if size != rgb.shape[:2]:
            picture = functional.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)
        if len(chosen.mean) == 1:
            picture = picture.mean(1, keepdim=True)
        if chosen.of_each_picture:
            deviation, mean = torch.std_mean(picture, dim=(-2, -1), keepdim=True, correction=0)
            picture = (picture - mean) / deviation.clamp_min(1e-6)
        else:
            mean, deviation = (picture.new_tensor(one)[:, None, None] for one in (chosen.mean, chosen.std))
            picture = (picture - mean) / deviation
        wanted = (max(chosen.least, -(-side // chosen.multiple) * chosen.multiple) for side in size)
        more = [new - side for new, side in zip(wanted, size, strict=True)]
        return functional.pad(picture, (0, more[1], 0, more[0]), mode="replicate"), size

    def _decided(self, scores: torch.Tensor) -> NDArray[np.uint16]:
        """Return the class id of each pixel from scores (K, M, N)."""
        best, number = scores.max(0)
        found = number + self.first
        if self._independent:
            found = found.where(best > self._threshold, 0)
        return np.asarray(found.cpu().numpy(), np.uint16)


def _in_own_colours(classes: ClassTable, first: int, palette: Any) -> ClassTable:
    """Return classes with the colours of a palette, by class number. Classes beyond its end keep their colours."""
    colours = palette if isinstance(palette, list) else []
    rows = []
    for entry in classes:
        number = entry.id - first
        own = colours[number] if number < len(colours) else None
        rows.append(entry.model_copy(update={"colour": str(own)}) if own else entry)
    return ClassTable(tuple(rows))


def named_or_numbered(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return `names`, or generated names if it is empty: ``foreground``, or the background and numbered classes."""
    if names:
        return names
    return ("foreground",) if count == 1 else ("background", *(f"class {i}" for i in range(1, count)))


def _fitting(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return a size, shrunk so that no side is longer than `longest`."""
    factor = min(1.0, longest / max(size))
    return (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))

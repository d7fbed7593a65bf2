"""Files with several images: a description of each image, and the choice of those that are of one kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

__all__ = ["ImageInside", "alike", "describe"]

#: Words in the names of small copies, and of pictures of the specimen's container.
_PREVIEWS = re.compile(r"\b(thumbnail|label|macro|preview|overview)( image)?$", re.IGNORECASE)
#: Least size of a position, as a share of the largest image. Smaller images are small copies.
_SHARE = 0.5
#: Most images that a sentence names one by one.
_NAMED = 4


@dataclass(frozen=True)
class ImageInside:
    """One image of a file that contains several.

    Parameters
    ----------
    name : str
        The part of the path after the file, such as ``1`` in ``a.ome.tif/1`` or ``A/2/0`` in ``plate.ome.zarr/A/2/0``.
    axes : str
        One letter for every axis of `shape`; empty if they are unknown until the image is opened.
    shape : tuple of int
        Its sizes.
    dtype : str
        Dtype of its pixels.
    title : str
        Its title in the file.
    """

    name: str
    axes: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    title: str = ""

    @property
    def plane_pixels(self) -> int:
        """Number of pixels of one slice."""
        return prod(n for n, axis in zip(self.shape, self.axes, strict=True) if axis in "YX")

    @property
    def is_preview(self) -> bool:
        """Whether its title is that of a small copy, or of a picture of the slide's label."""
        return _PREVIEWS.search(self.title.strip()) is not None

    def _kind(self) -> tuple[object, ...]:
        colours = tuple(n for n, axis in zip(self.shape, self.axes, strict=True) if axis in "CS" and n > 1)
        return self.dtype, colours


def alike(images: Sequence[ImageInside]) -> list[ImageInside]:
    """Return the largest image and those of the same kind, such as positions. Previews are of another kind."""
    wanted = [image for image in images if not image.is_preview] or list(images)
    largest = max(wanted, key=lambda image: (image.plane_pixels, prod(image.shape)))
    least = _SHARE * largest.plane_pixels
    return [image for image in wanted if image._kind() == largest._kind() and image.plane_pixels >= least]


def describe(images: Sequence[ImageInside]) -> str:
    """Return the names, sizes and types of images, such as ``/1 (label, 40 by 60 uint8)``."""
    shown = [_describe(image) for image in images[:_NAMED]]
    more = len(images) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _describe(image: ImageInside) -> str:
    known = (f"{' by '.join(map(str, image.shape))} {image.dtype}".strip(), image.title)
    inner = ", ".join(part for part in reversed(known) if part)
    return f"/{image.name} ({inner})" if inner else f"/{image.name}"

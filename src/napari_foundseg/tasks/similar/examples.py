"""`Example`: a picture of an object that shows what to look for."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_serializer, field_validator

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.png_text import picture_of, png_text
from napari_foundseg.core.prompts import Prompt

__all__ = ["Example"]

#: Largest diameter, in pixels, of an object in its picture; larger ones would only make recipes large.
_LARGEST = 48
#: Pixels of the picture around the object: networks also use the surroundings of an object.
_SURROUNDINGS = 48
#: Longest side of a picture, for long and thin objects.
_LONGEST = 512


class Example(Declared):
    """Picture of an object with its surroundings, so that any image can be searched for similar objects.

    `Example.cut` makes one.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    picture: str
    """The object and its surroundings: 8-bit RGB as PNG in base 64."""
    prompt: Prompt
    """The object in the picture: its mask, or its box."""
    pixel: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Width of a pixel of the picture, in pixels of the image from which it was cut."""

    @field_validator("prompt", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return Prompt.from_json(value) if isinstance(value, dict) else value

    @field_serializer("prompt")
    def _to_json(self, prompt: Prompt) -> dict[str, Any]:
        return prompt.to_json()

    @classmethod
    def cut(cls, image: Image, prompt: Prompt) -> Self:
        """Cut an example of an object out of an image.

        Parameters
        ----------
        image : Image
            The image.
        prompt : Prompt
            The object: its mask with the slice's `index`, or its box. Points do not say how large it is.

        Returns
        -------
        Example

        Raises
        ------
        PromptError
            If the prompt has neither mask nor box, or is outside the image.
        """
        index, here = prompt.in_plane(image.shape, image.label_axes)
        height, width = image.plane_shape
        y0, x0, y1, x1, area = _extent(here)
        shrink = min(1.0, _LARGEST / math.sqrt(area), _LONGEST / (max(y1 - y0, x1 - x0) + 1))
        margin = math.ceil(_SURROUNDINGS / shrink)
        top, left = max(0, y0 - margin), max(0, x0 - margin)
        bottom, right = min(height - 1, y1 + margin), min(width - 1, x1 + margin)
        picture = image.rgb(index, (top, left, bottom, right))
        small = _resized(picture, shrink)
        factors = (small.shape[0] / picture.shape[0], small.shape[1] / picture.shape[1])
        if here.mask is not None:
            crop = here.mask[top : bottom + 1, left : right + 1]
            shown = Prompt(mask=_resized_mask(crop, small.shape[:2]))
        else:
            corners = [(y0 - top) * factors[0], (x0 - left) * factors[1]]
            corners += [(y1 + 1 - top) * factors[0] - 1, (x1 + 1 - left) * factors[1] - 1]
            shown = Prompt(box=corners)
        return cls(picture=png_text(small, max(small.shape)), prompt=shown, pixel=1 / math.sqrt(math.prod(factors)))

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """The picture, (M, N, 3)."""
        return picture_of(self.picture)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box of the object in the picture, (y0, x0, y1, x1), both ends included."""
        if self.prompt.mask is not None:
            y, x = np.nonzero(self.prompt.mask)
            if not len(y):
                raise PromptError("Nothing is in the mask of an example: cut it again.")
            return float(y.min()), float(x.min()), float(y.max()), float(x.max())
        y0, x0, y1, x1 = self.prompt.box or (0, 0, self.rgb.shape[0] - 1, self.rgb.shape[1] - 1)
        return float(y0), float(x0), float(y1), float(x1)


def _extent(prompt: Prompt) -> tuple[int, int, int, int, float]:
    """Return first and last row and column of a prompt's object, both included, and its area in pixels."""
    if prompt.mask is not None:
        rows, columns = (np.flatnonzero(prompt.mask.any(axis)) for axis in (1, 0))
        return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1]), float(np.count_nonzero(prompt.mask))
    if prompt.box is None:
        raise PromptError("An example needs an outline, got points only: draw a box around it, or choose a label.")
    y0, x0, y1, x1 = (round(v) for v in prompt.box)
    return y0, x0, y1, x1, float((y1 - y0 + 1) * (x1 - x0 + 1))


def _resized(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    from PIL.Image import Resampling, fromarray

    if factor == 1:
        return picture
    rows, columns = (max(1, round(n * factor)) for n in picture.shape[:2])
    return np.array(fromarray(picture).resize((columns, rows), Resampling.BILINEAR))


def _resized_mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Resize a mask; one that would vanish keeps the pixels that it covers most."""
    from PIL.Image import Resampling, fromarray

    if mask.shape == shape:
        return mask
    share = np.asarray(fromarray(mask.astype(np.float32)).resize((shape[1], shape[0]), Resampling.BOX))
    small = share >= min(0.5, share.max())
    return np.asarray(small)

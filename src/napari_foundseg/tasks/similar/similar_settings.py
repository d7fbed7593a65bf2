"""Inputs of *Find similar*, and the settings of each method."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.tasks.regions import Region
from napari_foundseg.tasks.similar.examples import Example
from napari_foundseg.tasks.stack_settings import StackSettings

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level

__all__ = ["ExemplarSettings", "FeatureSettings", "GuidedSettings", "SimilarInputs"]


class SimilarInputs(Region):
    """Examples of objects to find or to exclude, and the slice and region to search."""

    examples: tuple[Example, ...] = Field(min_length=1, max_length=100)
    """Example objects to look for, as `Example.cut` makes them."""
    negatives: tuple[Example, ...] = Field((), max_length=100, json_schema_extra={"absent": []})
    """Example objects not to look for, made in the same way: objects more like these are left out."""

    def at_level(self, level: Level) -> Self:
        """Return these inputs with region and examples in pixels of a coarser level of a pyramid."""
        coarser = (level.factors[0] * level.factors[1]) ** 0.5
        smaller = {
            name: tuple(one.model_copy(update={"pixel": one.pixel / coarser}) for one in shown)
            for name, shown in (("examples", self.examples), ("negatives", self.negatives))
        }
        return super().at_level(level).model_copy(update=smaller)


class FeatureSettings(StackSettings):
    """Dense features: places that look like the examples, each outlined by a promptable model."""

    first_speed: ClassVar[float] = 20.0
    colours: ClassVar[ColourRule] = "one dye"
    method: Literal["features"] = Field("features", title="Dense features")
    threshold: float = Field(0.15, ge=0, le=1, title="Minimum match", json_schema_extra={"step": 0.05, "live": True})
    """Minimum match with the examples, 0 to 1: the model's confidence, times the similarity to an example, times the
    similarity in size. Higher values keep fewer objects."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Smaller objects are removed."""
    mask_model: str = Field("", title="Outline with", json_schema_extra={"model": "PointGrid", "more": True})
    """The promptable model that outlines the objects. None: the chosen model if it takes prompts, else
    foundseg-tiny."""


class ExemplarSettings(StackSettings):
    """Exemplars, shown beside each tile (SAM 3). On a processor without a GPU a tile takes minutes."""

    first_speed: ClassVar[float] = 120.0
    method: Literal["exemplars"] = Field("exemplars", title="Exemplars")
    threshold: float = Field(0.3, ge=0, le=1, title="Minimum match", json_schema_extra={"step": 0.05, "live": True})
    """The model's score that an object must exceed, 0 to 1. Higher values keep fewer objects."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Smaller objects are removed."""
    words: str = ""
    """A noun phrase for what the examples show, such as: red blood cell. May be empty."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra={"more": True})
    """On: the model also sees tiles at full resolution, which finds small objects and takes longer with each tile.
    Off: it sees the whole image once, shrunk."""


class GuidedSettings(StackSettings):
    """Boxes of what looks like the examples, each filled with a mask by a promptable model (OWLv2)."""

    first_speed: ClassVar[float] = 30.0
    method: Literal["boxes"] = Field("boxes", title="Boxes, then masks")
    threshold: float = Field(0.6, ge=0, le=1, title="Minimum match", json_schema_extra={"step": 0.05, "live": True})
    """The model's score that a box must exceed, 0 to 1. Higher values keep fewer objects."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Smaller objects are removed."""
    mask_model: str = Field("", title="Outline with", json_schema_extra={"model": "Promptable", "more": True})
    """The promptable model that outlines the object in each box. None: foundseg-tiny."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra={"more": True})
    """On: the model also sees tiles at full resolution, which finds small objects and takes longer with each tile.
    Off: it sees the whole image once, shrunk."""

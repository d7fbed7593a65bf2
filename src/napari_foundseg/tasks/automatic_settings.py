"""Inputs and settings of *Automatic masks*."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, JsonValue

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Nesting
from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.tasks.regions import Region
from napari_foundseg.tasks.stack_settings import StackSettings
from napari_foundseg.tasks.windows.sizes.size_search import Search

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level

__all__ = [
    "AutomaticInputs",
    "DecoderSettings",
    "FlowsSettings",
    "GridSettings",
    "PromptsSettings",
    "diameter_in_pixels",
]


_MORE: dict[str, JsonValue] = {"more": True}
_FOUND: dict[str, JsonValue] = {"absent": None, "elsewhere": True}


class AutomaticInputs(Region):
    """Slice and region to segment."""


class _AutomaticSettings(StackSettings):
    """Settings that all methods share."""

    colours: ClassVar[ColourRule] = "one dye"


class DecoderSettings(_AutomaticSettings):
    """Instance decoder: one pass over the image, then a watershed from the centre of each object."""

    first_speed: ClassVar[float] = 4.0
    method: Literal["decoder"] = "decoder"
    foreground_threshold: float = Field(0.7, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True})
    """Higher values make objects smaller; lower values include more of the background."""
    centre_threshold: float = Field(0.7, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True})
    """Higher values join the pieces of one object; lower values split objects that are merged."""
    boundary_threshold: float = Field(0.45, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True, **_MORE})
    """Higher values let objects start close to their border; lower values only well inside it, which keeps touching
    objects apart."""
    seed_smoothing: float = Field(
        1.25,
        ge=0,
        le=20,
        title="Centre smoothing",
        json_schema_extra={"unit": "pixels", "step": 0.25, "live": True, **_MORE},
    )
    """Higher values join the pieces of one object; lower values keep small objects apart."""
    foreground_smoothing: float = Field(
        0.0, ge=0, le=20, json_schema_extra={"unit": "pixels", "step": 0.25, "live": True, "absent": 0.0, **_MORE}
    )
    """Higher values make outlines smoother and drop specks and thin bridges; 0 leaves the outline as the model has
    it."""
    pred_iou_thresh: float = Field(
        0.3, ge=0, le=1, title="Minimum confidence", json_schema_extra={"step": 0.05, "live": True}
    )
    """Higher values keep only objects of which the model is more certain (its predicted IoU), so fewer."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Objects smaller than this are removed: higher values remove more."""
    diameter: float | None = Field(None, gt=0, json_schema_extra={"step": 5, **_MORE})
    """Typical diameter of the objects. The image is resized so that the model sees them at the size it handles best:
    higher values shrink it more, which keeps large objects in one piece and loses small ones. Automatic: it is found,
    and shown in the result."""
    diameter_unit: Literal["pixels", "µm"] = Field("pixels", title="Unit of the diameter", json_schema_extra=_MORE)
    """Pixels, or µm if the image has a pixel size."""
    find_diameter: Search = Field(
        "once", title="Automatic diameter", json_schema_extra={"absent": "second look", "steps": "new", **_MORE}
    )
    """How the diameter is found if none is given. Once: one for all slices and for all images of a batch, from a sample
    at its own size and shrunk to a half, a quarter and so on; objects of other sizes are still found at theirs. Each
    image or each slice: one for each. Second look: as in earlier versions, from the image at its own size only."""
    found_scale: float | None = Field(None, gt=0, json_schema_extra=_FOUND)
    """Factor by which the images of a batch are resized, which the batch found on a sample. Automatic: it is found."""
    found_diameter: float | None = Field(None, gt=0, json_schema_extra=_FOUND)
    """Diameter in pixels of the sample's objects."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: process a large image at full resolution in overlapping tiles and merge the objects across them. Off: shrink
    the whole image to the model's input, which is faster but loses small objects."""

    def at_level(self, level: Level) -> Self:
        """Return these settings with lengths and areas in pixels of a coarser level of a pyramid."""
        settings = super().at_level(level)
        return settings._divided(["diameter"], level) if self.diameter_unit == "pixels" else settings


class PromptsSettings(_AutomaticSettings):
    """Decoder's prompts: a click at each centre that the decoder sees gives a mask; micro-sam's APG."""

    first_speed: ClassVar[float] = 8.0
    method: Literal["apg"] = Field("apg", title="Decoder's prompts (APG)")
    foreground_threshold: float = Field(0.7, ge=0, le=1, json_schema_extra={"step": 0.05})
    """Minimum foreground probability of a place to click on. Lower values click on more of the background."""
    centre_threshold: float = Field(0.5, ge=0, le=1, json_schema_extra={"step": 0.05})
    """Higher values give one click to pieces of one object; lower values split objects that are merged."""
    boundary_threshold: float = Field(0.45, ge=0, le=1, json_schema_extra={"step": 0.05, **_MORE})
    """Higher values click on shallow objects too; lower values only well inside an object."""
    centre_smoothing: float = Field(1.25, ge=0, le=20, json_schema_extra={"unit": "pixels", "step": 0.25, **_MORE})
    """Higher values give one click to pieces of one object; lower values keep small objects apart."""
    pred_iou_thresh: float = Field(
        0.3, ge=0, le=1, title="Minimum confidence", json_schema_extra={"step": 0.05, "live": True}
    )
    """Higher values keep only objects of which the model is more certain (its predicted IoU), so fewer."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Objects smaller than this are removed: higher values remove more."""
    mask_nms_thresh: float = Field(
        0.5, ge=0, le=1, title="Maximum mask overlap", json_schema_extra={"step": 0.05, "live": True}
    )
    """Of two masks that overlap more than this (IoU), only the better one is kept. Higher values keep more objects."""
    nesting: Nesting = Field("best score", title="Overlapping objects", json_schema_extra={"live": True, **_MORE})
    """Which object gets the pixels that several claim: the one with the highest confidence (best score), the smaller or
    the larger."""
    diameter: float | None = Field(None, gt=0, json_schema_extra={"step": 5, **_MORE})
    """Typical diameter of the objects: the image is resized so that the decoder sees them at the size it handles best.
    Automatic: it is found, and shown in the result."""
    diameter_unit: Literal["pixels", "µm"] = Field("pixels", title="Unit of the diameter", json_schema_extra=_MORE)
    """Pixels, or µm if the image has a pixel size."""
    find_diameter: Search = Field(
        "once", title="Automatic diameter", json_schema_extra={"absent": "second look", "steps": "new", **_MORE}
    )
    """How the diameter is found if none is given: one for all slices and images of a batch, one for each image or each
    slice, or, as in earlier versions, by a second look at the image."""
    found_scale: float | None = Field(None, gt=0, json_schema_extra=_FOUND)
    """Factor by which the images of a batch are resized, which the batch found on a sample. Automatic: it is found."""
    found_diameter: float | None = Field(None, gt=0, json_schema_extra=_FOUND)
    """Diameter in pixels of the sample's objects."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: process a large image at full resolution in overlapping tiles and merge the objects across them. Off: shrink
    the whole image to the model's input, which is faster but loses small objects."""

    def at_level(self, level: Level) -> Self:
        """Return these settings with lengths and areas in pixels of a coarser level of a pyramid."""
        settings = super().at_level(level)
        return settings._divided(["diameter"], level) if self.diameter_unit == "pixels" else settings


class FlowsSettings(_AutomaticSettings):
    """Flows: every pixel points to the centre of its object, and those that meet are one object; of Cellpose models."""

    colours: ClassVar[ColourRule] = "RGB"
    first_speed: ClassVar[float] = 60.0
    method: Literal["flows"] = "flows"
    flow_threshold: float = Field(0.4, ge=0, le=3, json_schema_extra={"step": 0.1, "live": True})
    """Objects whose flows disagree with their shape by more than this are removed: lower values remove more. 0 keeps
    all objects."""
    probability_threshold: float = Field(
        0.0, ge=-20, le=20, title="Cell probability threshold", json_schema_extra={"step": 0.5, "live": True}
    )
    """Higher values make objects smaller and fewer; negative ones find faint objects."""
    min_area: int = Field(15, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Objects smaller than this are removed: higher values remove more."""
    diameter: float | None = Field(None, gt=0, json_schema_extra={"step": 5})
    """Typical diameter of the objects: the image is resized so that it becomes 30 pixels. Automatic: the image is not
    resized, which suits objects of 8 to 120 pixels."""
    diameter_unit: Literal["pixels", "µm"] = Field("pixels", title="Unit of the diameter", json_schema_extra=_MORE)
    """Pixels, or µm if the image has a pixel size."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: process a large image at full resolution in overlapping tiles and average their maps. Off: shrink the whole
    image to the model's input, which is faster but loses small objects."""

    def at_level(self, level: Level) -> Self:
        """Return these settings with lengths and areas in pixels of a coarser level of a pyramid."""
        settings = super().at_level(level)
        return settings._divided(["diameter"], level) if self.diameter_unit == "pixels" else settings


class GridSettings(_AutomaticSettings):
    """Point grid: SAM's automatic mask generator, which prompts the model at every point of a grid."""

    first_speed: ClassVar[float] = 12.0
    method: Literal["grid"] = Field("grid", title="Point grid")
    mode: Literal["exact", "fast"] = Field("exact", title="Speed")
    """Exact uses every point of the grid. Fast tries a coarse grid first and adds points only where nothing was found
    and the model's decoder expects an object, in half precision where that is faster; it may miss small objects."""
    points_per_side: int = Field(32, ge=1, le=256)
    """Points along each side of the whole image. More points find smaller objects and take longer."""
    pred_iou_thresh: float = Field(
        0.5, ge=0, le=1, title="Minimum confidence", json_schema_extra={"step": 0.05, "live": True}
    )
    """Higher values keep only objects of which the model is more certain (its predicted IoU), so fewer."""
    stability_score_thresh: float = Field(
        0.7, ge=0, le=1, title="Minimum stability", json_schema_extra={"step": 0.05, "live": True}
    )
    """Higher values keep only objects whose outline changes less when the threshold of the mask is moved, so fewer."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Objects smaller than this are removed: higher values remove more."""
    max_area: int | None = Field(None, gt=0, json_schema_extra={"unit": "pixels", "area": True, "live": True, **_MORE})
    """Objects larger than this are removed: lower values remove more. Automatic: none is removed."""
    nesting: Nesting = Field("best score", title="Overlapping objects", json_schema_extra={"live": True, **_MORE})
    """Which object gets the pixels that several claim: the one with the highest confidence (best score), the smaller or
    the larger."""
    box_nms_thresh: float = Field(
        0.7, ge=0, le=1, title="Maximum box overlap", json_schema_extra={"step": 0.05, "live": True, **_MORE}
    )
    """Of two objects whose bounding boxes overlap more than this (IoU), only the better one is kept. Higher values keep
    more objects."""
    stability_score_offset: float = Field(1.0, ge=0, title="Stability offset", json_schema_extra=_MORE)
    """How far the threshold of the mask is moved to measure the stability. Higher values make all objects less stable,
    so that fewer are kept."""
    points_per_batch: int = Field(64, ge=1, le=1024, json_schema_extra=_MORE)
    """Points decoded at once. More are faster on a GPU and need more memory."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: process a large image at full resolution in overlapping tiles and merge the objects across them. Off: shrink
    the whole image to the model's input, which is faster but loses small objects."""

    @property
    def prompts_per_slice(self) -> int:
        """Number of points in the grid."""
        return self.points_per_side**2


#: Micrometres in a unit of length, as images name them.
_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "micrometer": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


def diameter_in_pixels(image: Image, settings: DecoderSettings | PromptsSettings | FlowsSettings) -> float | None:
    """Return the diameter in pixels.

    Parameters
    ----------
    image : Image
        Image whose pixel size converts a diameter in µm.
    settings : DecoderSettings
        Settings with or without a diameter.

    Returns
    -------
    float or None
        Diameter in pixels; None if the settings have none.

    Raises
    ------
    SettingsError
        If the diameter is in µm and the pixel size of the image is unknown.
    """
    if settings.diameter is None or settings.diameter_unit == "pixels":
        return settings.diameter
    unit = image.units.get("Y", "")
    if unit not in _MICROMETRES:
        raise SettingsError(
            f"The diameter is given in µm, but the size of the image's pixels is not known (unit: {unit or 'none'}). "
            "Give the diameter in pixels, or set the layer's scale and units."
        )
    return settings.diameter / (image.spacing.get("Y", 1.0) * _MICROMETRES[unit])

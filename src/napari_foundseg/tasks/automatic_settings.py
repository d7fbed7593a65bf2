"""Inputs and settings of *Automatic masks*."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, JsonValue

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Nesting
from napari_foundseg.tasks.regions import Region
from napari_foundseg.tasks.settings import Settings

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level

__all__ = ["AutomaticInputs", "DecoderSettings", "GridSettings", "diameter_in_pixels"]


_MORE: dict[str, JsonValue] = {"more": True}


class AutomaticInputs(Region):
    """Where to look."""


class DecoderSettings(Settings):
    """Instance decoder: one pass over the image, then seeds and a watershed."""

    first_speed: ClassVar[float] = 4.0
    method: Literal["decoder"] = "decoder"
    foreground_threshold: float = Field(0.7, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True})
    """Raise it if objects come out too large or background is taken for objects."""
    centre_threshold: float = Field(0.7, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True})
    """Lower it to split objects that are merged, raise it to join pieces of one object."""
    boundary_threshold: float = Field(0.45, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True, **_MORE})
    """Lower it to start objects only well inside their border."""
    seed_smoothing: float = Field(
        1.25, ge=0, le=20, json_schema_extra={"unit": "pixels", "step": 0.25, "live": True, **_MORE}
    )
    """Raise it where one object comes out in several pieces."""
    pred_iou_thresh: float = Field(0.3, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True})
    """Objects that the model itself trusts less are dropped (predicted IoU)."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Smaller objects are dropped."""
    diameter: float | None = Field(None, gt=0, json_schema_extra={"step": 5, **_MORE})
    """Typical diameter of the objects. The image is resized so that the model sees them at the size it knows best.
    Without one, an image of mostly small or large objects is looked at twice."""
    diameter_unit: Literal["pixels", "µm"] = Field("pixels", json_schema_extra=_MORE)
    """What the diameter is counted in."""
    tile: bool = Field(True, json_schema_extra=_MORE)
    """Work in overlapping windows at full resolution; off shrinks the whole image to the model's window."""

    def at_level(self, level: Level) -> Self:
        """Return the same settings with lengths and areas in pixels of a coarser level of a pyramid."""
        settings = super().at_level(level)
        return settings._divided(["diameter"], level) if self.diameter_unit == "pixels" else settings


class GridSettings(Settings):
    """Point grid: SAM's automatic mask generator, which prompts the model at every point of a grid."""

    first_speed: ClassVar[float] = 12.0
    method: Literal["grid"] = "grid"
    mode: Literal["exact", "fast"] = "exact"
    """Fast tries a coarse grid first, more points only where nothing was found yet, and none where the model's decoder
    sees no object. It decodes in half precision where the processor is faster so. It may miss small objects."""
    points_per_side: int = Field(32, ge=1, le=256)
    """Points along each side of the whole image. More points find smaller objects and take longer."""
    pred_iou_thresh: float = Field(0.5, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True})
    """Masks that the model itself trusts less are dropped (predicted IoU)."""
    stability_score_thresh: float = Field(0.7, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True})
    """Masks that change more with the threshold are dropped."""
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Smaller objects are dropped."""
    max_area: int | None = Field(None, gt=0, json_schema_extra={"unit": "pixels", "area": True, "live": True, **_MORE})
    """Larger objects are dropped."""
    nesting: Nesting = Field("best score", json_schema_extra={"live": True, **_MORE})
    """Who gets the pixels of several objects: the one that the model trusts most, the smaller, or the larger."""
    box_nms_thresh: float = Field(0.7, ge=0, le=1, json_schema_extra={"step": 0.05, "live": True, **_MORE})
    """Of two masks whose boxes overlap more than this, the better one is kept."""
    stability_score_offset: float = Field(1.0, ge=0, json_schema_extra=_MORE)
    """How far the threshold is moved to measure stability, in logits."""
    points_per_batch: int = Field(64, ge=1, le=1024, json_schema_extra=_MORE)
    """Points decoded at once; fewer need less memory."""
    tile: bool = Field(True, json_schema_extra=_MORE)
    """Work in overlapping windows at full resolution; off shrinks the whole image to the model's window."""

    @property
    def prompts_per_slice(self) -> int:
        """The points of the grid."""
        return self.points_per_side**2


#: Micrometres in a unit of length, as images name them.
_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "micrometer": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


def diameter_in_pixels(image: Image, settings: DecoderSettings) -> float | None:
    """Return the diameter in pixels.

    Parameters
    ----------
    image : Image
        Whose pixels.
    settings : DecoderSettings
        With a diameter, or without.

    Returns
    -------
    float or None
        None without.

    Raises
    ------
    SettingsError
        If it is given in µm and the size of the pixels is not known.
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

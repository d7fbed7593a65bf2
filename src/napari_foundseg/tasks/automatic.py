"""Automatic masks: every object of an image, without a prompt.

Two methods. `decoder` decodes maps window by window, lays them side by side and makes instances of the whole, so that
there is no seam to merge. `grid` is SAM's automatic mask generator (`tasks.point_grid`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from napari_foundseg.core.errors import Cancelled, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.masks import Box, Mask, Nesting, paint
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.core.watershed import instance_scores, instances
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks import tiling
from napari_foundseg.tasks.instance_maps import fitted_maps
from napari_foundseg.tasks.point_grid import LIVE, grid_masks, passing
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import Region, region_of, slices, whole
from napari_foundseg.tasks.settings import Progress, Settings, Task

__all__ = ["TASK", "AutomaticInputs", "DecoderSettings", "GridSettings", "derive", "diameter_in_pixels", "run"]

_MORE: dict[str, JsonValue] = {"more": True}
#: As `core.watershed.instance_scores` takes it.
Calibration = tuple[float, float, float] | None


class AutomaticInputs(Region):
    """Where to look."""


class DecoderSettings(Settings):
    """Instance decoder: one pass over the image, then seeds and a watershed."""

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
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "live": True})
    """Smaller objects are dropped."""
    diameter: float | None = Field(None, gt=0, json_schema_extra={"step": 5, **_MORE})
    """Typical diameter of the objects. The image is resized so that the model sees them at the size it knows best.
    Without one, an image of mostly small or large objects is looked at twice."""
    diameter_unit: Literal["pixels", "µm"] = Field("pixels", json_schema_extra=_MORE)
    """What the diameter is counted in."""
    tile: bool = Field(True, json_schema_extra=_MORE)
    """Work in overlapping windows at full resolution; off shrinks the whole image to the model's window."""


class GridSettings(Settings):
    """Point grid: SAM's automatic mask generator, which prompts the model at every point of a grid."""

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
    min_area: int = Field(20, ge=0, json_schema_extra={"unit": "pixels", "live": True})
    """Smaller objects are dropped."""
    max_area: int | None = Field(None, gt=0, json_schema_extra={"unit": "pixels", "live": True, **_MORE})
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


#: Maps up to this size are kept in the result, so that thresholds act live (2048 × 2048 pixels need 25 MB).
_KEPT_MAPS = 64 << 20
#: Pixels around a region that are looked at too.
_SURROUNDINGS = 64


def run(
    image: Image,
    inputs: AutomaticInputs,
    settings: DecoderSettings | GridSettings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Segment every object.

    Parameters
    ----------
    image : Image
        The image.
    inputs : AutomaticInputs
        Where to look.
    settings : DecoderSettings or GridSettings
        The method and its thresholds.
    model : InstanceDecoding or PointGrid
        As the method needs.
    progress : callable
        Told the share of windows done.
    cancelled : callable
        Asked before each window, or batch of points.

    Returns
    -------
    Segmentation
        With the maps or masks that the labels derive from, where they are small enough to keep.
    """
    started = time.perf_counter()
    planes = slices(image, inputs)
    region = region_of(image, inputs)
    calibration = row(model.name).calibration

    def poll() -> None:
        if cancelled():
            raise Cancelled("The automatic run was cancelled.")

    def evidence() -> Iterator[tuple[tuple[int, ...], Any]]:
        for done, index in enumerate(planes):

            def share(part: float, done: int = done) -> None:
                words = f"slice {done + 1} of {len(planes)}" if len(planes) > 1 else "segmenting"
                progress((done + part) / len(planes), words)

            if isinstance(settings, DecoderSettings):
                around = _with_surroundings(region, image.plane_shape)
                diameter, how = diameter_in_pixels(image, settings), _of_instances(settings)
                look = partial(fitted_maps, tile=settings.tile, diameter=diameter)
                yield index, look(image, index, around, model, poll, share, how)
            else:
                yield index, grid_masks(image, index, region, settings, model, poll, share)

    keep = len(planes) * 6 * (region[2] - region[0] + 1) * (region[3] - region[1] + 1) <= _KEPT_MAPS
    out = _assemble(image.shape, image.label_axes, region, evidence(), settings, keep, calibration)
    provenance = record("automatic", image, inputs, settings, model, started)
    return replace(out, provenance={**provenance, "thresholds_of_the_run": _thresholds(settings)})


def derive(segmentation: Segmentation, settings: DecoderSettings | GridSettings) -> Segmentation:
    """Make the labels again with other thresholds, without a model.

    Parameters
    ----------
    segmentation : Segmentation
        A result of `run` that holds its maps or masks.
    settings : DecoderSettings or GridSettings
        Of the same method. Thresholds of masks can be lowered by `point_grid.LIVE` at most: what is below was not made.

    Returns
    -------
    Segmentation
        As `run` would give it.

    Raises
    ------
    ValueError
        If neither maps nor masks were kept, or not those that are asked for.
    """
    evidence: dict[tuple[int, ...], Any]
    if segmentation.maps is not None:
        evidence = dict(segmentation.maps)
    elif segmentation.masks is not None:
        _check_floors(segmentation.provenance, settings)
        evidence = {}
        for mask in segmentation.masks:
            evidence.setdefault(mask.index, []).append(mask)
    else:
        raise ValueError("the result holds neither maps nor masks: run the task again")
    known = segmentation.provenance
    shape, axes = segmentation.pixels.shape, known["image"]["axes"]
    region = tuple(known["inputs"]["region"] or whole(_plane_shape(shape, axes)))
    calibration = row(known["model"]["name"]).calibration
    out = _assemble(shape, axes, region, evidence.items(), settings, True, calibration)
    return replace(out, provenance={**known, "settings": settings.model_dump(mode="json")})


def _thresholds(settings: DecoderSettings | GridSettings) -> dict[str, float]:
    names = ("pred_iou_thresh", "stability_score_thresh")
    return {name: getattr(settings, name) for name in names} if isinstance(settings, GridSettings) else {}


def _check_floors(provenance: Mapping[str, Any], settings: DecoderSettings | GridSettings) -> None:
    """Refuse thresholds below which the run has made no masks."""
    of_the_run = provenance.get("thresholds_of_the_run", {})
    for name, asked in _thresholds(settings).items():
        least = round(max(0.0, of_the_run.get(name, 0.0) - LIVE), 6)
        if asked < least:
            raise ValueError(f"masks below {least:g} were not made ({name}): run again to see them")


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


def _plane_shape(shape: tuple[int, ...], axes: str) -> tuple[int, int]:
    return shape[axes.index("Y")], shape[axes.index("X")]


def _with_surroundings(region: Box, plane_shape: tuple[int, int]) -> Box:
    """Return what is decoded for a region: objects at its edge are told apart by what lies beyond."""
    y0, x0, y1, x1 = region
    height, width = plane_shape
    m = _SURROUNDINGS
    return max(0, y0 - m), max(0, x0 - m), min(height - 1, y1 + m), min(width - 1, x1 + m)


def _assemble(
    shape: tuple[int, ...],
    axes: str,
    region: Box,
    found: Iterable[tuple[tuple[int, ...], Any]],
    settings: DecoderSettings | GridSettings,
    keep: bool,
    calibration: Calibration,
) -> Segmentation:
    """Make labels of every slice's maps or masks; ids go on from slice to slice."""
    labels = np.zeros(shape, np.uint16)
    scores = [np.empty((2, 0))]
    maps: dict[tuple[int, ...], NDArray[Any]] | None = {} if isinstance(settings, DecoderSettings) and keep else None
    masks: list[Mask] = []
    count = 0
    for index, evidence in found:
        if isinstance(settings, DecoderSettings):
            origin = _with_surroundings(region, _plane_shape(shape, axes))[:2]
            plane, plane_scores = _from_maps(evidence, settings, origin, region, calibration)
            box = region
            if maps is not None:
                maps[index] = evidence
        else:
            plane, plane_scores = _from_masks(evidence, _plane_shape(shape, axes), settings)
            box = whole(plane.shape)
            masks += evidence
        n = plane_scores.shape[1]
        labels = labels.astype(np.promote_types(labels.dtype, label_dtype(count + n)), copy=False)
        target = tiling.part(plane_view(labels, axes, index), box)
        np.add(plane, count, out=target, where=plane > 0, dtype=labels.dtype)
        scores.append(plane_scores)
        count += n
    predicted_iou, stability_score = np.concatenate(scores, axis=1)
    table = object_table(labels, axes, predicted_iou=predicted_iou, stability_score=stability_score)
    kept_masks = tuple(masks) if isinstance(settings, GridSettings) else None
    return Segmentation(labels, table, masks=kept_masks, maps=maps)


def _of_instances(settings: DecoderSettings) -> dict[str, Any]:
    """Return what `core.watershed.instances` needs to know."""
    names = ("foreground_threshold", "centre_threshold", "boundary_threshold", "seed_smoothing", "min_area")
    return {name: getattr(settings, name) for name in names}


def _from_maps(
    maps: NDArray[Any], settings: DecoderSettings, origin: tuple[int, int], region: Box, calibration: Calibration
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Make the instances of maps whose first pixel lies at `origin`, and cut out the region."""
    whole = instances(maps, **_of_instances(settings))
    scores = np.stack(instance_scores(maps, whole, calibration))
    plane = tiling.part(whole, region, origin)
    large = np.bincount(plane.ravel(), minlength=scores.shape[1] + 1)[1:] >= max(1, settings.min_area)
    kept = large & (scores[0] >= settings.pred_iou_thresh)
    return _renumbered(plane, kept), scores[:, kept]


def _renumbered(plane: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Drop the objects that are not kept and number the others 1 to n; `kept` holds a flag for each."""
    ids = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(plane.dtype)
    out: NDArray[Any] = ids[plane]
    return out


def _from_masks(
    masks: Iterable[Mask], shape: tuple[int, int], settings: GridSettings
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Paint the masks that pass; one that loses more than half its pixels to others is dropped."""
    most = settings.max_area or np.inf
    chosen = [m for m in passing(list(masks), settings) if max(1, settings.min_area) <= m.area <= most]
    plane = np.zeros(shape, label_dtype(len(chosen)))
    paint(plane, list(enumerate(chosen, 1)), settings.nesting)
    areas = np.bincount(plane.ravel(), minlength=len(chosen) + 1)[1:]
    whole = np.array([m.area for m in chosen], int)
    kept = (areas >= max(1, settings.min_area)) & (2 * areas > whole)
    chosen = [m for m, k in zip(chosen, kept, strict=True) if k]
    scores = np.array([[m.predicted_iou for m in chosen], [m.stability_score for m in chosen]], float)
    return _renumbered(plane, kept), scores.reshape(2, len(chosen))


TASK = Task(
    name="automatic",
    title="Automatic masks",
    inputs=AutomaticInputs,
    methods={"decoder": DecoderSettings, "grid": GridSettings},
    protocols={"decoder": "InstanceDecoding", "grid": "PointGrid"},
    function=run,
    slices=slices,
)

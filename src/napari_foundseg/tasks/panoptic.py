"""Panoptic segmentation: every pixel gets a class, and every object its own number.

Five methods: the built-in model's nuclei over background; a model that finds objects and stuff in one pass; a model of
objects alone; the fusion of a model of objects with a model of classes; a model that points at the objects' centres.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.panoptic import Panoptic, fused, grouped
from napari_foundseg.core.errors import Cancelled, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.masks import Box
from napari_foundseg.core.object_table import named_classes
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.classes import CentreOffsets, PanopticOptions
from napari_foundseg.tasks import automatic
from napari_foundseg.tasks.automatic_settings import DecoderSettings
from napari_foundseg.tasks.classes.class_results import Output, assembled, each_slice, in_windows, with_output
from napari_foundseg.tasks.classes.own_words import WordSettings, with_own_words
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import Region, region_of, slices, whole
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Task
from napari_foundseg.tasks.windows import tiling

__all__ = ["NUCLEI", "TASK", "PanopticInputs", "derive", "run"]

_MORE: dict[str, JsonValue] = {"more": True}
_SHARE: dict[str, JsonValue] = {"step": 0.05}
#: Share of the progress bar for segmentation, before objects are compared with words.
_BEFORE_WORDS = 0.7
#: The classes of the built-in model.
NUCLEI = ClassTable.of(["nucleus", "background"], stuff=["background"], colours=["#56b4e9", "#3b3b3b"])


class PanopticInputs(Region):
    """Slice and region to segment."""


class ClassedSettings(WordSettings):
    """Settings that all methods share."""

    output: Output = Field("objects", title="Result", json_schema_extra={"elsewhere": True})
    """Content of the label image: objects, classes, or both in one number (class times divisor, plus object). The
    window shows objects and classes."""
    divisor: int = Field(1000, ge=2, json_schema_extra={"elsewhere": True})
    """Divisor of panoptic ids: larger than the number of objects of any class."""


class NucleiSettings(DecoderSettings, ClassedSettings):
    """Nuclei over background, by the built-in model's instance decoder."""

    method: Literal["nuclei"] = "nuclei"  # type: ignore[assignment] # a method has its own name


class TiledSettings(ClassedSettings):
    """Settings of methods whose models see pictures of a fixed size."""

    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: process a large image at full resolution in overlapping tiles and merge the objects across them. Off: shrink
    the whole image to the model's input, which is faster but loses small objects."""


class SegmentsSettings(TiledSettings):
    """Objects and stuff in one pass (Mask2Former, MaskFormer, OneFormer, EoMT, DETR)."""

    method: Literal["segments"] = "segments"
    threshold: float = Field(0.5, ge=0, le=1, title="Minimum confidence", json_schema_extra=_SHARE)
    """Higher values keep only segments of which the model is more certain, so fewer."""
    mask_threshold: float = Field(0.5, ge=0, le=1, title="Minimum probability", json_schema_extra=_SHARE)
    """Minimum probability of a segment's pixels: higher values make segments smaller."""
    overlap_mask_area_threshold: float = Field(
        0.8, ge=0, le=1, title="Minimum visible part", json_schema_extra={**_SHARE, **_MORE}
    )
    """A segment is removed if less than this fraction of it is not covered by others. Higher values remove more."""


class InstancesSettings(TiledSettings):
    """Objects alone, each with its class (Mask R-CNN, RF-DETR, Mask2Former for instances)."""

    method: Literal["instances"] = "instances"
    threshold: float = Field(0.5, ge=0, le=1, title="Minimum confidence", json_schema_extra=_SHARE)
    """Higher values keep only objects of which the model is more certain, so fewer."""
    mask_threshold: float = Field(0.5, ge=0, le=1, title="Minimum probability", json_schema_extra=_SHARE)
    """Minimum probability of an object's pixels: higher values make objects smaller."""
    overlap_mask_area_threshold: float = Field(
        0.8, ge=0, le=1, title="Minimum visible part", json_schema_extra={**_SHARE, **_MORE}
    )
    """Higher values remove more objects that others cover in part, where the model's own post-processing does this."""


class FusionSettings(TiledSettings):
    """Objects of one model over the classes of another (Kirillov's heuristic)."""

    method: Literal["fusion"] = "fusion"
    semantic_model: str = Field("", title="Model of the classes", json_schema_extra={"model": "SemanticClasses"})
    """The model that gives each pixel its class."""
    threshold: float = Field(0.5, ge=0, le=1, title="Minimum confidence", json_schema_extra=_SHARE)
    """Higher values keep only objects of which the model is more certain, so fewer."""
    mask_threshold: float = Field(0.5, ge=0, le=1, title="Minimum probability", json_schema_extra={**_SHARE, **_MORE})
    """Minimum probability of an object's pixels: higher values make objects smaller."""
    overlap_threshold: float = Field(0.5, ge=0, le=1, title="Maximum covered part", json_schema_extra=_SHARE)
    """An object of which a larger fraction is covered by better ones is removed. Higher values keep more objects."""
    stuff_area: int = Field(
        4096, ge=0, title="Minimum background area", json_schema_extra={"unit": "pixels", "area": True}
    )
    """Background classes (stuff) of fewer pixels in one tile are removed: higher values remove more."""


class CentresSettings(TiledSettings):
    """Pixels grouped by the centre that each points at (Panoptic-DeepLab)."""

    method: Literal["centres"] = "centres"
    centre_threshold: float = Field(0.1, ge=0, le=1, json_schema_extra=_SHARE)
    """Minimum height of a centre in the heat map of centres: higher values find fewer objects."""
    nms_kernel: int | None = Field(None, ge=1, title="Centre search window", json_schema_extra={"unit": "pixels"})
    """Higher values join objects whose centres are close: each centre is the highest point of a square of this side,
    which is odd. Automatic: as the model was published."""
    top_k: int = Field(200, ge=1, title="Maximum objects per tile", json_schema_extra=_MORE)
    """Only this many of the highest centres become objects in one tile: higher values keep more objects."""
    stuff_area: int | None = Field(
        None, ge=0, title="Minimum background area", json_schema_extra={"unit": "pixels", "area": True, **_MORE}
    )
    """Background classes (stuff) of fewer pixels in one tile are removed: higher values remove more. Automatic: as the
    model was published."""


def run(
    image: Image,
    inputs: PanopticInputs,
    settings: Any,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Assign a class to every pixel and a number to every object.

    The result has objects with their classes. `semantic` holds the class of each pixel.
    """
    if not settings.vocabulary:
        return _found(image, inputs, settings, model, progress, cancelled)

    def first(share: float, text: str) -> None:
        progress(_BEFORE_WORDS * share, text)

    def then(share: float, text: str) -> None:
        progress(_BEFORE_WORDS + (1 - _BEFORE_WORDS) * share, text)

    found = _found(image, inputs, settings.model_copy(update={"output": "objects"}), model, first, cancelled)
    named = with_own_words(found, image, settings, model, then, cancelled)
    named.provenance["settings"]["output"] = settings.output
    return with_output(named, image.label_axes, settings.output, settings.divisor)


def _found(
    image: Image,
    inputs: PanopticInputs,
    settings: Any,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Segment by the chosen method, ignoring the user's words."""
    if isinstance(settings, NucleiSettings):
        found = automatic.run(image, inputs, settings, model, progress, cancelled)  # type: ignore[arg-type] # a Region
        return _over_background(found, image.shape, image.label_axes, region_of(image, inputs), settings)
    started = time.perf_counter()

    def poll() -> None:
        if cancelled():
            raise Cancelled("The panoptic run was cancelled.")

    predict, classes, others = _predictor(settings, model)
    side = model.window if settings.tile else None
    region = region_of(image, inputs)
    results = {
        index: in_windows(image, index, region, predict, poll, share, side=side)
        for index, share in each_slice(image, inputs, progress, "segmenting")
    }
    request = RunRequest("panoptic", image, inputs, settings, model.name)
    told = record(request, model, started) | others
    options: dict[str, Any] = {"output": settings.output, "stack": settings, "divisor": settings.divisor}
    return assembled(image, inputs, results, classes, told, **options)


def derive(segmentation: Segmentation, settings: NucleiSettings) -> Segmentation:
    """Make nuclei and background again with other thresholds, without a model.

    Parameters
    ----------
    segmentation : Segmentation
        A result of `run` by the method ``nuclei`` that holds its maps.
    settings : NucleiSettings
        Settings with other thresholds.

    Returns
    -------
    Segmentation
        The result that `run` would return with these settings.

    Raises
    ------
    ValueError
        If the result keeps no maps.
    """
    known = segmentation.provenance
    shape = segmentation.pixels.shape
    axes = known["image"]["axes"]
    plane = (shape[axes.index("Y")], shape[axes.index("X")])
    region = known["inputs"]["region"] or whole(plane)
    return _over_background(automatic.derive(segmentation, settings), shape, axes, tuple(region), settings)


def _over_background(
    found: Segmentation, shape: tuple[int, ...], axes: str, region: Box, settings: NucleiSettings
) -> Segmentation:
    """Make objects things and everything around them stuff."""
    chosen = found.provenance["inputs"]["index"]
    slice_shape = [n for n, axis in zip(shape, axes, strict=True) if axis not in "YX"]
    indices = [tuple(chosen)] if chosen is not None else list(np.ndindex(*slice_shape))
    semantic = np.zeros(shape, np.uint8)
    for index in indices:
        plane = tiling.part(plane_view(found.labels, axes, index), region)
        tiling.part(plane_view(semantic, axes, index), region)[:] = np.where(plane > 0, 1, 2)
    classes = NUCLEI.measured(semantic, np.ones(len(found.table), np.int64))
    told = {**found.provenance, "task": "panoptic", "classes": classes.to_json()}
    table = named_classes(found.table.drop(columns="class_name", errors="ignore"), classes)
    result = replace(found, table=table, classes=classes, provenance=told, semantic=semantic)
    return with_output(result, axes, settings.output, settings.divisor)


#: Function that makes a panoptic result of a picture, its classes, and further entries of the provenance.
_Predictor = tuple[Callable[[NDArray[np.uint8]], Panoptic], ClassTable, dict[str, Any]]


def _predictor(settings: Any, model: Any) -> _Predictor:
    if isinstance(settings, FusionSettings):
        return _fusion(settings, model)
    if isinstance(settings, CentresSettings):
        return _grouping(settings, model)
    names = ("threshold", "mask_threshold", "overlap_mask_area_threshold")
    options = PanopticOptions(**{name: getattr(settings, name) for name in names})
    if isinstance(settings, SegmentsSettings):
        return lambda rgb: model.panoptic(rgb, options), model.classes, {}
    return lambda rgb: _from_masks(model.instances(rgb, options), rgb.shape[:2], options), model.classes, {}


def _from_masks(masks: Any, shape: tuple[int, int], options: PanopticOptions) -> Panoptic:
    """Paint masks over each other, the one with the highest score on top."""
    nothing = np.zeros(shape, np.uint8)
    return fused(nothing, masks, stuff=(), score_threshold=options.threshold, overlap_threshold=1.0)


def _grouping(settings: CentresSettings, model: CentreOffsets) -> _Predictor:
    given = {name: value for name in asdict(model.grouping) if (value := getattr(settings, name)) is not None}
    options = asdict(model.grouping) | given

    def predict(rgb: NDArray[np.uint8]) -> Panoptic:
        maps = model.centre_maps(rgb)
        return grouped(maps.centres, maps.offsets, maps.semantic, things=model.classes.things, **options)

    return predict, model.classes, {"grouping": options}


def _fusion(settings: FusionSettings, model: Any) -> _Predictor:
    from napari_foundseg.models.catalog import row
    from napari_foundseg.models.loading import load_model

    if not settings.semantic_model:
        raise SettingsError(
            "semantic_model is empty: choose a model that gives each pixel its class; import one if there is none."
        )
    semantic_model = load_model(settings.semantic_model, device=model.device, protocol="SemanticClasses")
    things = ClassTable(tuple(entry.model_copy(update={"kind": "thing"}) for entry in model.classes))
    classes, numbers = things.joined(semantic_model.classes)
    of_things = set(things.ids)
    classes = ClassTable(
        tuple(entry if entry.id in of_things else entry.model_copy(update={"kind": "stuff"}) for entry in classes)
    )
    stuff = [number for number in numbers.values() if number not in of_things]
    lookup = np.zeros(max(numbers, default=0) + 1, np.uint16)
    lookup[list(numbers)] = list(numbers.values())
    options = PanopticOptions(threshold=settings.threshold, mask_threshold=settings.mask_threshold)

    def predict(rgb: NDArray[np.uint8]) -> Panoptic:
        return fused(
            lookup[semantic_model.semantic(rgb)],
            model.instances(rgb, options),
            stuff=stuff,
            score_threshold=settings.threshold,
            overlap_threshold=settings.overlap_threshold,
            stuff_area=settings.stuff_area,
        )

    used = {"name": semantic_model.name, "key": semantic_model.key, "sha256": row(semantic_model.name).sha256}
    return predict, classes, {"semantic_model": used}


TASK = Task(
    name="panoptic",
    title="Panoptic",
    inputs=PanopticInputs,
    methods={
        "nuclei": NucleiSettings,
        "segments": SegmentsSettings,
        "instances": InstancesSettings,
        "fusion": FusionSettings,
        "centres": CentresSettings,
    },
    protocols={
        "nuclei": "NucleusDecoding",
        "segments": "PanopticSegments",
        "instances": "InstanceMasks",
        "fusion": "InstanceMasks",
        "centres": "CentreOffsets",
    },
    function=run,
    slices=slices,
    menus=("segment",),
)

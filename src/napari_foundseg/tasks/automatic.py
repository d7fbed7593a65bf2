"""Automatic masks: every object of an image, without a prompt.

Methods: `decoder` decodes maps window by window, joins them, and makes instances of the joined maps, so that there are
no seams to merge. `grid` is SAM's automatic mask generator (`tasks.windows.point_grid`). `apg` clicks where the
decoder's maps show objects (`tasks.windows.decoder_prompts`). `flows` follows the flows of a Cellpose model
(`tasks.windows.flow_maps`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.linking import link_objects
from napari_foundseg.core.errors import Cancelled, ModelNotFoundError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks.automatic_objects import (
    instance_thresholds,
    objects_of_maps,
    objects_of_masks,
    pixels_per_pixel,
    with_surroundings,
)
from napari_foundseg.tasks.automatic_settings import (
    AutomaticInputs,
    DecoderSettings,
    FlowsSettings,
    GridSettings,
    PromptsSettings,
    diameter_in_pixels,
)
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import region_of, slices, whole
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Task
from napari_foundseg.tasks.stack_settings import StackSettings, link_record, slice_distance
from napari_foundseg.tasks.tracks.tracked import tracked
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.decoder_prompts import prompt_points, prompted_masks
from napari_foundseg.tasks.windows.flow_maps import decode_flows, flow_objects, flow_scale
from napari_foundseg.tasks.windows.near_misses import NearMisses
from napari_foundseg.tasks.windows.orthogonal_maps import orthogonal_maps, sees_planes
from napari_foundseg.tasks.windows.point_grid import LIVE, grid_masks
from napari_foundseg.tasks.windows.sizes.common_size import sized_maps
from napari_foundseg.tasks.windows.sizes.size_search import CommonSize, SizedMaps
from napari_foundseg.tasks.windows.volume_objects import VolumeObjects, flooding

__all__ = ["TASK", "derive", "run"]

#: Settings of any method.
AnySettings = DecoderSettings | GridSettings | PromptsSettings | FlowsSettings
#: Methods whose results keep maps; the others keep masks.
_OF_MAPS = (DecoderSettings, FlowsSettings)

#: Two sections are one object if this share of one overlaps the other in the next slice, even if one is far smaller.
_CONTAINMENT = 0.75
#: Maps up to this size are kept in the result, so that thresholds act live (2048 × 2048 pixels need 25 MB).
_KEPT_MAPS = 64 << 20
#: Share of the run time that the maps of the xz and yz planes take.
_OTHER_PLANES = 0.65


def run(
    image: Image,
    inputs: AutomaticInputs,
    settings: AnySettings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Segment every object.

    The result keeps the maps or masks that its labels are made from, if they are small enough.
    """
    started = time.perf_counter()
    planes = slices(image, inputs)
    region = region_of(image, inputs)
    weights = row(model.name)

    diameter = None if isinstance(settings, GridSettings) else diameter_in_pixels(image, settings)

    def poll() -> None:
        if cancelled():
            raise Cancelled("The automatic run was cancelled.")

    sized = None
    if isinstance(settings, DecoderSettings | PromptsSettings):
        maps_of = sized_maps(image, settings, model, poll)
        common = None if settings.found_scale is None else CommonSize(settings.found_scale, settings.found_diameter)
        sized = maps_of(image, planes, with_surroundings(region, image.plane_shape), common=common)

    others: dict[tuple[int, ...], NDArray[np.float16]] = {}
    flooded, _ = flooding(
        image.shape, image.label_axes, region, settings, inputs.index, has_maps=isinstance(settings, DecoderSettings)
    )
    if flooded and weights.boundary_half is not None:
        around = with_surroundings(region, image.plane_shape)
        others = _other_planes(image, planes, around, settings, maps_of, progress)
    begun = _OTHER_PLANES if others else 0.0

    def evidence() -> Iterator[tuple[tuple[int, ...], Any]]:
        for done, index in enumerate(planes):

            def share(part: float, done: int = done) -> None:
                words = f"slice {done + 1} of {len(planes)}" if len(planes) > 1 else "segmenting"
                progress(begun + (1 - begun) * (done + part) / len(planes), words)

            if isinstance(settings, GridSettings):
                yield index, grid_masks(image, index, region, settings, model, poll, share)
            elif isinstance(settings, FlowsSettings):
                share(0.0)
                around = with_surroundings(region, image.plane_shape)
                yield index, decode_flows(image, index, around, model, diameter, poll, tile=settings.tile)
            elif isinstance(settings, PromptsSettings):
                assert sized is not None
                yield index, _prompted(image, index, region, settings, sized, model, poll, share)
            else:
                assert sized is not None
                yield index, _with_other_planes(sized.maps(index, share), others.get(index))

    keep = len(planes) * (10 if others else 6) * (region[2] - region[0] + 1) * (region[3] - region[1] + 1) <= _KEPT_MAPS
    known = {
        "image": {"spacing": dict(image.spacing)},
        "inputs": {"index": inputs.index},
        "model": {"name": model.name},
    }
    out = _assemble(image.shape, image.label_axes, region, evidence(), settings, keep, known, diameter)
    request = RunRequest("automatic", image, inputs, settings, model.name)
    provenance = {**record(request, model, started), **out.provenance}
    linked = settings.linked_axes(image.label_axes)
    size = {} if sized is None else {"size": sized.told()}
    if isinstance(settings, FlowsSettings):
        size = {
            "size": {
                "diameter": diameter,
                "scale": flow_scale(diameter),
                "how": "given" if diameter else "not searched for",
            }
        }
    return replace(
        out, provenance={**provenance, "linked": linked, "thresholds_of_the_run": _thresholds(settings), **size}
    )


def _prompted(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    settings: PromptsSettings,
    sized: SizedMaps,
    model: Any,
    poll: Callable[[], None],
    progress: Callable[[float], None],
) -> list[Mask]:
    """Return masks of a slice, prompted by clicks at the centres in the decoder's maps."""
    if not callable(getattr(model, "decode", None)):
        raise ModelNotFoundError(f"{model.name} takes no prompts; choose the method decoder, or a SAM with a decoder.")
    maps = sized.maps(index, lambda part: progress(part / 2))
    around = sized.region
    fine = pixels_per_pixel(maps, around)
    inside = tiling.shifted(region, (-around[0], -around[1]))
    names = ("foreground_threshold", "centre_threshold", "boundary_threshold", "centre_smoothing")
    points, boxes = prompt_points(
        tiling.part(maps[:, ::fine, ::fine], inside), **{name: getattr(settings, name) for name in names}
    )
    return prompted_masks(
        image, index, region, points, boxes, model, poll, lambda part: progress((1 + part) / 2), tile=settings.tile
    )


def derive(segmentation: Segmentation, settings: AnySettings) -> Segmentation:
    """Make the labels again with other thresholds, without a model.

    Parameters
    ----------
    segmentation : Segmentation
        A result of `run` that holds its maps or masks.
    settings : Settings
        Settings of the same method. Thresholds of masks can be lowered by at most `point_grid.LIVE`, because the run
        made no masks below that. Settings that need the model, such as a diameter, stay those of the run.

    Returns
    -------
    Segmentation
        The result that `run` would return with these settings.

    Raises
    ------
    ValueError
        If the result keeps neither maps nor masks, or if a threshold asks for masks that were not made.
    """
    settings = settings.live_on(segmentation.provenance.get("settings", {}))
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
    shape = segmentation.pixels.shape
    axes = known["image"]["axes"]
    region = tuple(known["inputs"]["region"] or whole(_plane_shape(shape, axes)))
    diameter = known.get("size", {}).get("diameter") if isinstance(settings, FlowsSettings) else None
    out = _assemble(shape, axes, region, evidence.items(), settings, True, known, diameter)
    known = {
        name: v for name, v in known.items() if name not in ("nothing_found", "linking", "tracking")
    } | out.provenance
    changed = {"settings": settings.model_dump(mode="json"), "linked": settings.linked_axes(axes)}
    return replace(out, provenance={**known, **changed})


def _thresholds(settings: AnySettings) -> dict[str, float]:
    names = ("pred_iou_thresh", "stability_score_thresh")
    return {name: getattr(settings, name) for name in names} if isinstance(settings, GridSettings) else {}


def _check_floors(provenance: Mapping[str, Any], settings: AnySettings) -> None:
    """Raise ValueError for thresholds below those at which the run made masks."""
    of_the_run = provenance.get("thresholds_of_the_run", {})
    for name, asked in _thresholds(settings).items():
        least = round(max(0.0, of_the_run.get(name, 0.0) - LIVE), 6)
        if asked < least:
            raise ValueError(f"masks below {least:g} were not made ({name}): run again to see them")


def _plane_shape(shape: tuple[int, ...], axes: str) -> tuple[int, int]:
    return shape[axes.index("Y")], shape[axes.index("X")]


def _assemble(
    shape: tuple[int, ...],
    axes: str,
    region: Box,
    found: Iterable[tuple[tuple[int, ...], Any]],
    settings: AnySettings,
    keep: bool,
    known: Mapping[str, Any],
    diameter: float | None = None,
) -> Segmentation:
    """Make labels from the maps or masks of every slice; ids continue from slice to slice.

    Without objects, the provenance of the result says why. `known` is the provenance of a run, or the part of it that
    holds the spacing of the image, the chosen slice and the name of the model.
    """
    missed = NearMisses(settings)
    weights = row(known["model"]["name"])
    calibration = weights.calibration
    along = settings.body_axes(axes)
    distance = slice_distance(known["image"].get("spacing", {}), along)
    is_decoder = isinstance(settings, DecoderSettings)
    flooded, why = flooding(shape, axes, region, settings, known["inputs"]["index"], has_maps=is_decoder)
    planes = ["xy"]
    volumes = None
    if flooded and isinstance(settings, DecoderSettings):
        volumes = VolumeObjects(
            shape, axes, along, region, distance, instance_thresholds(settings), settings.pred_iou_thresh, calibration,
            weights.boundary_half,
        )  # fmt: skip
    labels = np.zeros(shape, np.uint16)
    scores = [np.empty((2, 0))]
    maps: dict[tuple[int, ...], NDArray[Any]] | None = {} if isinstance(settings, _OF_MAPS) and keep else None
    masks: list[Mask] = []
    count = 0
    for index, evidence in found:
        if isinstance(settings, _OF_MAPS):
            around = with_surroundings(region, _plane_shape(shape, axes))
            box = region
            if isinstance(settings, FlowsSettings):
                plane, plane_scores = flow_objects(evidence, settings, around, region, diameter)
                missed.look_at_flows(evidence)
            else:
                own = evidence[:3]
                plane, plane_scores = objects_of_maps(own, settings, around, region, calibration)
                if not count and not plane_scores.size:
                    missed.look_at_maps(own, instance_thresholds(settings), calibration)
            if volumes is not None:
                fine = pixels_per_pixel(evidence, around)
                coarse = evidence[:, fine // 2 :: fine, fine // 2 :: fine]
                volumes.add(index, np.stack([tiling.part(part, region, around[:2]) for part in coarse]), plane)
                planes = ["xy", "xz", "yz"] if len(evidence) > 3 else planes
            if maps is not None:
                maps[index] = evidence
        else:
            plane, plane_scores = objects_of_masks(evidence, _plane_shape(shape, axes), settings)
            box = whole(plane.shape)
            masks += evidence
            missed.look_at_masks(evidence)
        n = plane_scores.shape[1]
        labels = labels.astype(np.promote_types(labels.dtype, label_dtype(count + n)), copy=False)
        target = tiling.part(plane_view(labels, axes, index), box)
        np.add(plane, count, out=target, where=plane > 0, dtype=labels.dtype)
        scores.append(plane_scores)
        count += n
    if volumes is not None:
        labels, (predicted_iou, stability_score) = volumes.objects()
    else:
        ones = np.ones(count, np.int64)
        labels, _, (predicted_iou, stability_score) = link_objects(
            labels, axes, along, ones, np.concatenate(scores, axis=1),
            rule=settings.link_rule, containment=_CONTAINMENT, distance=distance,
        )  # fmt: skip
    table = object_table(labels, axes, predicted_iou=predicted_iou, stability_score=stability_score)
    raw = None if isinstance(settings, _OF_MAPS) else tuple(masks)
    told = link_record(settings, along, planes=planes if flooded else (), why=why)
    provenance = told if count else {"nothing_found": missed.in_words(diameter)}
    out = Segmentation(labels, table, provenance=provenance, masks=raw, maps=maps)
    return tracked(out, axes, known["image"].get("spacing", {}), settings)


def _other_planes(
    image: Image,
    planes: Sequence[tuple[int, ...]],
    around: Box,
    settings: StackSettings,
    maps_of: Callable[..., SizedMaps],
    progress: Progress,
) -> dict[tuple[int, ...], NDArray[np.float16]]:
    """Return the maps of the xz and yz planes by slice; empty if the stack has too few slices to show objects there."""
    along = settings.body_axes(image.label_axes)
    distance = slice_distance(image.spacing, along)
    at = image.slice_axes.index(along)
    if not sees_planes(image.slice_shape[at], distance):
        return {}
    volumes: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for index in planes:
        volumes.setdefault((*index[:at], *index[at + 1 :]), []).append(index)
    found: dict[tuple[int, ...], NDArray[np.float16]] = {}
    for done, indices in enumerate(volumes.values()):

        def share(part: float, done: int = done) -> None:
            progress(_OTHER_PLANES * (done + part) / len(volumes), "xz and yz planes")

        maps = orthogonal_maps(image, indices, around, distance, maps_of, share)
        found |= {index: maps[:, k] for k, index in enumerate(indices)}
    return found


def _with_other_planes(maps: NDArray[Any], others: NDArray[np.float16] | None) -> NDArray[Any]:
    """Return the maps of a slice, (3, M, N); with the maps of the other planes, if there are any, (5, M, N)."""
    if others is None:
        return maps
    fine = max(1, round(maps.shape[1] / others.shape[1]))
    return np.concatenate([maps, others.repeat(fine, 1).repeat(fine, 2)])


TASK = Task(
    name="automatic",
    title="Automatic masks",
    inputs=AutomaticInputs,
    methods={"decoder": DecoderSettings, "grid": GridSettings, "apg": PromptsSettings, "flows": FlowsSettings},
    protocols={"decoder": "InstanceDecoding", "grid": "PointGrid", "apg": "InstanceDecoding", "flows": "FlowDecoding"},
    function=run,
    slices=slices,
    menus=("segment",),
)

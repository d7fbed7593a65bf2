"""Find similar: all objects that look like a few examples.

The examples' dense features are compared with those at every place (`tasks.similar.features`). A promptable model
outlines the objects at the most similar places. If this model has an instance decoder, the objects that it finds at the
size of the examples are proposals too. Each proposal is rated by the model's own score, its similarity and its size.

Other methods leave the comparison to a model: SAM 3 gets the examples next to the image, OWLv2 finds boxes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.linking import link_objects
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import row
from napari_foundseg.models.protocols.objects import FeatureExtractor
from napari_foundseg.models.protocols.words import ConceptMasks, ExampleBoxes
from napari_foundseg.tasks import automatic
from napari_foundseg.tasks import prompt as prompting
from napari_foundseg.tasks.automatic_settings import AutomaticInputs, DecoderSettings
from napari_foundseg.tasks.classes.class_results import each_slice
from napari_foundseg.tasks.classes.concept_search import full_note
from napari_foundseg.tasks.classes.refining import masks_in_boxes
from napari_foundseg.tasks.classes.searched_windows import SearchedWindows
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import region_of, slices
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Task, make_poll
from napari_foundseg.tasks.similar.examples import Example
from napari_foundseg.tasks.similar.exemplars import Strip, search_exemplars
from napari_foundseg.tasks.similar.features import Pattern, similarity_map
from napari_foundseg.tasks.similar.guided import boxes_like_examples
from napari_foundseg.tasks.similar.proposals import (
    MOST_PLACES,
    Rating,
    keep_apart,
    masks_of_labels,
    prompt_peaks,
    similar_places,
)
from napari_foundseg.tasks.similar.similar_settings import (
    ExemplarSettings,
    FeatureSettings,
    GuidedSettings,
    SimilarInputs,
)
from napari_foundseg.tasks.similar.visible import notes_on_examples
from napari_foundseg.tasks.stack_settings import link_record, slice_distance
from napari_foundseg.tasks.tracks.tracked import tracked

__all__ = ["TASK", "ExemplarSettings", "FeatureSettings", "GuidedSettings", "SimilarInputs", "derive", "run"]

#: Model that outlines objects if the model that compares them takes no prompts.
_OUTLINER = "foundseg-tiny"
#: Least score at which an object of an instance decoder is a proposal; far below the threshold of automatic masks.
_DOUBTFUL = 0.2
#: Weight of the score of a mask from a single point. That of an instance decoder is 1, since it sees the neighbours.
_OF_POINTS = 0.5
#: Least match of the proposals that a result keeps, on which the threshold acts live.
_FLOOR = 0.02
#: How far the threshold can be lowered after a run of the methods exemplars and boxes.
_LIVE = 0.2


#: Settings of any method.
_Settings = FeatureSettings | ExemplarSettings | GuidedSettings


def run(
    image: Image,
    inputs: SimilarInputs,
    settings: _Settings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Find objects that look like the examples.

    The `predicted_iou` of an object in the result says how well it matches. ``masks`` holds all proposals, so that the
    threshold can change without the model.
    """
    _check_different(inputs)
    if isinstance(settings, FeatureSettings):
        return _run_features(image, inputs, settings, model, progress, cancelled)
    if isinstance(settings, GuidedSettings):
        return _run_guided(image, inputs, settings, model, progress, cancelled)
    return _run_exemplars(image, inputs, settings, model, progress, cancelled)


def _check_different(inputs: SimilarInputs) -> None:
    """Raise PromptError if an object is to be looked for and not to be looked for."""
    unwanted = [(one.picture, one.prompt.to_json()) for one in inputs.negatives]
    for number, one in enumerate(inputs.examples, 1):
        if unwanted and (one.picture, one.prompt.to_json()) in unwanted:
            raise PromptError(
                f"Example {number} is also among the objects not to look for: remove it from one of the two."
            )


def _check_size(diameter: float, image: Image) -> None:
    """Raise PromptError for examples that are far smaller than a pixel, or far larger than the image."""
    if not 0.5 <= diameter <= 20 * max(image.plane_shape):
        height, width = image.plane_shape
        raise PromptError(
            f"The examples are {diameter:.2g} pixels across in this image of {height} by {width}, in which nothing of "
            "that size can be found: cut them again, or search at another level."
        )


def _run_exemplars(
    image: Image,
    inputs: SimilarInputs,
    settings: ExemplarSettings,
    model: ConceptMasks,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Let the model find objects like the examples, which it gets next to the image."""
    started = time.perf_counter()
    poll = make_poll(cancelled, "The search")
    floor = max(_FLOOR, settings.threshold - _LIVE)
    masks: list[Mask] = []
    region = region_of(image, inputs)
    signed = [*((one, 1) for one in inputs.examples[:1]), *((one, 0) for one in inputs.negatives[:1])]
    signed += [*((one, 1) for one in inputs.examples[1:]), *((one, 0) for one in inputs.negatives[1:])]
    strip = Strip.of(signed, region[2] - region[0] + 1, model.window)
    full = False
    for index, share in each_slice(image, inputs, progress, "searching"):
        side = model.window - strip.rgb.shape[1]
        windows = SearchedWindows(image, index, region, side, tile=settings.tile)
        found, most = search_exemplars(windows, strip, settings.words, model, floor, poll, share)
        full |= most
        masks += [replace(mask, index=index) for mask in found]
    notes = notes_on_examples([(one.rgb, one.prompt.mask) for one in inputs.examples])
    if (shown := len(strip.boxes)) < len(signed):
        notes.append(
            f"{shown} of {len(signed)} examples were used: the others do not fit beside what the model sees at once."
        )
    if full:
        notes.append(full_note(model.name, model.most_objects, "objects"))
    return _told(image, inputs, settings, model, started, masks, notes)


def _run_guided(
    image: Image,
    inputs: SimilarInputs,
    settings: GuidedSettings,
    model: ExampleBoxes,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Let the model find boxes of objects like the examples, and let another model outline the object in each box."""
    from napari_foundseg.models.loading import load_model

    started = time.perf_counter()
    poll = make_poll(cancelled, "The search")
    outliner = load_model(settings.mask_model or _OUTLINER, device=model.device, protocol="Promptable")
    shown = []
    for example in (*inputs.examples, *inputs.negatives):
        poll()
        shown.append(model.example_vector(example.rgb, example.box))
    vectors = np.stack(shown)
    floor = max(_FLOOR, settings.threshold - _LIVE)
    region = region_of(image, inputs)
    boxes: list[tuple[tuple[int, ...], list[float]]] = []
    scores: list[float] = []
    full = False
    for index, share in each_slice(image, inputs, lambda part, words: progress(part / 2, words), "searching"):
        windows = SearchedWindows(image, index, region, model.window, tile=settings.tile)
        own, sure, most = boxes_like_examples(windows, model, vectors, len(inputs.examples), floor, poll, share)
        full |= most
        boxes += [(index, box) for box in own.tolist()]
        scores += sure.tolist()
    drawn = masks_in_boxes(
        image, boxes, outliner, lambda part, _words: progress((1 + part) / 2, "making masks"), cancelled
    )
    pairs = [(mask, score) for mask, score in zip(drawn, scores, strict=True) if mask.area]
    masks = [replace(mask, predicted_iou=score, label=0) for mask, score in sorted(pairs, key=lambda pair: -pair[1])]
    notes = notes_on_examples([(one.rgb, one.prompt.mask) for one in inputs.examples])
    if not settings.mask_model:
        notes.append(f"The objects were outlined by {outliner.name}.")
    if empty := len(boxes) - len(masks):
        notes.append(f"In {empty} of {len(boxes)} boxes the model found no object.")
    if full:
        notes.append(full_note(model.name, model.most_boxes, "boxes"))
    return _told(image, inputs, settings, model, started, masks, notes, outlined_by=outliner.key)


def _run_features(
    image: Image,
    inputs: SimilarInputs,
    settings: FeatureSettings,
    model: FeatureExtractor,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Compare all places with the examples, and outline the most similar ones."""
    started = time.perf_counter()
    poll = make_poll(cancelled, "The search")
    planes = slices(image, inputs)
    region = region_of(image, inputs)
    outliner = _outliner(model, settings)
    patterns = [_pattern(example, outliner, poll) for example in inputs.examples]
    negatives = [_pattern(example, outliner, poll) for example in inputs.negatives]
    cut: list[int] = []
    area = float(np.median([pattern.area for pattern in patterns]))
    diameter = float(np.sqrt(4 * area / np.pi))
    _check_size(diameter, image)
    decoded = _decoded(image, inputs, outliner, diameter, lambda share, words: progress(share / 4, words), cancelled)

    def proposals() -> Iterator[Mask]:
        for done, index in enumerate(planes):

            def share(part: float, done: int = done) -> None:
                words = f"slice {done + 1} of {len(planes)}" if len(planes) > 1 else "comparing"
                progress(0.25 + 0.75 * (done + part) / len(planes), words)

            similarity, scale = similarity_map(
                image, index, region, patterns, model, poll, lambda part: share(part / 2), negatives
            )
            rating = Rating(similarity, scale, region, area)
            places, left = similar_places(similarity, diameter * scale)
            cut.append(left)
            prompted = prompt_peaks(
                image, index, region, places / scale, diameter, outliner, poll, lambda part: share(0.5 + part / 2)
            )
            yield from _ordered(rating, decoded(index), prompted)

    found = list(proposals())
    notes = notes_on_examples([(pattern.rgb, pattern.mask) for pattern in patterns])
    if not settings.mask_model and outliner is not model:
        notes.append(f"The objects were outlined by {outliner.name}, since {model.name} takes no prompts.")
    if any(cut):
        notes.append(
            f"Only the {MOST_PLACES:,} places of a slice that are most like the examples were looked at, of up to "
            f"{MOST_PLACES + max(cut):,}: there may be more. Choose a smaller region."
        )
    return _told(image, inputs, settings, model, started, found, notes, outlined_by=outliner.key)


def _told(
    image: Image,
    inputs: SimilarInputs,
    settings: _Settings,
    model: Any,
    started: float,
    masks: Sequence[Mask],
    notes: list[str],
    **more: Any,
) -> Segmentation:
    """Make a result from proposals and add the record of the run."""
    out = _assemble(image.shape, image.label_axes, image.spacing, masks, settings)
    request = RunRequest("find_similar", image, inputs, settings, model.name)
    told = {**record(request, model, started), **out.provenance, **more}
    return replace(out, provenance={**told, "notes": notes} if notes else told)


def derive(segmentation: Segmentation, settings: _Settings) -> Segmentation:
    """Filter the proposals of a result by another threshold or area, without a model.

    Parameters
    ----------
    segmentation : Segmentation
        A result of `run`.
    settings : FeatureSettings or ExemplarSettings or GuidedSettings
        Settings with another threshold or minimum area.

    Returns
    -------
    Segmentation
        The result that `run` would return with these settings.
    """
    left = ("nothing_found", "linking", "tracking")
    known = {name: value for name, value in segmentation.provenance.items() if name not in left}
    image = known["image"]
    out = _assemble(segmentation.pixels.shape, image["axes"], image["spacing"], segmentation.masks or (), settings)
    return replace(out, provenance={**known, **out.provenance, "settings": settings.model_dump(mode="json")})


def _outliner(model: Any, settings: FeatureSettings) -> Any:
    """Return the model that outlines objects: the chosen one, `model` itself if it takes prompts, or the default."""
    from napari_foundseg.models.loading import load_model

    if settings.mask_model and settings.mask_model != model.name:
        return load_model(settings.mask_model, device=model.device, protocol="PointGrid")
    if "PointGrid" in row(model.name).protocols:
        return model
    return load_model(_OUTLINER, device=model.device, protocol="PointGrid")


def _pattern(example: Example, outliner: Any, poll: Callable[[], None]) -> Pattern:
    """Return an example with its outline; if the example has only a box, a model outlines it."""
    poll()
    rgb = example.rgb
    mask = example.prompt.mask
    if mask is None:
        inputs = prompting.PromptInputs(prompts=(example.prompt,))
        found = prompting.TASK.run(Image(rgb, "YXC"), inputs, prompting.PromptSettings(), outliner)
        mask = found.labels > 0
    if mask.shape != rgb.shape[:2]:
        raise PromptError(f"An example's mask has the shape {mask.shape}, its picture {rgb.shape[:2]}: cut it again.")
    if not mask.any():
        raise PromptError("Nothing is in the box of an example: draw it around an object.")
    return Pattern(rgb, mask, example.pixel)


def _decoded(
    image: Image,
    inputs: SimilarInputs,
    outliner: Any,
    diameter: float,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Callable[[tuple[int, ...]], list[Mask]]:
    """Return a function that returns the instance decoder's objects in a slice; without a decoder, no objects."""
    if "InstanceDecoding" not in row(outliner.name).protocols:
        return lambda _index: []
    where = AutomaticInputs(index=inputs.index, region=inputs.region)
    settings = DecoderSettings(diameter=diameter, pred_iou_thresh=_DOUBTFUL, link="none")
    found = automatic.run(image, where, settings, outliner, progress, cancelled)
    scores = found.table["predicted_iou"].to_numpy()

    def masks(index: tuple[int, ...]) -> list[Mask]:
        return masks_of_labels(plane_view(found.labels, image.label_axes, index), scores, index)

    return masks


def _ordered(rating: Rating, decoded: Sequence[Mask], prompted: Sequence[Mask]) -> list[Mask]:
    """Return the proposals with their ratings, best first, without those that match less than `_FLOOR`."""
    weighted = [(mask, 1.0) for mask in decoded] + [(mask, _OF_POINTS) for mask in prompted]
    rated = [(rating.rated(mask), weight) for mask, weight in weighted if mask.area]
    known = [(mask.predicted_iou * weight, mask) for mask, weight in rated if mask.predicted_iou >= _FLOOR]
    return [mask for _, mask in sorted(known, key=lambda pair: -pair[0])]


def _assemble(
    shape: tuple[int, ...],
    axes: str,
    spacing: Mapping[str, float],
    masks: Sequence[Mask],
    settings: _Settings,
) -> Segmentation:
    """Make labels from the proposals that match, and link them through the slices of a stack."""
    labels: NDArray[Any] = np.zeros(shape, np.uint16)
    kept: list[Mask] = []
    of_slice: dict[tuple[int, ...], list[Mask]] = {}
    for mask in masks:
        of_slice.setdefault(mask.index, []).append(mask)
    for index in sorted(of_slice):
        target = plane_view(labels, axes, index)
        plane, chosen = keep_apart(of_slice[index], target.shape, settings.threshold, settings.min_area)
        labels = labels.astype(np.promote_types(labels.dtype, label_dtype(len(kept) + len(chosen))), copy=False)
        np.add(plane, len(kept), out=plane_view(labels, axes, index), where=plane > 0, dtype=labels.dtype)
        kept += chosen
    along = settings.body_axes(axes)
    scores = np.array([[m.predicted_iou for m in kept], [m.stability_score for m in kept]], float)
    labels, _, (predicted_iou, stability_score) = link_objects(
        labels, axes, along, np.ones(len(kept), np.int64), scores.reshape(2, len(kept)),
        rule=settings.link_rule, distance=slice_distance(spacing, along),
    )  # fmt: skip
    table = object_table(labels, axes, predicted_iou=predicted_iou, stability_score=stability_score)
    best = max((mask.predicted_iou for mask in masks), default=0.0)
    told: dict[str, Any] = {"linked": settings.linked_axes(axes)}
    if kept:
        told |= link_record(settings, along, why="the model gives no depths")
    else:
        told["nothing_found"] = [_nothing(best, settings)]
    found = Segmentation(labels, table, provenance=told, masks=tuple(masks))
    return tracked(found, axes, spacing, settings)


def _nothing(best: float, settings: _Settings) -> str:
    if not best:
        return "Nothing in the image looks like the examples."
    return f"The best match is {best:.2f}: a minimum match below it (now {settings.threshold:g}) shows it."


TASK = Task(
    name="find_similar",
    title="Find similar",
    inputs=SimilarInputs,
    methods={"features": FeatureSettings, "exemplars": ExemplarSettings, "boxes": GuidedSettings},
    protocols={"features": "FeatureExtractor", "exemplars": "ConceptMasks", "boxes": "ExampleBoxes"},
    function=run,
    slices=slices,
    menus=("segment",),
)

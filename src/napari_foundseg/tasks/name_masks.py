"""Name the masks: the class of each object of a label image, by comparing its crops with words.

This follows ViLD (Gu et al., ICLR 2022, section 3.2). The texts of each class are embedded in several templates and
averaged. Each object is cut out at 1 and 1.5 times its box, and the embeddings are averaged and normalised again. A
softmax over the cosines times the model's temperature gives the probabilities; background is one of the classes. With
RegionCLIP, objects are compared in the whole picture instead; see `tasks.classes.region_names`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, field_validator

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.errors import Cancelled, PromptError, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.masks import Box
from napari_foundseg.core.object_table import named_classes, object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import row
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.protocols.words import RegionText, TextEncoder, TextImage
from napari_foundseg.tasks.classes.region_names import grown_box, joined_probabilities, region_probabilities, softmax
from napari_foundseg.tasks.label_image import LabelInputs
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Settings, Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TASK", "NameInputs", "NameSettings", "RegionSettings", "run"]

_MORE: dict[str, JsonValue] = {"more": True}
#: Number of objects whose crops are embedded at once.
_BATCH = 16
#: Grey value of masked pixels: the middle of the range, which preprocessing maps to about 0.
_CUT_AWAY = 127


class NameInputs(LabelInputs):
    """Objects to name, and the names to choose from."""

    vocabulary: tuple[str, ...] = Field(min_length=1, max_length=5000)
    """The names to choose from, each with synonyms after commas, such as "cell, a living cell"."""

    @field_validator("vocabulary", mode="before")
    @classmethod
    def _parted(cls, value: Any) -> Any:
        given = value.split(";") if isinstance(value, str) else value
        names = [" ".join(str(name).split()).strip(" ,;") for name in given]
        if not all(names):
            raise ValueError("a name is empty")
        shown = [name.split(",")[0].strip().casefold() for name in names]
        if twice := sorted({name for name in shown if shown.count(name) > 1}):
            raise ValueError(f"{', '.join(map(repr, twice))} appears twice")
        return tuple(names)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return checked inputs, raising PromptError where other inputs raise SettingsError.

        Parameters
        ----------
        values : mapping
            Field names and values.

        Returns
        -------
        NameInputs
            The checked, frozen values.

        Raises
        ------
        PromptError
            If a value is wrong; the message names it.
        """
        try:
            return super().parse(values)
        except SettingsError as error:
            raise PromptError(str(error)) from error


class _NameSettings(Settings):
    """Settings that all methods share."""

    background: str = Field("background", title="Name for other objects")
    """The name of objects that match none of the names. Empty: every object gets one of the names."""
    templates: str = Field(
        "a photo of a {}; a close-up photo of a {}; a microscopy image of a {}; an image of a {}; {}",
        title="Sentence templates",
        json_schema_extra=_MORE,
    )
    """Sentences with {} in place of the name, separated by semicolons; their embeddings are averaged. More sentences
    make the result depend less on the wording."""
    top_k: int = Field(3, ge=1, le=20, title="Names per object")
    """How many names the object table lists for each object. Higher values add less probable ones."""


class NameSettings(_NameSettings):
    """Words against crops (CLIP, SigLIP)."""

    method: Literal["crops"] = "crops"
    crops: Literal["1x and 1.5x", "1x", "1.5x"] = Field("1x and 1.5x", title="Crop size", json_schema_extra=_MORE)
    """How much of the surroundings the model sees: the object's bounding box, a box 1.5 times as large, or the average
    of both."""
    masked: Literal["both", "masked", "as it is"] = Field("both", title="Surroundings", json_schema_extra=_MORE)
    """Pixels outside the object: hidden (masked), shown (as it is), or the average of both."""


class RegionSettings(_NameSettings):
    """Words against the places of the objects in the whole picture (RegionCLIP)."""

    method: Literal["regions"] = "regions"
    crops_model: str = Field("", title="Crops too, with", json_schema_extra={"model": "TextImage", **_MORE})
    """A second model that compares the objects' crops with the same words (the ensemble of ViLD). None: the first model
    alone."""
    crops_share: float = Field(0.33, ge=0, le=1, title="Share of the crops", json_schema_extra={"step": 0.01, **_MORE})
    """Weight of the second model: higher values follow it more."""


def run(
    image: Image,
    inputs: NameInputs,
    settings: NameSettings | RegionSettings,
    model: TextImage | RegionText,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Name the objects of a label image.

    The labels of the result are those of the inputs. Its table has the class of each object, and the columns ``name_k``
    and ``probability_k`` for k = 1, 2, …; `predicted_iou` is the first probability.
    """
    started = time.perf_counter()
    labels = _checked_labels(image, inputs)
    names = [*inputs.vocabulary, *([settings.background] if settings.background.strip() else [])]
    classes = _class_table(names, settings)
    ids, counted = np.unique(labels, return_inverse=True)
    dense = (counted.reshape(image.shape) + (ids[0] != 0)).astype(label_dtype(len(ids)))
    ids = ids[ids > 0]
    shown = _Shown(image, dense, settings)

    def report(share: float) -> None:
        if cancelled():
            raise Cancelled("Naming was cancelled.")
        progress(share, "naming objects")

    probabilities = _method_probabilities(shown, len(ids), names, settings, model, report)
    best = probabilities.argmax(axis=1) + 1
    semantic = np.concatenate([[0], best]).astype(np.min_scalar_type(len(names)))[dense]
    measured = classes.measured(semantic, best)
    table = object_table(
        dense,
        image.label_axes,
        predicted_iou=probabilities.max(axis=1),
        stability_score=np.ones(len(ids)),
        classes=best,
    ).assign(label=ids.astype(np.int64))
    table = _with_top(named_classes(table, measured), probabilities, measured, settings.top_k)
    request = RunRequest("name_masks", image, inputs, settings, model.name)
    told = {**record(request, model, started), **_second_model(settings)}
    wide = labels.astype(np.promote_types(label_dtype(int(labels.max(initial=0))), np.uint16))
    return Segmentation(wide, table, measured, {**told, "classes": measured.to_json()}, semantic=semantic)


def _checked_labels(image: Image, inputs: NameInputs) -> NDArray[Any]:
    if inputs.labels is None:
        raise PromptError("No labels: choose a label image, or in a recipe add an earlier step that makes one.")
    labels: NDArray[Any] = inputs.labels
    if labels.shape != image.shape:
        raise PromptError(
            f"The labels have the shape {labels.shape}, the image {image.shape} (without channels): choose labels of "
            "this image."
        )
    return labels


def _method_probabilities(
    shown: _Shown,
    count: int,
    names: list[str],
    settings: NameSettings | RegionSettings,
    model: Any,
    report: Callable[[float], None],
) -> NDArray[np.float64]:
    """Return the probability of each name (column) for each object (row)."""
    if not isinstance(settings, RegionSettings):
        return _of_crops(shown, count, _text_embeddings(names, settings, model), model, report)
    both = bool(settings.crops_model)
    texts = _text_embeddings(names, settings, model)
    if settings.background.strip():
        # The background has no words: an object like none of the names has the cosine 0.
        texts[-1] = 0
    boxes = [shown.place(number) for number in range(1, count + 1)]
    found = region_probabilities(shown.image, boxes, texts, model, lambda share: report(share / 2 if both else share))
    if not both:
        return found
    second = load_model(settings.crops_model, device=model.device, protocol="TextImage")
    texts = _text_embeddings(names, settings, second)
    crops = _of_crops(shown, count, texts, second, lambda share: report((1 + share) / 2))
    return joined_probabilities(found, crops, settings.crops_share)


def _second_model(settings: NameSettings | RegionSettings) -> dict[str, Any]:
    """Return the provenance entry of the second model, which compares crops; empty without one."""
    if not isinstance(settings, RegionSettings) or not settings.crops_model:
        return {}
    used = row(settings.crops_model)
    return {"crops_model": {"name": used.name, "key": used.key, "sha256": used.sha256}}


def _of_crops(
    shown: _Shown,
    count: int,
    texts: NDArray[np.float32],
    model: TextImage,
    report: Callable[[float], None],
) -> NDArray[np.float64]:
    """Return the probability of each name (column) for each object (row) from its crops."""
    found = np.zeros((count, len(texts)))
    for first in range(0, count, _BATCH):
        report(first / count)
        numbers = range(first + 1, min(first + _BATCH, count) + 1)
        cosines = _embedded(shown, numbers, model) @ texts.T
        found[first : first + len(numbers)] = softmax(cosines.astype(np.float64) * model.scale)
    report(1.0)
    return found


def _slices(image: Image, inputs: NameInputs) -> list[tuple[int, ...]]:
    """Return the slices that hold objects, or all slices if the objects are not made yet."""
    if inputs.labels is None:
        return list(image.indices())
    return [index for index in image.indices() if plane_view(inputs.labels, image.label_axes, index).any()]


def _class_table(names: list[str], settings: _NameSettings) -> ClassTable:
    shown = [name.split(",")[0].strip() for name in names]
    if len({name.casefold() for name in shown}) < len(shown):
        raise PromptError(f"{shown[-1]!r} is a name and the background too: leave one of them out.")
    return ClassTable.of(shown, stuff=shown[-1:] if settings.background.strip() else ())


def _text_embeddings(names: list[str], settings: _NameSettings, model: TextEncoder) -> NDArray[np.float32]:
    """Return the embedding of each name, (K, D), of length 1: the mean over all templates and all synonyms."""
    templates = [part.strip() for part in settings.templates.split(";") if part.strip()]
    if not templates or any("{}" not in template for template in templates):
        raise SettingsError(f"templates = {settings.templates!r}: each needs {{}}, where the name goes.")
    rows = []
    for name in names:
        words = [part.strip() for part in name.split(",") if part.strip()]
        found = model.embed_texts([template.replace("{}", word) for word in words for template in templates])
        rows.append(found.mean(axis=0))
    mean = np.stack(rows)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


class _Shown:
    """Views of the objects of a label image, one by one, as a model gets them."""

    def __init__(self, image: Image, labels: NDArray[Any], settings: NameSettings | RegionSettings) -> None:
        from scipy import ndimage

        self.image = image
        self._labels = labels
        self._axes = image.label_axes
        self._parts = ndimage.find_objects(labels.astype(np.int64, copy=False))
        # The method *regions* has no such settings: its crops are those of ViLD.
        crops, masked = (settings.crops, settings.masked) if isinstance(settings, NameSettings) else ("", "as it is")
        self._factors = {"1x": (1.0,), "1.5x": (1.5,)}.get(crops, (1.0, 1.5))
        self._masked = {"masked": (True,), "as it is": (False,)}.get(masked, (False, True))

    @property
    def views(self) -> int:
        """Number of pictures of each object."""
        return len(self._factors) * len(self._masked)

    def pictures(self, number: int) -> list[NDArray[np.uint8]]:
        """Return the pictures of an object in the slice where it is largest."""
        index, box = self.place(number)
        plane = plane_view(self._labels, self._axes, index) == number
        out = []
        for factor in self._factors:
            y0, x0, y1, x1 = grown_box(box, factor, plane.shape)
            seen = self.image.rgb(index, (y0, x0, y1, x1))
            own = plane[y0 : y1 + 1, x0 : x1 + 1, None]
            out += [np.where(own, seen, np.uint8(_CUT_AWAY)) if cut else seen for cut in self._masked]
        return out

    def place(self, number: int) -> tuple[tuple[int, ...], Box]:
        """Return the slice where an object is largest, and its box there."""
        index = self._slice(number)
        plane = plane_view(self._labels, self._axes, index) == number
        rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
        return index, (int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1]))

    def _slice(self, number: int) -> tuple[int, ...]:
        part = self._parts[number - 1]
        where = (range(part[i].start, part[i].stop) for i, axis in enumerate(self._axes) if axis not in "YX")
        indices = list(product(*where))
        if len(indices) == 1:
            return indices[0]
        areas = [np.count_nonzero(plane_view(self._labels, self._axes, index) == number) for index in indices]
        return indices[int(np.argmax(areas))]


def _embedded(shown: _Shown, numbers: range, model: TextImage) -> NDArray[np.float32]:
    """Return the embedding of each object, (N, D), of length 1: the mean over its views."""
    found = model.embed_pictures([picture for number in numbers for picture in shown.pictures(number)])
    mean = found.reshape(len(numbers), shown.views, -1).mean(axis=1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


def _with_top(table: pd.DataFrame, probabilities: NDArray[np.float64], classes: ClassTable, top_k: int) -> pd.DataFrame:
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    for k in range(order.shape[1]):
        table[f"name_{k + 1}"] = [classes.name_of(int(i) + 1) for i in order[:, k]]
        table[f"probability_{k + 1}"] = np.take_along_axis(probabilities, order[:, k : k + 1], axis=1)[:, 0]
    return table


TASK = Task(
    name="name_masks",
    title="Name the masks",
    inputs=NameInputs,
    methods={"crops": NameSettings, "regions": RegionSettings},
    protocols={"crops": "TextImage", "regions": "RegionText"},
    function=run,
    slices=_slices,
    menus=("classify",),
)

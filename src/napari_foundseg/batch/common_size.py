"""One size of objects for all images of a batch, found once on a sample of them and saved with the results.

The first worker that needs the size finds it, while the others wait. All workers of a cluster read the saved file, and
so do later runs that continue the batch. The file is valid as long as the images of the sample are the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from napari_foundseg.batch.item_image import hash_image_file, read_item_image
from napari_foundseg.batch.items import BatchItem
from napari_foundseg.batch.ledger import Folder
from napari_foundseg.batch.recipe import Recipe, Step
from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.io.atomic import atomic_write, named_errors
from napari_foundseg.io.files.json_file import read_json
from napari_foundseg.models.catalog import row
from napari_foundseg.models.row_defaults import as_expected
from napari_foundseg.tasks.windows.sizes.common_size import CommonSize, find_common_size

__all__ = ["KeptSizes", "Sample", "choose_sample", "has_common_size", "read_sizes", "with_common_size"]

#: Images that determine the size, and how many more are tried if some of them cannot be read.
_IMAGES = 3
_MORE = 5
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Sample:
    """The images that determine the size of a batch's objects.

    Parameters
    ----------
    items : tuple of BatchItem
        In the order in which they are tried; the first three that can be read are used.
    recipe : str
        Digest of the recipe.
    """

    items: tuple[BatchItem, ...]
    recipe: str

    def path(self, folder: Folder) -> Path:
        """Return the path of the JSON file of the sizes; its name holds a hash of recipe and items."""
        names = json.dumps([self.recipe, [item.name for item in self.items]])
        return folder.hidden / f"size-{sha256(names.encode('utf-8', 'backslashreplace')).hexdigest()[:24]}.json"


class StepSize(Declared):
    """The size of the objects of one step."""

    scale: float
    """Factor by which the images are resized."""
    diameter: float | None
    """Median diameter of the sample's objects in pixels; null if there are none."""


class KeptSizes(Declared):
    """The content of the file: the sizes, and the sample on which they were found."""

    recipe: str
    """Digest of the recipe."""
    tried: tuple[str, ...]
    """Names of the items of the sample."""
    images: dict[str, str]
    """Hashes of the images that were used."""
    steps: dict[int, StepSize]
    """The size of each step, by the step's number."""

    def in_words(self) -> str:
        """Return a sentence with the diameters and the images of the sample; empty if no objects were found."""
        sizes = dict.fromkeys(f"{size.diameter:.3g} pixels" for size in self.steps.values() if size.diameter)
        return (
            f"One diameter for all images, {' and '.join(sizes)}: found on {', '.join(self.images)}." if sizes else ""
        )


def has_common_size(step: Step) -> bool:
    """Tell whether a step uses one size of objects for all images."""
    settings = step.parsed_settings()
    return (
        getattr(settings, "find_diameter", None) == "once"
        and getattr(settings, "diameter", None) is None
        and getattr(settings, "found_scale", None) is None
        and row(step.model.name).size_weights is not None
    )


def choose_sample(items: Sequence[BatchItem], recipe: Recipe, digest: str, folder: Folder) -> Sample | None:
    """Return the sample of a batch, or None.

    The sample of an earlier run is reused if its images are unchanged. Otherwise it is made of images spread over the
    items. None if there is only one image, or if no step uses one size for all.
    """
    if len(items) < 2 or not any(map(has_common_size, recipe.steps)):
        return None
    by_name = {item.name: item for item in items}
    for path in sorted(folder.hidden.glob("size-*.json")):
        kept = read_sizes(path)
        if kept is not None and kept.recipe == digest and kept.images and _is_same(kept.images, by_name):
            known = tuple(by_name[name] for name in kept.tried if name in by_name)
            if Sample(known, digest).path(folder) == path:
                return Sample(known, digest)
    middles = [(2 * part + 1) * len(items) // (2 * _IMAGES) for part in range(_IMAGES)]
    spread = [items[i] for i in dict.fromkeys(middles)]
    others = [item for item in items if item not in spread]
    sample = Sample((*spread, *others[:_MORE]), digest)
    # A file of that name may be from images with other pixels: the names alone do not tell.
    sample.path(folder).unlink(missing_ok=True)
    return sample


def _is_same(images: Mapping[str, str], items: Mapping[str, BatchItem]) -> bool:
    """Tell whether all images still exist and have the same hashes."""
    with suppress(FoundsegError, OSError):
        return all(name in items and hash_image_file(items[name].path) == digest for name, digest in images.items())
    return False


def read_sizes(path: Path) -> KeptSizes | None:
    """Return the sizes in a file; None if it does not exist or cannot be read."""
    try:
        return KeptSizes.model_validate(read_json(path))
    except (OSError, ValueError):
        return None


def with_common_size(recipe: Recipe, sample: Sample | None, folder: Folder, context: StageContext) -> tuple[Step, ...]:
    """Return the steps of a recipe, with the size that all images of the batch share in their settings."""
    if sample is None:
        return recipe.steps
    path = sample.path(folder)
    kept = read_sizes(path)
    if kept is None:
        with _locked(path, context):
            kept = read_sizes(path) or _find(recipe, sample, context)
            folder.check()
            with atomic_write(path, synced="content") as file:
                file.write(json.dumps(kept.model_dump(mode="json")).encode("utf-8", "backslashreplace"))
    steps = list(recipe.steps)
    for number, size in kept.steps.items():
        found = {"found_scale": size.scale, "found_diameter": size.diameter}
        steps[number] = steps[number].model_copy(update={"settings": {**steps[number].settings, **found}})
    return tuple(steps)


@contextmanager
def _locked(path: Path, context: StageContext) -> Iterator[None]:
    """Hold the lock of a file; while another worker has it, wait and raise Cancelled if the batch is stopped."""
    lock = FileLock(path.with_suffix(".lock"), thread_local=False)
    with named_errors(path):
        while True:
            if context.cancelled():
                raise Cancelled("The batch was stopped.")
            try:
                lock.acquire(blocking=False)
                break
            except Timeout:
                time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _find(recipe: Recipe, sample: Sample, context: StageContext) -> KeptSizes:
    """Find the size on the sample for each step that uses one for all images."""
    images: dict[str, str] = {}
    pictures: list[Image] = []
    for item, image in _images(recipe, sample.items):
        context.progress(0.0, "finding the diameter of the objects")
        images[item.name] = hash_image_file(item.path)
        pictures.append(image)
        if len(pictures) == _IMAGES:
            break

    def poll() -> None:
        if context.cancelled():
            raise Cancelled("The batch was stopped.")

    steps: dict[int, StepSize] = {}
    for number, step in enumerate(recipe.steps):
        if not has_common_size(step) or not pictures:
            continue
        settings: Any = step.parsed_settings()
        weights = row(step.model.name)
        model = context.model(step.model.name, step.protocol)
        seen = (as_expected(weights, image, settings.colours) for image in pictures)
        found: CommonSize | None = find_common_size(seen, settings, model, poll)
        if found is not None:
            diameter = None if found.diameter is None else round(found.diameter, 1)
            steps[number] = StepSize(scale=found.scale, diameter=diameter)
    names = tuple(item.name for item in sample.items)
    return KeptSizes(recipe=sample.recipe, tried=names, images=images, steps=steps)


def _images(recipe: Recipe, items: Iterable[BatchItem]) -> Iterator[tuple[BatchItem, Image]]:
    """Yield the images that can be read; the others fail later, when they are run as items."""
    seen = recipe.inputs
    for item in items:
        with suppress(FoundsegError, OSError):
            image = read_item_image(
                item.path, seen.axes, seen.channels, seen.normalisation, item.index,
                measures_colour=seen.measures_colour, slab=seen.slab,
            )  # fmt: skip
            _ = image.limits
            yield item, image

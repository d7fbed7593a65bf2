"""The public functions, one for each task.

A function runs in this process, or in a process of its own while a napari window is open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine import safe_calls
from napari_foundseg.models.loading import load_model
from napari_foundseg.moved_names import warn_and_forward
from napari_foundseg.tasks.settings import ignore_progress

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.masks import Mask
    from napari_foundseg.tasks.side_tasks.fit_stego import Fitted

__all__ = [
    "automatic",
    "cluster",
    "find_similar",
    "fit_stego",
    "load_model",
    "name_masks",
    "panoptic",
    "prompt",
    "propagate",
    "semantic",
    "split",
    "text",
]

#: *Copy as Python* of version 0.1 wrote ``from napari_foundseg.api import run``; now ``fs.run``.
__getattr__ = warn_and_forward(__name__, {"run": "napari_foundseg.engine.safe_calls:run"})


def automatic(
    image: Any,
    *,
    model: Any = "foundseg-tiny",
    method: str | None = None,
    tile: bool = True,
    axes: str | None = None,
    **settings: Any,
) -> Segmentation:
    """Segment every object of an image.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in. Stacks are segmented slice by slice.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`.
    method : str, optional
        ``decoder`` or ``grid``; by default the decoder if the model has one.
    tile : bool
        Whether images larger than the model's window are segmented in windows, at full resolution. If False, the
        whole image is shrunk to the window, as `segment_anything` does. The masks are then equal to its masks, except
        that models with windows of 512 pixels or more round features to float16. With trained weights, this changes
        at most 3 pixels of 262,144.
    axes : str, optional
        Such as ``"ZYX"`` or ``"YXC"``; by default a last axis of 3 or 4 is RGB(A) and leading axes are slices.
    **settings
        Fields of `DecoderSettings`, `GridSettings`, `PromptsSettings` or `FlowsSettings`.

    Returns
    -------
    Segmentation
        Labels whose ids are unique over a stack.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, the model or a setting.
    """
    return safe_calls.run("automatic", image, {}, model=model, method=method, axes=axes, tile=tile, **settings)


def prompt(
    image: Any,
    prompts: Prompt | Sequence[Prompt],
    *,
    model: Any = "foundseg-tiny",
    tile: bool = True,
    axes: str | None = None,
    **settings: Any,
) -> Segmentation:
    """Segment one object for each prompt.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in.
    prompts : Prompt or sequence of Prompt
        Each prompt marks one object; prompt i becomes label i + 1.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`.
    tile : bool
        Whether to segment each object in a window that fits it. If False, the image is shrunk to the model's window,
        as `segment_anything.SamPredictor` does. The mask is then equal to its mask, except that models with windows
        of 512 pixels or more round features to float16. With trained weights, this changes at most 3 pixels of
        262,144.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of `PromptSettings`.

    Returns
    -------
    Segmentation
        An empty mask keeps its row with area 0. Where masks overlap, the higher predicted IoU wins a pixel.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, a prompt, the model or a setting.
    """
    prompts = (prompts,) if isinstance(prompts, Prompt) else tuple(prompts)
    return safe_calls.run("prompt", image, {"prompts": prompts}, model=model, axes=axes, tile=tile, **settings)


def find_similar(
    image: Any,
    examples: Any,
    *,
    negatives: Any = (),
    model: Any = "foundseg-tiny",
    method: str | None = None,
    axes: str | None = None,
    **settings: Any,
) -> Segmentation:
    """Find all objects that look like a few examples.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in. Stacks are segmented slice by slice.
    examples : Prompt or Example or sequence of these
        Objects to look for: boxes or masks in this image, or `Example.cut` of any image.
    negatives : Prompt or Example or sequence of these
        Objects not to look for: objects that are more like these than like the examples are left out.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`: any model with dense features, SAM 3 or OWLv2.
    method : str, optional
        ``features``, ``exemplars`` or ``boxes``; by default the first that the model supports.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of `FeatureSettings`, such as ``threshold=0.3`` or ``mask_model="sam-vit-b"``, of `ExemplarSettings`
        or of `GuidedSettings`.

    Returns
    -------
    Segmentation
        The objects that were found, including examples in this image. `predicted_iou` is how well an object matches,
        0 to 1. ``masks`` has all proposals, also those below the threshold, the best of each slice first.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, an example, the model or a setting.
    """
    from napari_foundseg.io.image_sources import as_image

    opened = as_image(image, axes)
    name = model if isinstance(model, str) else model.name
    inputs = {"examples": _examples(examples, opened, name), "negatives": _examples(negatives, opened, name)}
    return safe_calls.run("find_similar", opened, inputs, model=model, method=method, **settings)


def _examples(shown: Any, image: Image, model: str) -> list[Any]:
    """Return examples; those that are prompts are cut from the image as the model sees it."""
    from napari_foundseg.tasks.similar.examples import Example
    from napari_foundseg.tasks.similar.similar_settings import FeatureSettings
    from napari_foundseg.tasks.task_models import image_for

    given = [shown] if isinstance(shown, Prompt | Example | dict) else list(shown)
    if not any(isinstance(one, Prompt) for one in given):
        return given
    seen = image_for(model, image, FeatureSettings())
    return [Example.cut(seen, one) if isinstance(one, Prompt) else one for one in given]


def propagate(
    stack: Any,
    prompts: Any,
    *,
    axis: str | None = None,
    first: int | None = None,
    last: int | None = None,
    model: Any = "foundseg-tiny",
    method: str | None = None,
    callback: Callable[[tuple[int, ...], dict[int, Mask]], None] | None = None,
    axes: str | None = None,
    **settings: Any,
) -> Segmentation:
    """Follow objects that are marked in one or several slices through all slices of a range.

    Parameters
    ----------
    stack : array-like or Image or str or Path
        The stack or film, or the file it is in.
    prompts : Prompt, sequence of Prompt, dict or array-like
        As for `prompt`: prompt i becomes label i + 1. Or ``{id: [Prompt, ...]}``: several prompts for an object, each
        in one slice, such as corrections. The mask of a prompt that has nothing else is not changed. Or a label image
        in the stack's shape without channels: its objects are not changed in the slices where they are painted.
    axis : str, optional
        The axis along which to follow objects, ``"Z"`` or ``"T"``; by default the only one with several slices.
    first, last : int, optional
        First and last slice, from 0, both included; by default all.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`. A model without memory of frames gets the mask of each
        slice as the prompt of the next.
    method : str, optional
        ``memory``, ``projection`` or ``volume``; by default the first that the model supports.
    callback : callable, optional
        Called as soon as a slice is done, with its index and the masks of the objects that changed in it, by id. It is
        called again for a slice in which another object has taken pixels.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of `ProjectionSettings`, `MemorySettings` or `VolumeSettings`, such as ``min_contrast=0.2``, or
        ``server="http://localhost:1527"`` for a model on a server.

    Returns
    -------
    Segmentation
        Objects that do not overlap. ``masks`` has each object's mask in each slice. ``provenance["propagation"]``
        records where and why objects ended.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, the axis, the range, a prompt, the model or a setting.
    """
    from napari_foundseg.tasks.frames.painted_prompts import as_prompts

    inputs = {"prompts": as_prompts(stack, prompts, axes), "axis": axis, "first": first, "last": last}
    return safe_calls.run(
        "propagate", stack, inputs, model=model, method=method, axes=axes, progress=_passing(callback), **settings
    )


def _passing(callback: Callable[[tuple[int, ...], dict[int, Mask]], None] | None) -> Any:
    """Return a progress function that passes on each slice of a run."""

    def _pass_on(_share: float, _words: str, shown: Any = None) -> None:
        for index, masks in (shown or {}).get("parts", ()):
            if callback is not None:
                callback(index, masks)

    return _pass_on


def panoptic(
    image: Any, *, model: Any = "foundseg-tiny", method: str | None = None, axes: str | None = None, **settings: Any
) -> Segmentation:
    """Give every pixel a class and separate the objects of countable classes.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in. Stacks are segmented slice by slice.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`.
    method : str, optional
        ``nuclei``, ``segments``, ``instances`` or ``fusion``; by default the first that the model supports.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of the method's settings, such as ``link=True`` or ``semantic_model="fcn-resnet50"``.

    Returns
    -------
    Segmentation
        The objects in `labels`, the class of each pixel in `semantic`, and all classes in `classes`.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, the model or a setting.
    """
    return safe_calls.run("panoptic", image, {}, model=model, method=method, axes=axes, **settings)


def semantic(image: Any, *, model: Any, axes: str | None = None, **settings: Any) -> Segmentation:
    """Give every pixel a class.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in. Stacks are segmented slice by slice.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of `SemanticSettings`.

    Returns
    -------
    Segmentation
        The classes' ids in `labels` and in `semantic`, their names in `classes`.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, the model or a setting.
    """
    return safe_calls.run("semantic", image, {}, model=model, axes=axes, **settings)


def text(
    image: Any,
    concepts: Any = None,
    *,
    caption: str | None = None,
    boxes: Any = None,
    model: Any = "clipseg-rd64-refined",
    axes: str | None = None,
    **settings: Any,
) -> Segmentation:
    """Find objects and regions by words.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in. Stacks are segmented slice by slice.
    concepts : str or sequence of str, dict or Concept
        The concepts to find, such as ``["mitochondrion, mitochondria", "nucleus", "background"]``. A dict may have
        ``text``, ``negative``, ``threshold``, ``colour`` and ``examples`` (see `tasks.classes.concepts`). Optional if
        there is a caption.
    caption : str, optional
        An English sentence, such as "two syringes and a small vial of vaccine": its noun phrases are the concepts.
    boxes : sequence of dict, optional
        For models that find boxes: the boxes to make masks from, in place of the model's own. Each has ``concept``
        (its name), ``box`` (y0, x0, y1, x1, both ends included), and in a stack ``index``. ``provenance["boxes"]`` of
        a result is such a sequence.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of `TextSettings`, such as ``threshold=0.3`` or ``refine_model="foundseg-tiny"``, of `ConceptSettings`,
        or of `BoxSettings`, such as ``mask_model="sam-vit-b"``.

    Returns
    -------
    Segmentation
        Objects in `labels`, classes in `semantic`, heat maps (of models that make them) in `maps`, and the best score
        of each concept in ``provenance["found"]``.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, a concept, the model or a setting.
    """
    given = {"concepts": concepts, "caption": caption, "boxes": boxes}
    inputs = {name: value for name, value in given.items() if value is not None}
    return safe_calls.run("text", image, inputs, model=model, axes=axes, **settings)


def name_masks(
    image: Any,
    labels: Any,
    vocabulary: Sequence[str],
    *,
    model: Any = "clip-vit-base-patch32",
    axes: str | None = None,
    **settings: Any,
) -> Segmentation:
    """Name the objects of a label image.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in.
    labels : array-like or str or Path
        A label image in the image's shape without channels, or its file.
    vocabulary : sequence of str
        The names to choose from, such as ``["cell", "debris"]``. Commas separate synonyms.
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of `NameSettings`, such as ``top_k=5``, or with RegionCLIP of `RegionSettings`, such as
        ``crops_model="clip-vit-base-patch32"``.

    Returns
    -------
    Segmentation
        The same labels. The table has the class of each object and its most probable names.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, the labels, a name, the model or a setting.
    """
    given = {"labels": labels, "vocabulary": vocabulary}
    return safe_calls.run("name_masks", image, given, model=model, axes=axes, **settings)


def split(
    image: Any,
    labels: Any,
    label: int,
    clicks: Sequence[Sequence[float]],
    *,
    model: Any = "foundseg-tiny",
    axes: str | None = None,
) -> Segmentation:
    """Split an object of a label image by one click in each of its parts.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in.
    labels : array-like or str or Path
        A label image in the image's shape without channels, or its file.
    label : int
        The object.
    clicks : sequence of sequence of float
        Two or more pixels of the object, one anywhere in each part. Each is (y, x), or in a stack with the slice's
        indices first, such as (z, y, x).
    model : str or loaded model
        A name of the catalogue, or a result of `load_model`. A model with an instance decoder also detects borders
        between nuclei.
    axes : str, optional
        As for `automatic`.

    Returns
    -------
    Segmentation
        The part of the first click keeps the object's id; the others get new ids after the largest. Other objects do
        not change. Scores are nan. ``provenance["evidence"]`` names the model's evidence: ``borders``, ``scores``.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, the labels, a click or the model.
    """
    from napari_foundseg.io.image_sources import as_image
    from napari_foundseg.tasks.label_image import label_array
    from napari_foundseg.tasks.side_tasks.split_object import split_labels

    loaded = load_model(model, protocol="Promptable")
    return split_labels(as_image(image, axes), label_array(labels), label, clicks, loaded)


def cluster(
    image: Any,
    *,
    n_clusters: int | None = None,
    model: Any = "foundseg-tiny",
    method: str | None = None,
    edits: Sequence[Any] = (),
    only: Sequence[int] = (),
    axes: str | None = None,
    **settings: Any,
) -> Segmentation:
    """Assign every pixel to one of k clusters, without labels for training.

    Parameters
    ----------
    image : array-like or Image or str or Path
        The image, or the file it is in. Slices of a stack share their clusters.
    n_clusters : int, optional
        Number of clusters; by default the number that a fitted model was saved with, else 4.
    model : str or loaded model
        A model that `fit_stego` made, or any model with dense features.
    method : str, optional
        ``stego``, ``kmeans`` or ``spherical``; by default the first that the model supports.
    edits : sequence of Edit or dict
        Merges, splits, new names and colours, hidden clusters.
    only : sequence of int
        Clusters that become labels; by default all.
    axes : str, optional
        As for `automatic`.
    **settings
        Fields of `StegoSettings`, `KMeansSettings` or `SphericalSettings`.

    Returns
    -------
    Segmentation
        Labels are cluster numbers. A number means the same in every slice and, for a fitted model, in every image.

    Raises
    ------
    FoundsegError
        A subclass that names the problem with the image, the model or a setting.
    """
    given = settings if n_clusters is None else {**settings, "n_clusters": n_clusters}
    inputs = {"edits": tuple(edits), "only": tuple(only)}
    return safe_calls.run("cluster", image, inputs, model=model, method=method, axes=axes, **given)


@safe_calls.safe_beside_window
def fit_stego(
    images: Any,
    *,
    name: str | None = None,
    model: Any = "foundseg-tiny",
    labels: Any = None,
    axes: str | None = None,
    overwrite: bool = False,
    progress: Any = ignore_progress,
    **settings: Any,
) -> Fitted:
    """Fit STEGO to images without labels, and save it as a model of the catalogue.

    Parameters
    ----------
    images : array-like, Image, str, Path, or a list of these
        The images to fit to. A path may be a folder. All slices of stacks are used.
    name : str, optional
        Name of the new model; by default ``stego-1`` and so on. A stopped fit of the same name, images and settings is
        continued.
    model : str or loaded model
        The backbone: any model with dense features.
    labels : array-like, str, Path, or a list of these, optional
        A label image, or its file, for each of `images`. Pixels without a label are 0; a few strokes are enough. A
        linear probe learns these classes from the codes.
    axes : str, optional
        As for `automatic`.
    overwrite : bool
        Whether to replace a model of that name that comes from another fit.
    progress : callable
        Called with the share done, from 0 to 1, and a text.
    **settings
        Fields of `FitSettings`.

    Returns
    -------
    Fitted
        The model's row, the loss of each step, and notes about anything unexpected.

    Raises
    ------
    FoundsegError
        A subclass that names the problem.
    """
    from napari_foundseg.io.image_sources import as_images
    from napari_foundseg.tasks.label_image import label_array
    from napari_foundseg.tasks.side_tasks import fit_stego
    from napari_foundseg.tasks.side_tasks.fit_settings import FitSettings
    from napari_foundseg.tasks.side_tasks.linear_probe import learn

    checked = FitSettings.parse(settings)
    opened = as_images(images, axes)
    backbone = load_model(model, protocol="FeatureExtractor")
    fitted = fit_stego.fit_stego(fit_stego.pictures_in(opened), checked, backbone, name, progress, overwrite=overwrite)
    if labels is None:
        return fitted
    given = labels if isinstance(labels, list | tuple) else [labels]
    return replace(fitted, model=learn(fitted.model.name, opened, [label_array(one) for one in given]))

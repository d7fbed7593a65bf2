"""Folders as transformers writes them: what they hold, and their network and processors, without any network access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_foundseg.core.classes import ClassRow, ClassTable, class_colour
from napari_foundseg.core.errors import CheckpointError

__all__ = ["architecture_of", "class_names", "class_table", "image_processor", "network", "tokenizer", "window_of"]

#: Classes of stuff by the data set that a model was trained on; what tells the data set; facts, not guesses.
_STUFF = {
    "COCO": (
        {"wall-other-merged", "sky-other-merged"},
        [
            "banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door-stuff", "floor-wood", "flower",
            "fruit", "gravel", "house", "light", "mirror-stuff", "net", "pillow", "platform", "playingfield",
            "railroad", "river", "road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent", "towel",
            "wall-brick", "wall-stone", "wall-tile", "wall-wood", "water-other", "window-blind", "window-other",
            "tree-merged", "fence-merged", "ceiling-merged", "sky-other-merged", "cabinet-merged", "table-merged",
            "floor-other-merged", "pavement-merged", "mountain-merged", "grass-merged", "dirt-merged", "paper-merged",
            "food-other-merged", "building-other-merged", "rock-merged", "wall-other-merged", "rug-merged",
        ],
    ),
    "Cityscapes": (
        {"vegetation", "terrain"},
        ["road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
         "terrain", "sky"],
    ),
}  # fmt: skip
_BACKGROUND = {"background", "__background__", "_background_", "unlabeled", "unlabelled"}


def architecture_of(config: Mapping[str, Any]) -> str:
    """Return the class of transformers that a folder's configuration names.

    Parameters
    ----------
    config : mapping
        ``config.json``.

    Returns
    -------
    str
        Such as ``SegformerForSemanticSegmentation``; empty where it names none.
    """
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a model's classes by number.

    Parameters
    ----------
    config : mapping
        ``config.json``, whose ``id2label`` may have gaps.

    Returns
    -------
    tuple of str
        From number 0; a number without a name is called ``class 7``.

    Raises
    ------
    CheckpointError
        If a number is none.
    """
    known = config.get("id2label") or {}
    try:
        names = {int(number): str(name) for number, name in known.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"id2label of config.json is no table of numbers and names: {known!r:.80}") from error
    if not names:
        count = config.get("num_labels", 2)
        names = dict.fromkeys(range(count if isinstance(count, int) else 2), "")
    if min(names) < 0 or max(names) > 65_000:
        raise CheckpointError(
            f"id2label of config.json has the numbers {min(names)} to {max(names)}; 0 to 65000 can be."
        )
    return tuple(names.get(i) or f"class {i}" for i in range(max(names) + 1))


def class_table(
    names: tuple[str, ...], *, things: bool, stuff: tuple[str, ...] | None = None
) -> tuple[ClassTable, int]:
    """Make the class table of a model.

    Parameters
    ----------
    names : tuple of str
        Its classes by number from 0.
    things : bool
        Whether it tells objects apart at all.
    stuff : tuple of str, optional
        Names of those that come in no objects; by default as the data set has them, where that is known.

    Returns
    -------
    table : ClassTable
        A row a class.
    first : int
        What is added to a model's number to get the class's id: 0 where number 0 is background, which has no row.
    """
    background = bool(names) and names[0].strip().lower() in _BACKGROUND
    first = 0 if background else 1
    if stuff is None:
        stuff = next((tuple(own) for signs, own in _STUFF.values() if signs <= set(names)), ())
    rows = [
        ClassRow(
            id=i + first,
            name=name,
            colour=class_colour(i + first),
            kind="thing" if things and name not in stuff else "stuff",
        )
        for i, name in enumerate(names)
        if i + first
    ]
    return ClassTable(tuple(rows)), first


@contextmanager
def named(path: Path, what: str) -> Iterator[None]:
    """Turn whatever transformers raises into an error that says what to do.

    Parameters
    ----------
    path : Path
        The folder.
    what : str
        What was being loaded.

    Yields
    ------
    None
        While it is loaded.

    Raises
    ------
    CheckpointError
        For any error but that of too little memory.
    """
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise CheckpointError(f"{what} of {path} cannot be loaded: {text[:300]}") from error
    finally:
        logging.set_verbosity(before)


def network(path: Path, architecture: str, device: str) -> Any:
    """Load the network of a folder.

    Parameters
    ----------
    path : Path
        The folder.
    architecture : str
        A class of transformers.
    device : str
        Where it is to run, as torch writes it.

    Returns
    -------
    transformers.PreTrainedModel
        In evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder lacks a file, or weights and ``config.json`` disagree.
    """
    import transformers

    with named(path, "The network"):
        kind = getattr(transformers, architecture)
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        if getattr(config, "id2label", None):
            names = class_names({"id2label": config.id2label})
            config.id2label = dict(enumerate(names))
        model, info = kind.from_pretrained(
            path, config=config, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
        if info["mismatched_keys"]:
            name, found, expected = next(iter(info["mismatched_keys"]))
            raise CheckpointError(
                f"config.json and the weights of {path} disagree: {name} has the shape {tuple(found)} in the file, and "
                f"{tuple(expected)} by config.json (which names {config.num_labels} classes). Get both files of one "
                "version."
            )
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise CheckpointError(
                f"The weights of {path} lack {len(missing)} of the tensors of {architecture}: "
                f"{', '.join(missing[:3])}…. Get the whole folder again."
            )
    return model.to(device).eval().requires_grad_(False)


def image_processor(path: Path, **options: Any) -> Any:
    """Load the image processor of a folder, whose own resizing and normalisation hold.

    Parameters
    ----------
    path : Path
        The folder.
    **options
        Of the processor.

    Returns
    -------
    transformers image processor
        The one that the folder names.

    Raises
    ------
    CheckpointError
        If the folder lacks its file.
    """
    from transformers import AutoImageProcessor

    _needed(path, "how images are resized and normalised", "preprocessor_config.json", "processor_config.json")
    with named(path, "The image processor"):
        return AutoImageProcessor.from_pretrained(path, local_files_only=True, **options)


def tokenizer(path: Path) -> Any:
    """Load the tokenizer of a folder.

    Parameters
    ----------
    path : Path
        The folder.

    Returns
    -------
    transformers tokenizer
        The one that the folder names.

    Raises
    ------
    CheckpointError
        If the folder lacks its files; transformers would make one without words.
    """
    from transformers import AutoTokenizer

    _needed(path, "how text is parted into tokens", "tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
    with named(path, "The tokenizer"):
        return AutoTokenizer.from_pretrained(path, local_files_only=True)


def window_of(processor: Any, fallback: int = 1024) -> int:
    """Return the longest side that a processor hands to its network.

    Parameters
    ----------
    processor : transformers image processor
        The processor.
    fallback : int
        Where it does not say.

    Returns
    -------
    int
        Pixels.
    """
    size = getattr(processor, "size", None)
    known = [
        getattr(size, name, None) or (size or {}).get(name)
        for name in ("longest_edge", "height", "width", "shortest_edge")
    ]
    return max([int(n) for n in known[:3] if n] or [int(n) for n in known[3:] if n] or [fallback])


def _needed(path: Path, what: str, *names: str) -> None:
    if not any((path / name).is_file() for name in names):
        raise CheckpointError(
            f"{path} lacks {names[0]}, which says {what}. Get it from where the weights come from and put it beside "
            "config.json."
        )

"""Folders as transformers writes them: what they hold, and their network and processors, without any network access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError

__all__ = [
    "architecture_of",
    "class_names",
    "image_processor",
    "network",
    "network_of",
    "pooled",
    "tokenizer",
    "window_of",
]


def architecture_of(config: Mapping[str, Any]) -> str:
    """Return the class of transformers that ``config.json`` names; empty if it names none."""
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return class names by number, gaps filled with ``class 7``; CheckpointError if ``id2label`` is no such table."""
    labels = config.get("id2label") or {}
    try:
        names = {int(number): str(name) for number, name in labels.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"id2label of config.json is no table of numbers and names: {labels!r:.80}") from error
    if not names:
        count = config.get("num_labels", 2)
        names = dict.fromkeys(range(count if isinstance(count, int) else 2), "")
    if min(names) < 0 or max(names) > 65_000:
        raise CheckpointError(
            f"id2label of config.json has the numbers {min(names)} to {max(names)}; 0 to 65000 can be."
        )
    return tuple(names.get(i) or f"class {i}" for i in range(max(names) + 1))


@contextmanager
def named(path: Path, what: str) -> Iterator[None]:
    """Turn whatever transformers raises into an error that says what to do.

    Raises CheckpointError for any error but that of too little memory.
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

    Raises CheckpointError if the folder lacks a file, or weights and ``config.json`` disagree.
    """
    import transformers

    with named(path, "The network"):
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        if getattr(config, "id2label", None):
            names = class_names({"id2label": config.id2label})
            config.id2label = dict(enumerate(names))
        model = _checked(path, path, architecture, config)
    return model.to(device)


def network_of(path: Path, architecture: str, config: Any, tensors: Mapping[str, Any]) -> Any:
    """Return a network with given tensors, on the CPU; CheckpointError if they are incomplete or do not fit."""
    with named(path, "The network"):
        return _checked(path, None, architecture, config, state_dict=dict(tensors))


def _checked(path: Path, folder: Path | None, architecture: str, config: Any, **options: Any) -> Any:
    """Load a network; what is missing or does not fit is an error."""
    import transformers

    kind = getattr(transformers, architecture)
    model, info = kind.from_pretrained(
        folder, config=config, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    if info["mismatched_keys"]:
        # Before transformers 5 the entries are names only.
        key = next(iter(info["mismatched_keys"]))
        name, found, expected = (key, None, None) if isinstance(key, str) else key
        shapes = "another shape in the file than" if found is None else f"the shape {tuple(found)} in the file, and "
        shapes += " by" if expected is None else f"{tuple(expected)} by"
        raise CheckpointError(
            f"config.json and the weights of {path} disagree: {name} has {shapes} config.json (which names "
            f"{config.num_labels} classes). Get both files of one version."
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise CheckpointError(
            f"The weights of {path} lack {len(missing)} of the tensors of {architecture}: {', '.join(missing[:3])}…. "
            "Get all of it again."
        )
    return model.eval().requires_grad_(False)


def image_processor(path: Path, **options: Any) -> Any:
    """Load the image processor of a folder, whose own resizing and normalisation hold.

    Raises CheckpointError if the folder lacks its file.
    """
    from transformers import AutoImageProcessor

    _needed(path, "how images are resized and normalised", "preprocessor_config.json", "processor_config.json")
    with named(path, "The image processor"):
        return AutoImageProcessor.from_pretrained(path, local_files_only=True, **options)


def tokenizer(path: Path) -> Any:
    """Load the tokenizer of a folder.

    Raises CheckpointError if the folder lacks its files; transformers would make one without words.
    """
    from transformers import AutoTokenizer

    _needed(path, "how text is split into tokens", "tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
    with named(path, "The tokenizer"):
        return AutoTokenizer.from_pretrained(path, local_files_only=True)


def pooled(output: Any) -> Any:
    """Return the pooled embedding that `get_text_features` gives; before transformers 5 it gives nothing else."""
    return getattr(output, "pooler_output", output)


def window_of(processor: Any, fallback: int = 1024) -> int:
    """Return the longest side in pixels of a processor's output; `fallback` if it does not say."""
    size = getattr(processor, "size", None)
    sizes = [
        getattr(size, name, None) or (size or {}).get(name)
        for name in ("longest_edge", "height", "width", "shortest_edge")
    ]
    return max([int(n) for n in sizes[:3] if n] or [int(n) for n in sizes[3:] if n] or [fallback])


def _needed(path: Path, what: str, *names: str) -> None:
    if not any((path / name).is_file() for name in names):
        raise CheckpointError(
            f"{path} lacks {names[0]}, which says {what}. Get it from where the weights come from and put it beside "
            "config.json."
        )

"""Folders in the layout of transformers: class names, networks and processors, read without network access."""

from __future__ import annotations

import copy
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.class_sets import MOST_CLASSES
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.files.folder_files import check_folder, network_config
from napari_foundseg.models.files.network_bounds import check_network_size
from napari_foundseg.models.row_options import LARGEST_SIDE

__all__ = [
    "architecture_of",
    "check_tokens",
    "class_names",
    "config_and_tensors",
    "image_processor",
    "network",
    "network_of",
    "pooled",
    "tokenizer",
    "window_of",
]


def architecture_of(config: Mapping[str, Any]) -> str:
    """Return the name of transformers' class in ``config.json``; empty if there is none."""
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return class names by number, with gaps filled by names such as ``class 7``.

    Raises CheckpointError if ``id2label`` does not map numbers to names.
    """
    labels = config.get("id2label") or {}
    try:
        names = {int(number): str(name) for number, name in labels.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"id2label of config.json does not map numbers to names: {labels!r:.80}") from error
    if not names:
        count = config.get("num_labels", 2)
        count = count if isinstance(count, int) else 2
        if not 1 <= count <= MOST_CLASSES:
            raise CheckpointError(f"config.json has {count} classes (num_labels); 1 to {MOST_CLASSES} are supported.")
        names = dict.fromkeys(range(count), "")
    if min(names) < 0 or max(names) > MOST_CLASSES:
        raise CheckpointError(
            f"id2label of config.json has the numbers {min(names)} to {max(names)}; 0 to {MOST_CLASSES} are supported."
        )
    return tuple(names.get(i) or f"class {i}" for i in range(max(names) + 1))


@contextmanager
def named(path: Path, what: str) -> Iterator[None]:
    """Convert errors of transformers to a CheckpointError, and silence its log messages.

    `what` names the part that is loaded, for the message. MemoryError and KeyboardInterrupt pass unchanged.
    """
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except (CheckpointError, MemoryError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a panic in the tokenizers library is not an Exception
        text = " ".join(str(error).split())
        raise CheckpointError(f"{what} of {path} cannot be loaded: {text[:300]}") from error
    finally:
        logging.set_verbosity(before)


def network(path: Path, architecture: str, device: str) -> Any:
    """Load the network of a folder in float32.

    `architecture` names a class of transformers. If it is empty, the network is loaded without a head. Raises
    CheckpointError if the folder lacks a file or names code, or if weights and ``config.json`` disagree.
    """
    config, tensors = config_and_tensors(path)
    return network_of(path, architecture, config, tensors).to(device)


def config_and_tensors(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """Return the configuration of a folder as an object of transformers, and its tensors.

    Raises CheckpointError if the folder has none.
    """
    import transformers

    tensors = read_tensors(path)
    settings = network_config(path, len(tensors))
    with named(path, "The network"):
        kind = str(settings.get("model_type"))
        if kind not in transformers.CONFIG_MAPPING:
            raise CheckpointError(f"{path / 'config.json'} has the model_type {kind!r:.80}, which transformers lacks.")
        config = transformers.CONFIG_MAPPING[kind].from_dict(settings)
        if getattr(config, "id2label", None):
            names = class_names({"id2label": config.id2label})
            config.id2label = dict(enumerate(names))
    return config, tensors


def network_of(path: Path, architecture: str | type[Any], config: Any, tensors: Mapping[str, Any]) -> Any:
    """Return a network with these tensors, on the CPU.

    `architecture` is the name of a class of transformers, or a class that is derived from one. Raises CheckpointError
    if tensors are missing or do not fit.
    """
    with named(path, "The network"):
        return _checked(path, architecture, config, tensors)


def _checked(path: Path, architecture: str | type[Any], config: Any, tensors: Mapping[str, Any]) -> Any:
    """Return a network with these tensors; raise CheckpointError if tensors are missing or do not fit."""
    import torch
    import transformers

    kind: Any = architecture or transformers.MODEL_MAPPING[type(config)]
    kind = getattr(transformers, kind) if isinstance(kind, str) else kind
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_network_size(path, lambda: kind(copy.deepcopy(config)), shapes)
    model, info = _from_pretrained(
        kind,
        None,
        config=config,
        state_dict=dict(tensors),
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    if info["mismatched_keys"]:
        # Before transformers 5 the entries are names only.
        key = next(iter(info["mismatched_keys"]))
        name, found, expected = (key, None, None) if isinstance(key, str) else key
        words = "another shape in the file than" if found is None else f"the shape {tuple(found)} in the file, and "
        words += " by" if expected is None else f"{tuple(expected)} by"
        raise CheckpointError(
            f"config.json and the weights of {path} disagree: {name} has {words} config.json (which names "
            f"{config.num_labels} classes). Get both files of one version."
        )
    if missing := sorted(name for name in info["missing_keys"] if not _may_be_missing(model, name)):
        raise CheckpointError(
            f"The weights of {path} lack {len(missing)} of the tensors of {kind.__name__}: {', '.join(missing[:3])}…. "
            "Get all of it again."
        )
    _check_left_out(path, info["unexpected_keys"], model, shapes)
    return model.eval().requires_grad_(False)


def _may_be_missing(network: Any, name: str) -> bool:
    """Return whether a part of a network declares that it runs without a tensor.

    transformers itself asks only the network as a whole.
    """
    for place, part in network.named_modules():
        patterns = getattr(part, "_keys_to_ignore_on_load_missing", None) or ()
        own = name.removeprefix(f"{place}.")
        if own != name and any(re.match(pattern, own) for pattern in patterns):
            return True
    return False


def _check_left_out(path: Path, unexpected: Iterable[str], network: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError if a network leaves out layers of the weights, or more than half of their numbers.

    Heads that only serve training may be left out.
    """
    known = {_layer_kind(name) for name in network.state_dict()}
    more = sorted(name for name in unexpected if re.search(r"\.\d+\.", name) and _layer_kind(name) in known)
    used = sum(part.numel() for part in network.parameters())
    if more or 2 * used < sum(prod(shape) for shape in shapes.values()):
        some = ", ".join(more[:3]) or f"{used} of their numbers are used"
        raise CheckpointError(
            f"config.json describes a smaller network than the weights of {path} are of ({some}): they disagree. Get "
            "both files of one version."
        )


def _layer_kind(name: str) -> tuple[str, ...]:
    """Return the last five parts of a tensor's name, with ``#`` for the numbers of layers."""
    return tuple(re.sub(r"\.\d+\b", ".#", f".{name}").split(".")[-5:])


def _from_pretrained(kind: Any, path: Path | None, **options: Any) -> Any:
    """Let transformers read files. All reading goes through here, so that no call runs code or goes online."""
    return kind.from_pretrained(path, local_files_only=True, trust_remote_code=False, **options)


def image_processor(path: Path, **options: Any) -> Any:
    """Load the image processor of a folder, with the folder's own resizing and normalisation.

    Raises CheckpointError if the folder lacks its file.
    """
    from transformers import AutoImageProcessor

    _needed(path, "how images are resized and normalised", "preprocessor_config.json", "processor_config.json")
    check_folder(path)
    with named(path, "The image processor"):
        found = _from_pretrained(AutoImageProcessor, path, **options)
        _check_sizes(path, found)
    return found


def tokenizer(path: Path) -> Any:
    """Load the tokenizer of a folder.

    Raises CheckpointError if the folder lacks its files. transformers would make a tokenizer without words instead.
    """
    from transformers import AutoTokenizer

    _needed(path, "how text is split into tokens", "tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
    check_folder(path)
    with named(path, "The tokenizer"):
        found = _from_pretrained(AutoTokenizer, path)
        tokens = found(["a cell"])["input_ids"]
        if not tokens or not tokens[0]:
            raise ValueError("it makes no tokens of a text")
    return found


def check_tokens(path: Path, tokenizer: Any, words: int) -> None:
    """Raise CheckpointError if a tokenizer makes token numbers that a network with `words` words does not have."""
    largest = max(tokenizer([string.printable])["input_ids"][0])
    if largest >= words:
        raise CheckpointError(
            f"The tokenizer of {path} makes the token {largest}, and the network knows {words}: they disagree. Get all "
            "files of one version."
        )


def pooled(output: Any) -> Any:
    """Return the pooled embedding in the output of `get_text_features`; before transformers 5, it is pooled already."""
    return getattr(output, "pooler_output", output)


def window_of(processor: Any, fallback: int = 1024) -> int:
    """Return the longest side in pixels of a processor's output; `fallback` if the processor has no size."""
    size = getattr(processor, "size", None)
    sizes = [
        getattr(size, name, None) or (size or {}).get(name)
        for name in ("longest_edge", "height", "width", "shortest_edge")
    ]
    return max([int(n) for n in sizes[:3] if n] or [int(n) for n in sizes[3:] if n] or [fallback])


def _check_sizes(path: Path, processor: Any) -> None:
    """Raise CheckpointError if a processor's sizes are not whole numbers from 1 to `LARGEST_SIDE`."""
    for name in ("size", "crop_size", "pad_size"):
        sizes = getattr(processor, name, None) or {}
        for side, number in dict(sizes).items():
            if number is not None and not (type(number) is int and 1 <= number <= LARGEST_SIDE):
                raise CheckpointError(
                    f"preprocessor_config.json of {path} has {name}: {side} {number!r:.40}; whole numbers of 1 to "
                    f"{LARGEST_SIDE} pixels can be. Get it again."
                )


def _needed(path: Path, what: str, *names: str) -> None:
    if not any((path / name).is_file() for name in names):
        raise CheckpointError(
            f"{path} lacks {names[0]}, which says {what}. Get it from where the weights come from and put it beside "
            "config.json."
        )

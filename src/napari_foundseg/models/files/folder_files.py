"""The JSON files of a folder of transformers, read and checked here before transformers reads them.

Nothing in a folder is run or fetched: neither code of its own (transformers would ask about that on the terminal), nor
kernels from the hub, nor weights from another place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.class_sets import MOST_CLASSES
from napari_foundseg.models.files.small_text import read_small_text

__all__ = ["check_folder", "network_config", "read_json"]

#: Largest whole number in a configuration.
_LARGEST = 2**31
#: Keys that make transformers run code from elsewhere, and words for that code.
_CODE = {"auto_map": "code of its own", "custom_pipelines": "code of its own", "kernel_config": "kernels from the hub",
         "use_kernels": "kernels from the hub"}  # fmt: skip
_IMPLEMENTATION = re.compile(r"_*(attn|attention|experts)_implementation(_internal|_autoset)?")
#: Implementations that are accepted; others are kernels from the hub or from another package.
_OF_TORCH = {None, False, True, "", "eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"}
#: Keys of timm networks that name files or addresses, or ask for pretrained weights.
_PLACES = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "model_args", "cache_dir", "hf_hub_id"}
#: Arguments of timm networks that name no files or addresses.
_TIMM_ARGUMENTS = {"in_chans", "features_only", "out_indices"}
#: Keys that count layers. A huge count would take forever to build.
_COUNT = re.compile(r"depths?|num_.*(layers|blocks|levels|stages)|.*_layers|.*_depths?|layers|num_layers")
#: Keys that are left out, because weights are read as float32 whatever their stored precision.
_DROPPED = {"dtype", "torch_dtype"}


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises CheckpointError if it is not JSON, too large, or nested too deep.
    """
    try:
        return json.loads(read_small_text(path))
    except RecursionError as error:
        raise CheckpointError(f"{path} cannot be read as JSON: it is nested too deep. Get the folder again.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}. Get the folder again.") from error


def check_folder(path: Path) -> None:
    """Raise CheckpointError if a file of a folder names code, kernels from the hub, or quantised weights."""
    if not path.is_dir():
        return
    for file in sorted(path.glob("*.json")):
        if "config" not in file.name and "processor" not in file.name:
            continue
        for key, value, _ in _entries(file, read_json(file)):
            _check_entry(file, key, value)


def network_config(path: Path, tensors: int) -> dict[str, Any]:
    """Return ``config.json`` without settings that only choose a precision or an implementation.

    Raises CheckpointError if it is not a table, if `check_folder` refuses it, or if it names more layers than there are
    `tensors`.
    """
    check_folder(path)
    file = path / "config.json"
    config = read_json(file)
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} is not a JSON object of settings. Get the folder again.")
    config = _without_facts_of_timm(config)
    for key, value, _ in _entries(file, config):
        _check_setting(file, key, value, tensors)
    return {key: value for key, value in _stripped(config).items() if key not in ("architectures", "id2label_file")}


def _entries(file: Path, content: Any, depth: int = 0) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield each key, its value and the table that holds it, at any depth."""
    if depth > 30:
        raise CheckpointError(f"{file} is nested too deep. Get the folder again.")
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield key, value, content
            yield from _entries(file, value, depth + 1)
    elif isinstance(content, list):
        for value in content:
            yield from _entries(file, value, depth + 1)


def _check_entry(file: Path, key: str, value: Any) -> None:
    what = _CODE.get(key) if value else None
    if _IMPLEMENTATION.fullmatch(key):
        chosen = value.values() if isinstance(value, Mapping) else [value]
        odd = [one for one in chosen if not isinstance(one, str | bool | None) or one not in _OF_TORCH]
        what = "kernels from the hub" if odd else None
    if what:
        raise CheckpointError(
            f"{file} names {what} ({key}: {value!r:.80}), which is never run here. Nothing was run. Get the model as "
            f"transformers itself writes it, without {key}."
        )
    if key == "quantization_config" and value:
        raise CheckpointError(
            f"{file} says that the weights are packed ({key}), which is not supported. Get it as float32 or float16."
        )


def _without_facts_of_timm(content: Any) -> Any:
    """Return settings without ``pretrained_cfg`` of timm networks, which transformers stores but does not use.

    All other settings stay, so that dangerous ones are refused.
    """
    if isinstance(content, list):
        return [_without_facts_of_timm(value) for value in content]
    if not isinstance(content, dict):
        return content
    kept = {key: _without_facts_of_timm(value) for key, value in content.items()}
    if kept.get("model_type") == "timm_wrapper":
        kept.pop("pretrained_cfg", None)
    return kept


def _check_setting(file: Path, key: str, value: Any, tensors: int) -> None:
    plain = key == "model_args" and isinstance(value, dict) and value.keys() <= _TIMM_ARGUMENTS
    fetched = key == "architecture" and isinstance(value, str) and not re.fullmatch(r"[\w.-]+", value)
    if (key in _PLACES and value and not plain) or fetched:
        raise CheckpointError(
            f"{file} names files of another place ({key}: {value!r:.80}), which are not read. Get the model as "
            f"transformers itself writes it, without {key}."
        )
    values = value if isinstance(value, list) else [value]
    numbers = [number for number in values if isinstance(number, int)]
    most = _LARGEST
    if key == "num_labels":
        most = MOST_CLASSES
    elif _COUNT.fullmatch(key):
        most = max(tensors, 64)
    if (numbers and (max(numbers) > most or min(numbers) < -_LARGEST)) or len(values) > MOST_CLASSES:
        raise CheckpointError(
            f"{file} has {key}: {value!r:.80}, and the weights have {tensors} tensors: {most} is the most that can be. "
            "Get both files of one version."
        )


def _stripped(content: Any) -> Any:
    """Return settings without those that are left out, and with timm networks that fetch nothing."""
    if isinstance(content, list):
        return [_stripped(value) for value in content]
    if not isinstance(content, dict):
        return content
    kept = {
        key: _stripped(value)
        for key, value in content.items()
        if key not in _DROPPED and not _IMPLEMENTATION.fullmatch(key) and key not in _CODE
    }
    for key in ("use_pretrained_backbone", "pretrained"):
        if kept.get(key):
            kept[key] = False
    backbone = kept.get("backbone")
    if isinstance(backbone, str) and not re.fullmatch(r"[\w.-]+", backbone):
        if not isinstance(kept.get("backbone_config"), dict):
            raise CheckpointError(
                f"config.json names a backbone of another place ({backbone!r:.80}), which is not fetched. Get the "
                "model with its own backbone_config."
            )
        kept["backbone"] = None
    return kept

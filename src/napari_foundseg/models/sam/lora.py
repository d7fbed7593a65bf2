"""LoRA adapters of PEFT for SAM: reading their settings, and merging them into the base's weights.

The merged weight is W + s B A with s = alpha / r, or alpha / √r (rsLoRA). The merged network is as fast as the base.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.files.folder_files import read_json
from napari_foundseg.models.sam.sam_checkpoint import sam_name

if TYPE_CHECKING:
    import torch

__all__ = ["ADAPTER_CONFIG", "check_adapter", "is_lora_of_sam", "lora_settings", "merged"]

#: PEFT's name for the file that describes an adapter.
ADAPTER_CONFIG = "adapter_config.json"
#: Settings of adapters that are more than plain LoRA, and their names. Merging without them gives wrong weights.
_UNSUPPORTED = {
    "use_dora": "DoRA", "use_qalora": "QA-LoRA", "use_bdlora": "block-diagonal LoRA", "lora_bias": "biases of layers",
    "fan_in_fan_out": "transposed weights", "layer_replication": "repeated layers", "target_parameters": "parameters",
    "trainable_token_indices": "trained tokens", "alora_invocation_tokens": "activated LoRA", "arrow_config": "Arrow",
    "kasa_config": "KaSA", "monteclora_config": "MonteCLoRA", "velora_config": "VeLoRA",
}  # fmt: skip
#: Initialisations (`init_lora_weights`) that also change the base's weights.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
#: Bound of `lora_alpha`; usual values are some tens.
_LARGEST = 1e9
_LORA = re.compile(r"^(?P<module>.+)\.lora_(?P<part>[AB])(?:\.[^.]+)?\.weight$")
_PARTS = re.compile(r"(?:^|\.)((?:image_encoder|vision_encoder|prompt_encoder|mask_decoder)\..+)$")
#: Modules of an encoder that was trained without the rest of its SAM.
_ENCODER_ALONE = re.compile(r"^(blocks|layers)\.\d+\.(attn|mlp)\.(qkv|proj|lin1|lin2)$")
_EXPECTED = (
    "A LoRA folder of PEFT (adapter_config.json and adapter_model.safetensors) for SAM, trained with bias='none',"
)


def lora_settings(folder: Path) -> dict[str, Any]:
    """Return the settings in an adapter's folder that its results depend on.

    Raises CheckpointError if they are damaged, or if the adapter is more than plain LoRA.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    if not isinstance(config, dict):
        raise _refused(folder, f"has an {ADAPTER_CONFIG} that is not a JSON object of settings")
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise _refused(folder, f"is an adapter of another kind, {kind!s:.40}")
    for setting, name in _UNSUPPORTED.items():
        if config.get(setting):
            raise _refused(folder, f"is an adapter with {name} ({setting})")
    if config.get("bias", "none") != "none":
        raise _refused(folder, f"is an adapter that was trained with biases (bias: {config['bias']!s:.40})")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise _refused(folder, f"is an adapter of a changed base (init_lora_weights: {start:.40})")
    alphas = config.get("alpha_pattern") or {}
    ranks = config.get("rank_pattern") or {}
    if not isinstance(alphas, dict) or not isinstance(ranks, dict):
        raise _refused(folder, "has patterns of ranks that are not JSON objects")
    # Patterns are regular expressions. Only plain names are allowed, because other expressions could match forever.
    if odd := [name for name in (*alphas, *ranks) if not re.fullmatch(r"[\w.]+", str(name))]:
        raise _refused(folder, f"names modules by the pattern {odd[0]!r:.60}, and not by their names")
    rank = config.get("r")
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise _refused(folder, f"has the rank r: {rank!r:.40}, and not a whole number from 1")
    alpha = config.get("lora_alpha", 8)
    for name, value in (("lora_alpha", alpha), *alphas.items()):
        if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
            raise _refused(folder, f"has {name}: {value!r:.40}, and not a number")
    return {
        "r": rank,
        "alpha": alpha,
        "rslora": bool(config.get("use_rslora", False)),
        "alphas": alphas,
        "ranks": ranks,
    }


def is_lora_of_sam(shapes: Mapping[str, Any]) -> bool:
    """Return whether tensors include PEFT's LoRA matrices for modules of a SAM."""
    found = [match["module"] for match in map(_LORA.match, shapes) if match]
    return any(_own_name(module) is not None for module in found)


def check_adapter(
    path: Path,
    adapter: Mapping[str, tuple[int, ...]],
    base: Mapping[str, tuple[int, ...]],
    settings: Mapping[str, Any],
    base_name: str,
) -> None:
    """Raise CheckpointError if an adapter's tensors do not fit its base.

    `base` has the base's shapes under segment-anything's names.
    """
    pairs, whole = _sorted(path, adapter)
    for module, (a, b) in pairs.items():
        name = f"{_own_name(module)}.weight"
        shape = base.get(name)
        down, up = adapter[a], adapter[b]
        if shape is None:
            raise _of_another_base(path, base_name, f"{name} is not in it")
        if len(down) < 2 or len(up) < 2 or down[0] != up[1]:
            raise _refused(path, f"is damaged ({a}: {down}, {b}: {up})")
        if (up[0], *down[1:]) != tuple(shape) or math.prod(up[2:]) != 1:
            wide = f"is made for {(up[0], *down[1:])}, and {base_name} has {tuple(shape)}"
            raise _of_another_base(path, base_name, f"{name} {wide}")
        if down[0] != (rank := _of_module(module, settings["ranks"], settings["r"])):
            raise _refused(path, f"has rank {down[0]} at {module}, and {ADAPTER_CONFIG} says {rank}")
    for theirs, ours in whole.items():
        if ours not in base:
            raise _of_another_base(path, base_name, f"{ours} is not in it")
        if tuple(base[ours]) != tuple(adapter[theirs]):
            has = f"has {tuple(adapter[theirs])}, and {base_name} {tuple(base[ours])}"
            raise _of_another_base(path, base_name, f"{ours} {has}")


def merged(
    path: Path,
    adapter: Mapping[str, torch.Tensor],
    base: Mapping[str, torch.Tensor],
    settings: Mapping[str, Any],
    base_name: str,
) -> dict[str, torch.Tensor]:
    """Return the base's tensors with an adapter merged into them.

    The tensors of `base` and of the result have segment-anything's names. Raises CheckpointError if the adapter does
    not fit.
    """
    shapes = {name: tuple(value.shape) for name, value in adapter.items()}
    check_adapter(path, shapes, {name: tuple(value.shape) for name, value in base.items()}, settings, base_name)
    pairs, whole = _sorted(path, shapes)
    found = dict(base)
    # Modules that were trained as a whole (`modules_to_save`).
    for theirs, ours in whole.items():
        found[ours] = adapter[theirs]
    for module, (a, b) in pairs.items():
        name = f"{_own_name(module)}.weight"
        down, up = adapter[a].float(), adapter[b].float()
        alpha, rank = _of_module(module, settings["alphas"], settings["alpha"]), down.shape[0]
        scale = alpha / (math.sqrt(rank) if settings["rslora"] else rank)
        found[name] = found[name].float() + scale * (up.flatten(1) @ down.flatten(1)).reshape(found[name].shape)
    return found


def _sorted(path: Path, adapter: Mapping[str, Any]) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return the names of A and B by module, and the base's names of tensors that were trained as a whole."""
    halves: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    for name in adapter:
        if match := _LORA.match(name):
            halves.setdefault(_module(match["module"]), {})[match["part"]] = name
        elif "lora_" in name or (ours := _own_name(name)) is None:
            raise _refused(path, f"has a tensor besides LoRA's A and B, {name:.100}")
        else:
            whole[name] = ours
    for module, parts in halves.items():
        if _own_name(module) is None:
            raise _refused(path, f"changes {module:.100}, which is not a module of SAM")
        if len(parts) != 2:
            raise _refused(
                path, f"is incomplete: {module:.100} has {', '.join(f'lora_{part}' for part in parts)} alone"
            )
    return {module: (parts["A"], parts["B"]) for module, parts in halves.items()}, whole


def _module(name: str) -> str:
    """Return a module's name without the prefixes that PEFT and other packages add."""
    name = name.removeprefix("base_model.model.")
    found = _PARTS.search(name)
    return found[1] if found else name


def _own_name(name: str) -> str | None:
    """Return segment-anything's name of a module or tensor of SAM; None if SAM has no such part."""
    name = _module(name).replace(".modules_to_save.default.", ".")
    if _ENCODER_ALONE.match(name):
        name = f"{'image' if name.startswith('blocks') else 'vision'}_encoder.{name}"
    return sam_name(name) if _PARTS.match(name) else None


def _of_module(module: str, patterns: Mapping[str, Any], otherwise: Any) -> Any:
    """Return the value of the first pattern that fits the end of a module's name, as PEFT does; else `otherwise`."""
    found = (value for name, value in patterns.items() if re.match(rf"(.*\.)?({name})$", module))
    return next(found, otherwise)


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {what}. {_EXPECTED} can be imported; or merge it into its base where it was trained."
    )


def _of_another_base(path: Path, base: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is an adapter for another base than {base}: {why}. Name the model that it was trained on as "
        f"base_model_name_or_path in its {ADAPTER_CONFIG}, and import it again."
    )

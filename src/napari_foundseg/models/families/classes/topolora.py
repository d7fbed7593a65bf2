"""TopoLoRA-SAM: checkpoints of its trainer with a SAM, LoRA layers and an adapter, for one class.

Its authors publish no weights; the layout is that of their trainer (Lightning, ``state_dict.net.…``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checkpoints import check, read_tensors
from napari_foundseg.models.loaded import LoadedClasses
from napari_foundseg.models.sam.sam_checkpoint import built, load_sam, size_name

__all__ = ["FAMILY", "TopoLoraModel", "load", "recognise"]

FAMILY = Family(
    rank=14,
    title="TopoLoRA-SAM",
    protocols=("SemanticClasses",),
    verified_against="its layers written out: low-rank terms beside their base, equal within 1e-4; 4,929,508 trainable "
    "numbers, as its authors say",
    packages=(Package("segment-anything"),),
    pickle_names=("lightning", "lightning_fabric", "omegaconf", "pytorch_lightning"),
    expects="as is",
)

_T = TypeVar("_T")
_WHAT = "TopoLoRA-SAM"
_MARK = "sam.image_encoder.patch_embed.proj.weight"
#: Rank of the LoRA layers in the authors' training, and the factor (alpha 16 / rank), which files do not contain.
_RANK = 8
_SCALE = 2.0
_LOW_RANK = (".lora_A", ".lora_B")


class TopoLoraModel(LoadedClasses):
    """TopoLoRA-SAM; implements `SemanticClasses`."""

    @property
    def window(self) -> int:
        """Side of the network's square input in pixels."""
        return int(self.network.side)

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return 1 for foreground pixels and 0 for others, (M, N)."""
        import torch

        with torch.inference_mode():
            picture = torch.as_tensor(np.ascontiguousarray(rgb), device=self.device).movedim(-1, 0)[None].float()
            inside = self.network(picture) > 0
        return np.asarray(inside.cpu().numpy(), np.uint16)


def load(row: CatalogRow, path: Path, device: str) -> TopoLoraModel:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    from napari_foundseg.models.nets.classes.topolora import TopoLora

    tensors, adapter = _parts(read_tensors(path))
    _check(path, {name: tuple(value.shape) for name, value in tensors.items()})
    sam = load_sam(path, _plain(tensors, merge=True))
    network = TopoLora(sam)
    expected = {name: tuple(value.shape) for name, value in network.adapter.state_dict().items()}
    check(path, expected, {name: tuple(value.shape) for name, value in adapter.items()}, f"the adapter of {_WHAT}")
    network.adapter.load_state_dict(adapter)
    return TopoLoraModel(network.to(device).eval().requires_grad_(requires_grad=False), row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if they cannot be used."""
    shapes, adapter = _parts(found.shapes)
    if not any(name.endswith(_LOW_RANK) for name in shapes):
        return None
    if not adapter:
        raise CheckpointError(
            f"{found.path} is a SAM with LoRA layers, without the adapter that {_WHAT} has beside them: not supported "
            "yet. Merge the layers into their base, or save them as PEFT does, and import that."
        )
    _check(found.path, shapes)
    plain = _plain(shapes, merge=False)
    built(found.path, plain, empty=True)
    return {
        "title": f"{_WHAT} {size_name(plain)}",
        "input": "2-D, grey or RGB",
        "classes": ("background", "foreground"),
        "code_licence": "MIT",
        "citation": "Kirillov et al., Segment Anything, ICCV 2023; Hu et al., LoRA, ICLR 2022 (TopoLoRA-SAM).",
        "assumed": f"Its LoRA layers count {_SCALE:g}-fold (alpha {_SCALE * _RANK:g}, rank {_RANK}), as its authors "
        "train them: the file does not say it. It holds its base, a SAM, whose licence applies too.",
    }


def _parts(tensors: Mapping[str, _T]) -> tuple[dict[str, _T], dict[str, _T]]:
    """Return the tensors of the SAM with its LoRA layers, and those of the adapter; empty if there are none."""
    prefix = next((name.removesuffix(_MARK) for name in tensors if name.endswith(_MARK)), None)
    if prefix is None:
        return {}, {}

    def below(part: str) -> dict[str, _T]:
        return {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}

    return below(f"{prefix}sam."), below(f"{prefix}adapter.")


def _check(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError if a LoRA layer lacks a half, does not match its base, or has another rank."""
    for name in [name for name in shapes if name.endswith(_LOW_RANK)]:
        layer = name.rpartition(".")[0]
        base = shapes.get(f"{layer}.linear.weight")
        a, b = (shapes.get(f"{layer}{half}") for half in _LOW_RANK)
        if base is None or a is None or b is None or (b[0], a[-1]) != base or a[0] != b[-1]:
            raise CheckpointError(
                f"{path} is taken for {_WHAT}, but the LoRA layer {layer} has the shapes {a} and {b} beside {base}. It "
                "is incomplete or of another model; get it again."
            )
        if a[0] != _RANK:
            raise CheckpointError(
                f"{path} is a {_WHAT} with LoRA layers of rank {a[0]}. By how much they count is not in the file, and "
                f"known for rank {_RANK} only; merge them into their base and import that."
            )


def _plain(tensors: Mapping[str, Any], *, merge: bool) -> dict[str, Any]:
    """Return the tensors of a SAM without LoRA layers. With `merge` the layers are added to their base."""
    out = {}
    for name, value in tensors.items():
        if name.endswith(_LOW_RANK):
            continue
        layer, wrapped, kind = name.rpartition(".linear.")
        low, high = (tensors.get(f"{layer}{half}") for half in _LOW_RANK)
        if merge and wrapped and kind == "weight" and low is not None and high is not None:
            value = value.float() + _SCALE * high.float() @ low.float()
        out[f"{layer}.{kind}" if wrapped else name] = value
    return out

"""Popular models that are not supported yet: their names, and how to recognise their files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from napari_foundseg.models.files.small_text import read_small_text

__all__ = ["IN_WORDS", "unsupported_name", "unsupported_weights"]

#: Text for menus.
IN_WORDS: Final = "Cellpose 3, StarDist: not supported yet"
_SAMS = "SAM, SAM 2, EdgeTAM, MobileSAM, HQ-SAM, MedSAM and micro-sam are"
_CELLS = "for nuclei and cells use foundseg-tiny (built in), Cellpose-SAM or micro-sam"


class _Unsupported(NamedTuple):
    name: str
    """Name that its authors use."""
    instead: str
    """Model to use instead."""
    written: str
    """Pattern of its name in names of files and models."""
    tensors: str = "(?!)"
    """Pattern of tensor names that only its files have; by default none."""
    kinds: tuple[str, ...] = ()
    """``model_type`` in its folders of transformers."""
    axes: int | None = None
    """Number of axes of such a tensor, if others have tensors of the same name."""
    by_name: bool = False
    """Whether the file name alone identifies a file that no family takes, regardless of its tensors."""

    def has(self, name: str, shape: tuple[int, ...] | None) -> bool:
        """Return whether a tensor occurs only in files of this model."""
        right = self.axes is None or shape is None or len(shape) == self.axes
        return right and re.search(self.tensors, name) is not None

    def is_named_in(self, text: str) -> bool:
        """Return whether the name of a file or model contains this model's name."""
        return re.search(rf"(?i)(?<![a-z])({self.written})(?![a-z])", text) is not None


_SAM_3 = "as transformers' folder SAM 3 is: hf download facebook/sam3, then import hf:facebook/sam3"

_MODELS: Final = (
    _Unsupported("SAM 3.1", _SAM_3, r"sam[-_ .]?3[._]1(_multiplex)?", by_name=True),
    _Unsupported("SAM 3", _SAM_3, r"sam[-_ .]?3\.pt", r"^(model\.)?detector\.(backbone|geometry_encoder)\.",
                 ("sam3_tracker",)),
    _Unsupported("SAM-Med3D", "it segments volumes at once; for each slice use SAM, MedSAM or micro-sam",
                 r"sam[-_ ]?med[-_ ]?3d", r"(^|\.)image_encoder\.patch_embed\.proj\.weight$", axes=5),
    _Unsupported("SAM with LoRA layers", _SAMS, r"sam[-_ ]?lora|samed",
                 r"(^|\.)image_encoder\..*(\.linear_[ab]_[qv]|\.base_layer\.)|^w_[ab]_\d{3}$"
                 r"|(?<!sam\.)(?<![a-z_])image_encoder\..*\.lora_A$"),
    _Unsupported("DINOv2 or DINOv3 (its authors' layout)",
                 "as transformers' folder it is: hf download facebook/dinov2-base, then import that folder",
                 r"dinov[23]_vit[a-z0-9]+(_reg4)?_pretrain",
                 r"^(teacher\.|module\.|backbone\.)*blocks\.(\d+\.)+ls1\.gamma$"),
    _Unsupported("EfficientSAM", _SAMS, r"efficient[-_ ]?sam",
                 r"(^|\.)mask_decoder\.(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.(fc|layers\.\d+\.\d+)\."),
    _Unsupported("FastSAM", _SAMS, r"fast[-_ ]?sam"),
    _Unsupported("Cellpose DINO", _CELLS, r"cpdino", r"^(module\.)?encoder\.storage_tokens$"),
    _Unsupported("Cellpose 3", _CELLS, r"cellpose(?![-_ ]?sam)|omnipose|cyto\d?(torch)?",
                 r"(^|\.)downsample\.down\.res_down_\d"),
    _Unsupported("StarDist", _CELLS, r"stardist"),
    _Unsupported("InstanSeg", _CELLS, r"instanseg", r"(^|\.)pixel_classifier\."),
    _Unsupported("nnU-Net", "for classes choose a model of the form Semantic", r"nn[-_ ]?u[-_ ]?net",
                 r"^network_weights\."),
    _Unsupported("EfficientPS's own checkpoint", "its layout is not known; its networks in this package's format are "
                 "read, and for objects and background there is Mask2Former in Panoptic", r"efficient[-_ ]?ps"),
    _Unsupported("EfficientTAM", "to follow objects use SAM 2.1 or EdgeTAM", r"efficient[-_ ]?tam"),
    _Unsupported("HyperDETR", "Apple ships it inside iOS and has published no weights; Mask2Former in Panoptic does "
                 "the same job", r"hyper[-_ ]?detr"),
    _Unsupported("Grounding DINO's own checkpoint",
                 "transformers' folder is: hf download IDEA-Research/grounding-dino-tiny, then import "
                 "hf:IDEA-Research/grounding-dino-tiny", r"grounded[-_ ]?sam|groundingdino[-_]swin\w*",
                 r"(^|\.)(encoder\.text_layers|text_backbone)\."),
)  # fmt: skip


def unsupported_weights(
    path: Path, tensors: Mapping[str, tuple[int, ...]] | None = None, config: Mapping[str, Any] | None = None
) -> str:
    """Return a message about the unsupported model in a file or folder; empty if none is recognised.

    The message continues a sentence that starts with the path.

    Parameters
    ----------
    path : Path
        The file or folder.
    tensors : mapping of str to tuple of int, optional
        Shapes of its tensors. If they cannot be read, only the names of file and folder are checked.
    config : mapping, optional
        Its ``config.json``.
    """
    kind = (config or {}).get("model_type")
    for model in _MODELS:
        by_name = model.by_name and model.is_named_in(path.name)
        if by_name or kind in model.kinds or any(model.has(name, shape) for name, shape in (tensors or {}).items()):
            return f"is a {model.name} checkpoint: not supported yet; {model.instead}"
    if tensors:
        return ""
    if _is_stardist(path):
        return f"is a StarDist model: not supported yet; {_CELLS}"
    named = unsupported_name(path.name)
    return f"has the name of a model that is not supported yet: {named}" if named else ""


def unsupported_name(text: str) -> str:
    """Return a message if a file or model has the name of an unsupported model; empty if it has not."""
    for model in _MODELS:
        if model.is_named_in(text):
            return f"{model.name} is not supported yet; {model.instead}"
    return ""


def _is_stardist(path: Path) -> bool:
    """Return whether a path is a StarDist folder, or its weights in HDF5, according to the JSON in the folder."""
    folder = path if path.is_dir() else path.parent
    try:
        config = json.loads(read_small_text(folder / "config.json"))
    except (OSError, ValueError, RecursionError):
        return False
    keras = path.is_dir() or path.suffix in (".h5", ".hdf5", ".json")
    return keras and isinstance(config, dict) and "n_rays" in config

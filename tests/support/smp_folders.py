"""Small networks of segmentation_models_pytorch, saved by itself."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

__all__ = ["saved", "with_classes"]

#: Small settings of networks whose own are large.
_SMALL: dict[str, dict[str, Any]] = {
    "Segformer": {"encoder_name": "mit_b0", "decoder_segmentation_channels": 32},
    "DPT": {
        "encoder_name": "tu-vit_tiny_patch16_224",
        "dynamic_img_size": True,
        "decoder_intermediate_channels": [8, 8, 16, 16],
        "decoder_fusion_channels": 16,
    },
}


def saved(folder: Path, kind: str = "Unet", **settings: Any) -> Any:
    """Save a network with random numbers that tells its classes apart, and return it."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    given = {"encoder_name": "resnet18", "classes": 3, **_SMALL.get(kind, {}), **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = getattr(smp, kind)(encoder_weights=None, **given)
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.05)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.startswith("segmentation_head") and name.endswith("weight"):
            value.mul_(30)
    network.eval().save_pretrained(folder, dataset="more")
    return network


def with_classes(folder: Path, content: Any) -> Path:
    """Write ``classes.json`` into a folder."""
    (folder / "classes.json").write_text(json.dumps(content), "utf-8")
    return folder

"""Write tests/data/cellpose/outputs.npz: what cellpose itself makes of the small network and pictures.

Runs where cellpose 4.2 is installed, which the project does not need: ``PYTHONPATH=. python
tests/oracles/cellpose_outputs.py``. The full network's names and shapes are in cellpose_sam.json of the same folder.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cellpose.models
import cellpose.vit
import numpy as np
import segment_anything
import torch
from cellpose.dynamics import labels_to_flows, resize_and_compute_masks
from segment_anything.modeling import ImageEncoderViT
from skimage.io import imread
from skimage.segmentation import relabel_sequential

from tests.support.small_cellpose import SHAPES, pictures, weights

FOLDER = Path(__file__).parents[1] / "data" / "cellpose"


def small(_checkpoint: Any) -> Any:
    """Return what stands for SAM ViT-L."""
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    encoder = ImageEncoderViT(
        img_size=1024, patch_size=16, embed_dim=32, depth=3, num_heads=2, out_chans=16, norm_layer=norm,
        use_rel_pos=True, window_size=14, global_attn_indexes=(1,),
    )  # fmt: skip
    return SimpleNamespace(image_encoder=encoder)


def objects() -> dict[str, Any]:
    """Return the flows of annotated objects, and the objects that cellpose makes of them."""
    found = {}
    for name in ("nuclei", "tissue"):
        truth = relabel_sequential(imread(FOLDER.parent / f"{name}-truth.png").astype(np.int32))[0]
        _, inside, *flows = labels_to_flows([truth], device=torch.device("cpu"))[0]
        flows = np.stack(flows).astype(np.float32)
        probability = np.where(inside > 0, 5, -5).astype(np.float32)
        masks = resize_and_compute_masks(5 * flows, probability, max_size_fraction=1.0)
        found |= {f"{name} flows": flows[:, ::4, ::4].astype(np.float16), f"{name} objects": masks.astype(np.uint16)}
    return found


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with torch.device("meta"):
        full = cellpose.vit.CPSAM().state_dict()
    layout = {name: list(value.shape) for name, value in full.items()}
    (FOLDER / "cellpose_sam.json").write_text(json.dumps(layout))
    cellpose.vit.sam_model_registry = {"vit_l": small}
    assert {n: tuple(v.shape) for n, v in cellpose.vit.CPSAM().state_dict().items()} == dict(SHAPES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small"
        torch.save({name: torch.from_numpy(value) for name, value in weights().items()}, path)
        model = cellpose.models.CellposeModel(
            pretrained_model=str(path), device=torch.device("cpu"), use_bfloat16=False
        )
        found = {}
        for name, case in pictures().items():
            _, (_, flows, probability), _ = model.eval(
                case["picture"], channel_axis=-1, diameter=case["diameter"], compute_masks=False
            )
            found[name] = np.concatenate([flows, probability[None]])[:, ::5, ::5].astype(np.float32)
    np.savez_compressed(FOLDER / "outputs.npz", **found)
    np.savez_compressed(FOLDER / "objects.npz", **objects())
    cellpose.vit.sam_model_registry = segment_anything.sam_model_registry


if __name__ == "__main__":
    main()

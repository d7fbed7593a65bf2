"""Write the outputs of EdgeTAM's own code (github.com/facebookresearch/EdgeTAM) that its test compares with.

It is a fork of the package sam2 under the same name, so it runs from a checkout, in the environment of
`sam2_outputs.py` and with timm:

    git clone https://github.com/facebookresearch/EdgeTAM /tmp/edgetam
    PYTHONPATH=/tmp/edgetam:. python tests/oracles/edgetam_outputs.py

In `PerceiverResampler.forward_2d` the first ``view`` has to be ``reshape`` for two objects. The weights are random, of
the published size, those of `tests.support.small_sam2`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import sam2.modeling.backbones.timm as backbone
import sam2.sam2_video_predictor as video
import timm
import torch
from hydra import compose
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.transforms import SAM2Transforms

from tests.oracles.sam2_outputs import DATA, FILM
from tests.support.small_sam2 import EDGETAM_WINDOW, edgetam_tensors, picture

SIDE = EDGETAM_WINDOW // 16
DECODER = "++model.sam_mask_decoder_extra_args.dynamic_multimask"
OVERRIDES = [
    f"++model.image_size={EDGETAM_WINDOW}",
    f"++model.memory_attention.layer.self_attention.feat_sizes=[{SIDE},{SIDE}]",
    f"++model.memory_attention.layer.cross_attention.q_sizes=[{SIDE},{SIDE}]",
    f"{DECODER}_via_stability=true",
    f"{DECODER}_stability_delta=0.05",
    f"{DECODER}_stability_thresh=0.98",
    *FILM,
]


def outputs() -> dict[str, np.ndarray]:
    """Return logits and predicted IoU of a point on a picture, and the masks of two objects in a film."""
    make = timm.create_model
    backbone.create_model = timm.create_model = lambda name, **kwargs: make(name, **{**kwargs, "pretrained": False})
    configuration = compose(config_name="configs/edgetam.yaml", overrides=OVERRIDES)
    OmegaConf.resolve(configuration)
    model: Any = instantiate(configuration.model, _recursive_=True).eval()
    model.load_state_dict(edgetam_tensors(), strict=True)
    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(EDGETAM_WINDOW // stride,) * 2 for stride in (4, 8, 16)]
    predictor.set_image(picture(60, 90))
    point = {"point_coords": np.array([[30, 30]]), "point_labels": np.array([1])}
    _, iou, low = predictor.predict(**point, multimask_output=True, return_logits=True)
    found = {"iou": iou, "logits": low[:, ::2, ::2]}
    frames = torch.stack([SAM2Transforms(EDGETAM_WINDOW, 0.0)(picture(24, 40, seed)) for seed in range(7)])
    video.load_video_frames = lambda **_: (frames, 24, 40)
    state = model.init_state("none")
    add = partial(model.add_new_points_or_box, state, 3)
    add(1, points=np.array([[14, 12]], np.float32), labels=np.array([1], np.int32))
    add(2, box=np.array([25, 3, 36, 12], np.float32))
    for reverse in (False, True):
        for frame, _, logits in model.propagate_in_video(state, start_frame_idx=3, reverse=reverse):
            found[f"{'back' if reverse else 'on'} {frame}"] = logits[:, 0].numpy()
    return found


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    np.savez_compressed(DATA / "edgetam.npz", **outputs())
    sys.stdout.write(f"{(DATA / 'edgetam.npz').stat().st_size} bytes\n")

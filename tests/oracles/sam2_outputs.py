"""Write the outputs of the authors' package sam2 1.1.0 that the tests of SAM 2 compare with.

The package does not fit beside this one (hydra, iopath), so it runs in an environment of its own:

    python -m venv /tmp/sam2 && . /tmp/sam2/bin/activate
    pip install torch torchvision setuptools wheel
    SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2==1.1.0
    PYTHONPATH=. python tests/oracles/sam2_outputs.py

The weights are random, those of `tests.support.small_sam2`. Masks that come from clicks are made binary before they
are remembered, as transformers does it, and as the authors' own `build_sam2_video_predictor` has it by default. Masks
as prompts are not compared: the authors remember them at the resolution of the small logits, transformers as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.support.small_sam2 import BLOCKS, GLOBAL, HEADS, WIDTH, WINDOW, WINDOWS, filled, picture, small_layout

DATA = Path(__file__).parents[1] / "data" / "sam2"
TRUNK = "++model.image_encoder.trunk."
SMALL = [
    f"++model.image_size={WINDOW}",
    f"{TRUNK}embed_dim={WIDTH}",
    f"{TRUNK}num_heads={HEADS}",
    f"{TRUNK}stages=[{','.join(map(str, BLOCKS))}]",
    f"{TRUNK}global_att_blocks=[{','.join(map(str, GLOBAL))}]",
    f"{TRUNK}window_spec=[{','.join(map(str, WINDOWS))}]",
    f"++model.image_encoder.neck.backbone_channel_list=[{','.join(str(WIDTH << stage) for stage in (3, 2, 1, 0))}]",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
]
FILM = [
    "++model._target_=sam2.sam2_video_predictor.SAM2VideoPredictor",
    "++model.binarize_mask_from_pts_for_mem_enc=true",
    "++model.fill_hole_area=0",
]


def network(more: list[str]) -> Any:
    """Build the authors' network with the random weights."""
    import sam2  # noqa: F401 - it registers the place of its configurations

    configuration = compose(config_name="configs/sam2.1/sam2.1_hiera_t.yaml", overrides=[*SMALL, *more])
    OmegaConf.resolve(configuration)
    model = instantiate(configuration.model, _recursive_=True)
    model.load_state_dict(filled(small_layout()), strict=True)
    return model.eval()


def pictures() -> dict[str, np.ndarray]:
    """Return logits and predicted IoU of prompts on one picture."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(network([]))
    predictor._bb_feat_sizes = [(WINDOW // stride,) * 2 for stride in (4, 8, 16)]
    rgb = picture(60, 90)
    predictor.set_image(rgb)
    drawn = np.zeros((WINDOW // 4, WINDOW // 4), np.float32) - 6
    drawn[10:20, 8:16] = 6
    prompts: dict[str, dict[str, Any]] = {
        "point": {"point_coords": np.array([[30, 30]]), "point_labels": np.array([1])},
        "points": {"point_coords": np.array([[30, 30], [70, 10]]), "point_labels": np.array([1, 0])},
        "box": {"box": np.array([18, 18, 42, 42])},
        "both": {
            "box": np.array([18, 18, 42, 42]),
            "point_coords": np.array([[25, 40]]),
            "point_labels": np.array([0]),
        },
        "mask": {"mask_input": drawn[None]},
    }
    out = {"input": predictor._transforms(rgb)[None].numpy()[:, :, ::8, ::8]}
    for name, prompt in prompts.items():
        for several in (True, False):
            _, iou, low = predictor.predict(**prompt, multimask_output=several, return_logits=True)
            out[f"{name} {several} logits"] = low
            out[f"{name} {several} iou"] = iou
    return out


def films() -> dict[str, np.ndarray]:
    """Return the masks of two objects in a film, onwards and backwards, and with a correction."""
    import sam2.sam2_video_predictor as video

    frames = [picture(24, 40, seed) for seed in range(7)]
    predictor = network(FILM)
    pixels = torch.stack([predictor_input(frame) for frame in frames])
    video.load_video_frames = lambda **_: (pixels, 24, 40)
    out = {}
    for name in ("two objects", "correction"):
        state = predictor.init_state("none")
        predictor.add_new_points_or_box(
            state, 3, 1, points=np.array([[14, 12]], np.float32), labels=np.array([1], np.int32)
        )
        if name == "two objects":
            predictor.add_new_points_or_box(state, 3, 2, box=np.array([25, 3, 36, 12], np.float32))
        else:
            predictor.add_new_points_or_box(state, 5, 1, box=np.array([12, 5, 23, 14], np.float32))
        for reverse in (False, True):
            found = predictor.propagate_in_video(state, start_frame_idx=3, reverse=reverse)
            for frame, _, logits in found:
                out[f"{name} {'back' if reverse else 'on'} {frame}"] = logits[:, 0].numpy()
    return out


def predictor_input(rgb: np.ndarray) -> torch.Tensor:
    """Return a frame as the authors' picture predictor takes it, so that films see the same."""
    from sam2.utils.transforms import SAM2Transforms

    return SAM2Transforms(WINDOW, 0.0)(rgb)


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    torch.set_grad_enabled(False)
    for file, contents in (("pictures", pictures()), ("films", films())):
        np.savez_compressed(DATA / f"{file}.npz", **contents)
        sys.stdout.write(f"{file}: {len(contents)} arrays, {(DATA / file).with_suffix('.npz').stat().st_size} bytes\n")

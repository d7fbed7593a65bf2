"""Write tests/data/mmseg: scores of small networks of mmsegmentation, and the names and shapes of published ones.

Needs mmsegmentation 1.2.2, mmengine 0.10.7 and mmcv-lite 2.1.0 beside the test requirements; compiled operators,
which the networks here do not call, have stand-ins:

python -m tests.oracles.mmseg_outputs
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_foundseg.models.nets.meta_device import SmallNumbersOnCpu
from tests.support.mmseg_files import FROZEN, filled, picture, write_json


class _StandIn(types.ModuleType):
    """A module whose every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})


sys.modules["mmcv.ops"] = _StandIn("mmcv.ops")

from mmengine.config import Config  # noqa: E402
from mmseg.models import build_segmentor  # noqa: E402
from mmseg.utils import register_all_modules  # noqa: E402

CLASSES = 4
NORM = {"type": "BN", "requires_grad": True}
LAYER_NORM = {"type": "LN", "eps": 1e-6, "requires_grad": True}
BEFORE = {"type": "SegDataPreProcessor", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375],
          "bgr_to_rgb": True, "pad_val": 0, "seg_pad_val": 255}  # fmt: skip


def resnet(depth: int = 18, **more: Any) -> dict[str, Any]:
    return {"type": "ResNetV1c", "depth": depth, "base_channels": 8, "stem_channels": 8, "norm_cfg": NORM,
            "num_stages": 4, "out_indices": (0, 1, 2, 3), "dilations": (1, 1, 2, 4), "strides": (1, 2, 1, 1),
            "style": "pytorch", "contract_dilation": True, **more}  # fmt: skip


def vit(**more: Any) -> dict[str, Any]:
    return {"type": "VisionTransformer", "img_size": (96, 96), "patch_size": 16, "embed_dims": 32, "num_layers": 8,
            "num_heads": 4, "norm_cfg": LAYER_NORM, "interpolate_mode": "bilinear", **more}  # fmt: skip


def head(kind: str, inside: Any, channels: int = 16, **more: Any) -> dict[str, Any]:
    return {"type": kind, "in_channels": inside, "in_index": 3, "channels": channels, "num_classes": CLASSES,
            "norm_cfg": NORM, "align_corners": False, **more}  # fmt: skip


STRIDED = {"dilations": (1, 1, 1, 1), "strides": (1, 2, 2, 2)}
ALL = {"in_index": [0, 1, 2, 3]}
WIDTHS = [8, 16, 32, 64]
ASIDE = head("FCNHead", 32, in_index=2, num_convs=1, concat_input=False)
UNET = {"type": "UNet", "base_channels": 8, "norm_cfg": NORM}
SMALL: dict[str, dict[str, Any]] = {
    "fcn": {"backbone": resnet(), "decode_head": head("FCNHead", 64, num_convs=2), "auxiliary_head": ASIDE},
    "fcn-d6-769": {
        "backbone": resnet(dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1)),
        "decode_head": head("FCNHead", 64, num_convs=2, dilation=6, align_corners=True),
    },
    "pspnet": {"backbone": resnet(50, base_channels=4), "decode_head": head("PSPHead", 128)},
    "pspnet-v1d": {"backbone": resnet(50, type="ResNetV1d", base_channels=4, **STRIDED),
                   "decode_head": head("PSPHead", 128)},
    "deeplabv3": {"backbone": resnet(type="ResNet"), "decode_head": head("ASPPHead", 64, dilations=(1, 12, 24, 36))},
    "deeplabv3-mg124": {
        "backbone": resnet(50, base_channels=4, dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1), multi_grid=(1, 2, 4)),
        "decode_head": head("ASPPHead", 128, dilations=(1, 6, 12, 18)),
    },
    "deeplabv3plus": {
        "backbone": resnet(),
        "decode_head": head("DepthwiseSeparableASPPHead", 64, dilations=(1, 12, 24, 36), c1_in_channels=8,
                            c1_channels=6),
    },
    "fpn": {
        "backbone": resnet(**STRIDED),
        "neck": {"type": "FPN", "in_channels": WIDTHS, "out_channels": 16, "num_outs": 4},
        "decode_head": head("FPNHead", [16] * 4, 12, feature_strides=[4, 8, 16, 32], **ALL),
    },
    "upernet": {"backbone": resnet(**STRIDED), "decode_head": head("UPerHead", WIDTHS, **ALL), "auxiliary_head": ASIDE},
    "upernet-swin": {
        "backbone": {"type": "SwinTransformer", "embed_dims": 16, "depths": [2, 2, 1, 1], "num_heads": [1, 2, 4, 8],
                     "window_size": 4, "norm_cfg": {"type": "LN", "requires_grad": True}},
        "decode_head": head("UPerHead", [16, 32, 64, 128], **ALL),
    },
    "segformer": {
        "backbone": {"type": "MixVisionTransformer", "embed_dims": 8, "num_layers": [1, 2, 1, 1],
                     "num_heads": [1, 2, 5, 8], "patch_sizes": [7, 3, 3, 3], "sr_ratios": [8, 4, 2, 1]},
        "decode_head": head("SegformerHead", [8, 16, 40, 64], **ALL),
    },
    "setr-naive": {
        "backbone": vit(out_indices=(1, 3, 5, 7)),
        "decode_head": head("SETRUPHead", 32, num_convs=1, up_scale=4, kernel_size=1),
        "auxiliary_head": [head("SETRUPHead", 32, in_index=i, num_convs=1, up_scale=4, kernel_size=1)
                           for i in (0, 1, 2)],
    },
    "setr-pup": {"backbone": vit(out_indices=(1, 3, 5, 7)),
                 "decode_head": head("SETRUPHead", 32, num_convs=4, up_scale=2, kernel_size=3)},
    "setr-mla": {
        "backbone": vit(out_indices=(1, 3, 5, 7), with_cls_token=False),
        "neck": {"type": "MLANeck", "in_channels": [32] * 4, "out_channels": 16, "norm_cfg": NORM,
                 "act_cfg": {"type": "ReLU"}},
        "decode_head": head("SETRMLAHead", (16,) * 4, 32, mla_channels=8, **ALL),
    },
    "unet-fcn": {"backbone": UNET, "decode_head": head("FCNHead", 8, 8, in_index=4, num_convs=1, concat_input=False),
                 "auxiliary_head": head("FCNHead", 16, in_index=3, num_convs=1, concat_input=False),
                 "test_cfg": {"mode": "slide", "crop_size": (96, 96), "stride": (63, 63)}},
    "unet-deeplabv3": {"backbone": UNET, "decode_head": head("ASPPHead", 8, 8, in_index=4, dilations=(1, 12, 24, 36))},
    "unet-sigmoid": {"backbone": UNET, "decode_head": head("FCNHead", 8, 8, in_index=4, num_convs=1, num_classes=2,
                                                           out_channels=1, threshold=0.4, concat_input=False,
                                                           loss_decode={"type": "CrossEntropyLoss",
                                                                        "use_sigmoid": True})},
}  # fmt: skip
#: Published configurations whose names and shapes are kept, by the names of their files in the wheel.
PUBLISHED = (
    "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024", "fcn/fcn_r101-d8_4xb4-160k_ade20k-512x512",
    "deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024",
    "deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024",
    "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024",
    "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024", "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512",
    "upernet/upernet_r50_4xb4-160k_ade20k-512x512", "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
    "segformer/segformer_mit-b5_8xb2-160k_ade20k-640x640", "setr/setr_vit-l_naive_8xb2-160k_ade20k-512x512",
    "setr/setr_vit-l_pup_8xb2-160k_ade20k-512x512", "setr/setr_vit-l_mla_8xb2-160k_ade20k-512x512",
    "unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64",
    "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
)  # fmt: skip


def shapes_of(network: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def main() -> None:
    register_all_modules()
    FROZEN.mkdir(exist_ok=True)
    inputs = torch.as_tensor(picture()).float().movedim(-1, 0)[None]
    mean, std = (torch.tensor(BEFORE[part])[:, None, None] for part in ("mean", "std"))
    facts, scores = {}, {}
    for name, parts in SMALL.items():
        settings = {"type": "EncoderDecoder", "data_preprocessor": BEFORE, "test_cfg": {"mode": "whole"}, **parts}
        config = Config({"model": settings})
        network = build_segmentor(config.model).eval()
        shapes = shapes_of(network)
        network.load_state_dict(filled({name: tuple(shape) for name, shape in shapes.items()}))
        with torch.inference_mode():
            found = network.encode_decode((inputs - mean) / std, [{"img_shape": inputs.shape[-2:]}])[0].numpy()
        facts[name] = {"config": config.pretty_text, "shapes": shapes}
        scores[name] = found[:, ::4, ::4]
        print(name, len(shapes), found.std(), np.unique(found.argmax(0)))  # noqa: T201
    write_json(FROZEN / "networks.json.gz", facts)
    np.savez_compressed(FROZEN / "scores.npz", **scores)

    import mmseg

    published = {}
    for name in PUBLISHED:
        config = Config.fromfile(Path(mmseg.__file__).parent / ".mim" / "configs" / f"{name}.py")
        config.model.pretrained = None
        config.model.backbone.init_cfg = None
        with torch.device("meta"), SmallNumbersOnCpu():
            shapes = shapes_of(build_segmentor(config.model))
        published[name.partition("/")[2]] = {f"state_dict.{key}": shape for key, shape in shapes.items()}
    write_json(FROZEN / "published.json.gz", published)


if __name__ == "__main__":
    main()

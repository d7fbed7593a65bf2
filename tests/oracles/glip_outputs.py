"""Write tests/data/glip: what mmdetection's own GLIP gives for small networks, and the names of their tensors.

Needs mmdet 3.3.0, mmengine 0.10.7, mmcv-lite 2.1.0 and transformers 4.40 beside the test requirements, and a C++
compiler: mmcv's own operator of the deformable convolution is compiled from the sources in its wheel. Boxes are
suppressed by a plain loop. Run where these are installed: ``PYTHONPATH=. python -m tests.oracles.glip_outputs``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import types
from functools import partial
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from torch.utils.cpp_extension import load

from tests.support.mmseg_files import write_json
from tests.support.small_glip import FROZEN, KINDS, PHRASES, SIDES, VOCABULARY, picture, tensors, write_vocabulary

_BINDING = """
#include <torch/extension.h>
void modulated_deform_conv_forward(
    at::Tensor input, at::Tensor weight, at::Tensor bias, at::Tensor ones, at::Tensor offset, at::Tensor mask,
    at::Tensor output, at::Tensor columns, int kernel_h, int kernel_w, const int stride_h, const int stride_w,
    const int pad_h, const int pad_w, const int dilation_h, const int dilation_w, const int group,
    const int deformable_group, const bool with_bias);
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("forward", &modulated_deform_conv_forward); }
"""


def _operator(folder: Path) -> Any:
    """Compile mmcv's operator."""
    sources = Path(mmcv.__file__).parent / "ops" / "csrc" / "pytorch"
    (folder / "binding.cpp").write_text(_BINDING)
    shutil.copy(sources / "cpu" / "modulated_deform_conv.cpp", folder / "on_cpu.cpp")
    files = [folder / "binding.cpp", folder / "on_cpu.cpp", sources / "modulated_deform_conv.cpp"]
    include = [str(sources), str(sources.parent / "common")]
    return load("glip_operator", [str(one) for one in files], extra_include_paths=include, build_directory=str(folder))


class _Operators(types.ModuleType):
    """mmcv's compiled operators: the two that GLIP calls, and what fails of all others."""

    def __init__(self, convolution: Any) -> None:
        super().__init__("mmcv._ext")
        self.convolution = convolution

    def modulated_deform_conv_forward(self, *tensors: torch.Tensor, **sizes: Any) -> None:
        names = ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "group",
                 "deformable_group", "with_bias")  # fmt: skip
        self.convolution.forward(*tensors, *(sizes[name] for name in names))

    def nms(self, boxes: torch.Tensor, scores: torch.Tensor, *, iou_threshold: float, offset: int) -> torch.Tensor:
        assert offset == 0
        kept: list[int] = []
        for i in scores.argsort(descending=True).tolist():
            if all(_iou(boxes[i].tolist(), boxes[j].tolist()) <= iou_threshold for j in kept):
                kept.append(i)
        return torch.tensor(kept, dtype=torch.long)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(_refuse, name)


def _refuse(name: str, *_: Any, **__: Any) -> None:
    raise NotImplementedError(name)


def _iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (a, b)]
    return width * height / (sum(areas) - width * height)


def _settings(bert: Path, *, fused: bool) -> dict[str, Any]:
    return {
        "type": "GLIP",
        "data_preprocessor": {"type": "DetDataPreprocessor", "mean": [103.53, 116.28, 123.675],
                              "std": [57.375, 57.12, 58.395], "bgr_to_rgb": False, "pad_size_divisor": 32},
        "backbone": {"type": "SwinTransformer", "embed_dims": 16, "depths": [1, 2, 2, 1], "num_heads": [1, 2, 4, 8],
                     "window_size": 4, "out_indices": (1, 2, 3), "convert_weights": False},
        "neck": {"type": "FPN", "in_channels": [32, 64, 128], "out_channels": 32, "start_level": 0,
                 "relu_before_extra_convs": True, "add_extra_convs": "on_output", "num_outs": 5},
        "bbox_head": {"type": "ATSSVLFusionHead", "lang_model_name": str(bert), "num_classes": 80, "in_channels": 32,
                      "feat_channels": 32, "early_fuse": fused, "num_dyhead_blocks": 2,
                      "anchor_generator": {"type": "AnchorGenerator", "ratios": [1.0], "octave_base_scale": 8,
                                           "scales_per_octave": 1, "strides": [8, 16, 32, 64, 128],
                                           "center_offset": 0.5},
                      "bbox_coder": {"type": "DeltaXYWHBBoxCoderForGLIP", "target_means": [0.0] * 4,
                                     "target_stds": [0.1, 0.1, 0.2, 0.2]}},
        "language_model": {"type": "BertModel", "name": str(bert)},
        "test_cfg": {"nms_pre": 1000, "min_bbox_size": 0, "score_thr": 0.05,
                     "nms": {"type": "nms", "iou_threshold": 0.6}, "max_per_img": 100},
    }  # fmt: skip


def _bert(folder: Path) -> Path:
    """Write a small BERT, whose weights are replaced."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    config = BertConfig(vocab_size=len(VOCABULARY), hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=256)  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(write_vocabulary(folder))).save_pretrained(folder)
    return folder


def _found(network: Any, rgb: Any) -> dict[str, Any]:
    """Return boxes, scores, numbers of phrases, and the logits of the text's tokens, of all levels."""
    from mmdet.datasets.transforms import FixScaleResize, PackDetInputs

    seen = {"img": rgb[..., ::-1].copy(), "img_shape": rgb.shape[:2], "ori_shape": rgb.shape[:2]}
    seen = FixScaleResize(scale=SIDES, keep_ratio=True, backend="pillow").transform(seen)
    seen |= {"text": PHRASES, "custom_entities": True}
    keys = ("ori_shape", "img_shape", "scale_factor", "text", "custom_entities")
    packed = PackDetInputs(meta_keys=keys).transform(seen)
    logits: list[torch.Tensor] = []
    hook = network.bbox_head.head.register_forward_hook(lambda _module, _args, out: logits.extend(out[2]))
    with torch.inference_mode():
        (sample,) = network.test_step({"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]})
    hook.remove()
    count = len(network.language_model.tokenizer(". ".join(PHRASES))["input_ids"])
    boxes = sample.pred_instances
    return {"boxes": boxes.bboxes.numpy(), "scores": boxes.scores.numpy(), "phrases": boxes.labels.numpy(),
            "logits": torch.cat(logits, 1)[0, :, :count].numpy()}  # fmt: skip


def main() -> None:
    """Write the files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sys.modules["mmcv._ext"] = _Operators(_operator(folder))
        from mmdet.models.dense_heads import atss_vlfusion_head
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules
        from mmengine.config import ConfigDict

        register_all_modules()
        # Its widths are those of the published networks and can be set here only.
        atss_vlfusion_head.VLFuse = partial(atss_vlfusion_head.VLFuse, v_dim=32, l_dim=128, embed_dim=64)
        FROZEN.mkdir(exist_ok=True)
        bert = _bert(folder)
        for kind in KINDS:
            network = MODELS.build(ConfigDict(_settings(bert, fused=kind == "fused"))).eval()
            shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
            write_json(FROZEN / f"{kind}.json.gz", shapes)
            network.load_state_dict(tensors({key: tuple(shape) for key, shape in shapes.items()}))
            kept: dict[str, Any] = {}
            for number, shape in enumerate(((70, 110), (128, 90))):
                kept |= {f"{key}{number}": value for key, value in _found(network, picture(shape)).items()}
            np.savez_compressed(FROZEN / f"{kind}.npz", **kept)
            spread = [(key, value.shape, float(value.std())) for key, value in kept.items()]
            print(kind, spread, np.bincount(kept["phrases0"]))  # noqa: T201


if __name__ == "__main__":
    main()

"""DETR's panoptic models in their authors' layout give what transformers gives of the same weights."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from numpy.typing import NDArray
from safetensors.torch import load_file
from skimage.io import imread

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.io.samples import sample
from napari_foundseg.models import loading
from napari_foundseg.models.catalog import packaged, save_row
from napari_foundseg.models.families.classes.detr import recognise
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from tests.support import tiny_checkpoints

CLASSES = 6
#: From the names of transformers' folders back to the authors', written from the authors' source.
BACK = [
    (r"^detr\.model\.backbone\.conv_encoder\.model\.embedder\.embedder\.convolution", "detr.backbone.0.body.conv1"),
    (r"^detr\.model\.backbone\.conv_encoder\.model\.embedder\.embedder\.normalization", "detr.backbone.0.body.bn1"),
    (r"^detr\.model\.input_projection", "detr.input_proj"),
    (r"^detr\.model\.query_position_embeddings", "detr.query_embed"),
    (r"^detr\.class_labels_classifier", "detr.class_embed"),
    (r"^detr\.bbox_predictor", "detr.bbox_embed"),
    (r"^detr\.model\.decoder\.layernorm", "detr.transformer.decoder.norm"),
    (r"^(detr)\.model\.(encoder\.layers\.\d+)\.final_layer_norm", r"\1.transformer.\2.norm2"),
    (r"^(detr)\.model\.(decoder\.layers\.\d+)\.final_layer_norm", r"\1.transformer.\2.norm3"),
    (r"^(detr)\.model\.(decoder\.layers\.\d+)\.encoder_attn_layer_norm", r"\1.transformer.\2.norm2"),
    (r"^(detr)\.model\.((?:en|de)coder\.layers\.\d+)\.self_attn_layer_norm", r"\1.transformer.\2.norm1"),
    (r"^(detr)\.model\.((?:en|de)coder\.layers\.\d+)\.fc(\d)", r"\1.transformer.\2.linear\3"),
    (r"^(detr)\.model\.(decoder\.layers\.\d+)\.encoder_attn", r"\1.transformer.\2.multihead_attn"),
    (r"^(detr)\.model\.((?:en|de)coder\.layers\.\d+)\.self_attn", r"\1.transformer.\2.self_attn"),
]
STAGE = re.compile(r"^detr\.model\.backbone\.conv_encoder\.model\.encoder\.stages\.(\d)\.layers\.(\d+)\.(.*)$")


def authors_name(name: str) -> str:
    if match := STAGE.match(name):
        stage, layer, rest = int(match[1]) + 1, match[2], match[3]
        rest = re.sub(r"^shortcut\.convolution", "downsample.0", rest)
        rest = re.sub(r"^shortcut\.normalization", "downsample.1", rest)
        rest = re.sub(r"^layer\.(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}", rest)
        rest = re.sub(r"^layer\.(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}", rest)
        return f"detr.backbone.0.body.layer{stage}.{layer}.{rest}"
    for pattern, new in BACK:
        name, found = re.subn(pattern, new, name)
        if found:
            break
    return name


def authors_layout(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors of a folder of transformers as DETR's authors publish them."""
    named = {authors_name(name): value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    for name in [name for name in named if ".q_proj." in name]:
        parts = [named.pop(name.replace(".q_proj.", f".{kind}_proj.")) for kind in "qkv"]
        named[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return named


def network() -> Any:
    torch.manual_seed(0)
    names = {i: f"class {i}" for i in range(CLASSES)}
    backbone = tf.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 2, 1, 1], layer_type="bottleneck",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = tf.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=64,
        encoder_layers=2, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=8,
        decoder_attention_heads=8, num_queries=9, id2label=names, label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    made = tf.DetrForSegmentation(config)
    # No query says that there is nothing.
    made.detr.class_labels_classifier.bias.data[-1] = -50
    return made


def _authors_file(folder: Path) -> list[Path]:
    tiny_checkpoints._save(network(), folder / "folder")
    torch.save({"model": authors_layout(load_file(folder / "folder" / "model.safetensors"))}, folder / "detr.pth")
    return [folder / "detr.pth"]


TINY_WEIGHTS = {"detr": _authors_file}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of transformers, and beside it the same weights as the authors publish them."""
    tiny_checkpoints._save(network(), tmp_path / "folder")
    tensors = load_file(tmp_path / "folder" / "model.safetensors")
    torch.save({"model": authors_layout(tensors), "epoch": 3}, tmp_path / "detr.pth")
    return tmp_path / "folder"


def tissue() -> NDArray[np.uint8]:
    """Return a picture whose grey values reach from 0 to 255, so that models see it as it is."""
    own = np.ascontiguousarray(imread(sample("tissue"))[:60, :64, :3])
    low, high = np.percentile(own, (0.5, 99.5))
    return np.clip(np.round((own - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def test_the_authors_file_gives_what_transformers_gives(tmp_path: Path, folder: Path) -> None:
    row = import_model(tmp_path / "detr.pth")
    assert (row.family, row.classes) == ("detr", tuple(f"class {i}" for i in range(CLASSES)))
    # Pictures of 800 pixels would take seconds.
    save_row(replace(row, options={**row.options, "shorter": 64, "longest": 96}))
    processor = tf.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}, format="coco_panoptic")
    rgb, own = tissue(), tf.DetrForSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        outputs = own(**processor(images=rgb, return_tensors="pt"))
    options: dict[str, Any] = {"threshold": 0.1, "mask_threshold": 0.0, "overlap_mask_area_threshold": 0.0}
    expected = processor.post_process_panoptic_segmentation(
        outputs, target_sizes=[rgb.shape[:2]], label_ids_to_fuse=set(), **options
    )[0]
    segments = expected["segmentation"].numpy()
    infos = [info for info in expected["segments_info"] if (segments == info["id"]).any()]
    found = fs.panoptic(rgb, model=row.name, **options)
    assert len(found) == len(infos) > 0
    for label, info in enumerate(infos, 1):
        assert np.array_equal(found.labels == label, segments == info["id"])
        assert found.table["class"][label - 1] == info["label_id"] + 1
    semantic = processor.post_process_semantic_segmentation(outputs, target_sizes=[rgb.shape[:2]])[0].numpy() + 1
    assert np.array_equal(fs.semantic(rgb, model=row.name).labels, semantic)
    stack = fs.panoptic(np.stack([rgb, rgb]), model=row.name, axes="ZYXC", link=True, **options)
    assert len(stack) == len(found), "the same in both slices is one object"


def test_an_incomplete_or_dilated_file_is_named(tmp_path: Path, folder: Path) -> None:
    content = torch.load(tmp_path / "detr.pth", weights_only=True)
    torch.save(content, tmp_path / "detr-r50-dc5-panoptic-da08f1b1.pth")
    with pytest.raises(CheckpointError, match="DC5"):
        import_model(tmp_path / "detr-r50-dc5-panoptic-da08f1b1.pth")
    del content["model"]["mask_head.lay3.weight"]
    torch.save(content, tmp_path / "part.pth")
    row = import_model(tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"lack 1 of the tensors"):
        fs.semantic(tissue(), model=row.name)


@pytest.mark.parametrize(
    ("name", "depths"), [("detr-r50-panoptic", (3, 4, 6, 3)), ("detr-r101-panoptic", (3, 4, 23, 3))]
)
def test_the_published_files_are_known_by_their_tensors(name: str, depths: tuple[int, ...]) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "model.detr.transformer.encoder.layers.0.self_attn.in_proj_weight": (768, 256),
        "model.bbox_attention.q_linear.weight": (256, 256),
        "model.detr.class_embed.weight": (251, 256),
    }
    for stage, depth in enumerate(depths, 1):
        shapes |= {f"model.detr.backbone.0.body.layer{stage}.{i}.conv3.weight": (1,) for i in range(depth)}
    row, fields = packaged()[name], recognise(WeightsView(Path(packaged()[name].file), shapes, {}))
    assert fields is not None
    assert (fields["options"], fields["classes"]) == (row.options, row.classes)
    assert row.classes[1] == "person"
    assert row.classes[200] == "rug-merged"

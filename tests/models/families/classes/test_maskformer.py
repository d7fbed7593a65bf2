"""Mask2Former and MaskFormer in their authors' layout equal transformers' networks of the same weights."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from skimage.io import imread
from torch import nn
from transformers import Mask2FormerImageProcessor, MaskFormerImageProcessor
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.cli import app
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.io.samples import sample
from napari_foundseg.models import loading
from napari_foundseg.models.catalog import row as row_of
from napari_foundseg.models.class_sets import CLASS_SETS
from napari_foundseg.models.families.classes.maskformer import recognise
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.classes.maskformer import names, parts, sizes
from napari_foundseg.models.protocols.classes import PanopticOptions
from tests.support import maskformer_layout

#: With these nothing that a model proposes is dropped.
EVERYTHING = {"threshold": 0.01, "mask_threshold": 0.0, "overlap_mask_area_threshold": 0.0}
SMALL = {"shorter": "64", "longest": "96"}
MAKERS = {"Mask2Former": maskformer_layout.mask2former, "MaskFormer": maskformer_layout.maskformer}


def _files(folder: Path) -> list[Path]:
    return [
        maskformer_layout.write(
            maskformer_layout.authors_names(MAKERS[title](kind)), folder / f"{title}_{kind}{suffix}"
        )
        for title, kind, suffix in (("Mask2Former", "swin", ".pkl"), ("MaskFormer", "resnet", ".pth"))
    ]


TINY_WEIGHTS = {"maskformer": _files}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


def tissue() -> NDArray[np.uint8]:
    return np.ascontiguousarray(imread(sample("tissue"))[:60, :80, :3]) // 2 + 40


def by_the_library(network: nn.Module, rgb: NDArray[np.uint8], kind: str, **options: Any) -> Any:
    """Run transformers' own network, processor and post-processing."""
    second = "2" in type(network).__name__
    processor: Any = (Mask2FormerImageProcessor if second else MaskFormerImageProcessor)(
        size={"shortest_edge": 64, "longest_edge": 96},
        image_mean=[part / 255 for part in (123.675, 116.28, 103.53)],
        image_std=[part / 255 for part in (58.395, 57.12, 57.375)],
    )
    with torch.inference_mode():
        outputs = network(**processor(images=rgb, return_tensors="pt"))
    process = getattr(processor, f"post_process_{kind}_segmentation")
    return process(outputs, target_sizes=[rgb.shape[:2]], **options)[0]


def imported(path: Path, name: str, **facts: str) -> str:
    """Import by the command line, which says what it assumed."""
    said = [text for fact, value in facts.items() for text in ("--set", f"{fact}={value}")]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["models", "import", str(path), "--name", name, *said])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("kind", ["swin", "resnet"])
@pytest.mark.parametrize("title", MAKERS)
def test_a_file_of_the_authors_gives_what_the_library_gives(tmp_path: Path, title: str, kind: str, suffix: str) -> None:
    network = MAKERS[title](kind)
    path = maskformer_layout.write(maskformer_layout.authors_names(network), tmp_path / f"model_final{suffix}")
    said = imported(path, "mine", classes="cell, nucleus, debris, tissue, glass", **SMALL)
    assert title in said
    assert "assumed" not in said, "all of it was said"
    rgb = tissue()
    semantic = fs.semantic(rgb, model="mine")
    expected = by_the_library(network, rgb, "semantic").numpy() + 1
    assert len(np.unique(expected)) > 1
    assert np.array_equal(semantic.labels, expected)
    assert [entry.name for entry in semantic.classes] == ["cell", "nucleus", "debris", "tissue", "glass"]
    stack = fs.semantic(np.stack([rgb, rgb[::-1]]), model="mine", axes="ZYXC")
    assert np.array_equal(stack.labels[0], expected)

    segments = by_the_library(network, rgb, "panoptic", label_ids_to_fuse=set(), **EVERYTHING)
    shown = segments["segmentation"].numpy()
    infos = [info for info in segments["segments_info"] if (shown == info["id"]).any()]
    assert len(infos) > 1
    found = fs.panoptic(rgb, model="mine", method="segments", **EVERYTHING)
    assert found.table["class"].tolist() == [info["label_id"] + 1 for info in infos]
    for label, info in enumerate(infos, 1):
        assert np.array_equal(found.labels == label, shown == info["id"])
    objects = by_the_library(network, rgb, "instance", threshold=0.01)
    masks = load_model("mine").instances(rgb, PanopticOptions(threshold=0.01))
    shown = objects["segmentation"].numpy()
    there = [info for info in objects["segments_info"] if (shown == info["id"]).any()]
    assert [mask.class_id for mask in masks] == [info["label_id"] + 1 for info in there]
    assert [mask.area for mask in masks] == [int((shown == info["id"]).sum()) for info in there]


def with_parts(**attributes: Any) -> nn.Module:
    """Return a MaskFormer with parts that transformers lacks."""
    plain = maskformer_layout.maskformer("resnet")
    config = plain.config
    for name, value in attributes.items():
        setattr(config, name, value)
    torch.manual_seed(4)
    return maskformer_layout.lively(parts.MaskFormerWithParts(config))


def test_the_encoder_of_the_coarsest_map_is_detrs() -> None:
    """The layers of torch itself, and transformers' encoding of places."""
    from transformers.models.maskformer.modeling_maskformer import MaskFormerSinePositionEmbedding

    torch.manual_seed(2)
    coarsest = torch.randn(2, 24, 5, 7)
    backbone = nn.Module()
    backbone.forward = lambda _: type("Maps", (), {"feature_maps": (torch.zeros(1), coarsest)})
    encoded = parts.Encoded(backbone, 24, 32, [40, 40])
    places = MaskFormerSinePositionEmbedding(num_position_features=16, normalize=True)(
        coarsest.shape, device=torch.device("cpu"), dtype=torch.float32
    )
    places = places.flatten(2).transpose(1, 2) if places.ndim == 4 else places
    x = encoded.projection(coarsest).flatten(2).transpose(1, 2)
    for block in encoded.blocks:
        attention = nn.MultiheadAttention(32, 8, batch_first=True)
        part = block.attention
        attention.load_state_dict(
            {
                "in_proj_weight": torch.cat([part[name].weight for name in "qkv"]),
                "in_proj_bias": torch.cat([part[name].bias for name in "qkv"]),
                "out_proj.weight": part["result"].weight,
                "out_proj.bias": part["result"].bias,
            }
        )
        x = block.first_norm(x + attention(x + places, x + places, x)[0])
        x = block.second_norm(x + block.outer(block.inner(x).relu()))
    found = encoded(torch.zeros(1)).feature_maps[-1]
    assert torch.allclose(found, x.transpose(1, 2).reshape(2, 32, 5, 7), atol=1e-5)


@pytest.mark.parametrize(
    "attributes", [{parts.STEM: [8, 8, 16]}, {parts.ENCODING: [40, 40]}, {parts.STEM: [8, 8, 16], parts.ENCODING: [40]}]
)
def test_a_deep_stem_and_an_encoder_are_read(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """R101c, and the files "6 Enc"."""
    network = with_parts(**attributes)
    tensors = maskformer_layout.authors_names(network)
    assert ("backbone.stem.conv3.weight" in tensors) == (parts.STEM in attributes)
    maskformer_layout.write(tensors, tmp_path / "model.pkl")
    imported(tmp_path / "model.pkl", "mine", **SMALL)
    expected = by_the_library(network, tissue(), "instance", threshold=0.01)["segmentation"].numpy()
    masks = load_model("mine").instances(tissue(), PanopticOptions(threshold=0.01))
    areas = np.unique(expected[expected >= 0], return_counts=True)[1]
    assert len(areas) > 2
    assert sorted(mask.area for mask in masks) == sorted(areas)
    last = load_model("mine").network.model.pixel_level_module.encoder
    blocks = getattr(last, "backbone", last).encoder.stages[-1].layers
    assert [block.layer[1].convolution.dilation[0] for block in blocks] == (
        [1, 2] if parts.STEM in attributes else [1, 1]
    )


def test_names_of_the_first_files_are_read(tmp_path: Path) -> None:
    """They had pixel decoders without a name, and another one for the queries."""
    network = maskformer_layout.maskformer("swin")
    tensors = {
        name.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): value
        for name, value in maskformer_layout.authors_names(network).items()
    }
    import_model(maskformer_layout.write(tensors, tmp_path / "old.pkl"), "old", facts=SMALL)
    expected = by_the_library(network, tissue(), "semantic").numpy() + 1
    assert np.array_equal(fs.semantic(tissue(), model="old").labels, expected)
    second = maskformer_layout.authors_names(maskformer_layout.mask2former())
    tensors = {name.replace("query_feat", "static_query"): value for name, value in second.items()}
    import_model(maskformer_layout.write(tensors, tmp_path / "older.pkl"), "older")
    load_model("older")


@pytest.mark.parametrize(
    ("classes", "data_set", "shorter"),
    [(133, "COCO panoptic", 800), (150, "ADE20K", 512), (19, "Cityscapes", 1024), (80, "COCO objects", 800),
     (65, "Mapillary Vistas", 2048), (171, "COCO-Stuff", 640), (100, "ADE20K objects", 640)],
)  # fmt: skip
def test_names_of_classes_are_those_of_the_published_file_and_that_is_said(
    tmp_path: Path, classes: int, data_set: str, shorter: int
) -> None:
    network = maskformer_layout.mask2former("resnet", classes=classes)
    path = maskformer_layout.write(maskformer_layout.authors_names(network), tmp_path / "model_final.pkl")
    said = imported(path, "mine")
    row = row_of("mine")
    assert row.classes == CLASS_SETS[data_set]
    assert row.options["shorter"] == shorter
    assert f"its {classes} classes are those of {data_set}" in " ".join(said.split())
    assert "CC-BY-NC-4.0" in row.weights_licence
    stuff = {entry.name for entry in load_model("mine").classes if entry.kind == "stuff"}
    assert ("wall" in stuff) == (data_set in ("ADE20K", "Cityscapes"))
    assert ("Sky" in stuff) == (data_set == "Mapillary Vistas")


def test_other_classes_have_numbers_until_they_are_named(tmp_path: Path) -> None:
    network = maskformer_layout.maskformer("resnet", classes=8)
    path = maskformer_layout.write(maskformer_layout.authors_names(network), tmp_path / "mine.pth")
    assert "its 8 classes have numbers" in " ".join(imported(path, "mine").split())
    assert row_of("mine").classes[0] == "class 0"
    imported(path, "streets", classes="Cityscapes objects")
    assert row_of("streets").classes == CLASS_SETS["Cityscapes objects"]
    with pytest.raises(CheckpointError, match="8 classes apart, but 2 are named"):
        import_model(path, "wrong", facts={"classes": "a, b"})


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("sem_seg_head.pixel_decoder.mask_features.weight", "mask_features"),
        ("backbone.layers.2.blocks.1.norm1.weight", "lack 1 of the tensors"),
        ("sem_seg_head.predictor.transformer_ffn_layers.1.linear1.bias", "lack 1 of the tensors"),
    ],
)
def test_an_incomplete_file_is_named(tmp_path: Path, lacking: str, words: str) -> None:
    tensors = maskformer_layout.authors_names(maskformer_layout.mask2former())
    del tensors[lacking]
    path = maskformer_layout.write(tensors, tmp_path / "cut.pkl")
    with pytest.raises(CheckpointError, match=words):
        load_model(import_model(path, "cut").name)


def test_a_folder_of_the_hub_lacks_a_norm_that_is_not_run(tmp_path: Path) -> None:
    """transformers 5 has a norm behind Swin's last stage, which backbones do not use and published files lack."""
    network: Any = maskformer_layout.mask2former()
    network.save_pretrained(tmp_path / "hub")
    Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(tmp_path / "hub")
    file = tmp_path / "hub" / "model.safetensors"
    tensors = load_file(file)
    kept = {name: value for name, value in tensors.items() if ".layernorm." not in name or "transformer_module" in name}
    save_file(kept, file, {"format": "pt"})
    load_model(import_model(tmp_path / "hub", "hub").name)
    del kept["class_predictor.bias"]
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match="class_predictor"):
        load_model(import_model(tmp_path / "hub", "cut").name)


def test_other_networks_of_the_authors_are_named(tmp_path: Path) -> None:
    tensors = maskformer_layout.authors_names(maskformer_layout.mask2former())
    tensors["backbone.downsample_layers.0.0.weight"] = torch.zeros(2)
    path = maskformer_layout.write(tensors, tmp_path / "convnext.pkl")
    with pytest.raises(CheckpointError, match=r"downsample_layers.* has no place in Mask2Former"):
        import_model(path)
    baseline = {
        "sem_seg_head.predictor.weight": torch.zeros(5, 8, 1, 1),
        "sem_seg_head.mask_features.weight": torch.zeros(1),
    }
    with pytest.raises(CheckpointError, match="per-pixel baseline"):
        import_model(maskformer_layout.write(baseline, tmp_path / "baseline.pkl"))


@pytest.mark.parametrize(
    ("kind", "changes", "millions"),
    [
        ("swin", {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}, 47.4),
        ("swin", {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12}, 215.5),
        ("resnet", {"embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]}, 44.0),
    ],
)
def test_published_sizes_are_told_from_shapes(
    monkeypatch: pytest.MonkeyPatch, kind: str, changes: dict[str, Any], millions: float
) -> None:
    """Names and shapes on the meta device."""
    monkeypatch.setattr(maskformer_layout, "SWIN", {**maskformer_layout.SWIN, **changes} if kind == "swin" else {})
    monkeypatch.setattr(maskformer_layout, "RESNET", {**maskformer_layout.RESNET, **changes})
    monkeypatch.setattr(maskformer_layout, "lively", lambda network: network)
    widths = dict.fromkeys(("hidden_dim", "feature_size", "mask_feature_size"), 256)
    layers = {"encoder_layers": 6, "decoder_layers": 10, "num_queries": 100}
    published = {**widths, **layers, "encoder_feedforward_dim": 1024, "dim_feedforward": 2048}
    with torch.device("meta"):
        network = maskformer_layout.mask2former(kind, classes=133, **published)
        tensors = maskformer_layout.authors_names(network)
    assert sum(part.numel() for part in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.6)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    fields = recognise(WeightsView(Path("model_final.pkl"), {f"model.{name}": one for name, one in shapes.items()}, {}))
    assert fields is not None
    assert fields["title"] == "Mask2Former " + {47.4: "Swin-T", 215.5: "Swin-L", 44.0: "R50"}[millions]
    config = sizes.config_of(shapes)
    with torch.device("meta"):
        again = type(network)(config)
    assert {n: v.shape for n, v in again.state_dict().items()} == {n: v.shape for n, v in network.state_dict().items()}
    assert len(names.by_new_names(tensors)) > 300

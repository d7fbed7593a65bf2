"""DINO backbones and STEGO models, of our layout and of the published one."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models import catalog
from napari_foundseg.models.files.stego_weights import StegoWeights, save
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.features.vit import VisionTransformer, interpolated_positions, vit_of
from napari_foundseg.models.nets.stego.stego import SegmentationHead
from napari_foundseg.tasks.task_models import tasks_for


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))


def _tiny_vit(side: int = 28, patch: int = 8, dim: int = 64) -> VisionTransformer:
    torch.manual_seed(0)
    net = VisionTransformer(dim, 2, dim // 64, patch, 1 + side * side)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


def _reference(net: VisionTransformer) -> Any:
    own = timm.models.vision_transformer.VisionTransformer(
        img_size=224, patch_size=net.patch, embed_dim=net.dim, depth=2, num_heads=1, num_classes=0, global_pool=""
    )
    own.load_state_dict(net.state_dict())
    return own.eval()


def test_features_equal_timm_at_224_and_keep_their_layer_norm() -> None:
    net = _tiny_vit()
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        expected = _reference(net).forward_features(x)[:, 1:]
        found = net(x)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, atol=2e-5, rtol=1e-4)
    assert net.norm.eps == 1e-6


@pytest.mark.parametrize("size", [(40, 40), (20, 40)])
def test_positions_of_other_sizes_are_dinos(size: tuple[int, int]) -> None:
    """DINO's own code: bicubic by (n + 0.1) / 28, without antialiasing; the sizes come out right."""
    positions = torch.randn(1, 785, 16)
    grid = positions[:, 1:].reshape(1, 28, 28, 16).permute(0, 3, 1, 2)
    factors = ((size[0] + 0.1) / 28, (size[1] + 0.1) / 28)
    expected = torch.nn.functional.interpolate(grid, scale_factor=factors, mode="bicubic")
    found = interpolated_positions(positions, *size)
    assert expected.shape[-2:] == size
    assert torch.equal(found[:, 0], positions[:, 0])
    torch.testing.assert_close(found[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, -1, 16))
    resampled = torch.nn.functional.interpolate(grid, size=size, mode="bicubic", antialias=True)
    assert not torch.allclose(expected, resampled, atol=1e-3)


def test_release_and_hub_folder_give_the_same_features(tmp_path: Path) -> None:
    import transformers

    net = _tiny_vit(side=4)
    torch.save(net.state_dict() | {"head.weight": torch.zeros(3)}, tmp_path / "dino_test_pretrain.pth")
    config = transformers.ViTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=256, image_size=32, patch_size=8,
        layer_norm_eps=1e-12,
    )  # fmt: skip
    hub = transformers.ViTModel(config, add_pooling_layer=False)
    hub.save_pretrained(tmp_path / "hub")
    rgb = np.random.default_rng(0).integers(0, 255, (50, 61, 3)).astype(np.uint8)
    row = import_model(tmp_path / "dino_test_pretrain.pth", "mine")
    assert (row.family, row.protocols, tasks_for(row)) == ("dino", ("FeatureExtractor",), ("find_similar", "cluster"))
    model = load_model("mine")
    assert model.features(rgb).shape == (64, 7, 8)
    assert model.features(rgb).dtype == np.float16
    assert import_model(tmp_path / "hub", "hub").family == "dino"
    from_hub = load_model("hub")
    normalised = (torch.as_tensor(rgb).movedim(-1, 0)[None, :, :32, :32].float() - torch.tensor(
        [123.675, 116.28, 103.53])[:, None, None]) / torch.tensor([58.395, 57.12, 57.375])[:, None, None]  # fmt: skip
    with torch.inference_mode():
        expected = hub.eval()(pixel_values=normalised).last_hidden_state[0, 1:].T.reshape(64, 4, 4)
    found = from_hub.features(np.ascontiguousarray(rgb[:32, :32]))
    np.testing.assert_allclose(found.astype(np.float32), expected.numpy(), atol=5e-3)


@pytest.mark.parametrize(("config", "model", "stride"), [
    ("Dinov2Config", "Dinov2Model", 14),
    ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", 14),
    ("DINOv3ViTConfig", "DINOv3ViTModel", 16),
    ("DINOv3ConvNextConfig", "DINOv3ConvNextModel", 32),
])  # fmt: skip
def test_later_dinos_of_hub_folders(tmp_path: Path, config: str, model: str, stride: int) -> None:
    import transformers

    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": stride}
    if "ConvNext" in config:
        sizes = {"hidden_sizes": [8, 8, 16, 32], "depths": [1, 1, 1, 1]}
    elif "v3" in config:
        sizes["intermediate_size"] = 64
        sizes["num_register_tokens"] = 4
    else:
        sizes["image_size"] = 4 * stride
    getattr(transformers, model)(getattr(transformers, config)(**sizes)).save_pretrained(tmp_path / "folder")
    row = import_model(tmp_path / "folder", "later")
    assert row.family == "dino"
    found = load_model("later").features(np.random.default_rng(0).integers(0, 255, (70, 100, 3)).astype(np.uint8))
    assert found.shape == (32, -(-70 // stride), -(-100 // stride))
    assert np.isfinite(found).all()


class _DictConfig:
    """Stands for omegaconf's, which a checkpoint names and nobody needs."""


def _published(path: Path, extra: Any = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    net = _tiny_vit()
    state = {f"net.model.{name}": value for name, value in net.state_dict().items()}
    shapes = {"net.cluster1.0.weight": (90, 64, 1, 1), "net.cluster1.0.bias": (90,),
              "net.cluster2.0.weight": (64, 64, 1, 1),
              "net.cluster2.0.bias": (64,), "net.cluster2.2.weight": (90, 64, 1, 1), "net.cluster2.2.bias": (90,),
              "train_cluster_probe.clusters": (27, 90), "cluster_probe.clusters": (27, 90),
              "linear_probe.weight": (27, 90, 1, 1), "linear_probe.bias": (27,), "decoder.weight": (64, 90, 1, 1),
              "decoder.bias": (64,)}  # fmt: skip
    state |= {name: torch.randn(shape) for name, shape in shapes.items()}
    _DictConfig.__module__, _DictConfig.__qualname__, _DictConfig.__name__ = (
        "omegaconf.dictconfig",
        "DictConfig",
        "DictConfig",
    )
    import sys
    import types

    fake = types.ModuleType("omegaconf.dictconfig")
    fake.DictConfig = _DictConfig  # type: ignore[attr-defined]
    sys.modules["omegaconf"], sys.modules["omegaconf.dictconfig"] = types.ModuleType("omegaconf"), fake
    try:
        cfg = _DictConfig()
        cfg.__dict__["_content"] = {"dim": 90}
        torch.save({"epoch": 0, "pytorch-lightning_version": "1.5.10", "state_dict": state,
                    "hyper_parameters": {"n_classes": 27, "cfg": cfg, "extra": extra}}, path)  # fmt: skip
    finally:
        del sys.modules["omegaconf"], sys.modules["omegaconf.dictconfig"]
    return state


def _dino_file(folder: Path) -> list[Path]:
    torch.save(_tiny_vit(side=4).state_dict(), folder / "dino_test_pretrain.pth")
    return [folder / "dino_test_pretrain.pth"]


def _stego_models(folder: Path) -> list[Path]:
    """Write a folder as a fit writes it, and a published checkpoint."""
    weights = StegoWeights(
        SegmentationHead(448, 4), np.zeros(448, np.float32), np.ones(448, np.float32), 0, np.zeros((0, 4), np.float32),
        Clusters.of(np.eye(4)[:3]),
    )  # fmt: skip
    backbone = catalog.row("foundseg-tiny")
    save(folder / "fitted", weights, {"backbone": backbone.name, "backbone_key": backbone.key})
    _published(folder / "cocostuff27_test.ckpt")
    return [folder / "fitted", folder / "cocostuff27_test.ckpt"]


TINY_WEIGHTS = {"dino": _dino_file, "stego": _stego_models}


def test_a_published_checkpoint_loads_without_its_packages_and_runs(tmp_path: Path) -> None:
    import napari_foundseg as fs

    path = tmp_path / "cocostuff27_test.ckpt"
    state = _published(path)
    row = import_model(path, "coco")
    assert row.family == "stego"
    assert "person" in row.classes
    model = load_model("coco")
    rgb = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    codes = model.features(rgb)
    assert codes.shape == (90, 8, 10)
    features = torch.as_tensor(model.backbone.features(rgb).astype(np.float32))[None]
    conv = torch.nn.functional.conv2d
    hidden = conv(features, state["net.cluster2.0.weight"], state["net.cluster2.0.bias"]).relu()
    expected = conv(features, state["net.cluster1.0.weight"], state["net.cluster1.0.bias"])
    expected = expected + conv(hidden, state["net.cluster2.2.weight"], state["net.cluster2.2.bias"])
    np.testing.assert_allclose(codes.astype(np.float32), expected[0].numpy(), rtol=2e-2, atol=2e-2)
    result = fs.cluster(rgb, model="coco", crf=False)
    assert len(result.classes) == 27
    named = fs.cluster(rgb, model="coco", probe="linear", crf=False)
    assert named.classes[10].name == "person"
    with pytest.raises(fs.FoundsegError, match="keeps no codes"):
        fs.cluster(rgb, model="coco", n_clusters=5)


class _Poison:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def test_a_poisoned_checkpoint_runs_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "poisoned.ckpt", tmp_path / "ran"
    _published(path, extra=_Poison(mark))
    with pytest.raises(CheckpointError):
        import_model(path, "poisoned")
    bare = tmp_path / "bare.pth"
    bare.write_bytes(pickle.dumps({"state_dict": _Poison(mark)}))
    with pytest.raises(CheckpointError):
        import_model(bare, "bare")
    assert not mark.exists()
    assert "poisoned" not in catalog.catalog()


def test_a_damaged_or_foreign_vit_is_named() -> None:
    with pytest.raises(KeyError):
        vit_of({"blocks.0.norm1.weight": torch.zeros(3)})


def test_a_model_of_another_backbone_is_refused(tmp_path: Path) -> None:
    weights = StegoWeights(
        SegmentationHead(448, 4), np.zeros(448, np.float32), np.ones(448, np.float32), 0, np.zeros((0, 4), np.float32),
        Clusters.of(np.eye(4)[:2]),
    )  # fmt: skip
    save(tmp_path / "mine", weights, {"backbone": "foundseg-tiny", "backbone_key": "foundseg-tiny@other"})
    import_model(tmp_path / "mine", "mine")
    with pytest.raises(CheckpointError, match="was fitted to the features of foundseg-tiny@other"):
        load_model("mine")
    config = json.loads((tmp_path / "mine" / "foundseg.json").read_text())
    (tmp_path / "mine" / "foundseg.json").write_text(json.dumps({**config, "backbone": "gone"}))
    import_model(tmp_path / "mine", "mine2")
    with pytest.raises(CheckpointError, match="gone"):
        load_model("mine2")
    tensors = load_file(tmp_path / "mine" / "model.safetensors")
    del tensors["mean"]
    save_file(tensors, tmp_path / "mine" / "model.safetensors")
    import_model(tmp_path / "mine", "mine3")
    with pytest.raises(CheckpointError, match="does not hold a STEGO model"):
        load_model("mine3")


def test_the_encoder_of_a_sam_describes_places_of_its_window() -> None:
    from napari_foundseg.models.sam.sam_model import SamModel

    tiny = load_model("foundseg-tiny")
    sam = SamModel(tiny.sam, "foundseg-tiny", "sam@0")
    rgb = np.random.default_rng(0).integers(0, 255, (100, 61, 3)).astype(np.uint8)
    found = sam.features(rgb)
    assert found.shape == (512, 13, 8)
    assert (sam.features_window, sam.feature_stride, sam.feature_offset) == (256, 8, 3.5)
    # A cell describes its own place, in its surroundings: changes far away count little.
    changed = rgb.copy()
    changed[90:] = 0
    by_row = abs(sam.features(changed).astype(float) - found.astype(float)).mean((0, 2)) / abs(found).mean()
    assert by_row[0] < 0.2
    assert by_row[-2:].min() > 5 * by_row[0]

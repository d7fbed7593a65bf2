"""Files of torchvision in their published layout are recognised, run, and equal torchvision's own result."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.io import imread
from torchvision import models

from napari_foundseg.api import panoptic, semantic
from napari_foundseg.core.errors import CheckpointError, ModelNotFoundError, SettingsError
from napari_foundseg.io.samples import sample
from napari_foundseg.models import loading
from napari_foundseg.models.families.classes.torchvision_segmenters import ARCHITECTURES, Pixelwise, recognise
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    # Equal weights under one name with another config.json are no case of the product.
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


def picture() -> NDArray[np.uint8]:
    """Return a picture whose grey values reach from 0 to 255, so that models see it as it is."""
    own = np.ascontiguousarray(imread(sample("tissue"))[:50, :64, :3])
    low, high = np.percentile(own, (0.5, 99.5))
    return np.clip(np.round((own - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def network(architecture: str, classes: int, **options: Any) -> Any:
    module = getattr(models, ARCHITECTURES[architecture][1])
    torch.manual_seed(1)
    return getattr(module, architecture)(weights=None, weights_backbone=None, num_classes=classes, **options).eval()


def _files(folder: Path) -> list[Path]:
    for architecture in ("lraspp_mobilenet_v3_large", "maskrcnn_resnet50_fpn"):
        torch.save(network(architecture, 4).state_dict(), folder / f"{architecture}.pth")
    return sorted(folder.glob("*.pth"))


TINY_WEIGHTS = {"torchvision_segmenters": _files}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_published_file_is_known_by_its_tensors(architecture: str) -> None:
    """The published files have 21 classes of VOC, or 91 of COCO, and FCN and DeepLabV3 an auxiliary head."""
    _, module, weights = ARCHITECTURES[architecture]
    categories = getattr(getattr(models, module), weights).DEFAULT.meta["categories"]
    auxiliary = {"aux_loss": True} if architecture.startswith(("fcn", "deeplab")) else {}
    with torch.device("meta"):
        state = network(architecture, len(categories), **auxiliary).state_dict()
    row = recognise(WeightsView(Path("x.pth"), {name: tuple(t.shape) for name, t in state.items()}, {}))
    assert row is not None
    assert row["options"]["architecture"] == architecture
    assert list(row["classes"]) == list(categories)


@pytest.mark.parametrize("architecture", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_a_semantic_file_gives_what_torchvision_gives(
    tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(architecture, 21, **({} if architecture.startswith("lraspp") else {"aux_loss": True}))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    row = import_model(tmp_path / "net.pth")
    rgb = picture()
    transforms = getattr(models.segmentation, ARCHITECTURES[architecture][2]).DEFAULT.transforms
    transform = transforms()
    if architecture.startswith("fcn"):
        # At the published size it takes a minute.
        monkeypatch.setattr(Pixelwise, "resize", 130)
        transform = transforms(resize_size=130)
    with torch.inference_mode():
        logits = net(transform(torch.as_tensor(rgb).movedim(-1, 0))[None])["out"]
        expected = torch.nn.functional.interpolate(logits, rgb.shape[:2], mode="bilinear").argmax(1)[0].numpy()
    found = semantic(rgb, model=row.name)
    assert np.array_equal(found.labels, expected)
    if not architecture.startswith("deeplab"):
        stack = semantic(np.stack([rgb[::-1], rgb]), model=row.name, axes="ZYXC")
        assert np.array_equal(stack.labels[1], expected)
    assert found.classes.name_of(15) == "person"
    assert 0 not in found.classes


@pytest.mark.parametrize("architecture", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_mask_rcnn_gives_what_torchvision_gives_and_is_fused(tmp_path: Path, architecture: str) -> None:
    net = network(architecture, 4, min_size=128, max_size=128)
    net.roi_heads.detections_per_img = 8
    torch.save({"model": net.state_dict()}, tmp_path / "net.pth")
    row = import_model(tmp_path / "net.pth")
    assert row.classes == ("background", "class 1", "class 2", "class 3")
    rgb = picture()
    from napari_foundseg.models.loading import load_model

    model = load_model(row.name)
    # Fewer and smaller than the published settings, or the test takes a minute.
    model.network.roi_heads.detections_per_img = 8
    model.network.transform.min_size, model.network.transform.max_size = (128,), 128
    with torch.inference_mode():
        expected = net([torch.as_tensor(rgb).movedim(-1, 0) / 255])[0]
    from napari_foundseg.models.protocols.classes import PanopticOptions

    masks = model.instances(rgb, PanopticOptions(threshold=0.0))
    kept = [i for i in range(len(expected["scores"])) if (expected["masks"][i] >= 0.5).any()]
    assert len(masks) == len(kept)
    for mask, i in zip(masks, kept, strict=True):
        assert mask.area == int((expected["masks"][i, 0] >= 0.5).sum())
        assert mask.predicted_iou == pytest.approx(float(expected["scores"][i]), abs=1e-5)
        assert mask.class_id == int(expected["labels"][i])
    found = panoptic(rgb, model=model, method="instances", threshold=0.0)
    assert len(found) == len(found.table) > 0
    stack = panoptic(np.stack([rgb, rgb]), model=model, method="instances", axes="ZYXC", link=True, threshold=0.0)
    assert stack.table["class"].tolist() == found.table["class"].tolist(), "the same in both slices is one object"
    assert np.array_equal(stack.labels, np.stack([found.labels] * 2))
    if architecture.endswith("v2"):
        return
    with pytest.raises(SettingsError, match="semantic_model is empty"):
        panoptic(rgb, model=model, method="fusion")
    with pytest.raises(ModelNotFoundError, match="SemanticClasses"):
        panoptic(rgb, model=model, method="fusion", semantic_model=row.name)
    torch.save(network("lraspp_mobilenet_v3_large", 21).state_dict(), tmp_path / "classes.pth")
    classes = import_model(tmp_path / "classes.pth")
    fused = panoptic(rgb, model=model, method="fusion", semantic_model=classes.name, threshold=0.0, stuff_area=0)
    alone = semantic(rgb, model=classes.name)
    assert fused.semantic is not None
    free = fused.labels == 0
    names = [fused.classes.name_of(int(n)) for n in np.unique(fused.semantic[free])]
    assert names == [alone.classes.name_of(int(n)) for n in np.unique(alone.labels[free])]
    assert fused.provenance["semantic_model"]["name"] == classes.name


def test_other_files_are_refused(tmp_path: Path) -> None:
    state = network("lraspp_mobilenet_v3_large", 5).state_dict()
    torch.save(dict(list(state.items())[40:]), tmp_path / "half.pth")
    row = import_model(tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match=r"does not hold the weights of LR-ASPP.*5 classes"):
        semantic(picture(), model=row.name)

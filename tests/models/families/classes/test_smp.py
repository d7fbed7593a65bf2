"""Folders of segmentation_models_pytorch, written by itself, give what its own forward pass gives."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import CheckpointError, PackageError
from napari_foundseg.models import family
from napari_foundseg.models.catalog import user_rows
from napari_foundseg.models.families.classes.smp import ARCHITECTURES
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks.notes import what_was_chosen
from tests.support.command_line import import_by_command
from tests.support.smp_folders import saved, with_classes

pytestmark = pytest.mark.usefixtures("own_cache")
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
HEART = {
    "classes": ["background", "left ventricle", "left atrium", "aorta"],
    "views": {"four chamber": ["left ventricle", "left atrium"], "long axis": ["left ventricle", "aorta"]},
}


def _folders(folder: Path) -> list[Path]:
    saved(folder / "unet", encoder_name="mobilenet_v2")
    saved(folder / "views", encoder_name="mobilenet_v2", classes=4, aux_params={"classes": 2})
    return [folder / "unet", with_classes(folder / "views", HEART)]


TINY_WEIGHTS = {"smp": _folders}


def picture(height: int = 128, width: int = 128) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width])


def seen(pixels: NDArray[np.uint8], axes: str = "YXC") -> fs.Image:
    """Return an image that models see as it is."""
    return fs.Image(pixels, axes, normalisation=Limits(low=0, high=255))


def sees(folder: Path, side: int) -> Path:
    """Write that pictures have so many pixels at most."""
    steps = [{"__class_fullname__": "albumentations.LongestMaxSize", "max_size": side}]
    content = {"transform": {"__class_fullname__": "Compose", "transforms": steps}}
    (folder / "albumentations_config_eval.json").write_text(json.dumps(content), "utf-8")
    return folder


def forward(network: Any, rgb: NDArray[np.uint8], mean: Any = MEAN, std: Any = STD) -> torch.Tensor:
    """Return the scores of segmentation_models_pytorch itself, (K, M, N)."""
    inputs = ((torch.as_tensor(rgb).float() / 255 - mean) / std).movedim(-1, 0)[None]
    with torch.inference_mode():
        found = network(inputs)
    return (found[0] if isinstance(found, tuple) else found)[0]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_saved_network_gives_what_it_gives_itself(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("weights of encoders are never fetched")

    network = saved(tmp_path / "mine", kind)
    config = json.loads((tmp_path / "mine" / "config.json").read_text("utf-8"))
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config | {"encoder_weights": "imagenet"}), "utf-8")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    row = import_by_command(tmp_path / "mine", "mine")
    assert (row.family, row.protocols) == ("smp", ("SemanticClasses",))
    assert row.classes == ("background", "class 1", "class 2")
    assert "no names" in row.assumed
    assert ARCHITECTURES[kind][0] in row.title
    rgb = picture()
    published = kind == "DPT"  # timm says that this encoder was trained with a mean of a half
    scores = forward(network, rgb, *((0.5, 0.5) if published else (MEAN, STD)))
    model: Any = load_model(row.name)
    np.testing.assert_allclose(model.scores(rgb).numpy(), scores.numpy(), atol=1e-4 * float(scores.std()))
    expected = scores.argmax(0).numpy()
    assert len(np.unique(expected)) > 1
    assert np.array_equal(fs.semantic(seen(rgb), model=row.name).labels, expected)
    stack = fs.semantic(seen(np.stack([rgb, rgb]), "ZYXC"), model=row.name)
    assert np.array_equal(stack.labels, [expected, expected])


def test_pictures_of_any_size_stacks_and_tiles(tmp_path: Path) -> None:
    network = saved(tmp_path / "mine", encoder_name="mobilenet_v2")
    with_classes(tmp_path / "mine", ["background", "nucleus", "cytoplasm"])
    row = import_model(sees(tmp_path / "mine", 160))
    rgb = picture(90, 131)
    padded = np.pad(rgb, ((0, 6), (0, 29), (0, 0)), mode="edge")
    expected = forward(network, padded).argmax(0).numpy()[:90, :131]
    result = fs.semantic(seen(np.stack([rgb, rgb[::-1]]), "ZYXC"), model=row.name)
    assert np.array_equal(result.labels[0], expected)
    assert [entry.name for entry in result.classes] == ["nucleus", "cytoplasm"]
    assert set(result.table["class_name"]) <= {"nucleus", "cytoplasm"}

    large = picture(200, 180)
    tiled = fs.semantic(seen(large), model=row.name).labels
    first = forward(network, large[:160, :160]).argmax(0).numpy()
    assert np.array_equal(tiled[:40, :20], first[:40, :20]), "the corner is the first tile's"
    shrunk = fs.semantic(seen(large), model=row.name, tile=False)
    assert shrunk.labels.shape == large.shape[:2]
    assert np.array_equal(fs.replay(result.provenance, np.stack([rgb, rgb[::-1]])).labels, result.labels)


def test_one_class_and_classes_apart_leave_background(tmp_path: Path) -> None:
    rgb = picture(64, 64)
    one = saved(tmp_path / "one", encoder_name="mobilenet_v2", classes=1, in_channels=1)
    row = import_model(tmp_path / "one")
    assert row.classes == ("foreground",)
    grey = torch.as_tensor(rgb).float().mean(-1)[None, None] / 255
    with torch.inference_mode():
        score = one((grey - MEAN.mean()) / STD.mean())[0, 0]
    found = fs.semantic(seen(rgb), model=row.name, output="objects")
    assert np.array_equal(found.labels > 0, (score > 0).numpy())
    assert set(found.table["class_name"]) == {"foreground"}

    apart = saved(tmp_path / "apart", encoder_name="mobilenet_v2", classes=2, activation="sigmoid")
    with_classes(tmp_path / "apart", ["nerve", "vessel"])
    scores = forward(apart, rgb)  # probabilities: each class is trained by itself
    expected = np.where((scores > 0.5).any(0), scores.argmax(0) + 1, 0)
    assert 0 in expected
    labels = fs.semantic(seen(rgb), model=import_model(tmp_path / "apart").name).labels
    assert np.array_equal(labels, expected)


def test_size_and_normalisation_are_the_folders(tmp_path: Path) -> None:
    network = saved(tmp_path / "mine", encoder_name="mobilenet_v2")
    steps = [
        {"__class_fullname__": "Resize", "height": 64, "width": 96},
        {"__class_fullname__": "albumentations.Normalize", "mean": [120, 110, 100], "std": [50, 60, 70],
         "max_pixel_value": 1.0, "normalization": "standard"},
        {"__class_fullname__": "albumentations.pytorch.ToTensorV2"},
    ]  # fmt: skip
    content = {"__version__": "1.4.0", "transform": {"__class_fullname__": "Compose", "transforms": steps}}
    (tmp_path / "mine" / "albumentations_config_eval.json").write_text(json.dumps(content), "utf-8")
    row = import_model(tmp_path / "mine")
    assert "normalised" not in row.assumed
    rgb = picture(100, 90)
    inputs = torch.as_tensor(rgb).float().movedim(-1, 0)[None]
    resized = functional.interpolate(inputs, (64, 96), mode="bilinear", antialias=True)[0].movedim(0, -1)
    mean, std = torch.tensor([120.0, 110, 100]) / 255, torch.tensor([50.0, 60, 70]) / 255
    scores = forward(network, resized.numpy(), mean, std)
    expected = functional.interpolate(scores[None], (100, 90), mode="bilinear")[0].argmax(0).numpy()
    assert load_model(row.name).window == 96
    assert np.mean(fs.semantic(seen(rgb), model=row.name, tile=False).labels == expected) > 0.999


def test_an_encoder_of_one_size_sees_that_size(tmp_path: Path) -> None:
    network = saved(tmp_path / "mine", "DPT", dynamic_img_size=False, img_size=64)
    row = import_model(tmp_path / "mine")
    assert load_model(row.name).window == 64
    rgb = picture(64, 64)
    expected = forward(network, rgb, 0.5, 0.5).argmax(0).numpy()
    assert np.array_equal(fs.semantic(seen(rgb), model=row.name).labels, expected)
    assert fs.semantic(seen(picture(100, 50)), model=row.name).labels.shape == (100, 50)


def test_the_predicted_view_chooses_the_labels_and_is_shown(tmp_path: Path) -> None:
    network = saved(tmp_path / "heart", classes=4, aux_params={"classes": 2, "dropout": 0.2})
    row = import_model(with_classes(tmp_path / "heart", HEART))
    assert row.protocols == ("SemanticClasses", "ViewClasses")
    rgb = picture(64, 96)
    inputs = ((torch.as_tensor(rgb).float() / 255 - MEAN) / STD).movedim(-1, 0)[None]
    with torch.inference_mode():
        scores, views = (part[0] for part in network(inputs))
    number = int(views.argmax())
    name, own = list(HEART["views"].items())[number]  # type: ignore[attr-defined]
    allowed = [0, *(HEART["classes"].index(one) for one in own)]  # type: ignore[attr-defined]
    expected = np.array(allowed)[scores[allowed].argmax(0).numpy()]
    assert not np.array_equal(expected, scores.argmax(0).numpy()), "the view must matter"
    stack = fs.semantic(seen(np.stack([rgb, rgb]), "ZYXC"), model=row.name)
    assert np.array_equal(stack.labels[0], expected)
    told = stack.provenance["views"]
    assert [view["index"] for view in told] == [[0], [1]]
    assert told[0]["name"] == name
    assert told[0]["score"] == pytest.approx(float(torch.softmax(views, 0)[number]), abs=1e-3)
    said = " ".join(what_was_chosen(stack.provenance))
    assert f"View in 2 of 2 slices: {name}" in said
    assert own[1] in said


def test_the_view_of_a_large_picture_is_that_of_the_whole(tmp_path: Path) -> None:
    saved(tmp_path / "heart", encoder_name="mobilenet_v2", classes=4, aux_params={"classes": 2})
    row = import_model(with_classes(sees(tmp_path / "heart", 64), HEART))
    found = fs.semantic(seen(picture(90, 130)), model=row.name)
    assert len(found.provenance["views"]) == 1
    wanted = {0, *(HEART["classes"].index(one) for one in found.provenance["views"][0]["classes"])}  # type: ignore[attr-defined]
    assert set(np.unique(found.labels).tolist()) <= wanted


def change(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"encoder_name": "resnet19"}, "names the encoder 'resnet19'"),
        ({"encoder_name": "tu-hf-hub:somebody/net"}, "nothing is fetched"),
        ({"encoder_name": "resnet34"}, "they disagree"),
        ({"encoder_name": "mobileone_s0"}, "lacks"),
        ({"_model_class": "FPN"}, "FPN of the installed"),
        ({"_model_class": "Mystery"}, "none of Unet"),
        ({"classes": 4}, "another shape"),
        ({"classes": 0}, "classes: 0"),
        ({"classes": 10**9}, "classes: 1000000000"),
        ({"in_channels": 4}, "4 channels"),
        ({"decoder_channels": [10**6] * 5}, "disagree"),
        ({"decoder_channels": "many"}, "describes no Unet"),
        ({"checkpoint_path": "evil.pth"}, "checkpoint_path"),
        ({"aux_params": {"pooling": "avg"}}, "without its number of classes"),
        ({"aux_params": {"classes": 2}}, "lacks"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_words(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    saved(tmp_path / "mine", encoder_name="mobilenet_v2")
    with pytest.raises(CheckpointError, match=words):
        import_model(change(tmp_path / "mine", **values))
    assert not user_rows()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (["a", "b"], "names 2 classes; the network tells 3 apart"),
        ({"classes": ["a", "b", "c"], "views": {"x": ["a"]}}, "names 1 views; the network tells 0 apart"),
        ({"classes": [1, 2, 3]}, "must hold a list of names"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    saved(tmp_path / "mine", encoder_name="mobilenet_v2")
    with pytest.raises(CheckpointError, match=words):
        import_model(with_classes(tmp_path / "mine", content))


def test_a_head_for_views_without_names_says_so(tmp_path: Path) -> None:
    saved(tmp_path / "mine", encoder_name="mobilenet_v2", aux_params={"classes": 5})
    row = import_model(tmp_path / "mine")
    assert "views" in row.assumed
    found = fs.semantic(seen(picture(64, 64)), model=row.name)
    assert found.provenance["views"][0]["name"].endswith("of 5")
    broken = with_classes(tmp_path / "mine", {"classes": ["a", "b", "c"], "views": {str(i): ["d"] for i in range(5)}})
    with pytest.raises(CheckpointError, match="none of its classes"):
        load_model(import_model(broken, "other").name)


def test_weights_without_their_folder_are_named(tmp_path: Path) -> None:
    saved(tmp_path / "mine", encoder_name="mobilenet_v2")
    save_file(load_file(tmp_path / "mine" / "model.safetensors"), tmp_path / "alone.safetensors")
    with pytest.raises(CheckpointError, match="save_pretrained"):
        import_model(tmp_path / "alone.safetensors")


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "mine", encoder_name="mobilenet_v2")
    found = family.installed_version
    monkeypatch.setattr(family, "installed_version", lambda name: "" if "segmentation" in name else found(name))
    with pytest.raises(PackageError, match="pip install segmentation-models-pytorch"):
        import_model(tmp_path / "mine")


@pytest.mark.parametrize(("kind", "key"), [("Unet", "decoder_use_batchnorm"), ("PSPNet", "psp_use_batchnorm")])
def test_folders_of_earlier_versions_are_read(tmp_path: Path, kind: str, key: str) -> None:
    network = saved(tmp_path / "mine", kind)
    config = json.loads((tmp_path / "mine" / "config.json").read_text("utf-8"))
    del config["decoder_use_norm"]
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config | {key: True}), "utf-8")
    model: Any = load_model(import_model(tmp_path / "mine").name)
    rgb = picture(64, 64)
    np.testing.assert_allclose(model.scores(rgb).numpy(), forward(network, rgb).numpy(), atol=1e-3)


def test_names_of_a_data_set_are_the_readmes(tmp_path: Path) -> None:
    saved(tmp_path / "mine", encoder_name="mobilenet_v2", classes=19)
    readme = tmp_path / "mine" / "README.md"
    readme.write_text("## Dataset\nDataset name: [Cityscapes](https://www.cityscapes-dataset.com)\n", "utf-8")
    row = import_model(tmp_path / "mine")
    assert row.classes[:2] == ("road", "sidewalk")
    assert "no names" not in row.assumed

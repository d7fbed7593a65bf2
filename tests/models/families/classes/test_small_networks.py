"""TransUNet, SegNet and the U-Net for the brain give what their authors' own networks gave, which is frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import user_rows
from napari_foundseg.models.class_sets import CLASS_SETS
from napari_foundseg.models.families import family_module
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from tests.support.command_line import import_by_command
from tests.support.mmseg_files import filled, picture
from tests.support.small_networks import layouts, scores, square, written

pytestmark = pytest.mark.usefixtures("own_cache")
LAYOUTS = Path(__file__).parents[3] / "data" / "layouts"
NAMES = ("transunet", "segnet", "unet_brain")
SHOWN = {"transunet": square, "segnet": picture, "unet_brain": picture}
PUBLISHED = {"transunet": "transunet-r50-vit-b16-224", "segnet": "segnet-vgg16", "unet_brain": "unet-brain"}
TINY_WEIGHTS = {
    "transunet": lambda folder: [written(folder / "transunet.pth", "transunet")],
    "segnet": lambda folder: [written(folder / "segnet.pth", "segnet")],
    "unet_brain": lambda folder: [written(folder / "unet.pt", "unet_brain")],
}


def seen(pixels: Any, axes: str = "YXC") -> fs.Image:
    """Return an image that models see as it is."""
    return fs.Image(pixels, axes, normalisation=Limits(low=0, high=255))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_gives_what_its_authors_network_gives(tmp_path: Path, name: str) -> None:
    row = import_by_command(written(tmp_path / "mine.pth", name), "mine")
    assert row.family == name
    rgb = SHOWN[name]()
    frozen = scores()[name]
    model: Any = load_model(row.name)
    found = model.scores(rgb)[:, ::2, ::2]
    if name == "unet_brain":
        found = torch.sigmoid(found)  # its authors' network ends with it
        expected = (frozen[0] > 0.5).astype(int)
    else:
        expected = frozen.argmax(0) + (row.classes[0] != "background")
    np.testing.assert_allclose(found.numpy(), frozen, rtol=0, atol=1e-4 * float(frozen.std()))
    assert len(np.unique(expected)) > 1
    stack = fs.semantic(seen(np.stack([rgb, rgb[::-1]]), "ZYXC"), model=row.name)
    assert np.array_equal(stack.labels[0, ::2, ::2], expected)
    assert stack.labels.shape == (2, *rgb.shape[:2])
    assert {entry.name for entry in stack.classes} == set(row.classes) - {"background"}


@pytest.mark.parametrize("name", NAMES)
def test_the_published_layout_is_known_whatever_surrounds_it(name: str) -> None:
    shapes = {
        key: tuple(shape)
        for key, shape in json.loads((LAYOUTS / f"{PUBLISHED[name]}.json").read_text("utf-8")).items()
        if not key.startswith("_")
    }
    recognise = family_module(name).recognise
    for prefix in ("", "module.", "state_dict.net."):
        fields = recognise(WeightsView(Path("x.pth"), {f"{prefix}{key}": shape for key, shape in shapes.items()}, {}))
        assert fields is not None
    old = {key: shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}
    assert recognise(WeightsView(Path("x.pth"), old, {})) is not None
    expected = {"transunet": ("background", *(f"class {i}" for i in range(1, 9))), "segnet": CLASS_SETS["VOC"],
                "unet_brain": ("tumour",)}  # fmt: skip
    assert fields["classes"] == expected[name]
    middle = [key for key in shapes if len(shapes[key]) == 4][len(shapes) // 20]
    for broken in ({k: v for k, v in shapes.items() if k != middle}, shapes | {middle: (3, 5, 1, 1)},
                   shapes | {"more.weight": (3, 3)}):  # fmt: skip
        with pytest.raises(CheckpointError, match="taken for"):
            recognise(WeightsView(Path("x.pth"), broken, {}))


def test_transunet_sees_whole_pictures_resized_as_by_its_authors(tmp_path: Path) -> None:
    row = import_model(written(tmp_path / "mine.pth", "transunet"))
    model: Any = load_model(row.name)
    rgb = np.ascontiguousarray(np.repeat(picture()[..., :1], 3, axis=-1))
    resized = ndimage.zoom(rgb[..., 0] / 255, (96 / 64, 1), order=3).astype(np.float32)
    with torch.inference_mode():
        whole = model.network(torch.as_tensor(resized).expand(1, 3, 96, 96))[0].argmax(0).numpy()
    expected = ndimage.zoom(whole, (64 / 96, 1), order=0)
    # In grey, and by default not in tiles.
    large = np.tile(rgb[..., 0], (1, 1))
    found = fs.semantic(seen(large, "YX"), model=row.name)
    assert found.provenance["settings"]["tile"] is False
    assert np.mean(found.labels == expected) > 0.999


def test_transunet_without_a_resnet(tmp_path: Path) -> None:
    plain = {k: v for k, v in layouts()["transunet"].items() if ".hybrid_model." not in k}
    plain["transformer.embeddings.patch_embeddings.weight"] = (64, 3, 16, 16)
    widths = [plain["decoder.conv_more.0.weight"][0]]
    widths += [plain[f"decoder.blocks.{i}.conv2.0.weight"][0] for i in range(4)]
    for i in range(4):
        out = plain[f"decoder.blocks.{i}.conv1.0.weight"][0]
        plain[f"decoder.blocks.{i}.conv1.0.weight"] = (out, widths[i], 3, 3)
    torch.save(filled(plain), tmp_path / "vit.pth")
    row = import_model(tmp_path / "vit.pth")
    assert row.title == "TransUNet ViT 96"
    assert fs.semantic(seen(square()), model=row.name).labels.shape == (96, 96)


def test_segnet_puts_values_back_where_the_maxima_were(tmp_path: Path) -> None:
    values = torch.arange(16.0).reshape(1, 1, 4, 4).flip(-1)
    pooled, places = functional.max_pool2d(values, 2, 2, return_indices=True)
    back = functional.max_unpool2d(pooled, places, 2, 2)
    assert torch.equal(back[back > 0], values[back > 0])
    assert int((back > 0).sum()) == 4
    # Pictures whose sides are no multiples of 32.
    row = import_model(written(tmp_path / "mine.pth", "segnet"))
    assert fs.semantic(seen(picture()[:37, :51]), model=row.name).labels.shape == (37, 51)


def test_the_net_of_the_brain_normalises_each_slice(tmp_path: Path) -> None:
    row = import_model(written(tmp_path / "mine.pth", "unet_brain"))
    model: Any = load_model(row.name)
    rgb = picture() // 4
    brighter = rgb * 3 + 20
    np.testing.assert_allclose(model.scores(rgb).numpy(), model.scores(brighter).numpy(), atol=1e-3)
    assert "its own mean" in row.assumed


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("transunet", {"transformer.embeddings.position_embeddings": (1, 37, 64)}, "not form a square"),
        ("segnet", {"encoder_conv_00.0.weight": (8, 4, 3, 3)}, "4 channels"),
        ("unet_brain", {"encoder1.enc1conv1.weight": (8, 2, 3, 3)}, "2 channels"),
        ("unet_brain", {"conv.bias": (5,)}, "another shape"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_words(
    tmp_path: Path, name: str, change: dict[str, Any], words: str
) -> None:
    torch.save(filled(layouts()[name] | change), tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=words):
        import_model(tmp_path / "mine.pth")
    assert not user_rows()

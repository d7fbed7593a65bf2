"""RegionCLIP: its networks as open_clip runs them, the published layout, words against places, the ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.families.language.region_clip import _seen, _text_network
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.features.clip_resnet import build_clip_resnet
from napari_foundseg.tasks.classes.region_names import joined_probabilities, region_probabilities
from napari_foundseg.tasks.task_models import tasks_for
from tests.support import tiny_checkpoints
from tests.support.frozen_arrays import read_arrays
from tests.support.small_region_clip import pictures, tokens, weights

pytestmark = pytest.mark.usefixtures("own_cache")
DATA = Path(__file__).parents[3] / "data"


def write_weights(folder: Path, prefix: str = "model.") -> list[Path]:
    """Write a CLIP, whose tokenizer is needed, and a file of RegionCLIP."""
    clip = tiny_checkpoints.write("CLIPModel", folder / "clip")
    import_model(clip, "clip")
    tensors = {name: torch.as_tensor(v) for name, v in weights(tiny_checkpoints.VOCABULARY, 77).items()}
    named = {prefix + name: value for name, value in tensors.items()} | {"iteration": torch.zeros(1)}
    torch.save({"model": named} if not prefix else named, folder / "regionclip.pth")
    return [folder / "regionclip.pth"]


TINY_WEIGHTS = {"region_clip": write_weights}


def _below(name: str) -> dict[str, Any]:
    return {
        key.removeprefix(f"{name}."): torch.as_tensor(value)
        for key, value in weights().items()
        if key.startswith(f"{name}.")
    }


def test_pictures_and_texts_are_those_of_open_clip() -> None:
    frozen = read_arrays(DATA / "region_clip" / "outputs.npz")
    tensors = _below("backbone")
    network = build_clip_resnet({name: tuple(value.shape) for name, value in tensors.items()})
    network.load_state_dict(tensors, strict=False)
    texts = _text_network(Path("a file"), _below("lang_encoder"))
    with torch.inference_mode():
        seen = network.attnpool(network.layer4(network.encode(torch.as_tensor(pictures())))).numpy()
        read = texts(input_ids=torch.as_tensor(tokens())).text_embeds.numpy()
    assert np.allclose(seen, frozen["pictures"], atol=1e-4, rtol=1e-4)
    assert np.allclose(read, frozen["texts"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["rn50", "rn50x4"])
def test_the_published_layout_is_met_in_full(name: str) -> None:
    layout = json.loads((DATA / "layouts" / f"regionclip-{name}.json").read_text())
    with torch.device("meta"):
        found = build_clip_resnet(layout)
    shapes = {key: list(value.shape) for key, value in found.state_dict().items() if "num_batches" not in key}
    assert shapes == layout


@pytest.mark.parametrize("prefix", ["", "model."])
def test_objects_are_named_by_their_places(tmp_path: Path, prefix: str) -> None:
    row = import_model(write_weights(tmp_path, prefix)[0], "regions")
    assert tasks_for(row) == ("name_masks",)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (90, 120, 3), np.uint8)
    labels = np.zeros((90, 120), np.uint16)
    labels[5:40, 8:50] = 3
    labels[50:80, 60:110] = 9
    model = load_model("regions")
    words = ["cell", "vessel", "fibre"]
    found = fs.name_masks(rgb, labels, words, model="regions", templates="{}", background="background")

    # The same by a plain loop: cosines, the temperature, a background of zero.
    texts = model.embed_texts(words)
    boxes = [(5, 8, 39, 49), (50, 60, 79, 109)]
    seen, scale = _seen(rgb)
    features = model.network.encode(torch.as_tensor(seen.transpose(2, 0, 1)[None].copy()))
    for row_number, (y0, x0, y1, x1) in enumerate(boxes):
        corners = [x0 * scale[1], y0 * scale[0], (x1 + 1) * scale[1], (y1 + 1) * scale[0]]
        one = model.network.embed(features, torch.tensor([corners], dtype=torch.float32)).detach().numpy()[0]
        logits = [100 * float(one @ text) / float(np.linalg.norm(one)) for text in texts] + [0.0]
        powers = [np.exp(value - max(logits)) for value in logits]
        expected = [value / sum(powers) for value in powers]
        told = found.table.iloc[row_number]
        assert told["predicted_iou"] == pytest.approx(max(expected), abs=1e-3)
        assert told["name_1"] == [*words, "background"][int(np.argmax(expected))]
    assert np.array_equal(found.labels, labels)


def test_an_ensemble_with_crops_is_the_weighted_geometric_mean(tmp_path: Path) -> None:
    import_model(write_weights(tmp_path)[0], "regions")
    labels = np.zeros((60, 60), np.uint16)
    labels[10:40, 10:40] = 1
    rgb = np.random.default_rng(1).integers(0, 255, (60, 60, 3), np.uint8)
    found = fs.name_masks(rgb, labels, ["cell", "vessel"], model="regions", crops_model="clip", crops_share=0.5)
    assert found.provenance["crops_model"]["name"] == "clip"
    assert 0 < float(found.table["predicted_iou"].iloc[0]) <= 1
    first, second = np.array([[0.8, 0.2]]), np.array([[0.4, 0.6]])
    third = 0.8 ** (2 / 3) * 0.4 ** (1 / 3), 0.2 ** (2 / 3) * 0.6 ** (1 / 3)
    assert np.allclose(joined_probabilities(first, second, 1 / 3), np.array([third]) / sum(third))


def test_a_large_picture_is_encoded_in_windows_and_boxes_keep_their_place() -> None:
    class Stub:
        scale = 10.0

        def embed_regions(self, rgb: Any, boxes: Any) -> Any:
            seen.append(rgb.shape)
            rows = [
                (rgb[round(y0) : round(y1) + 1, round(x0) : round(x1) + 1].mean() > 100, 0.5)
                for y0, x0, y1, x1 in boxes
            ]
            return np.array(rows, np.float32)

    seen: list[Any] = []
    picture = np.zeros((1500, 2200), np.uint8)
    boxes = [(10, 10, 30, 30), (1400, 2100, 1450, 2150), (600, 900, 700, 1100), (10, 5, 1400, 2100)]
    for y0, x0, y1, x1 in boxes[:3:2]:
        picture[y0 : y1 + 1, x0 : x1 + 1] = 255
    image = fs.Image(picture, "YX", normalisation=fs.Limits(low=0, high=255))
    model: Any = Stub()
    found = region_probabilities(
        image, [((), box) for box in boxes], np.array([[1, 0], [0, 0]], np.float32), model, lambda _: None
    )
    assert [row[0] > 0.5 for row in found] == [True, False, True, False]
    assert len(seen) > 1


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (path,) = write_weights(tmp_path)
    import_model(path, "regions")
    from napari_foundseg.models.importing import remove_model

    remove_model("clip")
    with pytest.raises(CheckpointError, match=r"splits texts into tokens as CLIP does.*clip-vit-base-patch32"):
        load_model("regions")
    whole = torch.load(path)
    pictures_alone = {name: value for name, value in whole.items() if "lang_encoder" not in name}
    torch.save(pictures_alone, tmp_path / "pictures.pth")
    with pytest.raises(CheckpointError, match=r"without that for texts"):
        import_model(tmp_path / "pictures.pth")
    del whole["model.backbone.layer3.0.conv2.weight"]
    torch.save(whole, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=r"RegionCLIP, but"):
        import_model(tmp_path / "cut.pth")

"""SAM 3 as a folder of transformers equals transformers' own forward pass and post-processing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import CheckpointError, PromptError
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.class_protocols import ConceptQuery
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import text
from napari_foundseg.tasks.classes.concept_search import ConceptSettings, search_concepts
from napari_foundseg.tasks.classes.concepts import TextInputs
from tests.support import tiny_checkpoints

TINY_WEIGHTS = {"sam3": lambda folder: [tiny_checkpoints.write("Sam3Model", folder / "sam3-small")]}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoints.write("Sam3Model", tmp_path_factory.mktemp("sam3") / "sam3-small")


def picture(shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)


def expected(folder: Path, rgb: np.ndarray, **asked: object) -> list[tuple[float, np.ndarray]]:
    """Return score and mask of each object as transformers' processor and model give them."""
    images = transformers.AutoImageProcessor.from_pretrained(folder)
    processor = transformers.Sam3Processor(images, transformers.AutoTokenizer.from_pretrained(folder))
    network = transformers.Sam3Model.from_pretrained(folder).eval()
    inputs = processor(images=[rgb], return_tensors="pt", **asked)
    sizes = inputs.pop("original_sizes").tolist()
    with torch.inference_mode():
        (found,) = processor.post_process_instance_segmentation(
            network(**inputs), threshold=0.0, mask_threshold=0.5, target_sizes=sizes
        )
    pairs = zip(found["scores"].tolist(), found["masks"].bool().numpy(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[0])


@pytest.mark.parametrize("shape", [(90, 120), (200, 64)])
def test_words_and_boxes_give_what_transformers_gives(folder: Path, shape: tuple[int, int]) -> None:
    model = load_model(import_model(folder).name)
    assert (model.window, model.longest_text, model.most_objects) == (112, 32, 8)
    rgb = picture(shape)
    box = [10.0, 20.0, 40.0, 50.0]  # x0, y0, x1, y1, the far side excluded
    ours = (20, 10, 49, 39)
    cases = {
        ConceptQuery("a cell"): {"text": ["a cell"]},
        ConceptQuery(boxes=(ours,), signs=(1,)): {"input_boxes": [[box]], "input_boxes_labels": [[1]]},
        ConceptQuery("cell", (ours,), (0,)): {"text": "cell", "input_boxes": [[box]], "input_boxes_labels": [[0]]},
    }
    answers = model.concept_masks(rgb, list(cases), 0.0)
    for found, asked in zip(answers, cases.values(), strict=True):
        wanted = [(score, mask) for score, mask in expected(folder, rgb, **asked) if mask.any()]
        assert len(found) == len(wanted) > 0
        for own, (score, mask) in zip(found, wanted, strict=True):
            assert own.predicted_iou == pytest.approx(score, abs=1e-5)
            drawn = np.zeros(shape, bool)
            drawn[own.box[0] : own.box[2] + 1, own.box[1] : own.box[3] + 1] = own.crop
            assert np.mean(drawn != mask) < 1e-3
    scores = [[mask.predicted_iou for mask in found] for found in answers]
    assert scores[0] != scores[1] != scores[2]


def test_the_published_folder_with_its_tracker_is_read(folder: Path, tmp_path: Path) -> None:
    tensors = {f"detector_model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    tensors["tracker_model.memory_encoder.projection.weight"] = torch.zeros(4, 4)
    tensors["tracker_neck.fpn_layers.0.proj1.weight"] = torch.zeros(4, 4)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    whole = {"architectures": ["Sam3VideoModel"], "model_type": "sam3_video", "detector_config": config}
    (tmp_path / "config.json").write_text(json.dumps(whole), "utf-8")
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    row = import_model(tmp_path, name="whole")
    assert (row.family, row.title) == ("sam3", "SAM 3")
    own, other = load_model("whole"), load_model(import_model(folder, name="half").name)
    rgb = picture()
    a, b = (model.concept_masks(rgb, [ConceptQuery("cell")], 0.0)[0] for model in (own, other))
    assert [mask.predicted_iou for mask in a] == pytest.approx([mask.predicted_iou for mask in b], abs=1e-5)


def test_full_size_names_and_shapes_are_the_published_ones() -> None:
    path = Path(__file__).parents[1] / "data" / "layouts" / "sam3-detector.json"
    with torch.device("meta"):
        network = transformers.Sam3Model(transformers.Sam3Config())
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert ours == json.loads(path.read_text("utf-8"))


def test_a_folder_that_lacks_tensors_is_refused(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    dropped = {name: value for name, value in tensors.items() if not name.startswith("mask_decoder.")}
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file(dropped, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="lack"):
        load_model(import_model(tmp_path, name="cut").name)


def test_it_runs_as_text_in_a_stack_and_thresholds_act_live(folder: Path) -> None:
    name = import_model(folder, name="sam3-small").name
    stack = np.stack([picture(), 255 - picture()])
    image = fs.Image(stack, axes="ZYXC", normalisation=Limits(low=0, high=255))
    found = fs.text(image, ["cell", "debris"], model=name, threshold=0.0)
    assert found.labels.shape == (2, 90, 120)
    assert [row.name for row in found.classes] == ["cell", "debris"]
    assert len(found)
    best = max(entry["best_score"] for entry in found.provenance["found"])
    none = text.derive(found, ConceptSettings(threshold=min(1.0, best + 0.01)))
    assert not len(none)
    assert (text.derive(found, ConceptSettings(threshold=0.0)).labels == found.labels).all()
    assert np.array_equal(fs.replay(found.provenance, image).labels, found.labels)
    with pytest.raises(PromptError, match="tokens"):
        fs.text(image, ["w" * 40], model=name)
    with pytest.raises(PromptError, match="pictures as examples"):
        fs.text(image, [{"text": "cell", "examples": ["AAAA"]}], model=name)


class Planted:
    """A model that outlines the bright squares of what it is shown, wherever the window lies."""

    name = "foundseg-tiny"
    key = "planted"
    device = "cpu"
    window = 64
    longest_text = 32
    most_objects = 50

    def token_count(self, words: str) -> int:
        return len(words.split())

    def concept_masks(self, rgb: np.ndarray, queries: list[ConceptQuery], threshold: float) -> list[list[Mask]]:
        from skimage.measure import label

        answers = []
        for query in queries:
            parts = label(rgb[..., 0] > (200 if query.text == "bright" else 100))
            masks = [Mask.from_array(parts == i, predicted_iou=0.9 if query.text == "bright" else 0.6)
                     for i in range(1, int(parts.max()) + 1)]  # fmt: skip
            answers.append([mask for mask in masks if mask.predicted_iou > threshold])
        return answers


def test_tiles_give_each_object_once_and_negatives_take_theirs() -> None:
    pixels = np.zeros((150, 210), np.uint8)
    corners = [(y, x) for y in range(5, 140, 20) for x in range(5, 200, 20)]
    for number, (y, x) in enumerate(corners):
        pixels[y : y + 9, x : x + 9] = 250 if number % 5 == 0 else 150
    image = fs.Image(pixels, normalisation=Limits(low=0, high=255))
    inputs = TextInputs.parse({"concepts": [{"text": "square", "negative": "bright"}]})
    found = search_concepts(image, inputs, ConceptSettings(), Planted(), lambda *_: None, bool)  # type: ignore[arg-type]
    plain = sum(number % 5 != 0 for number in range(len(corners)))
    assert len(found) == plain
    assert set(found.table["area"]) == {81}
    both = TextInputs.parse({"concepts": ["square", "bright"]})
    found = search_concepts(image, both, ConceptSettings(), Planted(), lambda *_: None, bool)  # type: ignore[arg-type]
    assert (found.table["class"] == 2).sum() == len(corners) - plain
    few = type("Few", (Planted,), {"most_objects": 5})()
    found = search_concepts(image, inputs, ConceptSettings(), few, lambda *_: None, bool)
    assert "there may be more" in found.provenance["notes"][0]

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
from napari_foundseg.core.errors import CheckpointError, ModelNotFoundError, PromptError
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.kept_models import model_bytes
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.protocols.words import ConceptQuery
from napari_foundseg.models.sam.sam2_model import stretched
from napari_foundseg.tasks import text
from napari_foundseg.tasks.classes.concept_search import ConceptSettings, search_concepts
from napari_foundseg.tasks.classes.concepts import TextInputs
from tests.support import tiny_checkpoints

TINY_WEIGHTS = {
    "sam3": lambda folder: [
        tiny_checkpoints.write("Sam3Model", folder / "sam3-small"),
        tiny_checkpoints.write("Sam3VideoModel", folder / "sam3-whole"),
    ]
}


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoints.write("Sam3VideoModel", tmp_path_factory.mktemp("sam3") / "sam3-whole")


def test_the_published_folder_gives_concepts_prompts_and_frames_with_one_encoder(whole: Path) -> None:
    row = import_model(whole)
    assert (row.family, row.title) == ("sam3", "SAM 3")
    assert {"ConceptMasks", "Promptable", "Propagating"} <= set(row.protocols)
    model = load_model(row.name)
    rgb = picture()
    query = ConceptQuery("cell")
    found = model.concept_masks(rgb, [query], 0.0)[0]
    wanted = [score for score, mask in expected(whole, rgb, text=["cell"]) if mask.any()]
    assert [mask.predicted_iou for mask in found] == pytest.approx(wanted, abs=1e-5)
    encoders = [model.network.vision_encoder.backbone, model._concepts.network.vision_encoder.backbone]
    assert encoders[0] is encoders[1]
    tracker = sum(part.numel() for name, part in model.network.named_parameters() if ".backbone." not in name)
    concepts = sum(part.numel() for part in model._concepts.network.parameters())
    assert model_bytes(model) == pytest.approx(4 * (tracker + concepts), rel=0.02)


@pytest.mark.parametrize("shape", [(56, 112), (224, 112)])
def test_points_and_boxes_give_what_transformers_gives(whole: Path, shape: tuple[int, int]) -> None:
    """The plain tracker of transformers, which does not load from the folder: it is given the tensors by name.

    Its features are those of the tracker for films: transformers 5.24 adds the plain one's *no memory* to a map that is
    not used.
    """
    model = load_model(import_model(whole).name)
    tensors = model.network.state_dict()
    config = model.network.config.to_dict() | {"model_type": "sam3_tracker"}
    oracle = transformers.Sam3TrackerModel(transformers.Sam3TrackerConfig(
        vision_config=config["vision_config"], prompt_encoder_config=config["prompt_encoder_config"],
        mask_decoder_config=config["mask_decoder_config"],
    )).eval()  # fmt: skip
    oracle.load_state_dict({name: tensors[name] for name in oracle.state_dict()})
    rgb = picture(shape)
    side = 112
    scale = torch.tensor([side / shape[1], side / shape[0]])
    prompts = {
        Prompt(points=[(30, 40)]): {"input_points": [[40.0, 30.0]], "input_labels": [1]},
        Prompt(points=[(30, 40), (50, 10)], labels=[1, 0]): {
            "input_points": [[40.0, 30.0], [10.0, 50.0]], "input_labels": [1, 0],
        },
        Prompt(box=(10, 12, 50, 45)): {"input_boxes": [[12.0, 10.0, 45.0, 50.0]]},
    }  # fmt: skip
    embedding = model.encode(rgb)
    for prompt, asked in prompts.items():
        given = {}
        if "input_points" in asked:
            given["input_points"] = (torch.tensor(asked["input_points"]) * scale)[None, None]
            given["input_labels"] = torch.tensor(asked["input_labels"])[None, None]
        else:
            given["input_boxes"] = (torch.tensor(asked["input_boxes"]).reshape(-1, 2, 2) * scale).reshape(1, -1, 4)
        pixels = stretched(rgb, side, (0.5,) * 3, (0.5,) * 3)
        with torch.inference_mode():
            features = model.network.get_image_embeddings(pixels)
            found = oracle(image_embeddings=features, **given, multimask_output=True)
            large = torch.nn.functional.interpolate(found.pred_masks[0], shape, mode="bilinear", align_corners=False)
        (own,) = model.decode(embedding, [prompt], multimask=True)
        assert np.abs(own.logits - large[0].numpy()).max() < 1e-4
        assert own.predicted_iou == pytest.approx(found.iou_scores[0, 0].numpy(), abs=1e-5)


def test_its_tracker_takes_clicks_in_prompt_and_goes_through_a_stack(whole: Path) -> None:
    name = import_model(whole, name="sam3-whole").name
    stack = np.stack([picture((60, 80)), 255 - picture((60, 80)), picture((60, 80))])
    image = fs.Image(stack, axes="ZYXC", normalisation=Limits(low=0, high=255))
    clicked = fs.prompt(image, [{"points": [[1, 20, 30]]}], model=name)
    assert clicked.labels.shape == (3, 60, 80)
    followed = fs.propagate(image, [{"box": [1, 10, 12, 1, 40, 50]}], model=name)
    assert followed.labels.shape == (3, 60, 80)
    assert np.array_equal(fs.replay(followed.provenance, image).labels, followed.labels)


def test_a_folder_of_the_tracker_alone_takes_prompts_and_no_words(whole: Path, tmp_path: Path) -> None:
    model = load_model(import_model(whole).name)
    model.network.save_pretrained(tmp_path / "tracker")
    row = import_model(tmp_path / "tracker", name="tracker")
    assert "ConceptMasks" not in row.protocols
    other = load_model("tracker")
    rgb = picture()
    prompt = Prompt(points=[(30, 40)])
    a, b = (one.decode(one.encode(rgb), [prompt], multimask=True)[0] for one in (model, other))
    assert np.allclose(a.logits, b.logits, atol=1e-3)
    with pytest.raises(ModelNotFoundError, match="cannot do this"):
        fs.text(fs.Image(rgb, axes="YXC"), ["cell"], model="tracker")


def test_tensors_of_the_tracker_are_found_under_either_name(whole: Path, tmp_path: Path) -> None:
    """transformers writes its part's name twice, and reads it once too."""
    tensors = {
        name.replace("tracker_model.tracker_model.", "tracker_model."): value
        for name, value in load_file(whole / "model.safetensors").items()
    }
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    own, other = (load_model(import_model(path, name=path.name).name) for path in (whole, tmp_path))
    a, b = (one.network.mask_decoder.state_dict() for one in (own, other))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_published_folder_without_its_tracker_is_refused(whole: Path, tmp_path: Path) -> None:
    tensors = {k: v for k, v in load_file(whole / "model.safetensors").items() if ".memory_encoder." not in k}
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack .* of Sam3TrackerVideoModel"):
        load_model(import_model(tmp_path, name="cut").name)


@pytest.mark.parametrize(
    ("file", "kind", "config"),
    [
        ("sam3-detector", "Sam3Model", "Sam3Config"),
        ("sam3-tracker", "Sam3TrackerVideoModel", "Sam3TrackerVideoConfig"),
    ],
)
def test_full_size_names_and_shapes_are_the_published_ones(file: str, kind: str, config: str) -> None:
    path = Path(__file__).parents[1] / "data" / "layouts" / f"{file}.json"
    with torch.device("meta"):
        network = getattr(transformers, kind)(getattr(transformers, config)())
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

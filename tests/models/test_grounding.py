"""Models that find boxes of words equal transformers' own forward passes and post-processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from napari_foundseg.core.errors import CheckpointError, PromptError
from napari_foundseg.models.catalog import packaged
from napari_foundseg.models.families.language.grounding_dino import phrases_of_boxes
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loaded import grounded_boxes, grouped
from napari_foundseg.models.loading import load_model
from tests.support import tiny_checkpoints

_DINO = ("GroundingDinoForObjectDetection", "MMGroundingDinoForObjectDetection")
_OWL = ("Owlv2ForObjectDetection", "OwlViTForObjectDetection")
_OMDET = "OmDetTurboForObjectDetection"
TINY_WEIGHTS = {
    "grounding_dino": lambda folder: [tiny_checkpoints.write(kind, folder / kind) for kind in _DINO],
    "owl": lambda folder: [tiny_checkpoints.write(kind, folder / kind) for kind in _OWL],
    "omdet_turbo": lambda folder: [tiny_checkpoints.write(_OMDET, folder / _OMDET)],
}
#: Largest difference of scores, and of boxes in pixels, from transformers'.
_SCORES = 1e-5
_PIXELS = 1e-3


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny_checkpoints.write(kind, tmp_path_factory.mktemp("grounding") / kind)
        return made[kind]

    return folder


def picture(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)


def parts_of(folder: Path, kind: str) -> tuple[Any, Any]:
    """Return transformers' own processor and network of a folder."""
    images = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    name = kind.removesuffix("ForObjectDetection").replace("MMG", "G")
    processor = getattr(transformers, f"{name}Processor")(images, tokenizer)
    return processor, getattr(transformers, kind).from_pretrained(folder).eval()


def same(found: Any, wanted: dict[str, Any], shape: tuple[int, int], labels: Any = None) -> None:
    """Check boxes and scores, and labels where they are given; the order of either is free."""
    given = np.zeros(len(wanted["scores"])) if labels is None else np.asarray(labels)
    expected = grounded_boxes(wanted["boxes"].numpy(), wanted["scores"].numpy(), given, shape)
    assert len(found.boxes) == len(expected.boxes) > 3
    order, other = (np.lexsort((*one.boxes.T.round(2), one.scores.round(4))) for one in (found, expected))
    np.testing.assert_allclose(found.boxes[order], expected.boxes[other], atol=_PIXELS)
    np.testing.assert_allclose(found.scores[order], expected.scores[other], atol=_SCORES)
    if labels is not None:
        assert np.array_equal(found.phrases[order], expected.phrases[other])


@pytest.mark.parametrize("shape", [(90, 120), (130, 70)])
@pytest.mark.parametrize("kind", _DINO)
def test_grounding_dino_gives_the_boxes_and_scores_of_transformers(folders: Any, kind: str, shape: Any) -> None:
    model = load_model(import_model(folders(kind)).name)
    assert (model.window, model.longest_text, model.most_boxes) == (96, 32, 12)
    rgb, phrases = picture(shape), ["A cell", "two small nucleus cells"]
    processor, network = parts_of(folders(kind), kind)
    inputs = processor(images=[rgb], text=[phrases], return_tensors="pt")
    with torch.inference_mode():
        output = network(**inputs)
    for threshold in (0.0, float(output.logits.sigmoid().amax(-1).median())):
        (wanted,) = processor.post_process_grounded_object_detection(output, threshold=threshold, target_sizes=[shape])
        found = model.ground(rgb, phrases, threshold)
        same(found, wanted, shape)
    assert set(found.phrases) <= {0, 1}


@pytest.mark.parametrize("kind", _DINO)
def test_phrases_beyond_the_longest_text_are_searched_in_groups(folders: Any, kind: str) -> None:
    model = load_model(import_model(folders(kind)).name)
    rgb = picture((90, 120))
    many = [f"cell {number}" for number in range(30)]
    found = model.ground(rgb, many, 0.0)
    assert np.isfinite(found.scores).all()
    groups = list(grouped(many, model._fits))
    assert [phrase for _, group in groups for phrase in group] == many
    assert len(found.boxes) > model.most_boxes
    first, group = groups[1]
    alone = model.ground(rgb, group, 0.0)
    kept = (found.phrases >= first) & (found.phrases < first + len(group))
    np.testing.assert_allclose(np.sort(found.scores[kept]), np.sort(alone.scores), atol=_SCORES)
    with pytest.raises(PromptError, match="no words"):
        model.ground(rgb, ["?."], 0.0)
    with pytest.raises(PromptError, match=r"no word for '.'.*English words"):
        model.ground(rgb, ["cell", "\N{PETRI DISH}"], 0.0)


def test_token_maps_give_the_exact_phrase_of_each_box() -> None:
    # [CLS] a cell . cell nucleus . [SEP]: the second phrase has a word of the first.
    spans = [range(1, 3), range(4, 6)]
    maps = np.array(
        [
            [0.0, 0.1, 0.9, 0.0, 0.8, 0.2, 0.0, 0.0],
            [0.0, 0.1, 0.6, 0.0, 0.7, 0.6, 0.0, 0.0],
            [0.0, 0.0, 0.3, 0.0, 0.3, 0.95, 0.0, 0.0],
            # Neither's words, but the full stop.
            [0.0, 0.2, 0.1, 0.9, 0.1, 0.1, 0.0, 0.0],
            [0.0, 0.4, 0.4, 0.0, 0.4, 0.4, 0.0, 0.0],
        ],
        np.float32,
    )
    scores, phrases = phrases_of_boxes(maps, spans)
    assert phrases.tolist() == [0, 1, 1, 0, 0]
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.95, 0.9, 0.4])


@pytest.mark.parametrize("kind", _DINO)
def test_the_tokens_of_a_phrase_are_its_own(folders: Any, kind: str) -> None:
    model = load_model(import_model(folders(kind)).name)
    tokens = model._tokens(["Two cells", "small nucleus?", "S. aureus"])["input_ids"]
    words = [model.tokenizer.convert_ids_to_tokens([tokens[i] for i in span]) for span in model._spans(tokens)]
    assert words[:2] == [["two", "cells"], ["small", "nucleus"]]
    assert "".join(words[2]).replace("##", "") == "saureus"


@pytest.mark.parametrize("shape", [(90, 120), (130, 70)])
@pytest.mark.parametrize("kind", _OWL)
def test_owl_gives_the_boxes_scores_and_phrases_of_transformers(folders: Any, kind: str, shape: Any) -> None:
    model = load_model(import_model(folders(kind)).name)
    assert (model.window, model.longest_text, model.most_boxes) == (96, 77, 36)
    rgb = picture(shape)
    processor, network = parts_of(folders(kind), kind)
    texts = ["a photo of a cell", "a photo of two nuclei", "a photo of a vessel"]
    inputs = processor(images=[rgb], text=[texts], return_tensors="pt")
    with torch.inference_mode():
        output = network(**inputs)
    for threshold in (0.0, 0.6):
        (wanted,) = processor.post_process_grounded_object_detection(output, threshold=threshold, target_sizes=[shape])
        found = model.ground(rgb, ["cell", "two nuclei", "vessel"], threshold)
        same(found, wanted, shape, wanted["labels"])
    assert len(set(found.phrases)) > 1


@pytest.mark.parametrize("kind", _OWL)
def test_owl_finds_by_an_example_what_transformers_finds(folders: Any, kind: str) -> None:
    model = load_model(import_model(folders(kind)).name)
    rgb, example = picture((90, 120)), 255 - picture((60, 60))
    processor, network = parts_of(folders(kind), kind)
    inputs = processor(images=[rgb], query_images=[example], return_tensors="pt")
    with torch.inference_mode():
        output = network.image_guided_detection(**inputs)
        features = network.image_embedder(inputs["query_pixel_values"])[0]
        vectors, (best,), boxes = network.embed_image_query(features.flatten(1, 2), features)
    if kind == "OwlViTForObjectDetection":
        # transformers takes the whole picture for the box of the example.
        whole = (0, 0, 59, 59)
    else:
        x, y, width, height = (boxes[0, int(best)] * 60).tolist()
        whole = (y - height / 2, x - width / 2, y + height / 2 - 1, x + width / 2 - 1)
    vector = model.example_vector(example, whole)
    if kind == "OwlViTForObjectDetection":
        np.testing.assert_allclose(vector, vectors[0, 0], atol=1e-5)
    corners = transformers.image_transforms.center_to_corners_format(output.target_pred_boxes[0])
    sides = [120, 120, 120, 120] if kind.startswith("Owlv2") else [120, 90, 120, 90]
    wanted = {"boxes": corners * torch.tensor(sides), "scores": output.logits[0].amax(-1).sigmoid()}
    same(model.boxes_like(rgb, vector[None], 0.0), wanted, (90, 120))


@pytest.mark.parametrize("kind", _OWL)
def test_a_planted_vector_is_found_from_its_box_and_not_from_another(folders: Any, kind: str) -> None:
    model = load_model(import_model(folders(kind)).name)
    with torch.no_grad():
        for part in (model.network.class_head.logit_shift, model.network.class_head.logit_scale):
            # The same shift and scale everywhere: the vectors alone decide.
            part.weight.zero_()
            part.bias.fill_(1.0)
        # Small boxes, each at its patch.
        model.network.box_head.dense2.weight.mul_(0.02)
        model.network.box_head.dense2.bias.zero_()
    rgb = picture((96, 96))
    places = model.boxes_like(rgb, np.eye(1, 32, dtype=np.float32), 0.0).boxes
    for number in (7, 20, 28):
        vector = model.example_vector(rgb, tuple(places[number]))
        found = model.boxes_like(rgb, np.stack([np.roll(vector, 5), vector]), 0.0)
        best = int(found.scores.argmax())
        assert found.phrases[best] == 1
        np.testing.assert_allclose(found.boxes[best], places[number], atol=_PIXELS)


def test_omdet_gives_the_boxes_scores_and_phrases_of_transformers(folders: Any) -> None:
    model = load_model(import_model(folders(_OMDET)).name)
    assert (model.window, model.longest_text, model.most_boxes) == (64, 77, 12)
    rgb, phrases = picture((90, 120)), ["cell", "small nucleus", "vessel"]
    processor, network = parts_of(folders(_OMDET), _OMDET)
    inputs = processor(images=[rgb], text=[phrases], return_tensors="pt")
    with torch.inference_mode():
        output = network(**inputs)
    for threshold in (0.0, 0.2):
        (wanted,) = processor.post_process_grounded_object_detection(
            output, threshold=threshold, target_sizes=[(90, 120)]
        )
        same(model.ground(rgb, phrases, threshold), wanted, (90, 120), wanted["labels"])
    many = model.ground(rgb, ["a very long name of a cell", "another long name of a nucleus", *phrases], 0.0)
    assert np.isfinite(many.scores).all()


@pytest.mark.parametrize("kind", [_DINO[0], _OWL[0], _OMDET])
def test_one_model_gives_what_fresh_ones_give(folders: Any, kind: str) -> None:
    name = import_model(folders(kind)).name
    model = load_model(name)
    rgb, other = picture((90, 120)), picture((64, 64))
    asked = [(rgb, ["cell", "nucleus", "vessel"]), (other, ["cell"]), (rgb, ["cell", "nucleus", "vessel"])]
    first, _, again = (model.ground(*one, 0.0) for one in asked)
    assert np.array_equal(first.boxes, again.boxes)
    assert np.array_equal(first.scores, again.scores)


def test_boxes_beside_the_picture_are_left_out_and_others_cut() -> None:
    corners = np.array([[-5, -5, 4, 3], [2, 3, 30, 40], [12, 1, 15, 5], [3, 3, 3.2, 3.1]], float)
    found = grounded_boxes(corners, np.ones(4), np.arange(4), (10, 12))
    assert found.phrases.tolist() == [0, 1, 3]
    assert found.boxes.tolist() == [[0, 0, 2, 3], [3, 2, 9, 11], [3, 3, 3, 3]]


@pytest.mark.parametrize(
    ("kind", "config", "row"),
    [
        (_DINO[0], lambda: transformers.GroundingDinoConfig(), "grounding-dino-tiny"),
        (_DINO[1], lambda: transformers.MMGroundingDinoConfig(), "mm-grounding-dino-tiny"),
        (_OWL[0], lambda: transformers.Owlv2Config(vision_config={"image_size": 960}), "owlv2-base-patch16-ensemble"),
        (_OWL[1], lambda: transformers.OwlViTConfig(), "owlvit-base-patch32"),
        (_OMDET, lambda: transformers.OmDetTurboConfig(), "omdet-turbo-swin-tiny"),
    ],
)  # fmt: skip
def test_full_sizes_are_those_of_the_rows(kind: str, config: Any, row: str) -> None:
    with torch.device("meta"):
        network = getattr(transformers, kind)(config())
    megabytes = sum(part.numel() for part in network.parameters()) * 4 / 1e6
    assert packaged()[row].size_mb == pytest.approx(megabytes, rel=0.005)
    names = set(network.state_dict())
    known = {
        _DINO[0]: "model.encoder.layers.5.fusion_layer.attn.values_vision_proj.weight",
        _DINO[1]: "model.encoder.layers.5.fusion_layer.attn.values_vision_proj.weight",
        _OWL[0]: "objectness_head.dense0.weight",
        _OWL[1]: "class_head.logit_shift.weight",
        _OMDET: "language_backbone.text_projection",
    }
    assert known[kind] in names


def test_a_folder_without_its_words_is_refused(folders: Any, tmp_path: Path) -> None:
    for file in folders(_DINO[0]).iterdir():
        if file.name not in ("vocab.txt", "tokenizer.json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="how text is split"):
        load_model(import_model(tmp_path, name="wordless").name)

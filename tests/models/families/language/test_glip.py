"""GLIP: its network and boxes as mmdetection's, both published layouts, phrases, the command line, bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.cli import app
from napari_foundseg.core.errors import CheckpointError, PromptError
from napari_foundseg.models.families.language import glip
from napari_foundseg.models.files.glip_layout import own_shapes, own_tensors
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loaded import grounded_boxes
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.language.fusion import TextPictureFusion
from napari_foundseg.models.nets.language.glip import Glip, LevelScores
from napari_foundseg.models.nets.language.glip_boxes import boxes_of_phrases, phrase_scores
from napari_foundseg.tasks.task_models import tasks_for
from tests.support import mmseg_files, small_glip
from tests.support.frozen_arrays import read_arrays

pytestmark = pytest.mark.usefixtures("own_cache")
TINY_WEIGHTS = {
    "glip": lambda folder: [
        small_glip.write(folder / kind / f"{layout}.pth", kind, layout)
        for kind, layout in (("fused", "authors"), ("plain", "mmdetection"))
    ]
}


@pytest.fixture
def small_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glip, "_SHORTER", small_glip.SIDES[0])
    monkeypatch.setattr(glip, "_LONGER", small_glip.SIDES[1])


@pytest.mark.parametrize(("kind", "layout"), [("fused", "authors"), ("plain", "mmdetection")])
@pytest.mark.usefixtures("small_sides")
def test_boxes_and_scores_are_those_of_mmdetection(tmp_path: Path, kind: str, layout: str) -> None:
    frozen = read_arrays(small_glip.FROZEN / f"{kind}.npz")
    row = import_model(small_glip.write(tmp_path / "glip.pth", kind, layout))
    assert tasks_for(row) == ("text",)
    model: Any = load_model(row.name)
    tokens, spans = model._tokens(small_glip.PHRASES)
    assert [len(span) for span in spans] == [1, 3, 2, 2]
    for number, shape in enumerate(((70, 110), (128, 90))):
        rgb = small_glip.picture(shape)
        seen, _, _ = glip._seen(rgb)
        with torch.inference_mode():
            levels = model.network.encode(torch.as_tensor(seen))
            found = model.network(levels, model.network.read(torch.as_tensor(tokens)))
        logits = torch.cat([level.logits for level in found]).numpy()
        np.testing.assert_allclose(logits, frozen[f"logits{number}"], atol=1e-4)
        boxes, scores, phrases = (frozen[f"{part}{number}"] for part in ("boxes", "scores", "phrases"))
        expected = grounded_boxes(boxes, scores, phrases, rgb.shape)
        given = model.ground(rgb, small_glip.PHRASES, 0.0)
        np.testing.assert_allclose(given.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(given.boxes, expected.boxes, atol=1e-2)
        assert np.array_equal(given.phrases, expected.phrases)
        assert set(given.phrases) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["glip-tiny-a", "glip-tiny", "glip-large", "mmdet-glip-tiny-a", "mmdet-glip-tiny"])
def test_every_name_and_shape_of_the_published_files_is_met(name: str) -> None:
    layout = {key: tuple(shape) for key, shape in mmseg_files.read("../glip/layouts")[name].items()}
    own = own_shapes(layout)
    with torch.device("meta"):
        network = Glip(own)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == own
    # Heads for training of a fixed number of classes, and anchors, which are computed.
    assert len(layout) - len(own) == (0 if name.startswith("mmdet") else 7)
    assert glip._title(own) == {"glip-large": "GLIP-L"}.get(
        name, "GLIP-T (A, without fusion)" if name.endswith("-a") else "GLIP-T"
    )


def test_the_fusion_is_the_attention_of_places_and_tokens_written_out() -> None:
    torch.manual_seed(0)
    fusion = TextPictureFusion(6, 10, 16).requires_grad_(False)
    for part in fusion.parameters():
        part.normal_(0, 0.7)
    places, tokens = torch.randn(5, 6), torch.randn(3, 10)
    found = fusion(places, tokens)

    own = {name: value.double().numpy() for name, value in fusion.state_dict().items()}

    def norm(row: Any, kind: str) -> Any:
        centred = (row - row.mean()) / np.sqrt(row.var() + 1e-5)
        return centred * own[f"layer_norm_{kind}.weight"] + own[f"layer_norm_{kind}.bias"]

    def linear(row: Any, name: str) -> Any:
        return own[f"attn.{name}.weight"] @ row + own[f"attn.{name}.bias"]

    picture = [norm(row, "v") for row in places.double().numpy()]
    text = [norm(row, "l") for row in tokens.double().numpy()]
    to_picture, to_text = np.zeros((5, 16)), np.zeros((3, 16))
    for head in range(8):
        part = slice(2 * head, 2 * head + 2)
        scores = np.array(
            [[linear(p, "v_proj")[part] / np.sqrt(2) @ linear(t, "l_proj")[part] for t in text] for p in picture]
        )
        for i in range(5):
            shares = np.exp(scores[i]) / np.exp(scores[i]).sum()
            to_picture[i, part] = sum(shares[j] * linear(text[j], "values_l_proj")[part] for j in range(3))
        for j in range(3):
            shares = np.exp(scores[:, j]) / np.exp(scores[:, j]).sum()
            to_text[j, part] = sum(shares[i] * linear(picture[i], "values_v_proj")[part] for i in range(5))
    # The normalised features are what is added to.
    for i in range(5):
        expected = picture[i] + own["gamma_v"] * linear(to_picture[i], "out_v_proj")
        np.testing.assert_allclose(found[0][i], expected, atol=1e-5)
    for j in range(3):
        expected = text[j] + own["gamma_l"] * linear(to_text[j], "out_l_proj")
        np.testing.assert_allclose(found[1][j], expected, atol=1e-5)


def test_token_maps_give_the_exact_phrase_of_each_box() -> None:
    # [CLS] a cell . cell nucleus [SEP]: the second phrase has a word of the first.
    spans = [[1, 2], [4, 5]]
    maps = torch.tensor(
        [
            [0.9, 0.8, 0.9, 0.0, 0.2, 0.1, 0.0],
            [0.0, 0.1, 0.2, 0.9, 0.9, 0.8, 0.0],
            [0.0, 0.6, 0.6, 0.0, 0.6, 0.9, 0.0],
            # No phrase's own words.
            [0.9, 0.01, 0.01, 0.9, 0.01, 0.01, 0.9],
        ]
    )
    torch.testing.assert_close(
        phrase_scores(maps, spans), torch.tensor([[0.85, 0.15], [0.15, 0.85], [0.6, 0.75], [0.01, 0.01]])
    )
    # Two rows and columns of places, 8 pixels apart; centres are sure.
    level = LevelScores(maps.logit(1e-6), torch.zeros(4, 4), torch.full((4,), 20.0), (2, 2))
    corners, scores, phrases = boxes_of_phrases([level], spans, (200, 200), (1.0, 1.0))
    # Each phrase has a box of each place above .05 that no better one covers: these are all of the anchor's size.
    best = {int(phrase): (float(score), box.tolist()) for box, score, phrase in zip(
        corners.flip(0), scores.flip(0), phrases.flip(0), strict=True)}  # fmt: skip
    assert best[0] == (pytest.approx(0.85**0.5), [0, 0, 36, 36])
    assert best[1] == (pytest.approx(0.85**0.5), [0, 0, 44, 36])
    assert [int(phrase) for phrase in phrases].count(0) == 1


@pytest.mark.usefixtures("small_sides")
def test_phrases_beyond_the_longest_text_are_searched_in_groups(tmp_path: Path) -> None:
    model: Any = load_model(import_model(small_glip.write(tmp_path / "glip.pth")).name)
    rgb = small_glip.picture()
    many = ["two small cells"] * 60 + ["vessel"]
    assert not model._fits(many)
    found = model.ground(rgb, many, 0.0)
    assert set(found.phrases) > {60}
    alone = model.ground(rgb, ["vessel"], 0.0)
    assert np.isfinite(found.scores).all()
    assert len(alone.boxes) > 3


@pytest.mark.usefixtures("small_sides")
def test_a_phrase_given_twice_has_its_own_tokens_each_time(tmp_path: Path) -> None:
    model: Any = load_model(import_model(small_glip.write(tmp_path / "glip.pth")).name)
    tokens, spans = model._tokens(["cells", "S. aureus vial.", "cells"])
    words = [[model.tokenizer.id_to_token(tokens[i]) for i in span] for span in spans]
    assert words == [["cell", "##s"], ["[UNK]", ".", "[UNK]", "vial"], ["cell", "##s"]]
    assert set(model.ground(small_glip.picture(), ["cells", "cells"], 0.0).phrases) == {0, 1}


@pytest.mark.usefixtures("small_sides")
def test_a_file_is_imported_and_run_from_the_command_line(tmp_path: Path) -> None:
    path = small_glip.write(tmp_path / "glip_tiny.pth", layout="authors")
    told = run("models", "import", str(path), "--name", "glip")
    assert "vocab.txt, which stays there" in told
    assert "left out" in told
    rgb = small_glip.picture((60, 80))
    tifffile.imwrite(tmp_path / "picture.tif", rgb, photometric="rgb")
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([rgb, rgb[::-1]]), photometric="rgb", metadata={"axes": "ZYXS"})
    for name, shape in (("picture", (60, 80)), ("stack", (2, 60, 80))):
        out = tmp_path / f"{name}_labels.tif"
        inputs = json.dumps({"concepts": ["cell", "two small nuclei"]})
        run("run", "text", str(tmp_path / f"{name}.tif"), "--out", str(out), "--model", "glip", "--inputs", inputs,
            "--mask-model", "", "--threshold", "0.6")  # fmt: skip
        labels = tifffile.imread(out)
        assert labels.shape == shape
        expected = fs.text(tmp_path / f"{name}.tif", ["cell", "two small nuclei"], model="glip", mask_model="",
                           threshold=0.6)  # fmt: skip
        assert np.array_equal(labels, expected.labels)
        assert labels.any()
        assert {box["concept"] for box in expected.provenance["boxes"]} == {"cell", "two small nuclei"}


@pytest.mark.usefixtures("small_sides")
def test_the_noun_phrases_of_a_caption_are_grounded(tmp_path: Path) -> None:
    import_model(small_glip.write(tmp_path / "glip.pth"), "glip")
    caption = "two syringes and a small vial of vaccine"
    found = fs.text(small_glip.picture((60, 80)), caption=caption, model="glip", mask_model="", threshold=0.6)
    assert [entry.name for entry in found.classes] == ["two syringes", "a small vial of vaccine"]
    assert {box["concept"] for box in found.provenance["boxes"]} <= {"two syringes", "a small vial of vaccine"}
    assert found.provenance["boxes"]


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def _without_vocabulary(path: Path) -> None:
    (path.parent / "vocab.txt").unlink()


def _cased_vocabulary(path: Path) -> None:
    small_glip.write_vocabulary(path.parent, small_glip.VOCABULARY[:-2])


def _vocabulary_without_signs(path: Path) -> None:
    small_glip.write_vocabulary(path.parent, tuple(word.strip("[]") for word in small_glip.VOCABULARY))


def _changed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = torch.load(path)
        change(content["state_dict"])
        torch.save(content, path)

    return write


def _cut(tensors: dict[str, Any]) -> None:
    del tensors["backbone.stages.1.blocks.1.norm1.weight"]


def _without_a_block(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if ".dyhead_tower.3." in name]:
        del tensors[name]


def _other_width(tensors: dict[str, Any]) -> None:
    tensors["neck.fpn_convs.0.conv.weight"] = torch.zeros(48, 32, 3, 3)


def _without_text(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("language_model.")]:
        del tensors[name]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _without_vocabulary,
            r"does not hold BERT's vocabulary. Get vocab.txt of bert-base-uncased .*put it at .*vocab",
        ),
        (_cased_vocabulary, r"has 25 words, and the GLIP beside it knows 27: it is the vocabulary of another model"),
        (_vocabulary_without_signs, r"without \[UNK\], \[CLS\], \[SEP\]"),
        (_changed(_cut), r"taken for GLIP, but lacks 1 of"),
        (_changed(_without_a_block), r"taken for GLIP, but"),
        (_changed(_other_width), r"taken for GLIP, but has with another shape"),
        (_changed(_without_text), r"taken for GLIP, but tensors are missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    path = small_glip.write(tmp_path / "glip.pth")
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        import_model(path)


def test_a_vocabulary_may_lie_in_a_folder_beside_it_and_is_needed_at_each_load(tmp_path: Path) -> None:
    small_glip.write(tmp_path / "glip.pth")
    folder = tmp_path / "bert-base-uncased"
    folder.mkdir()
    (tmp_path / "vocab.txt").rename(folder / "vocab.txt")
    # The folder can be imported in place of the file.
    row = import_model(tmp_path)
    load_model(row.name)
    (folder / "vocab.txt").unlink()
    from napari_foundseg.models import loading

    loading._loaded.clear()
    with pytest.raises(CheckpointError, match=r"does not hold BERT's vocabulary"):
        load_model(row.name)


def test_a_file_of_another_family_is_not_taken_for_it(tmp_path: Path) -> None:
    torch.save({"state_dict": {"bbox_head.head.bbox_pred.weight": torch.zeros(4, 8, 1, 1)}}, tmp_path / "atss.pth")
    with pytest.raises(CheckpointError, match=r"not GLIP"):
        import_model(tmp_path / "atss.pth", family="glip")


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        (["cell " * 300], r"has 302 tokens; .* takes 256 at most. Say it shorter"),
        (["\N{PETRI DISH}"], r"glip has no word for"),
        (["..."], r"has no words: say what to find"),
        (["\u200b"], r"no word"),
    ],
)
def test_phrases_that_it_cannot_read_are_named(tmp_path: Path, phrases: list[str], message: str) -> None:
    import_model(small_glip.write(tmp_path / "glip.pth"), "glip")
    with pytest.raises(PromptError, match=message):
        fs.text(np.zeros((40, 40), np.uint8), phrases, model="glip", mask_model="")


def test_a_phrase_twice_is_named(tmp_path: Path) -> None:
    import_model(small_glip.write(tmp_path / "glip.pth"), "glip")
    with pytest.raises(fs.FoundsegError, match="appears twice"):
        fs.text(np.zeros((40, 40), np.uint8), ["cell", "Cell"], model="glip", mask_model="")


def test_the_layout_of_the_authors_gives_the_tensors_of_the_other() -> None:
    own = small_glip.tensors(small_glip.shapes_of("fused"))
    there = own_tensors(own)
    back = own_tensors(small_glip.authors_layout(own))
    assert there.keys() == back.keys()
    assert all(torch.equal(there[name], back[name]) for name in there)

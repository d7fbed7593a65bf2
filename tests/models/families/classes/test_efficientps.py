"""EfficientPS: the paper's sizes, its fusion against a plain loop, and files in this package's format."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.cli import app
from napari_foundseg.core.classes.logit_fusion import BoxLogits, fused_logits, joined_logits
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models import loading
from napari_foundseg.models.families.classes.efficientps import _in_picture, save_efficientps
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.classes.efficientps.network import EfficientPS
from napari_foundseg.models.protocols.classes import PanopticOptions
from napari_foundseg.tasks.task_models import tasks_for

CLASSES = ("road", "sky", "car", "person")
THINGS = ("person", "car")
SMALL: dict[str, Any] = {"width": 0.25, "depth": 0.3, "channels": 8, "hidden": 16}


def network(seed: int = 0) -> EfficientPS:
    torch.manual_seed(seed)
    return EfficientPS(len(CLASSES), len(THINGS), **SMALL).eval()


def write_weights(folder: Path) -> list[Path]:
    save_efficientps(folder / "small.safetensors", network(), CLASSES, THINGS, stuff_area=10, **SMALL)
    return [folder / "small.safetensors"]


TINY_WEIGHTS = {"efficientps": write_weights}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


def test_scales_and_channels_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        net = EfficientPS(19, 8)
        assert net.encoder.channels == (40, 64, 176, 2048)
        features = net.encoder(torch.empty(1, 3, 64, 128))
        assert [tuple(one.shape[1:]) for one in features] == [(40, 16, 32), (64, 8, 16), (176, 4, 8), (2048, 2, 4)]
        pyramid = net.pyramid(features)
        assert [one.shape[1] for one in pyramid] == [256] * 4
        assert net.semantic(pyramid).shape == (1, 19, 16, 32)
    dilations = [
        module.dilation for module in net.semantic.cells.modules() if getattr(module, "kernel_size", None) == (3, 3)
    ]
    assert dilations == [(1, 6), (1, 1), (6, 21), (18, 15), (6, 3)] * 2
    assert net.instances.masks[-1].out_channels == 8
    assert net.instances.regions.box_predictor.cls_score.out_features == 9


def plain_loop(semantic: Any, objects: list[BoxLogits], stuff: list[int], area: int) -> tuple[Any, Any]:
    """The fusion pixel by pixel, as the paper has it."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + np.exp(-x))

    _, rows, columns = semantic.shape
    taken: dict[tuple[int, int], int] = {}
    kept: list[BoxLogits] = []
    for one in sorted(objects, key=lambda one: -one.score):
        if one.score < 0.5:
            continue
        own = [
            (one.corner[0] + y, one.corner[1] + x)
            for y in range(one.logits.shape[0])
            for x in range(one.logits.shape[1])
            if one.logits[y, x] > 0
        ]
        if not own or sum(pixel in taken for pixel in own) / len(own) > 0.5:
            continue
        kept.append(one)
        for pixel in own:
            taken.setdefault(pixel, len(kept))
    owner = np.zeros((rows, columns), int)
    out = np.zeros((rows, columns), int)
    before: list[set[tuple[int, int]]] = [{p for p, k in taken.items() if k <= n} for n in range(len(kept))]
    for y in range(rows):
        for x in range(columns):
            best = max(semantic[i, y, x] for i in stuff)
            for n, one in enumerate(kept):
                dy, dx = y - one.corner[0], x - one.corner[1]
                if not (0 <= dy < one.logits.shape[0] and 0 <= dx < one.logits.shape[1]) or (y, x) in before[n]:
                    continue
                a, b = float(one.logits[dy, dx]), float(semantic[one.number, y, x])
                joined = (sigmoid(a) + sigmoid(b)) * (a + b)
                if joined > best:
                    best, owner[y, x] = joined, n + 1
            if owner[y, x]:
                out[y, x] = kept[owner[y, x] - 1].number + 1
    highest = semantic.argmax(0)
    for i in stuff:
        free = [(y, x) for y in range(rows) for x in range(columns) if highest[y, x] == i and not owner[y, x]]
        if len(free) >= area:
            for pixel in free:
                out[pixel] = i + 1
    return owner, out


@pytest.mark.parametrize("seed", range(4))
def test_fusion_equals_a_plain_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    semantic = random.normal(0, 2, (5, 24, 30)).astype(np.float32)
    objects = []
    for _ in range(7):
        rows, columns = random.integers(4, 14, 2)
        corner = (int(random.integers(0, 24 - rows)), int(random.integers(0, 30 - columns)))
        logits = random.normal(0.5, 2, (rows, columns)).astype(np.float32)
        objects.append(BoxLogits(logits, corner, int(random.integers(3, 5)), float(random.uniform(0.4, 1))))
    found = fused_logits(semantic, objects, stuff=[0, 1, 2], stuff_area=60)
    owner, out = plain_loop(semantic, objects, [0, 1, 2], 60)
    assert found.labels.max() > 1
    assert np.array_equal(found.semantic, out)
    # Objects that lost all their pixels have no number.
    there = np.unique(owner[owner > 0])
    assert np.array_equal(found.labels, np.searchsorted(there, owner) + (owner > 0))
    assert len(found.classes) == len(found.scores) == len(there)


def test_joined_logits_are_those_of_the_formula() -> None:
    first, second = np.float32(1.5), np.float32(-0.5)
    wanted = (1 / (1 + np.exp(-1.5)) + 1 / (1 + np.exp(0.5))) * 1.0
    assert joined_logits(first, second) == pytest.approx(wanted)
    assert fused_logits(np.zeros((2, 4, 4), np.float32), [], stuff=[0], stuff_area=0).semantic.tolist() == [[1] * 4] * 4


def test_masks_are_cut_where_their_boxes_leave_the_picture() -> None:
    mask = torch.arange(28.0)[None].repeat(28, 1)
    inside = _in_picture((-4.0, 2.0, 10.0, 9.0), mask, (20, 30), 2, 0.9)
    assert inside is not None
    assert inside.corner == (2, 0)
    assert inside.logits.shape == (7, 10)
    for box in ((-9.0, 2.0, -1.0, 9.0), (3.0, 22.0, 9.0, 31.0)):
        assert _in_picture(box, mask, (20, 30), 2, 0.9) is None


def test_a_file_is_imported_by_the_command_line_and_run_on_pictures_and_stacks(tmp_path: Path) -> None:
    path = write_weights(tmp_path)[0]
    result = CliRunner().invoke(app, ["models", "import", str(path)])
    assert result.exit_code == 0, result.output
    row = import_model(path, "small")
    assert set(tasks_for(row)) == {"panoptic", "semantic"}
    assert row.classes == CLASSES
    pixels = np.random.default_rng(0).integers(0, 255, (2, 70, 90, 3), np.uint8)
    model = load_model("small")
    assert [entry.kind for entry in model.classes] == ["stuff", "stuff", "thing", "thing"]
    picture = torch.from_numpy(np.pad((pixels[0] - model._mean) / model._std, ((0, 26), (0, 6), (0, 0))))
    with torch.inference_mode():
        wanted = network()(picture.permute(2, 0, 1)[None].float(), 0.0)
    assert np.array_equal(model.semantic(pixels[0]), wanted.classes.argmax(0)[:70, :90].numpy() + 1)
    assert len(wanted.boxes) > 1
    assert wanted.masks.shape[1:] == (28, 28)
    flat = fs.panoptic(fs.Image(pixels[0], "YXC"), model="small", threshold=0.0)
    direct = model.panoptic(pixels[0], PanopticOptions(threshold=0.0, overlap_mask_area_threshold=0.5))
    assert np.array_equal(flat.semantic, direct.semantic)
    assert set(flat.table["class_name"]) <= set(THINGS)
    stack = fs.panoptic(fs.Image(pixels, "ZYXC"), model="small", threshold=0.0)
    assert stack.labels.shape == (2, 70, 90)
    assert np.array_equal(stack.semantic[0], flat.semantic)
    again = fs.panoptic(fs.Image(pixels[0], "YXC"), model="small")
    assert again.provenance["settings"]["overlap_mask_area_threshold"] == 0.5


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"things": ["tree"]}, "what cannot be"),
        ({"things": []}, "what cannot be"),
        ({"classes": ["road", "road", "car", "person"]}, "what cannot be"),
        ({"width": 1000}, "what cannot be"),
        ({"std": [0, 1, 1]}, "what cannot be"),
        ({"classes": 3}, "says them oddly"),
        ({"channels": 16}, "EfficientPS"),
        ({"classes": [*CLASSES, "tree"]}, "EfficientPS"),
    ],
)
def test_facts_that_cannot_be_are_named(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    path = write_weights(tmp_path)[0]
    said = {"classes": CLASSES, "things": THINGS, **SMALL, **facts}
    metadata = {"format": "foundseg-efficientps", "version": "1", "facts": json.dumps(said)}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(CheckpointError, match=words):
        import_model(path)


def test_other_versions_and_files_without_facts_are_named(tmp_path: Path) -> None:
    path = write_weights(tmp_path)[0]
    for metadata, words in (
        ({"format": "foundseg-efficientps", "version": "2"}, "is of version '2'; 1 is read"),
        ({"format": "foundseg-efficientps", "version": "1"}, "lacks facts"),
    ):
        save_file(load_file(path), path, metadata=metadata)
        with pytest.raises(CheckpointError, match=words):
            import_model(path)

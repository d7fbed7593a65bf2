"""EfficientPS: the paper's sizes, network and fusion against second versions, and files in this package's format."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
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


def _conv(state: Any, name: str, x: Any, slope: float | None = 0.01, **options: Any) -> Any:
    """Return a convolution without bias, batch norm, and leaky ReLU."""
    x = functional.conv2d(x, state[f"{name}.0.weight"], **options)
    return _norm(state, f"{name}.1", x, slope)


def _norm(state: Any, name: str, x: Any, slope: float | None = 0.01) -> Any:
    mean, var, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    x = functional.batch_norm(x, mean, var, weight, bias)
    return x if slope is None else functional.leaky_relu(x, slope)


def _separable(state: Any, name: str, x: Any, dilation: tuple[int, int] = (1, 1)) -> Any:
    x = functional.conv2d(x, state[f"{name}.0.weight"], padding=dilation, dilation=dilation, groups=x.shape[1])
    return _norm(state, f"{name}.2", functional.conv2d(x, state[f"{name}.1.weight"]))


def _wider(x: Any, factor: int) -> Any:
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def _encoded(s: Any, x: Any) -> list[Any]:
    """EfficientNet without squeeze-and-excitation, by the tensors' shapes and the strides of the paper's stages."""
    x = _conv(s, "encoder.stem", x, stride=2, padding=1)
    taken = []
    for stage, stride in enumerate((1, 2, 2, 2, 1, 2, 1)):
        block = 0
        while (at := f"encoder.stages.{stage}.{block}") + ".project.0.weight" in s:
            y = _conv(s, f"{at}.expand", x) if f"{at}.expand.0.weight" in s else x
            kernel = s[f"{at}.depthwise.0.weight"].shape[-1]
            step = stride if block == 0 else 1
            y = _conv(s, f"{at}.depthwise", y, stride=step, padding=kernel // 2, groups=y.shape[1])
            y = _conv(s, f"{at}.project", y, None)
            x = x + y if step == 1 and x.shape == y.shape else y
            block += 1
        if stage in (1, 2, 4):
            taken.append(x)
    return [*taken, _conv(s, "encoder.head", x)]


def _passed_on(s: Any, features: list[Any]) -> list[Any]:
    down = [_conv(s, f"pyramid.down.{i}", x) for i, x in enumerate(features)]
    up = [_conv(s, f"pyramid.up.{i}", x) for i, x in enumerate(features)]
    for i in (2, 1, 0):
        down[i] = down[i] + down[i + 1].repeat_interleave(2, -1).repeat_interleave(2, -2)
    for i in (1, 2, 3):
        up[i] = up[i] + functional.max_pool2d(up[i - 1], 2, 2)
    return [_separable(s, f"pyramid.out.{i}", a + b) for i, (a, b) in enumerate(zip(down, up, strict=True))]


def _scores_of_classes(s: Any, p: list[Any], shape: tuple[int, int]) -> Any:
    def twice(name: str, x: Any) -> Any:
        return _separable(s, f"{name}.1", _separable(s, f"{name}.0", x))

    def cell(name: str, x: Any) -> Any:
        first = _separable(s, f"{name}.first", x, (1, 6))
        parts = [_separable(s, f"{name}.after.{i}", first, d) for i, d in enumerate(((1, 1), (6, 21), (18, 15)))]
        return _conv(s, f"{name}.join", torch.cat([first, *parts, _separable(s, f"{name}.last", parts[2], (6, 3))], 1))

    p32 = cell("semantic.cells.1", p[3])
    p16 = cell("semantic.cells.0", p[2]) + _wider(p32, 2)
    p8 = twice("semantic.fine.1", p[1]) + _wider(twice("semantic.corrections.1", p16), 2)
    p4 = twice("semantic.fine.0", p[0]) + _wider(twice("semantic.corrections.0", p8), 2)
    joined = torch.cat([p4, _wider(p8, 2), _wider(p16, 4), _wider(p32, 8)], 1)
    scores = functional.conv2d(joined, s["semantic.logits.weight"], s["semantic.logits.bias"])
    return functional.interpolate(scores, shape, mode="bilinear", align_corners=False)[0]


def _moved(boxes: Any, deltas: Any, weights: tuple[float, ...], shape: tuple[int, int]) -> Any:
    """Move boxes by what a head says of centre and log size, (n, 4), and cut them to the picture."""
    dx, dy, dw, dh = (deltas[:, i] / weight for i, weight in enumerate(weights))
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    x, y = boxes[:, 0] + width / 2 + dx * width, boxes[:, 1] + height / 2 + dy * height
    most = np.log(1000 / 16)
    width, height = width * dw.clamp(max=most).exp() / 2, height * dh.clamp(max=most).exp() / 2
    return torch.stack([(x - width).clamp(0, shape[1]), (y - height).clamp(0, shape[0]),
                        (x + width).clamp(0, shape[1]), (y + height).clamp(0, shape[0])], 1)  # fmt: skip


def _large(boxes: Any, least: float) -> Any:
    return ((boxes[:, 2:] - boxes[:, :2]) >= least).all(1)


def _proposed(s: Any, pyramid: list[Any], shape: tuple[int, int]) -> Any:
    """The 1000 best boxes of all scales, of three ratios at each place, without those that lie on better ones."""
    from torchvision.ops import nms

    boxes, scores = [], []
    for stride, x in zip((4, 8, 16, 32), pyramid, strict=True):
        name = "instances.proposals.head"
        seen = _separable(s, f"{name}.conv", x)
        said = (
            functional.conv2d(seen, s[f"{name}.scores.weight"], s[f"{name}.scores.bias"])[0].permute(1, 2, 0).flatten()
        )
        deltas = (
            functional.conv2d(seen, s[f"{name}.boxes.weight"], s[f"{name}.boxes.bias"])[0]
            .permute(1, 2, 0)
            .reshape(-1, 4)
        )
        halves = torch.tensor([[8 * stride / r**0.5 / 2, 8 * stride * r**0.5 / 2] for r in (0.5, 1.0, 2.0)])
        corners = torch.cat([-halves, halves], 1).round()
        rows, columns = x.shape[-2:]
        y, x0 = torch.meshgrid(torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij")
        anchors = (torch.stack([x0, y, x0, y], -1).reshape(-1, 1, 4) + corners).reshape(-1, 4)
        best = said.topk(min(1000, len(said))).indices
        found, sure = _moved(anchors[best], deltas[best], (1, 1, 1, 1), shape), said[best].sigmoid()
        there = _large(found, 1e-3)
        kept = nms(found[there], sure[there], 0.7)
        boxes.append(found[there][kept])
        scores.append(sure[there][kept])
    order = torch.cat(scores).sort(descending=True, stable=True).indices[:1000]
    return torch.cat(boxes)[order]


def _pooled(pyramid: list[Any], boxes: Any, side: int) -> Any:
    """What lies in each box, of the scale that fits its size."""
    from torchvision.ops import roi_align

    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    levels = (4 + torch.log2(sides / 224) + 1e-6).floor().clamp(2, 5).long() - 2
    found = torch.zeros(len(boxes), pyramid[0].shape[1], side, side)
    for level, x in enumerate(pyramid):
        own = levels == level
        found[own] = roi_align(x, [boxes[own]], side, 0.25 / 2**level, 2, aligned=False)
    return found


def _found_objects(s: Any, pyramid: list[Any], shape: tuple[int, int], least: float) -> tuple[Any, ...]:
    from torchvision.ops import nms

    proposals = _proposed(s, pyramid, shape)
    x = _pooled(pyramid, proposals, 7).flatten(1)
    for layer in ("first", "second"):
        name = f"instances.regions.box_head.{layer}"
        x = functional.relu(functional.linear(x, s[f"{name}.weight"], s[f"{name}.bias"]))
    name = "instances.regions.box_predictor"
    chances = functional.linear(x, s[f"{name}.cls_score.weight"], s[f"{name}.cls_score.bias"]).softmax(1)
    deltas = functional.linear(x, s[f"{name}.bbox_pred.weight"], s[f"{name}.bbox_pred.bias"])
    boxes, scores, things = [], [], []
    for thing in range(1, chances.shape[1]):
        moved = _moved(proposals, deltas[:, 4 * thing : 4 * thing + 4], (10, 10, 5, 5), shape)
        there = (chances[:, thing] > least) & _large(moved, 1e-2)
        kept = nms(moved[there], chances[there, thing], 0.5)
        boxes.append(moved[there][kept])
        scores.append(chances[there, thing][kept])
        things.append(torch.full((len(kept),), thing - 1))
    sure, order = torch.cat(scores).sort(descending=True, stable=True)
    order = order[:100]
    kept, numbers = torch.cat(boxes)[order], torch.cat(things)[order]
    x = _pooled(pyramid, kept, 14)
    for i in range(4):
        x = _separable(s, f"instances.masks.{i}", x)
    x = functional.relu(
        functional.conv_transpose2d(x, s["instances.masks.4.weight"], s["instances.masks.4.bias"], stride=2)
    )
    x = functional.conv2d(x, s["instances.masks.6.weight"], s["instances.masks.6.bias"])
    return kept, numbers, sure[:100], x[torch.arange(len(x)), numbers]


def test_the_network_equals_a_composition_of_plain_functions() -> None:
    """Written a second time from the paper, from the tensors of a file alone: the two agree."""
    net = network()
    state = net.state_dict()
    random = torch.Generator().manual_seed(0)
    for name, value in state.items():
        # Small variances and large weights, else all places look alike.
        if name.endswith("running_mean"):
            value.normal_(0, 0.1, generator=random)
        elif name.endswith("running_var"):
            value.uniform_(0.1, 0.3, generator=random)
        elif name.endswith(("cls_score.weight", "bbox_pred.weight", "head.scores.weight", "head.boxes.weight")):
            value.mul_(5)
    # Things of both kinds are found.
    state["instances.regions.box_predictor.cls_score.bias"][1] += 1.8
    shape = (320, 384)  # so that the widest dilation meets pixels
    picture = torch.randn((1, 3, *shape), generator=random)
    with torch.inference_mode():
        found = net(picture, 0.02)
        pyramid = _passed_on(state, _encoded(state, picture))
        classes = _scores_of_classes(state, pyramid, shape)
        boxes, things, scores, masks = _found_objects(state, pyramid, shape, 0.02)
    torch.testing.assert_close(found.classes, classes, rtol=0, atol=1e-4 * float(classes.std()))
    assert min(torch.bincount(things)) > 10
    assert min(classes.std(), scores.std(), masks.std()) > 0.01
    torch.testing.assert_close(found.boxes, boxes, rtol=0, atol=1e-2)
    torch.testing.assert_close(found.scores, scores, rtol=0, atol=1e-4)
    assert torch.equal(found.things, things)
    torch.testing.assert_close(found.masks, masks, rtol=0, atol=1e-3 * float(masks.std()))


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
        ({"format": "foundseg-efficientps", "version": "2"}, "has version '2'; version 1 is supported"),
        ({"format": "foundseg-efficientps", "version": "1"}, "lacks facts"),
    ):
        save_file(load_file(path), path, metadata=metadata)
        with pytest.raises(CheckpointError, match=words):
            import_model(path)

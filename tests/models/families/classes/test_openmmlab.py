"""Files of mmsegmentation give what its own networks gave; published ones are known by their tensors."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import user_rows
from napari_foundseg.models.class_sets import CLASS_SETS
from napari_foundseg.models.families.classes.openmmlab import recognise
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from tests.support import mmseg_files
from tests.support.command_line import import_by_command

pytestmark = pytest.mark.usefixtures("own_cache")
NAMES = ("road", "tree", "roof", "water")
PALETTE = [[128, 64, 128], [0, 255, 0], [255, 0, 0]]
FACTS, SCORES = mmseg_files.outputs()
PUBLISHED = mmseg_files.read("published")
LAYOUTS = Path(__file__).parents[3] / "data" / "layouts"


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in FACTS[name]["shapes"].items()}


def written(path: Path, name: str, **meta: Any) -> Path:
    """Write the file of a frozen network as mmengine does."""
    given = {
        "cfg": FACTS[name]["config"],
        "dataset_meta": {"classes": NAMES, "palette": PALETTE},
        "mmengine_version": "0",
    }
    return mmseg_files.write(path, shapes_of(name), **given | meta)


TINY_WEIGHTS = {"openmmlab": lambda folder: [written(folder / "unet.pth", "unet-fcn")]}


def seen(pixels: Any, axes: str = "YXC") -> fs.Image:
    """Return an image that models see as it is."""
    return fs.Image(pixels, axes, normalisation=Limits(low=0, high=255))


@pytest.mark.parametrize("name", [name for name in FACTS if name != "unet-sigmoid"])
def test_a_file_gives_what_mmsegmentation_gives(tmp_path: Path, name: str) -> None:
    row = import_by_command(written(tmp_path / "mine.pth", name), "mine")
    assert row.family == "openmmlab"
    assert row.classes == NAMES
    assert "no colour for 1 of 4 classes" in row.assumed
    assert ("auxiliary heads" in row.assumed) == any(key.startswith("auxiliary") for key in shapes_of(name))
    model: Any = load_model(row.name)
    frozen = SCORES[name]
    found = model.scores(mmseg_files.picture())[:, ::4, ::4].numpy()
    np.testing.assert_allclose(found, frozen, rtol=0, atol=1e-4 * float(frozen.std()))
    expected = frozen.argmax(0) + 1
    assert len(np.unique(expected)) > 1 or name == "segformer"
    result = fs.semantic(seen(mmseg_files.picture()), model=row.name)
    assert np.array_equal(result.labels[::4, ::4], expected)
    stack = fs.semantic(seen(np.stack([mmseg_files.picture()] * 2), "ZYXC"), model=row.name)
    assert np.array_equal(stack.labels[:, ::4, ::4], [expected, expected])
    assert [entry.name for entry in result.classes] == list(NAMES), "2 everywhere would be the third name"
    colours = [entry.colour for entry in result.classes]
    assert colours[:3] == ["#804080", "#00ff00", "#ff0000"]
    assert colours[3].startswith("#"), "a short palette is filled"


def test_one_score_for_two_classes_has_its_own_threshold(tmp_path: Path) -> None:
    meta = {"classes": ("background", "vessel"), "palette": [[0, 0, 0], [1, 2, 3]]}
    row = import_model(written(tmp_path / "mine.pth", "unet-sigmoid", dataset_meta=meta))
    assert row.classes == ("vessel",)
    result = fs.semantic(seen(mmseg_files.picture()), model=row.name)
    chances = 1 / (1 + np.exp(-SCORES["unet-sigmoid"][0]))
    assert np.array_equal(result.labels[::4, ::4] == 1, chances > 0.4)
    assert 0 < (chances > 0.4).mean() < 1
    assert [entry.colour for entry in result.classes] == ["#010203"]


def test_a_stack_is_segmented_in_the_crops_of_training(tmp_path: Path) -> None:
    row = import_model(written(tmp_path / "mine.pth", "unet-fcn"))
    model: Any = load_model(row.name)
    assert model.window == 96
    rgb = np.tile(mmseg_files.picture(), (1, 2, 1))
    stack = fs.semantic(seen(np.stack([rgb, rgb[::-1]]), "ZYXC"), model=row.name)
    assert stack.labels.shape == (2, 64, 192)
    first = model.scores(rgb[:, :96]).argmax(0).numpy() + 1
    assert np.array_equal(stack.labels[0, :, :60], first[:, :60])
    assert np.array_equal(fs.replay(stack.provenance, np.stack([rgb, rgb[::-1]])).labels, stack.labels)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_known_by_their_tensors_alone(name: str, tmp_path: Path) -> None:
    """Every name and shape is compared on the meta device; a file without a configuration is taken as published."""
    shapes = {key: tuple(shape) for key, shape in PUBLISHED[name].items()}
    fields = recognise(WeightsView(tmp_path / f"{name}.pth", shapes, {}))
    assert fields is not None
    head = name.partition("_")[0].removesuffix("-s5-d16")
    head = "upernet" if "_upernet_" in name else head
    wanted = {"unet": "fcn", "setr": "setr-mla" if "_mla_" in name else "setr"}.get(head, head)
    assert fields["options"]["head"] == wanted
    data_set = next((own for word, own in {"ade20k": "ADE20K", "cityscapes": "Cityscapes"}.items() if word in name), "")
    assert fields["classes"] == (CLASS_SETS[data_set] if data_set else ("background", "class 1"))
    lacking = {key: shape for key, shape in shapes.items() if "decode_head" not in key or "bn.running_mean" not in key}
    if len(lacking) < len(shapes):
        with pytest.raises(CheckpointError, match="lacks"):
            recognise(WeightsView(tmp_path / f"{name}.pth", lacking, {}))


def test_files_of_before_and_bare_weights(tmp_path: Path) -> None:
    name = "fcn"
    old = written(tmp_path / "old.pth", name, cfg=None, dataset_meta=None, config=FACTS[name]["config"], CLASSES=NAMES,
                  PALETTE=PALETTE, mmcv_version="1.3")  # fmt: skip
    row = import_model(old)
    assert row.classes == NAMES
    assert row.options["palette"][:3] == ["#804080", "#00ff00", "#ff0000"]  # type: ignore[index]
    torch.save(mmseg_files.filled(shapes_of(name)), tmp_path / "bare.pth")
    bare = import_model(tmp_path / "bare.pth")
    assert bare.classes == ("background", "class 1", "class 2", "class 3")
    assert "does not name its classes" in bare.assumed
    assert "no configuration" in bare.assumed
    both = [load_model(one.name).scores(mmseg_files.picture()) for one in (row, bare)]
    assert torch.equal(*both), "published networks of this kind have the same dilations"


class _Trainer:
    """An object that mmengine stores beside the weights."""

    def __init__(self) -> None:
        self.values = [1, 2]


def test_objects_of_a_training_are_left_empty_and_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = type("HistoryBuffer", (_Trainer,), {"__module__": "mmengine.logging.history_buffer"})
    import sys
    import types

    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = trainer  # type: ignore[attr-defined]
    for part in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, part, module)
    content = {
        "meta": {"cfg": FACTS["fcn"]["config"], "dataset_meta": {"classes": list(NAMES)}},
        "message_hub": {"loss": trainer()},
        "state_dict": mmseg_files.filled(shapes_of("fcn")),
    }
    torch.save(content, tmp_path / "mine.pth")
    assert import_model(tmp_path / "mine.pth").classes == NAMES

    class Evil:
        def __reduce__(self) -> Any:
            return (__import__("os").system, (f"touch {tmp_path / 'ran'}",))

    content["meta"]["seed"] = Evil()
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="holds code"):
        import_model(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_a_configuration_is_read_and_never_run(tmp_path: Path) -> None:
    text = f"import os\nos.system('touch {tmp_path / 'ran'}')\n" + FACTS["fcn"]["config"]
    text += f"\nx = __import__('os').system('touch {tmp_path / 'ran'}')\n"
    row = import_model(written(tmp_path / "mine.pth", "fcn", cfg=text))
    assert load_model(row.name).window == 1024
    assert not (tmp_path / "ran").exists()
    for odd in ("model = dict(", "model = 3", "model = dict(backbone=dict(strides=(1,)))", 5, "(" * 5000):
        odd_file = written(tmp_path / "odd.pth", "fcn", cfg=odd)
        try:
            import_model(odd_file)
        except CheckpointError as error:
            assert "odd.pth" in str(error)  # noqa: PT017


def changed(name: str, change: dict[str, Any]) -> OrderedDict[str, torch.Tensor]:
    shapes: dict[str, Any] = shapes_of(name)
    return mmseg_files.filled({key: shape for key, shape in (shapes | change).items() if shape is not None})


@pytest.mark.parametrize(
    ("name", "change", "meta", "words"),
    [
        (
            "fcn",
            {"decode_head.conv_seg.weight": (7, 16, 1, 1), "decode_head.conv_seg.bias": (7,)},
            {},
            "names 4 classes",
        ),
        ("fcn", {"decode_head.conv_seg.bias": (5,)}, {}, "another shape"),
        ("fcn", {"decode_head.conv_seg.bias": None}, {}, "lacks"),
        ("fcn", {"decode_head.query.weight": (5, 5)}, {}, "a head that is not read"),
        ("fcn", {"backbone.layer1.0.conv1.weight": None}, {}, "a backbone that is not read"),
        ("fcn", {"backbone.layer3.1.conv2.weight": None}, {}, "has besides"),
        ("segformer", {"backbone.layers.1.1.1.norm2.weight": None}, {}, "lacks"),
        ("fcn", {}, {"dataset_meta": {"classes": ["one", "two"]}}, "names 2 classes"),
        ("fcn", {}, {"dataset_meta": {"classes": [1, 2, 3, 4]}}, "not a list of names"),
        ("fcn", {"decode_head.conv_seg.weight": None, "bbox_head.fc.weight": (4, 4)}, {}, "another task"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_words(
    tmp_path: Path, name: str, change: dict[str, Any], meta: dict[str, Any], words: str
) -> None:
    given = {"cfg": FACTS[name]["config"], "dataset_meta": {"classes": NAMES}, "mmengine_version": "0.1"} | meta
    torch.save({"meta": given, "state_dict": changed(name, change)}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=words):
        import_model(tmp_path / "mine.pth")
    assert not user_rows()


def test_a_small_file_cannot_describe_a_large_network(tmp_path: Path) -> None:
    state = changed("fcn", {})
    state["decode_head.convs.0.conv.weight"] = torch.zeros(1).expand(200_000, 8_000, 3, 3)
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError):
        import_model(tmp_path / "mine.pth")


def test_the_layouts_of_the_authors_are_those_of_the_frozen_ones() -> None:
    assert json.dumps(sorted(PUBLISHED["unet-s5-d16_fcn_4xb4-40k_drive-64x64"].items()))
    assert len(PUBLISHED["setr_vit-l_pup_8xb2-160k_ade20k-512x512"]) == 367
    assert len(PUBLISHED["pspnet_r50-d8_4xb2-40k_cityscapes-512x1024"]) == 370

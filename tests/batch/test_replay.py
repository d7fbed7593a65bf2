"""A result is made again from what was written down of it, and is equal bit for bit; with the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage.io import imread

import napari_foundseg as fs
from napari_foundseg.batch import item_stages, items, ledger
from napari_foundseg.batch.recipe import ModelOf, Outputs, Recipe, Sources, Step
from napari_foundseg.batch.recipe_steps import run_steps
from napari_foundseg.batch.replay import compare
from napari_foundseg.core.contrast import CTWindow, Limits, Percentile
from napari_foundseg.core.errors import BadImageError, CheckpointError, ReplayError
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.io.samples import sample
from napari_foundseg.models import catalog
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.running import run


def nuclei(height: int = 100, width: int = 120) -> NDArray[Any]:
    return np.asarray(imread(sample("nuclei"))[:height, :width])


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    tifffile.imwrite(
        tmp_path / "grey.tif", nuclei().astype(np.uint16) * 9, imagej=True, resolution=(2, 2), metadata={"unit": "um"}
    )
    return tmp_path / "grey.tif"


@pytest.fixture
def rgb(tmp_path: Path) -> Path:
    picture = nuclei()
    tifffile.imwrite(tmp_path / "rgb.tif", np.stack([picture, 255 - picture, picture // 2], -1), photometric="rgb")
    return tmp_path / "rgb.tif"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    planes = np.stack([nuclei(), nuclei()[::-1] // 3, nuclei()[:, ::-1]])
    channels = np.stack([planes, 255 - planes, planes // 2], 1)
    tifffile.imwrite(
        tmp_path / "stack.tif", channels, imagej=True, metadata={"axes": "ZCYX", "spacing": 2.0, "unit": "um"}
    )
    return tmp_path / "stack.tif"


def rough_mask() -> NDArray[np.bool_]:
    mask = np.zeros((100, 120), bool)
    mask[40:70, 60:100] = True
    return mask


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "decoder": ("grey", "automatic", {}),
    "decoder, one region, untiled": (
        "grey",
        "automatic",
        {"method": "decoder", "tile": False, "inputs": {"region": (10, 20, 89, 110)}, "min_area": 5},
    ),
    "decoder, diameter in µm": ("grey", "automatic", {"method": "decoder", "diameter": 9.0, "diameter_unit": "µm"}),
    "decoder, RGB": (
        "rgb",
        "automatic",
        {"method": "decoder", "foreground_threshold": 0.4, "find_diameter": "second look"},
    ),
    "decoder, limits": ("grey", "automatic", {"normalisation": Limits(low=100, high=900)}),
    "decoder, volume, second channel": (
        "stack",
        "automatic",
        {"channels": 1, "normalisation": Percentile(low=2, high=98)},
    ),
    "grid": ("grey", "automatic", {"method": "grid", "points_per_side": 4, "pred_iou_thresh": 0.2}),
    "grid, one slice": (
        "stack",
        "automatic",
        {"method": "grid", "points_per_side": 3, "tile": False, "inputs": {"index": (2,)}},
    ),
    "points": (
        "grey",
        "prompt",
        {"inputs": {"prompts": [fs.Prompt([(40.25, 60), (12, 9.5)], [1, 0]), fs.Prompt([(90, 90)])]}},
    ),
    "boxes": (
        "rgb",
        "prompt",
        {"inputs": {"prompts": [fs.Prompt(box=(20.5, 30, 60, 80)), fs.Prompt(box=(0, 0, 9, 9))]}},
    ),
    "nuclei and background, one region": (
        "stack",
        "panoptic",
        {"link": True, "output": "panoptic ids", "inputs": {"region": (0, 5, 90, 110)}},
    ),
    "clusters": ("rgb", "cluster", {"method": "kmeans", "n_clusters": 3, "context": 24}),
    "followed through a stack": (
        "stack",
        "propagate",
        {"inputs": {"prompts": {1: [fs.Prompt(mask=rough_mask(), index=(1,))]}}},
    ),
    "mask, single": ("grey", "prompt", {"output": "single", "inputs": {"prompts": [fs.Prompt(mask=rough_mask())]}}),
    "all together, untiled": (
        "grey",
        "prompt",
        {"tile": False, "inputs": {"prompts": [fs.Prompt([(50, 80)], None, (30, 50, 80, 110), rough_mask())]}},
    ),
    "slice of a volume, three channels, CT window": (
        "stack",
        "prompt",
        {
            "channels": (2, 0, 1),
            "normalisation": CTWindow(level=100, width=150),
            "inputs": {"prompts": [fs.Prompt([(1, 40, 60)]), fs.Prompt(mask=rough_mask(), index=(2,))]},
        },
    ),
}


#: Tasks whose models do not come with the package, replayed where small ones are made, and one whose inputs are cut out
#: of the image.
ELSEWHERE = {"text", "name_masks", "semantic", "find_similar"}


def test_a_result_of_every_task_is_made_again() -> None:
    assert {task for _, task, _ in CASES.values()} | ELSEWHERE == set(TASKS)


def made(path: Path, task: str, options: dict[str, Any]) -> fs.Segmentation:
    from napari_foundseg.batch.item_image import read_item_image

    options = dict(options)
    image = read_item_image(path, None, options.pop("channels", None), options.pop("normalisation", Percentile()))
    return run(task, image, options.pop("inputs", {}), model="foundseg-tiny", **options)


@pytest.mark.parametrize("name", CASES)
def test_what_a_layer_or_a_file_keeps_of_a_run_makes_it_again(
    tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    kind, task, options = CASES[name]
    original = made(request.getfixturevalue(kind), task, options)
    assert original.labels.any(), "a test of nothing"
    file = tmp_path / "layer.json"
    file.write_text(json.dumps(original.provenance))
    again = fs.replay(file)
    assert again.labels.dtype == original.labels.dtype
    assert np.array_equal(again.labels, original.labels)
    assert again.table.equals(original.table)


@pytest.mark.parametrize("stacks", ["whole", "slices"])
def test_a_batchs_results_are_made_again_from_their_sidecars(tmp_path: Path, stack: Path, stacks: Any) -> None:
    tiny = ModelOf(name="foundseg-tiny")
    prompt = fs.Prompt([(40, 60)] if stacks == "slices" else [(1, 40, 60)])
    steps = (
        Step(task="automatic", method="decoder", model=tiny, settings={"min_area": 60}),
        Step(task="prompt", model=tiny, inputs={"prompts": [prompt.to_json()]}, rule="overwrite"),
    )
    sources = Sources(paths=(stack.name,), channels=0, stacks=stacks)
    recipe = Recipe(inputs=sources, steps=steps, outputs=Outputs(labels=".ome.tif"))
    folder = ledger.open_folder(tmp_path / "results")
    for item in items.list_items(recipe, tmp_path):
        assert item_stages.run_item_here(item_stages.Order(recipe.model_dump_json(), item, folder)).state == "done"
        labels = folder.path / f"{item.stem}_labels.ome.tif"
        again = fs.replay(labels)
        assert np.array_equal(again.labels, tifffile.imread(labels))
        for source in (labels, labels.with_name(f"{item.stem}_labels.json")):
            assert compare(source, again).equal is True


def test_steps_with_classes_are_added_by_name(tmp_path: Path, grey: Path) -> None:
    tiny = ModelOf(name="foundseg-tiny")
    steps = (
        Step(task="panoptic", model=tiny, settings={"output": "panoptic ids", "find_diameter": "once"}),
        Step(
            task="prompt", model=tiny, inputs={"prompts": [fs.Prompt(box=(5, 5, 30, 30)).to_json()]}, rule="overwrite"
        ),
    )
    labels, table, provenance = run_steps(
        steps, fs.Image(tifffile.imread(grey)), StageContext(None, lambda *_: None, bool)
    )
    whole = fs.panoptic(tifffile.imread(grey))
    assert len(table) == len(whole) + 1 + 1, "nuclei, background, and the prompt's object"
    assert set(np.unique(labels)) <= set(table["label"])
    assert [row["name"] for row in provenance[-1]["classes"]] == ["nucleus", "background", "object"]
    assert table["class_name"].tolist() == ["nucleus"] * len(whole) + ["background", "object"]


def test_slices_see_the_grey_values_of_their_stack(tmp_path: Path, stack: Path) -> None:
    settings = {"find_diameter": "second look"}
    step = Step(task="automatic", method="decoder", model=ModelOf(name="foundseg-tiny"), settings=settings)
    recipe = Recipe(inputs=Sources(paths=(stack.name,), stacks="slices"), steps=(step,))
    folder = ledger.open_folder(tmp_path / "results")
    for item in items.list_items(recipe, tmp_path):
        assert item_stages.run_item_here(item_stages.Order(recipe.model_dump_json(), item, folder)).state == "done"
    whole = fs.automatic(stack, method="decoder", **settings).labels
    for z in range(3):
        alone = tifffile.imread(folder.path / f"stack_z{z}_labels.tif")
        assert np.array_equal(alone > 0, whole[z] > 0)


def test_a_persons_changes_are_told_from_what_the_run_wrote(tmp_path: Path, grey: Path) -> None:
    from napari_foundseg.batch.result_file import write_result
    from napari_foundseg.io.readers import read_image

    image = read_image(grey)
    out = tmp_path / "out" / "labels.tif"
    write_result(out, image, run("automatic", image, {}, model="foundseg-tiny", min_area=9))
    again = fs.replay(out)
    assert compare(out, again) == compare(out.with_name("labels.json"), again)
    assert compare(out, again).equal is True
    labels = tifffile.imread(out)
    labels[:9] = 0
    tifffile.imwrite(out, labels)
    told = compare(out, again)
    assert told.equal is True
    assert "changed or removed after the run" in told.words
    out.unlink()
    assert compare(out.with_name("labels.json"), again).equal is True
    other = fs.automatic(grey, foreground_threshold=0.2)
    assert compare(out.with_name("labels.json"), other).equal is not True


def test_an_image_that_moved_can_be_given(grey: Path) -> None:
    original = made(grey, "automatic", {})
    elsewhere = grey.rename(grey.with_name("moved.tif"))
    with pytest.raises(BadImageError, match="no such file"):
        fs.replay(original.provenance)
    metadata = {"foundseg": original.provenance, "mine": 5}
    for image in (elsewhere, str(elsewhere), tifffile.imread(elsewhere)):
        assert np.array_equal(fs.replay(metadata, image).labels, original.labels)


def test_a_layer_that_came_from_no_file_is_made_again_with_its_pixels() -> None:
    pixels = nuclei()
    original = fs.automatic(pixels)
    with pytest.raises(BadImageError, match="Give the image"):
        fs.replay(original.provenance)
    assert np.array_equal(fs.replay(original.provenance, pixels).labels, original.labels)


def test_another_image_is_refused(grey: Path) -> None:
    original = made(grey, "automatic", {})
    pixels = tifffile.imread(grey)
    pixels[5, 5] += 1
    for image in (pixels, pixels[:-1], pixels.astype(np.float32)):
        with pytest.raises(BadImageError, match="not the image of the result"):
            fs.replay(original.provenance, image)
    tifffile.imwrite(grey, pixels)
    with pytest.raises(BadImageError, match="not the image of the result"):
        fs.replay(original.provenance)


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, grey: Path) -> None:
    original = made(grey, "automatic", {})
    here = catalog.row("foundseg-tiny")
    monkeypatch.setitem(catalog._adopted, here.name, replace(here, sha256="0" * 64))
    with pytest.raises(CheckpointError, match=here.sha256[:9]):
        fs.replay(original.provenance)


def without(*keys: str) -> Callable[[dict[str, Any]], Any]:
    def act(record: dict[str, Any]) -> Any:
        inner = record
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return record

    return act


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: {},
        lambda _: {"foundseg": 5},
        without("task"),
        without("settings"),
        without("settings", "method"),
        without("model", "name"),
        without("image"),
        without("image", "fingerprint"),
        without("image", "normalisation"),
        without("inputs"),
        lambda record: record | {"settings": {**record["settings"], "new": 1}},
        lambda record: record | {"task": "dream"},
    ],
)
def test_too_little_to_go_by_is_said(grey: Path, spoil: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads(json.dumps(made(grey, "automatic", {}).provenance))
    with pytest.raises(ReplayError):
        fs.replay(spoil(record))


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{", b'{"format": "foundseg-result 9"}', b'{"format": "other"}']
)
def test_a_file_without_provenance_is_named(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "a_labels.tif").write_bytes(b"")
    if content is not None:
        (tmp_path / "a_labels.json").write_bytes(content)
    for name in ("a_labels.tif", "a_labels.json"):
        with pytest.raises(ReplayError, match=r"a_labels\.json"):
            fs.replay(tmp_path / name)


def test_the_same_run_twice_and_with_other_threads(grey: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        found = {}
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            found.setdefault(threads, []).append(made(grey, "automatic", {}))
            assert found[threads][-1].provenance["model"]["threads"] == threads
        once, twice = found[1]
        assert np.array_equal(once.labels, twice.labels)
        assert once.table.equals(twice.table)
        # Sums of floats differ in their last digits: at most single pixels at the border of an object.
        assert np.mean(once.labels != found[2][0].labels) < 1e-4
        torch.set_num_threads(2)
        assert np.array_equal(fs.replay(once.provenance).labels, once.labels)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_provenance_says_what_a_result_was_made_of_and_with(grey: Path) -> None:
    known = made(grey, "automatic", {}).provenance
    row = catalog.row("foundseg-tiny")
    assert known["model"]["sha256"] == row.sha256
    assert known["model"]["revision"] == row.revision
    assert known["model"]["device"]
    assert set(known) >= {"task", "settings", "inputs", "image", "versions", "seconds", "finished", "fallbacks"}
    assert {"napari-foundseg", "torch", "python", "system"} <= set(known["versions"])

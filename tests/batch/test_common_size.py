"""One diameter for all images of a batch, found once on a sample of them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_foundseg as fs
from napari_foundseg.batch import common_size, ledger
from napari_foundseg.batch.common_size import choose_sample, read_sizes, with_common_size
from napari_foundseg.batch.item_stages import Order, run_item_here
from napari_foundseg.batch.items import list_items
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
from napari_foundseg.batch.replay import compare
from napari_foundseg.batch.report import read_report
from napari_foundseg.batch.runner import Runner
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.tasks.windows.sizes.size_search import CommonSize

CONTEXT = StageContext(None, lambda *_: None, bool)


def discs(diameter: float, seed: int, side: int = 256) -> Any:
    """Draw even discs side by side."""
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 15.0)
    middles = np.arange(0.75 * diameter, side - 0.5 * diameter, 1.4 * diameter)
    for row in middles:
        for column in middles:
            image += 105 * np.clip(diameter / 2 - np.hypot(y - row, x - column) + 0.5, 0, 1)
    return np.clip(image + np.random.default_rng(seed).normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def recipe(**settings: Any) -> Recipe:
    step = Step(task="automatic", method="decoder", model=ModelOf(name="foundseg-tiny"), settings=settings)
    return Recipe(inputs=Sources(paths=("images",)), steps=(step,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number, diameter in enumerate((80, 90, 70, 85)):
        tifffile.imwrite(tmp_path / "images" / f"{number}.tif", discs(diameter, number))
    return tmp_path


def sizes(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(path.read_text()) for path in sorted((folder / "results").glob("*_labels.json"))]
    return [record["steps"][0]["size"] for record in records]


def test_a_batch_has_one_diameter_that_its_report_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, diameter in enumerate((200, 225, 175, 212)):
        tifffile.imwrite(folder / "images" / f"{number}.tif", discs(diameter, number, side=640))
    tifffile.imwrite(folder / "images" / "9.tif", discs(18, 9))
    report = Runner(recipe(), folder).run()
    assert report.complete
    assert len({item.diameter for item in report.items}) == 1
    assert 160 < (report.items[0].diameter or 0) < 240
    assert len({size["scale"] for size in sizes(folder)}) == 1
    assert report.diameters() == read_report(folder / "results").size  # type: ignore[union-attr]
    assert "One diameter for all images" in report.diameters()
    assert "2.tif" in report.diameters()
    # Its objects are ten times smaller than those of the others.
    assert "smaller than those of the sample" in report.items[4].reason
    assert "each image" in report.items[4].reason
    assert not any(item.reason for item in report.items[:4])
    own = Runner(recipe(find_diameter="each image"), folder, folder / "own").run()
    assert own.size == ""
    assert len({item.diameter for item in own.items}) == 5
    # What a batch has made is made again from its record.
    labels = folder / "results" / "1_labels.tif"
    assert compare(labels, fs.replay(labels)).equal
    # A later run goes on with the same diameter, though the list of images is another.
    tifffile.imwrite(folder / "images" / "91.tif", discs(16, 10))
    monkeypatch.setattr(common_size, "find_common_size", lambda *_: pytest.fail("it was found already"))
    items = list_items(recipe(), folder)
    opened = ledger.open_folder(folder / "results")
    sample = choose_sample(items, recipe(), recipe().digest(), opened)
    assert run_item_here(Order(recipe().model_dump_json(), items[-1], opened, sample)).diameter == (
        report.items[0].diameter
    )


def test_other_images_have_their_own_diameter_in_the_same_folder(folder: Path) -> None:
    items = list_items(recipe(), folder)
    opened = ledger.open_folder(folder / "results")
    digest = recipe().digest()
    first = choose_sample(items, recipe(), digest, opened)
    assert first is not None
    with_common_size(recipe(), first, opened, CONTEXT)
    assert choose_sample(items[::-1], recipe(), digest, opened) == first
    kept = read_sizes(first.path(opened))
    assert kept is not None
    assert len(kept.images) == 3
    for name in kept.images:
        tifffile.imwrite(folder / name, discs(20, 3))
    again = choose_sample(items, recipe(), digest, opened)
    assert again is not None
    assert read_sizes(again.path(opened)) is None, "what was found is of other pixels"
    assert choose_sample(items[:1], recipe(), digest, opened) is None
    assert choose_sample(items, recipe(diameter=30), digest, opened) is None
    assert choose_sample(items, recipe(find_diameter="each slice"), digest, opened) is None


def test_workers_wait_for_the_one_that_finds_it_and_images_that_cannot_be_read_are_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "images" / "1.tif").write_bytes(b"no image")
    items = list_items(recipe(), folder)
    opened = ledger.open_folder(folder / "results")
    sample = choose_sample(items, recipe(), recipe().digest(), opened)
    begun, go_on = threading.Event(), threading.Event()
    found: list[int] = []

    def find(images: Any, *_: Any) -> CommonSize:
        found.append(len(list(images)))
        begun.set()
        assert go_on.wait(60)
        return CommonSize(0.25, 77.0)

    monkeypatch.setattr(common_size, "find_common_size", find)
    got: list[Any] = []

    def work() -> None:
        got.append(with_common_size(recipe(), sample, opened, CONTEXT)[0].settings["found_scale"])

    threads = [threading.Thread(target=work) for _ in range(3)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert got == [0.25] * 3
    assert found == [3], "once, and of the three images that can be read"

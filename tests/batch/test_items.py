"""Which images a recipe means, and what the names of their results begin with."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_foundseg.batch.items import BatchItem, list_items, output_folder
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
from napari_foundseg.core.errors import RecipeError
from napari_foundseg.io import naming

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")


def recipe(*paths: str, **options: object) -> Recipe:
    step = Step(task="automatic", model=ModelOf(name="foundseg-tiny"))
    return Recipe(inputs=Sources.model_validate({"paths": paths, **options}), steps=(step,))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def names(folder: Path, *paths: str, **options: object) -> list[str]:
    return [item.name for item in list_items(recipe(*paths, **options), folder)]


def stems(folder: Path, *paths: str, **options: object) -> list[str]:
    return [item.stem for item in list_items(recipe(*paths, **options), folder)]


def test_a_folder_gives_its_images_in_natural_order_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path / "in", "b10.tif", "b9.tif", "A.PNG", "notes.txt", ".hidden.tif", "b9_labels.tif", "deep/c.tif")
    assert names(tmp_path, "in") == ["in/A.PNG", "in/b9.tif", "in/b10.tif"]


def test_folders_in_folders_are_looked_into_on_demand_but_not_results_or_links(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.tif", "in/deep/c.tif", "in/deep/deeper/d.tif", "in/results/overlay.png", "in/.trash/e.tif")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    found = list_items(recipe("in", recursive=True), tmp_path, tmp_path / "in" / "results")
    assert [item.name for item in found] == ["in/a.tif", "in/deep/c.tif", "in/deep/deeper/d.tif"]


def test_a_pattern_gives_the_images_that_fit(tmp_path: Path) -> None:
    touch(tmp_path, "in/a1.tif", "in/a2.tif", "in/b.tif", "in/a1_labels.tif", "in/x/a3.tif", "in/a.txt")
    assert names(tmp_path, "in/a*.tif") == ["in/a1.tif", "in/a2.tif"]
    assert names(tmp_path, "in/**/a*") == ["in/a1.tif", "in/a2.tif", "in/x/a3.tif"]
    assert names(tmp_path, str(tmp_path / "in" / "b*")) == ["in/b.tif"]


def test_a_name_with_brackets_is_a_name_before_it_is_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].tif", "a1.tif")
    assert names(tmp_path, "a[1].tif") == ["a[1].tif"]


def test_a_list_names_images_as_its_own_folder_sees_them(tmp_path: Path) -> None:
    touch(tmp_path, "lists/a.tif", "b.tif")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.tif"
    outside.write_bytes(b"")
    (tmp_path / "lists" / "all.txt").write_text(f"\ufeff# mine\na.tif\n\n  ../b.tif\n{outside}\nnowhere.tif\n")
    found = list_items(recipe("lists/all.txt"), tmp_path)
    assert [item.path.name for item in found] == ["a.tif", "b.tif", outside.name, "nowhere.tif"]
    assert [item.stem for item in found] == ["a", "b", outside.stem, "nowhere"]


def test_each_file_comes_once_however_it_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.tif", "in/b.tif")
    (tmp_path / "same").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "link.tif").symlink_to(tmp_path / "in" / "a.tif")
    (tmp_path / "all.txt").write_text("in/b.tif\nin/../in/a.tif\n")
    found = names(tmp_path, "in/b.tif", "in", "in/*.tif", "same", "all.txt", str(tmp_path / "in" / "a.tif"))
    assert found == ["in/b.tif", "in/a.tif"]


@pytest.mark.parametrize("entry", ["nowhere", "nowhere/*.tif", "empty", "empty/*", "results-only", "a\0b", "notes.md"])
def test_what_leads_to_no_image_is_named(tmp_path: Path, entry: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "good/a.tif", "results-only/a_labels.tif")
    with pytest.raises(RecipeError, match=r"inputs\.paths: ") as caught:
        list_items(recipe("good", entry), tmp_path)
    assert repr(entry) in str(caught.value)


def test_an_image_that_is_missing_is_an_item_that_will_fail(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    assert names(tmp_path, "a.tif", "gone.tif") == ["a.tif", "gone.tif"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.tif", "b.tif"], ["a", "b"]),
        (["a.png", "a.tif"], ["a", "a.tif"]),
        (["a.ome.tif", "a.tif"], ["a", "a.tif"]),
        (["x/a.tif", "y/a.tif", "y/b.tif"], ["a", "in_y_a", "b"]),
        (["a.png", "a.tif", "a.tif.png"], ["a", "a.tif_2", "a.tif"]),
    ],
)
def test_no_two_images_have_results_of_one_name(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    touch(tmp_path / "in", *files)
    assert stems(tmp_path, "in", recursive=True) == expected


@POSIX
def test_names_are_told_apart_without_regard_to_case_and_accents(tmp_path: Path) -> None:
    touch(tmp_path, "Cell.tif", "cell.tif", "e\u0301.tif", "\u00e9.tif")
    if len(list(tmp_path.iterdir())) < 4:
        pytest.skip("this disk does not tell them apart")
    found = [naming.name_key(stem) for stem in stems(tmp_path, ".")]
    assert len(set(found)) == 4


@POSIX
def test_results_stay_in_their_folder_whatever_the_images_are_called(tmp_path: Path) -> None:
    odd = [
        "a\nb.tif",
        "a:b.tif",
        "con.tif",
        "a..tif",
        "a\\b.tif",
        "x" * 240 + ".tif",
        "caf\u00e9 \u00b5m.tif",
        "-rf.tif",
    ]
    touch(tmp_path, *odd)
    (tmp_path / os.fsdecode(b"a\xff.tif")).write_bytes(b"")
    found = stems(tmp_path, ".")
    assert len(found) == len(odd) + 1
    for stem in found:
        name = f"{stem}_labels.ome.zarr"
        assert not set(name) & set('/\\:\n\0*?"<>|')
        assert not name.startswith(".")
        assert len(os.fsencode(name)) <= 255
        (tmp_path / name).write_bytes(b"")
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()


@given(st.text(min_size=1, max_size=300))
def test_every_text_becomes_a_name_that_disks_take(text: str) -> None:
    name = naming.safe_name(text)
    assert name == naming.safe_name(name)
    assert 0 < len(name.encode()) <= 200
    assert Path(name).name == name
    assert name not in (".", "..")
    assert not name.startswith(".")


@settings(max_examples=40)
@given(st.lists(st.text("ab.A_é", min_size=1, max_size=4), min_size=1, max_size=12))
def test_free_stems_are_free(texts: list[str]) -> None:
    taken: set[str] = set()
    for text in texts:
        stem = naming.free_stem(text, taken)
        assert naming.name_key(stem) not in taken
        taken.add(naming.name_key(stem))


def test_a_new_image_does_not_take_the_place_of_one_that_has_results(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.tif")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a_labels.json").write_text('{"input": {"name": "in/a.tif"}}')
    touch(tmp_path / "in", "a.png")
    found = {item.name: item.stem for item in list_items(recipe("in"), tmp_path)}
    assert found == {"in/a.tif": "a", "in/a.png": "a.png"}


def test_each_slice_of_a_stack_is_an_item_on_demand(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((2, 12, 8, 9), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    tifffile.imwrite(tmp_path / "plane.tif", np.zeros((8, 9), np.uint8))
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    found = list_items(recipe(".", stacks="slices"), tmp_path)
    assert found[:2] == [
        BatchItem("broken.tif", tmp_path / "broken.tif", None, "broken"),
        BatchItem("plane.tif", tmp_path / "plane.tif", None, "plane"),
    ]
    assert len(found) == 2 + 24
    assert found[2] == BatchItem("stack.tif (t = 0, z = 0)", tmp_path / "stack.tif", (0, 0), "stack_t0_z00")
    assert found[-1] == BatchItem("stack.tif (t = 1, z = 11)", tmp_path / "stack.tif", (1, 11), "stack_t1_z11")
    assert len(list_items(recipe("."), tmp_path)) == 3


def test_a_hundred_thousand_files_are_found_in_seconds(tmp_path: Path) -> None:
    count = 100_000
    (tmp_path / "all.txt").write_text("".join(f"images/{i % 100}/img_{i}.tif\n" for i in range(count)))
    started = time.process_time()  # other programs do not lengthen it
    found = list_items(recipe("all.txt"), tmp_path)
    seconds = time.process_time() - started
    assert len({naming.name_key(item.stem) for item in found}) == len(found) == count
    assert seconds < 60, seconds


def test_results_go_beside_the_recipe_or_where_they_are_wanted(tmp_path: Path) -> None:
    assert output_folder(recipe("."), tmp_path) == tmp_path / "results"
    assert output_folder(recipe("."), tmp_path, tmp_path / "other") == tmp_path / "other"

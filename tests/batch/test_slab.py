"""A slab goes with a run: through the engine, into recipes, commands and Python, and back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.draw import disk

import napari_foundseg as fs
from napari_foundseg.batch.command_text import as_command, image_of
from napari_foundseg.batch.item_image import read_item_image
from napari_foundseg.batch.recipe import Sources, recipe_of
from napari_foundseg.core.errors import AxesError
from napari_foundseg.engine.client import Engine
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.notes import what_was_chosen
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.widgets.runs.python_text import as_python

SLAB = fs.Slab(mode="max", margins={"Z": (1, 1)})


def stack() -> np.ndarray:
    """Return three slices: each shows one of three discs."""
    made = np.full((3, 96, 128), 30, np.uint8)
    for z, centre in enumerate(((30, 30), (60, 64), (30, 98))):
        made[z][disk(centre, 12)] = 200
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "stack.tif", stack(), photometric="minisblack", metadata={"axes": "ZYX"})
    return tmp_path / "stack.tif"


def test_the_model_sees_the_projection_here_in_the_engine_and_from_a_file(file: Path) -> None:
    seen = fs.automatic(fs.Image(stack(), "ZYX", slab=SLAB), link="none")
    assert [len(np.unique(plane)) - 1 for plane in seen.labels] == [2, 3, 2]
    alone = fs.automatic(stack(), axes="ZYX", link="none")
    assert [len(np.unique(plane)) - 1 for plane in alone.labels] == [1, 1, 1]
    assert "Maximum of 3 slices along Z" in " ".join(what_was_chosen(seen.provenance))
    engine = Engine(address="")
    try:
        for image in (fs.Image(stack(), "ZYX"), fs.read_image(file)):
            from dataclasses import replace

            task = TASKS["automatic"]
            settings = task.settings("decoder", {"link": "none"})
            request = RunRequest(
                "automatic", replace(image, slab=SLAB), task.inputs.parse({}), settings, "foundseg-tiny"
            )
            np.testing.assert_array_equal(engine.submit(request).wait(300).labels > 0, seen.labels > 0)
    finally:
        engine.close()


def request_for(file: Path) -> RunRequest:
    from dataclasses import replace

    task = TASKS["automatic"]
    image = replace(fs.read_image(file), slab=SLAB)
    return RunRequest(
        "automatic", image, task.inputs.parse({}), task.settings("decoder", {"link": "none"}), "foundseg-tiny"
    )


def test_recipe_command_and_python_carry_it(file: Path) -> None:
    request = request_for(file)
    recipe = recipe_of(request)
    assert recipe.inputs.slab == SLAB
    assert Sources.model_validate_json(recipe.inputs.model_dump_json()) == recipe.inputs
    plain = recipe.model_copy(update={"inputs": recipe.inputs.model_copy(update={"slab": None})})
    assert plain.digest() != recipe.digest()

    words = shlex.split(as_command(request, "stack"))
    option = words[words.index("--slab") + 1]
    assert image_of(file, {"slab": option}).slab == SLAB

    scope: dict[str, Any] = {}
    code = as_python(request, "stack")
    exec(code.partition("seg = ")[0], scope)
    assert scope["image"].slab == SLAB


def test_items_of_a_recipe_are_seen_so_whole_and_slice_by_slice(file: Path) -> None:
    whole = read_item_image(file, None, None, fs.Percentile(), slab=SLAB)
    for z in range(3):
        one = read_item_image(file, None, None, fs.Percentile(), (z,), slab=SLAB)
        expected = stack()[max(0, z - 1) : z + 2].max(0)
        np.testing.assert_array_equal(one.raw(), expected)
        np.testing.assert_array_equal(whole.raw((z,)), expected)
        np.testing.assert_array_equal(one.rgb(), whole.rgb((z,)))
    np.testing.assert_array_equal(read_item_image(file, None, None, fs.Percentile(), (0,)).raw(), stack()[0])


def test_a_result_is_made_again_with_it(file: Path) -> None:
    from dataclasses import replace

    seen = fs.automatic(replace(fs.read_image(file), slab=SLAB), link="none")
    np.testing.assert_array_equal(fs.replay(seen.provenance).labels, seen.labels)


def test_an_axis_that_the_image_lacks_is_named() -> None:
    with pytest.raises(AxesError, match="slab along Z"):
        fs.Image(np.zeros((20, 20), np.uint8), slab=SLAB)
    with pytest.raises(ValueError, match="margins"):
        fs.Slab(margins={"Y": (1, 1)})


def test_objects_belong_to_the_image_whatever_slab_was_seen() -> None:
    plain, seen = fs.Image(stack(), "ZYX"), fs.Image(stack(), "ZYX", slab=SLAB)
    assert plain.identity() == seen.identity()
    assert plain.fingerprint() == seen.fingerprint()
    assert not plain.describes_as(seen)

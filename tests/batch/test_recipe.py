"""Recipes as files: what is written is read back, what is wrong is named with its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_foundseg as fs
from napari_foundseg.batch.item_image import read_item_image
from napari_foundseg.batch.recipe import ModelOf, Outputs, Recipe, Sources, Step, read_recipe, recipe_of, write_recipe
from napari_foundseg.core.contrast import CTWindow, Limits, Percentile
from napari_foundseg.core.errors import CheckpointError, OutputError, RecipeError
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.io.writers import write_labels
from napari_foundseg.models import catalog
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest

GOOD = """\
format: foundseg-recipe 1
inputs:
  paths: [images, more/*.tif]
steps:
  - task: automatic
    model: {name: foundseg-tiny}
    settings: {min_area: 30}
"""

MASK = np.zeros((9, 8), bool)
MASK[2:5, 1:6] = True
NUMBERS = st.floats(0, 100).map(lambda x: round(x, 3))
SETTINGS = st.sampled_from(
    [
        {},
        {"method": "decoder", "settings": {"min_area": 3, "diameter": 12.5, "diameter_unit": "µm", "tile": False}},
        {"method": "grid", "settings": {"points_per_side": 5}},
        {"task": "prompt", "inputs": {"prompts": [fs.Prompt(points=[(3, 4.5)], mask=MASK).to_json()]}},
    ]
)
RECIPES = st.builds(
    Recipe,
    inputs=st.builds(
        Sources,
        paths=st.lists(st.text("aß 1:#'\"*é-\n", min_size=1), min_size=1, max_size=3).map(tuple),
        recursive=st.booleans(),
        axes=st.sampled_from([None, "ZYX"]),
        channels=st.sampled_from([None, 1, "GFP", (2, "DAPI")]),
        normalisation=st.sampled_from([Percentile(), Limits(low=-3, high=1e9), CTWindow(level=40, width=400)]),
        stacks=st.sampled_from(["whole", "slices"]),
    ),
    steps=st.lists(
        SETTINGS.map(lambda o: Step(**{"task": "automatic", "model": ModelOf(name="foundseg-tiny"), **o})),
        min_size=1,
        max_size=2,
    ).map(tuple),
    outputs=st.builds(Outputs, folder=st.text("ab/ :", min_size=1), labels=st.sampled_from([".tif", ".ome.zarr"])),
)


def written(folder: Path, text: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@settings(max_examples=40)
@given(recipe=RECIPES, ending=st.sampled_from([".yaml", ".json", ".YML"]))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, ending: str) -> None:
    path = tmp_path_factory.mktemp("recipe") / f"r{ending}"
    write_recipe(path, recipe)
    again = read_recipe(path)
    assert again.digest() == recipe.digest()
    assert (again.inputs, again.outputs) == (recipe.inputs, recipe.outputs)
    here = catalog.row("foundseg-tiny")
    for step in again.steps:
        assert (step.model.revision, step.model.sha256) == (here.revision, here.sha256)
    write_recipe(path, again)
    assert read_recipe(path) == again


def test_defaults_that_are_left_out_and_given_are_the_same(tmp_path: Path) -> None:
    short = read_recipe(written(tmp_path, GOOD))
    long = read_recipe(written(tmp_path, GOOD.replace("min_area: 30", "min_area: 30, tile: true, diameter: null")))
    named = read_recipe(written(tmp_path, GOOD.replace("model:", "method: decoder\n    model:")))
    assert short.digest() == long.digest() == named.digest()
    assert short.digest() == read_recipe(written(tmp_path, GOOD.replace("images,", "elsewhere,"))).digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min_area: 30", "min_area: 31"),
        ("paths:", "channels: 0\n  paths:"),
        ("paths:", "normalisation: {kind: limits, low: 0, high: 9}\n  paths:"),
        ("paths:", "stacks: slices\n  paths:"),
        ("steps:", "outputs: {table: false}\nsteps:"),
        ("steps:", "outputs: {labels: .png}\nsteps:"),
    ],
)
def test_whatever_changes_a_result_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    assert old in GOOD
    assert (
        read_recipe(written(tmp_path, GOOD)).digest() != read_recipe(written(tmp_path, GOOD.replace(old, new))).digest()
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min_area: 30", "min_aera: 30", ["steps.0", "min_aera", "min_area"]),
        ("min_area: 30", "min_area: many", ["steps.0", "min_area", "'many'"]),
        ("min_area: 30", "min_area: -4", ["min_area", "-4", "greater than or equal to 0"]),
        ("min_area: 30", "tile: -1", ["tile", "-1"]),
        ("min_area: 30", "points_per_side: 9", ["points_per_side"]),
        ("min_area: 30", "since: 2020-01-01", ["neither text nor a number"]),
        ("automatic", "automagic", ["automagic", "automatic, prompt"]),
        ("automatic", "prompt", ["steps.0", "min_area: there is no such setting"]),
        ("foundseg-tiny", "sam-9000", ["sam-9000", "foundseg-tiny"]),
        ("model: {name: foundseg-tiny}", "model: foundseg-tiny", ["steps.0.model", "foundseg-tiny"]),
        ("model:", "method: magic\n    model:", ["magic", "decoder, grid"]),
        ("model:", "rule: mine\n    model:", ["steps.0.rule", "'mine'", "overwrite"]),
        ("paths: [images, more/*.tif]", "paths: []", ["inputs.paths"]),
        ("paths: [images, more/*.tif]", "paths: images", ["inputs.paths", "'images'"]),
        ("paths:", "path:", ["inputs.path: there is no such field", "inputs.paths: this field is required"]),
        ("paths:", "channels: {red: 0}\n  paths:", ["inputs.channels", "'red'"]),
        ("paths:", "normalisation: {kind: z-score}\n  paths:", ["normalisation", "z-score", "percentile"]),
        ("steps:", "outputs: {labels: .jpg}\nsteps:", ["outputs.labels", "'.jpg'", ".ome.zarr"]),
        ("steps:", "workers: 4\nsteps:", ["workers: there is no such field"]),
        ("recipe 1", "recipe 2", ["'foundseg-recipe 2'", "newer"]),
        ("format: foundseg-recipe 1\n", "", ["format", "foundseg-recipe 1"]),
        ("steps:", "inputs: {}\nsteps:", ["line 4", "twice"]),
        ("inputs:", "inputs: &a", ["not valid YAML"]),
        ("[images", "[*a", ["line 3", "references"]),
        ("[images", "[images]]", ["line 3"]),
        ("  - task", "\t- task", ["line 5"]),
    ],
)
def test_what_is_wrong_is_named_with_file_field_and_what_is_right(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    if new == "inputs: &a":
        path.write_text(GOOD.replace(old, new, 1).replace("steps:", "more: *a\nsteps:"))
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "content", [b"", b"5", b"- a", b"\xff\xfe\x00", b"\0" * 40, b"{", b"[" * 5000, b"!!python/object:os.system {}"]
)
@pytest.mark.parametrize("ending", [".yaml", ".json"])
def test_what_is_no_recipe_is_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"r{ending}"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"r\.(yaml|json)"):
        read_recipe(path)


def test_a_value_that_is_wrong_inside_is_the_only_thing_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(written(tmp_path, GOOD.replace("foundseg-tiny", "5")))
    assert str(caught.value).endswith("steps.0.model.name = 5: Input should be a valid string.")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for name in ("folder.yaml", "nowhere.yaml", "image.tif"):
        with pytest.raises(RecipeError, match=name):
            read_recipe(tmp_path / name)


def test_a_recipe_for_other_weights_is_not_run_with_these(tmp_path: Path) -> None:
    for wrong in ("revision: '2'", f"sha256: {'a' * 64}"):
        recipe = read_recipe(written(tmp_path, GOOD.replace("foundseg-tiny", f"foundseg-tiny, {wrong}")))
        with pytest.raises(CheckpointError, match="here is revision"):
            recipe.models()
    assert read_recipe(written(tmp_path, GOOD)).models() == {"foundseg-tiny": catalog.row("foundseg-tiny").sha256}


def test_the_schema_describes_what_is_written(tmp_path: Path) -> None:
    schema = Recipe.model_json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(GOOD))
    write_recipe(tmp_path / "r.yaml", read_recipe(written(tmp_path, GOOD)))
    validator.validate(yaml.safe_load((tmp_path / "r.yaml").read_text()))
    assert not validator.is_valid(yaml.safe_load(GOOD.replace("steps:", "workers: 4\nsteps:")))
    assert "recipe's folder" in json.dumps(schema)


def saved(tmp_path: Path, image: fs.Image, task: str, method: str, **options: Any) -> Recipe:
    row = TASKS[task]
    inputs = row.inputs.parse(options.pop("inputs", {}))
    request = RunRequest(task, image, inputs, row.settings(method, options), "foundseg-tiny")
    write_recipe(tmp_path / "s.yaml", recipe_of(request))
    return read_recipe(tmp_path / "s.yaml")


def test_a_recipe_that_was_saved_before_means_the_first_image_of_a_file(tmp_path: Path) -> None:
    """Saving writes every field: one that lacks the latest alone is of an earlier version."""
    (tmp_path / "by hand.yaml").write_text(GOOD)
    assert read_recipe(tmp_path / "by hand.yaml").inputs.inside == "all"
    write_recipe(tmp_path / "now.yaml", read_recipe(tmp_path / "by hand.yaml"))
    assert read_recipe(tmp_path / "now.yaml").inputs.inside == "all"
    saved = yaml.safe_load((tmp_path / "now.yaml").read_text())
    del saved["inputs"]["inside"]
    (tmp_path / "before.yaml").write_text(yaml.safe_dump(saved))
    before = read_recipe(tmp_path / "before.yaml")
    assert before.inputs.inside == "first"
    assert before.digest() == read_recipe(tmp_path / "now.yaml").digest()


def test_a_step_made_in_python_finds_the_diameter_and_a_stored_one_looks_twice(tmp_path: Path) -> None:
    for method in ("decoder", "apg"):
        step = Step(task="automatic", method=method, model=ModelOf(name="foundseg-tiny"))
        recipe = Recipe(inputs=Sources(paths=("a.tif",)), steps=(step,))
        again = Recipe.model_validate_json(recipe.model_dump_json())
        for made in (recipe, again):
            assert made.steps[0].parsed_settings().find_diameter == "once"  # type: ignore[attr-defined]
        write_recipe(tmp_path / "new.yaml", recipe)
        assert read_recipe(tmp_path / "new.yaml").digest() == recipe.digest()
        saved = yaml.safe_load((tmp_path / "new.yaml").read_text())
        del saved["steps"][0]["settings"]["find_diameter"]
        (tmp_path / "old.yaml").write_text(yaml.safe_dump(saved))
        before = read_recipe(tmp_path / "old.yaml")
        assert before.steps[0].parsed_settings().find_diameter == "second look"  # type: ignore[attr-defined]
        assert before.digest() != recipe.digest()
        write_recipe(tmp_path / "again.yaml", before)
        assert read_recipe(tmp_path / "again.yaml").digest() == before.digest()


def test_save_as_recipe_says_only_what_the_file_does_not(tmp_path: Path) -> None:
    image = read_image(sample("nuclei"))
    recipe = saved(tmp_path, image, "automatic", "decoder", min_area=7)
    assert recipe.inputs == Sources(paths=(str(sample("nuclei")),), normalisation=Percentile())
    assert recipe.steps[0].parsed_settings() == TASKS["automatic"].settings("decoder", {"min_area": 7})
    write_labels(tmp_path / "stack.tif", np.zeros((3, 9, 8), np.uint16), "ZYX")
    stack = read_image(tmp_path / "stack.tif")
    asked = fs.Image(stack.data, "TYX", normalisation=Limits(low=0, high=9), source=stack.source)
    recipe = saved(tmp_path, asked, "prompt", "sam", inputs={"prompts": [fs.Prompt(mask=MASK, index=(1,))]})
    assert recipe.inputs.axes == "TYX"
    assert recipe.inputs.normalisation == Limits(low=0, high=9)
    [prompt] = recipe.steps[0].parsed_inputs().model_dump()["prompts"]
    assert np.array_equal(fs.Prompt.from_json(prompt).mask, MASK)


def test_save_as_recipe_of_one_channel_that_is_a_layer_of_its_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (3, 2, 9, 8), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "two.ome.tif", pixels, metadata={"axes": "ZCYX"}, ome=True)
    layer = fs.Image(pixels[:, 1], "ZYX", source=str(tmp_path / "two.ome.tif"))
    recipe = saved(tmp_path, layer, "automatic", "decoder")
    assert recipe.inputs.channels == 1
    seen = read_item_image(
        tmp_path / "two.ome.tif", recipe.inputs.axes, recipe.inputs.channels, recipe.inputs.normalisation
    )
    np.testing.assert_array_equal(seen.rgb((2,)), layer.rgb((2,)))
    changed = fs.Image(pixels[:, 1] + 1, "ZYX", source=layer.source)
    with pytest.raises(RecipeError, match="differs from every channel"):
        saved(tmp_path, changed, "automatic", "decoder")


def test_save_as_recipe_wants_a_file(tmp_path: Path) -> None:
    image = fs.Image(np.zeros((9, 8)))
    with pytest.raises(RecipeError, match="no file"):
        saved(tmp_path, image, "automatic", "decoder")


@pytest.mark.parametrize("ending", [".yaml", ".json"])
def test_a_name_that_is_no_text_is_not_written(tmp_path: Path, ending: str) -> None:
    recipe = read_recipe(written(tmp_path, GOOD))
    odd = recipe.model_copy(update={"inputs": Sources(paths=("a\udcff.tif",))})
    with pytest.raises(RecipeError, match="not text"):
        write_recipe(tmp_path / f"odd{ending}", odd)


def test_a_recipe_is_not_written_where_it_cannot_be(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, GOOD))
    with pytest.raises(RecipeError, match=r"\.yaml"):
        write_recipe(tmp_path / "r.txt", recipe)
    with pytest.raises(OutputError, match="folder"):
        write_recipe(tmp_path / "nowhere" / "r.yaml", recipe)

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.io import imread
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.cli import app
from napari_foundseg.io.samples import sample
from napari_foundseg.models import store
from napari_foundseg.models.catalog import catalog, row, save_row


def call(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a person without a display does."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-c", "from napari_foundseg.cli import main; main()", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=environment | {"COLUMNS": "200", "NO_COLOR": "1"}, timeout=200,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display, and the demo opens a window")
def test_the_demo_writes_labels_and_a_picture(tmp_path: Path) -> None:
    done = call("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    labels = tifffile.imread(tmp_path / "foundseg-demo" / "labels.tif")
    picture = imread(tmp_path / "foundseg-demo" / "overlay.png")
    assert labels.shape == picture.shape[:2] == (520, 696)
    assert labels.max() > 20
    assert "objects" in done.stderr


def test_run_equals_python(tmp_path: Path) -> None:
    out = tmp_path / "labels.tif"
    done = call("run", "automatic", sample("tissue"), "--out", out, "--min-area", "40", "--foreground-threshold", "0.4")
    assert done.returncode == 0, done.stderr
    expected = fs.automatic(sample("tissue"), min_area=40, foreground_threshold=0.4).labels
    assert np.array_equal(tifffile.imread(out), expected)


def test_panoptic_ids_on_the_command_line_equal_python(tmp_path: Path) -> None:
    image, out = tmp_path / "a.tif", tmp_path / "ids.tif"
    tifffile.imwrite(image, imread(sample("nuclei"))[:90, :100])
    done = CliRunner().invoke(app, ["run", "panoptic", str(image), "--out", str(out), "--output", "panoptic ids"])
    assert done.exit_code == 0, done.output
    found = fs.panoptic(image)
    ids = tifffile.imread(out)
    assert np.array_equal(ids // 1000, found.semantic)
    assert np.array_equal(ids % 1000 > 0, found.labels > 0)


def test_names_and_text_have_commands_that_name_what_is_missing(tmp_path: Path) -> None:
    image = tmp_path / "a.tif"
    tifffile.imwrite(image, np.zeros((20, 20), np.uint8))
    for command, inputs in (
        ("text", '{"concepts": "nucleus; background"}'),
        ("name-masks", f'{{"labels": {json.dumps(str(image))}, "vocabulary": ["cell"]}}'),
    ):
        done = CliRunner().invoke(
            app, ["run", command, str(image), "--out", str(tmp_path / "l.tif"), "--inputs", inputs]
        )
        assert isinstance(done.exception, fs.CheckpointError)
        assert "Download" in str(done.exception)
    assert not (tmp_path / "l.tif").exists()


def test_help_shows_every_setting() -> None:
    text = call("run", "automatic", "--help").stdout
    for option in ("--points-per-side", "--foreground-threshold", "--no-tile", "--axes", "--model"):
        assert option in text


def test_help_says_no_default_where_it_is_empty() -> None:
    text = call("run", "find_similar", "--help").stdout
    assert "Default: 0.15." in text
    assert "Default: ." not in text


def test_models_are_listed_shown_imported_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))
    weights = store.weights(row("foundseg-tiny"))
    runner = CliRunner(env={"COLUMNS": "200"})
    assert runner.invoke(app, ["models", "import", str(weights), "--name", "mine"]).exit_code == 0
    assert "mine" in runner.invoke(app, ["models", "list"]).stdout
    shown = runner.invoke(app, ["models", "show", "mine"]).stdout
    assert str(weights) in shown
    assert row("mine").sha256 in shown
    assert runner.invoke(app, ["models", "remove", "mine"]).exit_code == 0
    assert "mine" not in runner.invoke(app, ["models", "list"]).stdout
    assert "foundseg-tiny" in call("models", "list").stdout
    assert call("models", "remove", "foundseg-tiny").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["nowhere.tif", "--out", "a.tif"], "nowhere.tif", 1),
        (["IMAGE", "--out", "a.tif", "--method", "grid", "--min-area", "-4"], "min_area", 1),
        (["IMAGE", "--out", "a.tif", "--method", "decoder", "--points-per-side", "8"], "points_per_side", 1),
        (["IMAGE", "--out", "a.tif", "--model", "sam-9000"], "foundseg-tiny", 1),
        (["IMAGE"], "--out", 2),
        (["IMAGE", "--out", "a.tif", "--colour", "red"], "--colour", 2),
    ],
)
def test_a_mistake_is_one_named_line_and_no_file(tmp_path: Path, arguments: list[str], words: str, code: int) -> None:
    arguments = [str(sample("tissue")) if a == "IMAGE" else a for a in arguments]
    done = call("run", "automatic", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_made_again_and_compared(tmp_path: Path) -> None:
    image = tmp_path / "cells.tif"
    tifffile.imwrite(image, imread(sample("nuclei"))[:90, :100])
    inputs = tmp_path / "inputs.json"
    inputs.write_text('{"prompts": [{"points": [[40, 60]]}, {"box": [10, 10, 40, 40]}]}')
    out = tmp_path / "out" / "cells_labels.tif"
    again = tmp_path / "again.tif"
    shell = CliRunner(env={"NO_COLOR": "1"})
    assert shell.invoke(app, ["run", "prompt", str(image), "--out", str(out), "--inputs", str(inputs)]).exit_code == 0
    done = shell.invoke(app, ["replay", str(out), "--out", str(again)])
    assert done.exit_code == 0, done.output
    assert f"Equal to {out}" in done.output
    assert again.read_bytes() == out.read_bytes()
    known = json.loads(out.with_name("cells_labels.json").read_text())
    known["steps"][0]["inputs"]["prompts"].pop()
    out.with_name("cells_labels.json").write_text(json.dumps(known))
    done = shell.invoke(app, ["replay", str(out)])
    assert done.exit_code == 1
    assert "other labels" in done.output


def test_a_file_beside_the_labels_that_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("{}")
    done = call("run", "automatic", sample("tissue"), "--out", tmp_path / "labels.tif")
    assert done.returncode == 1
    assert "is not a sidecar of this plugin" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


def test_the_schema_of_recipes_is_json() -> None:
    schema = json.loads(call("recipe-schema").stdout)
    assert {"inputs", "steps", "outputs"} <= set(schema["properties"])


def test_replay_of_what_nobody_wrote_down_is_one_named_line(tmp_path: Path) -> None:
    done = call("replay", tmp_path / "a_labels.tif")
    assert done.returncode == 1
    assert "ReplayError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fit_on_the_command_line_gives_a_model_that_runs_like_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 60, (64, 80)).astype(np.uint8)
    picture[16:48, 20:60] += 120
    folder = tmp_path / "images"
    folder.mkdir()
    tifffile.imwrite(folder / "one.tif", picture)
    tifffile.imwrite(folder / "two.tif", picture[::-1])
    strokes = np.zeros(picture.shape, np.uint8)
    strokes[4, 4:70], strokes[30, 24:50] = 2, 7
    labelled = []
    for name, labels in (("one", strokes), ("two", strokes[::-1])):
        tifffile.imwrite(tmp_path / f"{name}_strokes.tif", labels)
        labelled += ["--labels", str(tmp_path / f"{name}_strokes.tif")]
    settings = {"steps": 5, "batch_size": 4, "feature_samples": 4, "dim": 6, "n_clusters": 3}
    given = [str(folder), "--name", "mine", *labelled, "--settings", json.dumps(settings)]
    fitted = CliRunner().invoke(app, ["fit-stego", *given])
    assert fitted.exit_code == 0, fitted.output
    learnt = fs.cluster(folder / "one.tif", model="mine", probe="linear")
    assert [row.name for row in learnt.classes] == ["class 2", "class 7"]
    assert (learnt.labels[20:44, 24:56] == 2).mean() > 0.8
    out = tmp_path / "clusters.tif"
    edits = json.dumps({"edits": [{"kind": "merge", "clusters": [1, 2]}]})
    arguments = ["run", "cluster", str(folder / "one.tif"), "--out", str(out), "--model", "mine", "--inputs", edits]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    expected = fs.cluster(folder / "one.tif", model="mine", edits=[{"kind": "merge", "clusters": [1, 2]}])
    np.testing.assert_array_equal(tifffile.imread(out), expected.labels)
    assert CliRunner().invoke(app, ["replay", str(out)]).exit_code == 0


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_address_of_a_model_is_printed_unbroken(columns: str) -> None:
    for name in ("panoptic-deeplab-coco", "clipseg-rd64-refined"):
        shown = CliRunner(env={"COLUMNS": columns}).invoke(app, ["models", "show", name]).stdout
        address = store.addresses(row(name))[0]
        assert any(address in line for line in shown.splitlines())
        assert row(name).weights_licence in shown


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_the_list_of_models_fits_the_terminal(columns: int) -> None:
    lines = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, ["models", "list"]).stdout.splitlines()
    assert all(name in (line.split("  ")[0] for line in lines) for name in catalog()), "names are whole, to be copied"
    if columns >= 80:
        assert max(map(len, lines)) <= columns
    if columns == 300:
        assert len(lines) == len(catalog()) + 2


def test_a_list_of_models_in_a_pipe_has_one_line_a_model() -> None:
    called = [sys.executable, "-m", "napari_foundseg", "models", "list"]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    found = subprocess.run(called, capture_output=True, text=True, check=True, env=environment).stdout
    (tiny,) = (line for line in found.splitlines() if line.startswith("foundseg-tiny"))
    assert all(cell in tiny for cell in ("automatic, prompt", "built in", "CC-BY-4.0"))


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--help"], "Segment images with foundation models"), (["models", "list"], "mine")]
)
def test_help_and_the_list_of_models_come_up_without_the_libraries_that_commands_need(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))
    save_row(replace(row("sam-vit-b"), name="mine"))
    code = (
        f"import sys; sys.argv = ['napari-foundseg', *{arguments}]\n"
        "from napari_foundseg.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'pydantic', 'scipy', 'torch', 'pandas') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert words in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"

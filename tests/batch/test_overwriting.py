"""No way of running writes over an input, over a file that is not ours, or over a result that was edited since."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.io import imread
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch import item_stages, result_file
from napari_foundseg.batch.items import list_items
from napari_foundseg.batch.layer_sources import save_layers
from napari_foundseg.batch.runner import Runner
from napari_foundseg.cli import app
from napari_foundseg.core.errors import FoundsegError, InputReplacedError
from napari_foundseg.core.image import Image
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.io.writers import replace_labels
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.store import locate
from napari_foundseg.tasks import TASKS, running
from tests.support import toy_steps

ENDINGS = (".tif", ".ome.tif", ".ome.zarr", ".png")


class Shell:
    """The command line, with what it says."""

    def __call__(self, *arguments: Any) -> tuple[int, str]:
        done = CliRunner(env={"NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments])
        known = isinstance(done.exception, FoundsegError)
        assert known or isinstance(done.exception, SystemExit | None), done.exception
        return (1, f"{type(done.exception).__name__}: {done.exception}") if known else (done.exit_code, done.output)


shell = Shell()


@pytest.fixture
def never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a run fail the test: what is refused is refused before it."""

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr(running, "run", run)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "raw.tif"
    tifffile.imwrite(path, imread(sample("nuclei"))[:90, :100])
    return path


def content(path: Path) -> dict[str, bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


def run(image: Path, out: Path, *more: Any) -> tuple[int, str]:
    return shell("run", "automatic", image, "--out", out, *more)


@pytest.mark.usefixtures("never_runs")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("option", [[], ["--overwrite"]])
def test_a_run_never_writes_its_image(tmp_path: Path, ending: str, option: list[str]) -> None:
    raw = tmp_path / f"raw{ending}"
    replace_labels(raw, imread(sample("nuclei"))[:40, :50].astype(np.uint16))
    before = content(raw)
    code, words = run(raw, raw, *option)
    assert code == 1
    assert "InputReplacedError" in words
    assert "is the input" in words
    assert content(raw) == before


@pytest.mark.usefixtures("never_runs")
@pytest.mark.parametrize("task", TASKS)
def test_the_command_of_every_task_keeps_its_image_and_the_files_of_others(
    tmp_path: Path, image: Path, task: str
) -> None:
    others = tmp_path / "others.tif"
    tifffile.imwrite(others, np.ones((4, 4), np.uint8))
    before = content(tmp_path)
    for out, error in ((image, "InputReplacedError"), (others, "KeptError")):
        code, words = shell("run", task.replace("_", "-"), image, "--out", out, "--overwrite")
        assert (code, error in words) == (1, True), words
    assert content(tmp_path) == before


@pytest.mark.usefixtures("never_runs")
def test_an_ome_zarr_keeps_what_is_in_it(tmp_path: Path) -> None:
    raw = tmp_path / "raw.ome.zarr"
    replace_labels(raw, np.ones((20, 20), np.uint16))
    (raw / "labels").mkdir()
    replace_labels(raw / "labels" / "nuclei.zarr", np.ones((20, 20), np.uint16))
    (raw / "notes.txt").write_text("mine")
    before = content(raw)
    for out in (raw / "labels.tif", raw / "labels" / "new.ome.zarr", raw):
        assert run(raw, out, "--overwrite")[0] == 1
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((9, 9), np.uint8))
    assert run(other, raw, "--overwrite")[0] == 1
    assert content(raw) == before


@pytest.mark.usefixtures("never_runs")
def test_every_file_that_a_run_reads_is_an_input(tmp_path: Path, image: Path) -> None:
    labels = tmp_path / "objects.tif"
    replace_labels(labels, np.ones((90, 100), np.uint16))
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"prompts": [{"points": [[1, 1]]}]}))
    named = [
        "--model",
        "clip-vit-base-patch32",
        "--inputs",
        json.dumps({"labels": str(labels), "vocabulary": ["cell"]}),
    ]
    code, words = shell("run", "name-masks", image, "--out", labels, "--overwrite", *named)
    assert (code, "objects.tif" in words, "is the input" in words) == (1, True, True)
    code, words = shell("run", "prompt", image, "--out", tmp_path / "prompts.tif", "--inputs", prompts)
    assert (code, "prompts.json" in words) == (1, True)
    assert "points" in prompts.read_text()


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "labels.tif": lambda path: tifffile.imwrite(path, np.ones((4, 4), np.uint8)),
    "labels.ome.tif": lambda path: tifffile.imwrite(path, np.ones((4, 4), np.uint8), ome=True),
    "labels.png": lambda path: path.write_bytes(b"\x89PNG"),
    "labels.ome.zarr": lambda path: replace_labels(path, np.ones((4, 4), np.uint16)),
    "table.csv": lambda path: path.write_text("well,drug\nA1,none\n"),
}


@pytest.mark.usefixtures("never_runs")
@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("option", [[], ["--overwrite"]])
def test_a_file_that_is_not_ours_is_kept(tmp_path: Path, image: Path, name: str, option: list[str]) -> None:
    path = tmp_path / name
    FOREIGN[name](path)
    before = content(path)
    where = ["--out", tmp_path / "new.tif", "--table", path] if name.endswith(".csv") else ["--out", path]
    code, words = shell("run", "automatic", image, *where, *option)
    assert (code, "KeptError" in words, name in words) == (1, True, True)
    assert "not made by napari-foundseg" in words
    assert "Move or rename it, or give another name" in words
    assert content(path) == before
    assert not (tmp_path / "new.tif").exists()


def edit(path: Path) -> None:
    if path.suffix == ".csv":
        path.write_bytes(path.read_bytes().replace(b"\n1,", b"\n1001,"))
    elif path.is_dir():
        (path / "labels").mkdir()
        (path / "labels" / "mine.txt").touch()
    else:
        labels = np.array(read_image(path).levels[0])
        labels[:20] = 0
        replace_labels(path, labels)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_second_run_replaces_what_nobody_edited_and_only_if_told(tmp_path: Path, image: Path, ending: str) -> None:
    out, table = tmp_path / "out" / f"labels{ending}", tmp_path / "tables.csv"
    again = tmp_path / f"again{ending}"
    table.unlink(missing_ok=True)
    given = ["--table", table]
    assert run(image, out, *given)[0] == 0
    code, words = run(image, out, *given)
    assert (code, "--overwrite" in words) == (1, True)
    assert run(image, out, *given, "--overwrite", "--min-area", 800)[0] == 0
    assert json.loads((tmp_path / "out" / "labels.json").read_text())["steps"][0]["settings"]["min_area"] == 800
    assert shell("replay", out, "--out", again)[0] == 0
    assert "--overwrite" in shell("replay", out, "--out", again)[1]
    assert shell("replay", out, "--out", again, "--overwrite")[0] == 0
    for path in (out, table, again):
        edit(path)
        before = content(path)
        options = ["--overwrite"] if path == again else [*given, "--overwrite"]
        code, words = shell("replay", out, "--out", again, *options) if path == again else run(image, out, *options)
        assert code == 1
        assert "was edited after napari-foundseg wrote it" in words
        assert path.name in words
        assert content(path) == before
        if path != again:
            path.rename(path.with_name(f"kept_{path.name}"))
            assert run(image, out, *given, "--overwrite")[0] == 0


def test_a_replay_never_writes_what_it_reads(tmp_path: Path, image: Path) -> None:
    out = tmp_path / "labels.tif"
    assert run(image, out)[0] == 0
    before = content(tmp_path)
    others = tmp_path / "others.png"
    others.write_bytes(b"another's")
    for target in (out, image):
        code, words = shell("replay", out, "--out", target, "--overwrite")
        assert (code, "is the input" in words) == (1, True)
    for target, told in ((others, "not made by"), (tmp_path / "a.jpg", ".tif"), (image / "a.tif", "inside the input")):
        code, words = shell("replay", out, "--out", target, "--overwrite")
        assert (code, told in words) == (1, True), words
    others.unlink()
    assert content(tmp_path) == before


def test_the_record_of_another_result_is_kept(tmp_path: Path, image: Path) -> None:
    assert run(image, tmp_path / "labels.tif")[0] == 0
    before = content(tmp_path)
    code, words = run(image, tmp_path / "labels.png")
    assert (code, "labels.tif" in words) == (1, True)
    assert content(tmp_path) == before
    assert run(image, tmp_path / "labels.png", "--overwrite")[0] == 0
    assert "--overwrite" in run(image, tmp_path / "labels.tif")[1]
    assert run(image, tmp_path / "labels.tif", "--overwrite")[0] == 0, "it is still known as ours"


@pytest.mark.usefixtures("never_runs")
@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("labels.jpg", r".tif, .ome.tif, .ome.zarr or .png"),
        ("labels", r".tif, .ome.tif, .ome.zarr or .png"),
        ("stack.png", "one slice"),
        ("raw.tif/labels.tif", "inside the input"),
        ("file/labels.tif", "folder"),
        (f"{'x' * 300}.tif", "too long"),
        ("folder.tif", "is a folder"),
        ("empty.tif", "is a folder"),
    ],
)
def test_what_cannot_be_written_is_found_before_the_run(tmp_path: Path, image: Path, out: str, words: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "empty.tif").mkdir()
    (tmp_path / "folder.tif" / "a").touch()
    if out.startswith("stack"):
        tifffile.imwrite(image, np.zeros((3, 20, 20), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"})
    before = content(tmp_path)
    code, said = run(image, tmp_path / out)
    assert (code, words in said) == (1, True), said
    assert content(tmp_path) == before


@pytest.mark.usefixtures("never_runs")
def test_a_table_is_a_csv(tmp_path: Path, image: Path) -> None:
    assert ".csv" in run(image, tmp_path / "a.tif", "--table", tmp_path / "a.xlsx")[1]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions")
@pytest.mark.usefixtures("never_runs")
def test_a_folder_without_permission_is_found_before_the_run(tmp_path: Path, image: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "not permitted" in run(image, tmp_path / "locked" / "new" / "a.tif")[1]


def test_ids_that_do_not_fit_are_not_lost(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = running.run

    def many(*arguments: Any, **options: Any) -> Any:
        result = made(*arguments, **options)
        object.__setattr__(result, "pixels", result.labels.astype(np.uint32) * 70_000)
        del result.__dict__["labels"]
        return result

    monkeypatch.setattr(running, "run", many)
    code, words = run(image, tmp_path / "ids.png")
    assert code == 1
    assert "65535" in words
    assert "ids.tif" in words
    assert not (tmp_path / "ids.png").exists()
    assert tifffile.imread(tmp_path / "ids.tif").max() >= 70_000
    assert json.loads((tmp_path / "ids.json").read_text())["outputs"].keys() == {"ids.tif"}


def test_what_the_user_saves_during_the_run_is_kept(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = running.run

    def slow(*arguments: Any, **options: Any) -> Any:
        tifffile.imwrite(tmp_path / "a.tif", np.full((3, 3), 7, np.uint8))
        return made(*arguments, **options)

    monkeypatch.setattr(running, "run", slow)
    code, words = run(image, tmp_path / "a.tif")
    assert (code, "a_2.tif" in words) == (1, True)
    assert (tifffile.imread(tmp_path / "a.tif") == 7).all()
    assert tifffile.imread(tmp_path / "a_2.tif").shape == (90, 100)
    assert result_file.read_sidecar(tmp_path / "a_2.json") is not None


# Batch.


def test_a_batch_in_which_a_result_would_be_an_image_does_not_start(tmp_path: Path) -> None:
    for name in ("a.tif", "a_labels.tif"):
        toy_steps.picture_file(tmp_path / name)
    before = content(tmp_path)
    recipe = toy_steps.recipe("a.tif", "a_labels.tif")
    with pytest.raises(InputReplacedError, match=r"a_labels\.tif"):
        Runner(recipe, tmp_path, tmp_path)
    assert content(tmp_path) == before


def test_a_batch_writes_nothing_into_an_ome_zarr(tmp_path: Path) -> None:
    replace_labels(tmp_path / "a.ome.zarr", np.ones((8, 8), np.uint16))
    with pytest.raises(InputReplacedError, match=r"inside the input .*a\.ome\.zarr"):
        Runner(toy_steps.recipe("a.ome.zarr"), tmp_path, tmp_path / "a.ome.zarr" / "results")


def test_a_stack_that_the_format_cannot_hold_fails_before_it_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_stages, "run_steps", lambda *_: pytest.fail("it was computed"))
    toy_steps.picture_file(tmp_path / "images" / "stack.tif", shape=(3, 20, 20))
    (outcome,) = toy_steps.run(toy_steps.recipe(labels=".png"), tmp_path)
    assert (outcome.state, outcome.error) == ("failed", "OutputError")
    assert "one slice" in outcome.reason
    assert ".tif, .ome.tif or .ome.zarr" in outcome.reason


def test_ids_of_a_batch_that_do_not_fit_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(*arguments: Any) -> Any:
        labels, *others = toy_steps.steps_without_model(*arguments)
        return labels.astype(np.uint32) * 70_000, *others

    monkeypatch.setattr(item_stages, "run_steps", many)
    toy_steps.picture_file(tmp_path / "images" / "a.tif")
    (outcome,) = toy_steps.run(toy_steps.recipe(labels=".png"), tmp_path)
    assert outcome.state == "done"
    assert "65535" in outcome.reason
    assert "a_labels.tif" in outcome.reason
    assert tifffile.imread(tmp_path / "results" / "a_labels.tif").max() >= 70_000
    assert not (tmp_path / "results" / "a_labels.png").exists()


def test_a_layer_that_is_saved_for_a_batch_replaces_no_file_of_others(tmp_path: Path) -> None:
    foreign = tmp_path / "layers" / "dapi.tif"
    foreign.parent.mkdir()
    tifffile.imwrite(foreign, np.full((5, 5), 9, np.uint8))
    before = content(foreign)
    pixels = np.arange(25, dtype=np.uint8).reshape(5, 5)
    for _ in range(2):
        (saved,) = save_layers([("dapi", Image(pixels))], tmp_path)
        assert np.array_equal(read_image(saved).raw(), pixels)
    assert content(foreign) == before


# Fits.


def test_a_fitted_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    image = np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)
    quick = {"steps": 2, "feature_samples": 4, "batch_size": 4, "dim": 4, "n_clusters": 2}
    first = fs.fit_stego(image, name="mine", **quick).model
    assert fs.fit_stego(image, name="mine", **quick).model.sha256 == first.sha256, "the same fit goes on"
    for other, settings in ((image, {**quick, "seed": 1}), (image.T[::-1], quick)):
        with pytest.raises(fs.FoundsegError, match="There is a fitted model 'mine' already"):
            fs.fit_stego(other, name="mine", **settings)
    assert catalog()["mine"].sha256 == first.sha256
    assert fs.fit_stego(image, name="mine", overwrite=True, **{**quick, "seed": 1}).model.sha256 != first.sha256
    folder = locate(catalog()["mine"])
    assert folder is not None
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(fs.FoundsegError, match="changed after its fit"):
        fs.fit_stego(image, name="mine", overwrite=True, **quick)


# Names that are not files.


@pytest.mark.parametrize("address", ["https://example.org/a.tif", "s3://bucket/a.ome.zarr", "http://example.org/a?b=1"])
def test_an_address_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, words = run(Path(address), tmp_path / "a.tif")
    assert (code, "is an address (URL)" in words, "download" in words) == (1, True, True)
    with pytest.raises(fs.BadImageError, match="is an address") as raised:
        fs.automatic(address)
    assert "://" in str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    with pytest.raises(fs.FoundsegError, match="is an address"):
        list_items(toy_steps.recipe(address), tmp_path)


@pytest.mark.usefixtures("never_runs")
@pytest.mark.parametrize("option", ["--out", "--table"])
@pytest.mark.parametrize("address", ["file:///data/labels", "https://example.org/labels", "s3://bucket/labels"])
def test_nothing_is_written_to_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Path, address: str, option: str
) -> None:
    """A run would make a folder `file:` in the working folder, and the user would look for the labels in vain."""
    monkeypatch.chdir(tmp_path)
    outputs = {"--out": "labels.tif", "--table": "objects.csv"}
    outputs[option] = f"{address}.{'tif' if option == '--out' else 'csv'}"
    code, words = shell("run", "automatic", image, *(word for pair in outputs.items() for word in pair))
    assert (code, "is an address (URL), to which nothing is written" in words) == (1, True), words
    assert [path.name for path in tmp_path.iterdir()] == [image.name]


@pytest.mark.usefixtures("never_runs")
def test_a_table_does_not_replace_an_empty_folder(tmp_path: Path, image: Path) -> None:
    (tmp_path / "objects.csv").mkdir()
    code, words = run(image, tmp_path / "labels.tif", "--table", tmp_path / "objects.csv")
    assert (code, "is a folder" in words) == (1, True), words


def test_a_line_of_a_list_that_names_a_file_is_no_comment(tmp_path: Path) -> None:
    for name in ("#1 well.tif", "b.tif"):
        toy_steps.picture_file(tmp_path / name)
    (tmp_path / "list.txt").write_text("# wells of Monday\n#1 well.tif\nb.tif\n#2 well.tif\n")
    found = list_items(toy_steps.recipe("list.txt"), tmp_path)
    assert [item.name for item in found] == ["#1 well.tif", "b.tif"]

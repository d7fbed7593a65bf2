"""The command `batch` as a person starts it: what it refuses; it may be stopped, killed and run twice at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from napari_foundseg.batch.recipe import read_recipe
from napari_foundseg.batch.report import REPORT_NAME, Report
from napari_foundseg.batch.runner import Runner
from napari_foundseg.cli import app
from napari_foundseg.engine.pool import Pool
from tests.support import crashing

COMMAND = [sys.executable, "-c", "from napari_foundseg.cli import main; main()", "batch"]
COUNT = 10
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over some small images."""
    return crashing.make_batch(tmp_path_factory.mktemp("batch"), COUNT)


@pytest.fixture(scope="module")
def pools() -> Iterator[list[Pool]]:
    """Two pools of one warm worker each, with as many threads as the command's one worker has."""
    with Pool(1) as one, Pool(1) as other:
        yield [one, other]


@pytest.fixture(scope="module")
def unbroken(folder: Path, pools: list[Pool]) -> dict[str, Any]:
    """The content of the results of a run that nothing disturbed."""
    assert states(finish(folder, "unbroken", pools[0])) == {"done": COUNT}
    return crashing.content(folder / "unbroken")


def finish(folder: Path, out: str, pool: Pool) -> Report:
    return Runner(read_recipe(folder / "recipe.yaml"), folder, folder / out, pool=pool).run()


def states(report: Report) -> dict[str, int]:
    return dict(Counter(item.state for item in report.items))


def started(folder: Path, out: str, *options: str, recipe: str = "recipe.yaml") -> subprocess.Popen[str]:
    """Start the command, in a group of processes of its own."""
    return subprocess.Popen(
        [*COMMAND, str(folder / recipe), "--out", str(folder / out), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(pattern: str, folder: Path, process: subprocess.Popen[str]) -> None:
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.005)


def worker_of(process: subprocess.Popen[str]) -> psutil.Process:
    return next(p for p in psutil.Process(process.pid).children() if "napari_foundseg.engine" in p.cmdline())


BAD_CALLS = {
    "unknown key": ("  paths: [images]", "  paths: [images]\n  shade: red", "inputs.shade: there is no such field"),
    "wrong type": ("  paths: [images]", "  paths: [images]\n  recursive: perhaps", "inputs.recursive = 'perhaps'"),
    "negative setting": ("min_area: 20", "min_area: -20", "min_area"),
    "unknown setting": ("min_area: 20", "min_areas: 20", "min_areas"),
    "unknown task": ("automatic", "magic", "there is no task 'magic'"),
    "unknown model": ("foundseg-tiny", "foundseg-huge", "foundseg-huge"),
    "another model": ("foundseg-tiny", "foundseg-tiny, sha256: 00ff", "sha256 00ff"),
    "no such folder": ("[images]", "[photos]", "'photos' matches no image"),
    "empty glob": ("[images]", "['*.jpg']", "'*.jpg' matches no image"),
    "not YAML": ("[images]", "[images", "recipe.yaml"),
}


@pytest.mark.parametrize("fault", BAD_CALLS)
def test_a_bad_recipe_is_refused_in_one_line_before_anything_begins(folder: Path, tmp_path: Path, fault: str) -> None:
    old, new, words = BAD_CALLS[fault]
    (tmp_path / "images").symlink_to(folder / "images", target_is_directory=True)
    text = (folder / "recipe.yaml").read_text()
    assert old in text
    (tmp_path / "recipe.yaml").write_text(text.replace(old, new))
    ran = CliRunner().invoke(app, ["batch", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 2
    assert words in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_bad_calls_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = str(folder / "recipe.yaml")
    for call, words in (
        ([str(tmp_path / "none.yaml")], "none.yaml"),
        ([recipe, "--workers", "0"], "--workers"),
        ([recipe, "--colour", "red"], "--colour"),
        ([recipe, "--out", str(tmp_path / "file")], "file"),
        ([recipe, "--out", str(tmp_path / "file" / "below")], "below"),
    ):
        ran = CliRunner().invoke(app, ["batch", *call])
        assert (ran.exit_code, words in ran.stderr) == (2, True), ran.stderr


def test_a_dry_run_lists_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["batch", str(folder / "recipe.yaml"), "--out", str(tmp_path / "out"), "--dry-run"])
    assert ran.exit_code == 0
    lines = ran.stdout.splitlines()
    assert len(lines) == COUNT
    assert lines[0] == f"images/0.tif -> {tmp_path / 'out' / '0_labels.tif'}"
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_named_twice_is_done_once(folder: Path, tmp_path: Path) -> None:
    recipe = folder / "twice.yaml"
    recipe.write_text(
        (folder / "recipe.yaml").read_text().replace("[images]", "[images, images/1.tif, 'images/*.tif']")
    )
    ran = CliRunner().invoke(app, ["batch", str(recipe), "--out", str(tmp_path / "out"), "--dry-run"])
    assert len(ran.stdout.splitlines()) == COUNT


@posix
def test_without_input_in_locale_c_with_hostile_names(folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    names = ["zwei\nZeilen.tif", "[red]Größe:μ.tif", os.fsdecode(b"no\xe4utf8.tif")]
    for name in names:
        (images / name).write_bytes((folder / "images" / "0.tif").read_bytes())
    (images / "broken\n[bold].tif").write_text("no image")
    (tmp_path / "recipe.yaml").write_text((folder / "recipe.yaml").read_text())
    c_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, str(tmp_path / "recipe.yaml")],
        capture_output=True,
        timeout=120,
        check=False,
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ} | c_locale,
    )
    assert ran.returncode == 1, ran.stderr
    assert b"3 done, 1 failed" in ran.stderr
    assert rb"failed: images/broken\n[bold].tif: " in ran.stderr, "one line, and its brackets are no markup"
    report = Report.model_validate(json.loads((tmp_path / "results" / REPORT_NAME).read_text()))
    failed = [item for item in report.items if item.state == "failed"]
    assert [(item.name, item.error) for item in failed] == [("images/broken\n[bold].tif", "BadImageError")]
    shown = {f"images/{os.fsencode(name).decode(errors='backslashreplace')}" for name in names}
    assert {item.name for item in report.items} >= shown, "letters, although this locale has none"
    assert (tmp_path / "results" / "_red_Größe_μ_labels.tif").exists(), "the name that every other locale gives it"


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_good_order(folder: Path, pools: list[Pool], number: int, tmp_path: Path) -> None:
    big = crashing.make_batch(tmp_path, 4, (600, 600))
    process = started(big, "out")
    wait_for("out/*_labels.json", big, process)
    at = time.monotonic()
    process.send_signal(number)
    words, _ = process.communicate(timeout=20)
    assert time.monotonic() - at < 20
    assert process.returncode == 1
    assert "not done (stopped by the user)" in words
    assert "Traceback" not in words
    report = Report.model_validate(json.loads((big / "out" / REPORT_NAME).read_text()))
    done = states(report)["done"]
    assert 1 <= done < 4
    assert len(crashing.finished(big / "out")) == done
    assert states(finish(big, "out", pools[0])) == {"already done": done, "done": 4 - done}


@posix
def test_a_worker_that_is_ended_from_outside_loses_nothing(folder: Path, unbroken: dict[str, Any]) -> None:
    process = started(folder, "lost")
    wait_for("lost/*_labels.json", folder, process)
    worker_of(process).terminate()
    words, _ = process.communicate(timeout=60)
    assert (process.returncode, "failed" in words) == (0, False), words
    assert crashing.content(folder / "lost") == unbroken


@posix
def test_killed_again_and_again_it_ends_as_one_that_never_was(
    folder: Path, unbroken: dict[str, Any], pools: list[Pool]
) -> None:
    chance, out = random.Random(5), folder / "killed"
    for attempt in range(3):
        before = crashing.finished(out)
        process = started(folder, "killed")
        while crashing.finished(out).keys() == before.keys():
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.1))
        assert process.poll() is None
        done = crashing.finished(out)
        # The command alone, whose worker then goes by itself, or both at once as when the power fails.
        (os.kill if attempt == 1 else os.killpg)(process.pid, signal.SIGKILL)
        process.communicate()
        now = crashing.finished(out)
        assert {name: now[name] for name in done} == done
    done = crashing.finished(out)
    report = finish(folder, "killed", pools[0])
    assert states(report).get("already done", 0) >= len(done)
    assert report.complete
    assert {name: crashing.finished(out)[name] for name in done} == done, "what was done is not done again"
    assert crashing.content(out) == unbroken


@pytest.mark.parametrize("attempt", range(10))
def test_two_runs_share_one_folder(folder: Path, unbroken: dict[str, Any], pools: list[Pool], attempt: int) -> None:
    out, reports = f"shared {attempt}", {}

    def run(number: int) -> None:
        reports[number] = finish(folder, out, pools[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    for mine, other in zip(reports[0].items, reports[1].items, strict=True):
        assert {mine.state, other.state} == {"done", "already done"}, "each once"
    assert crashing.content(folder / out) == unbroken


def test_three_workers_write_what_one_writes(folder: Path) -> None:
    found = []
    for count in (1, 3):
        with Pool(count, threads=1) as pool:
            assert states(finish(folder, f"of {count}", pool)) == {"done": COUNT}
        found.append(crashing.content(folder / f"of {count}"))
    assert found[0] == found[1]


@posix
def test_a_run_that_is_killed_leaves_its_items_to_the_other(
    folder: Path, unbroken: dict[str, Any], pools: list[Pool]
) -> None:
    process = started(folder, "left")
    wait_for("left/.foundseg/*.lock", folder, process)
    killer = threading.Timer(0.3, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    report = finish(folder, "left", pools[0])
    process.communicate()
    assert report.complete
    assert crashing.content(folder / "left") == unbroken

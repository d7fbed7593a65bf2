"""A batch that is killed, wherever, ends on the next run as one that never was."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_foundseg.io.readers import read_image
from tests.support import child_environment, crashing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
COUNT = 5
#: The item at which a run is killed: some are done, some are not.
KILLED = 3

Run = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over some small images."""
    return crashing.make_batch(tmp_path_factory.mktemp("batch"), COUNT)


@pytest.fixture(scope="module")
def run(batch: Path) -> Iterator[Run]:
    """Does the batch in a process that may be killed; returns its exit code and the outcomes."""
    command = [sys.executable, "-m", "tests.support.crashing", str(batch)]
    environment = child_environment(OMP_NUM_THREADS="1")  # forks do not inherit OpenMP's threads
    answer = batch / "answer.json"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def asked(out: Path, point: str | None = None, recipe: str = "recipe.yaml") -> tuple[int, list[dict[str, Any]]]:
            answer.unlink(missing_ok=True)
            request = {"recipe": recipe, "out": str(out), "point": point, "item": KILLED, "answer": str(answer)}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            return code, json.loads(answer.read_text()) if answer.exists() else []

        yield asked
        process.stdin.close()


@pytest.fixture(scope="module")
def unbroken(run: Run, batch: Path) -> dict[str, Any]:
    """The content of the results of a run that nothing disturbed."""
    code, outcomes = run(batch / "unbroken")
    assert code == 0
    assert [outcome["state"] for outcome in outcomes] == ["done"] * COUNT
    assert sum(outcome["objects"] for outcome in outcomes) > COUNT
    return crashing.content(batch / "unbroken")


@pytest.mark.parametrize("point", crashing.POINTS)
def test_killed_at_a_point_and_run_again(run: Run, unbroken: dict[str, Any], tmp_path: Path, point: str) -> None:
    out = tmp_path / "out"
    code, _ = run(out, point)
    assert code == -9
    for path in out.glob("*_labels.*"):
        if path.suffix != ".json":
            assert path.read_bytes() == unbroken[path.name], "no half of a file under a result's name"
    done = crashing.finished(out)
    assert len(done) == (KILLED if point == "after" else KILLED - 1)
    code, outcomes = run(out)
    assert code == 0
    assert Counter(outcome["state"] for outcome in outcomes) == {"already done": len(done), "done": COUNT - len(done)}
    assert crashing.content(out) == unbroken, "and nothing is left that a whole run does not leave"
    assert {name: crashing.finished(out)[name] for name in done} == done, "what was done is not done again"


def test_killed_at_every_point_in_turn(run: Run, unbroken: dict[str, Any], tmp_path: Path) -> None:
    for point in crashing.POINTS:
        run(tmp_path, point)
    assert run(tmp_path)[0] == 0
    assert crashing.content(tmp_path) == unbroken


def test_killed_at_every_point_while_older_results_are_replaced(run: Run, tmp_path: Path) -> None:
    for out in ("broken", "whole"):
        run(tmp_path / out)
    run(tmp_path / "whole", recipe="other.yaml")
    for point in crashing.POINTS:
        assert run(tmp_path / "broken", point, "other.yaml")[0] in (-9, 0)
        for labels in (tmp_path / "broken").glob("*_labels.tif"):
            assert read_image(labels).raw().any(), "the old or the new, and whole"
    code, outcomes = run(tmp_path / "broken", recipe="other.yaml")
    assert (code, {outcome["state"] for outcome in outcomes} - {"done", "already done"}) == (0, set())
    assert crashing.content(tmp_path / "broken") == crashing.content(tmp_path / "whole")


@pytest.mark.parametrize("name", ["0_labels.tif", "0_labels.csv"])
def test_a_result_whose_content_is_not_the_markers_is_no_longer_believed(
    run: Run, unbroken: dict[str, Any], tmp_path: Path, name: str
) -> None:
    """As after a crash of the whole computer, where the name was on the disk and the bytes were not."""
    run(tmp_path)
    (tmp_path / name).unlink()
    _, outcomes = run(tmp_path)
    assert Counter(outcome["state"] for outcome in outcomes) == {"already done": COUNT - 1, "done": 1}
    assert crashing.content(tmp_path) == unbroken


def test_the_markers_hold_the_files_hashes(unbroken: dict[str, Any]) -> None:
    for name, record in unbroken.items():
        if name.endswith("_labels.json"):
            assert record["outputs"] == {file: hashlib.sha256(unbroken[file]).hexdigest() for file in record["outputs"]}
            assert len(record["outputs"]) == 2

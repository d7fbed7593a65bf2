"""Ends a process at each of its file operations in turn, and looks what the next run makes of it.

`python -m tests.support.every_point FOLDER ENDING` prints a line of JSON for each point.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from napari_foundseg.batch import item_stages
from tests.support import toy_steps
from tests.support.forks import in_fork

item_stages.run_steps = toy_steps.steps_without_model
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "ctypes.dlsym")


def end_at(point: int) -> None:
    """End the process, as a kill does, before its file operation of that number."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in _CHANGES:
            count += 1
            if count == point:
                os._exit(9)

    sys.addaudithook(hook)


def contents(folder: Path) -> dict[str, str]:
    """Return all results, times and what may be there besides set aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".foundseg/"):
            content = path.read_bytes()
            if name.endswith("_labels.json"):
                content = json.dumps({k: v for k, v in json.loads(content).items() if k != "times"}).encode()
            found[name] = content.hex()
    return found


def crash(folder: Path, ending: str, point: int) -> bool:
    """Replace a result by another and end at a point; tell whether it came to that."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    toy_steps.run(toy_steps.recipe(labels=ending), folder)

    def again() -> None:
        end_at(point)
        toy_steps.run(toy_steps.recipe(labels=ending, min_area=20), folder)

    code = in_fork(again)
    assert code in (0, 9), code
    return code == 9


def main(folder: Path, ending: str) -> None:
    """Crash at every point twice: the next run comes at once, or a person works on the labels in between."""
    toy_steps.picture_file(folder / "images" / "a.tif")
    toy_steps.run(toy_steps.recipe(labels=ending), folder)
    toy_steps.run(toy_steps.recipe(labels=ending, min_area=20), folder)
    expected = contents(folder / "results")
    labels = folder / "results" / f"a_labels{ending}"
    for point in range(1, 500):
        if not crash(folder, ending, point):
            break
        [outcome] = toy_steps.run(toy_steps.recipe(labels=ending, min_area=20), folder)
        equal = contents(folder / "results") == expected
        left = [path.name for path in (folder / "results" / ".foundseg").iterdir() if path.suffix in (".making", "")]
        left += [path.name for path in (folder / "results").rglob("*.partial")]
        crash(folder, ending, point)
        kept = "nothing was there"
        if labels.exists():
            changed = labels / "zarr.json" if labels.is_dir() else labels
            changed.write_bytes(changed.read_bytes() + b" ")
            before = changed.read_bytes()
            [after] = toy_steps.run(toy_steps.recipe(labels=ending, min_area=20), folder)
            kept = after.state if changed.read_bytes() == before else "overwritten"
        found = {"point": point, "state": outcome.state, "equal": equal, "left": left, "person's": kept}
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

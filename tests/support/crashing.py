"""Kills at chosen points of the writing of a result, and what two folders of results have in common.

`python -m tests.support.crashing FOLDER` loads the model once and then, for each line of its input, does a batch in a
fork of itself, so that a crash costs a test no start of Python and torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_foundseg.batch import item_stages, ledger, sidecar

#: In the order in which they are passed: six of issue 5, and two between them.
POINTS = (
    "before temp",
    "mid-write",
    "mid-announcement",
    "before replace",
    "between replaces",
    "before marker",
    "mid-marker",
    "after",
)


RECIPE = """\
format: foundseg-recipe 1
inputs:
  paths: [images]
steps:
  - task: automatic
    model: {name: foundseg-tiny}
    settings: {min_area: MIN_AREA}
"""


def make_batch(folder: Path, count: int, shape: tuple[int, int] = (128, 160)) -> Path:
    """Write some images of nuclei, a recipe over them and another recipe that finds fewer objects."""
    import numpy as np
    import tifffile

    from napari_foundseg.io.readers import read_image
    from napari_foundseg.io.samples import sample

    (folder / "images").mkdir()
    pixels = np.asarray(read_image(sample("nuclei")).raw())
    for i in range(count):
        shifted = np.roll(pixels, (-60 * i, -80 * i), (0, 1))
        tiled = np.tile(shifted, [-(-n // m) for n, m in zip(shape, shifted.shape, strict=True)])
        tifffile.imwrite(folder / "images" / f"{i}.tif", tiled[: shape[0], : shape[1]])
    (folder / "recipe.yaml").write_text(RECIPE.replace("MIN_AREA", "20"))
    (folder / "other.yaml").write_text(RECIPE.replace("MIN_AREA", "150"))
    return folder


def arm(point: str, item: int, kill: Callable[[], None]) -> None:
    """Call `kill` when the given item (1 is the first) comes to a point."""
    count = {"items": 0, "published": 0}
    make_stage, publish, write, fsync = ledger.LockedItem.make_stage, ledger.publish, sidecar.Sidecar.write, os.fsync
    tear = {"now": False}

    def now(*points: str) -> bool:
        return point in points and count["items"] == item

    def staged(held: Any) -> Any:
        count["items"] += 1
        count["published"] = 0
        if now("before temp"):
            kill()
        made = make_stage(held)
        tear["now"] = now("mid-write")
        return made

    def published(*paths: Any) -> None:
        if now("before replace") or (now("between replaces") and count["published"]):
            kill()
        publish(*paths)
        count["published"] += 1

    def written(record: Any, path: Path) -> None:
        if now("before marker") and record.state == "done":
            kill()
        tear["now"] = now("mid-announcement" if record.state == "writing" else "mid-marker")
        write(record, path)
        if now("after") and record.state == "done":
            kill()

    def synced(file: int) -> None:
        if tear["now"]:
            os.ftruncate(file, os.fstat(file).st_size // 2)
            kill()
        fsync(file)

    ledger.LockedItem.make_stage = staged
    ledger.publish = published
    sidecar.Sidecar.write = written
    os.fsync = synced


def content(folder: Path) -> dict[str, Any]:
    """Return every file of a folder of results by its name, times set aside; locks hold nothing."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}
    # The report tells of one run, and so of what that run found done.
    files.pop("foundseg-report.json", None)
    return {name: _timeless(path) if name.endswith(".json") else path.read_bytes() for name, path in files.items()}


def _timeless(path: Path) -> Any:
    record = json.loads(path.read_bytes())
    del record["times"]
    for step in record["steps"]:
        del step["seconds"], step["finished"]
    return record


def finished(folder: Path) -> dict[str, int]:
    """Return the results that are done by the name of their sidecar, with the time when they were written."""
    records = {path: json.loads(path.read_bytes()) for path in folder.glob("*_labels.json")}
    return {path.name: path.stat().st_mtime_ns for path, record in records.items() if record["state"] == "done"}


def _serve(folder: Path) -> None:
    from napari_foundseg.batch.items import list_items
    from napari_foundseg.batch.recipe import read_recipe
    from napari_foundseg.models.loading import load_model

    load_model("foundseg-tiny")
    for line in sys.stdin:
        asked = json.loads(line)
        recipe = read_recipe(folder / asked["recipe"])
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            if asked["point"]:
                arm(asked["point"], asked["item"], lambda: os.kill(os.getpid(), signal.SIGKILL))
            out = Path(asked["out"])
            opened = ledger.open_folder(out)
            text = recipe.model_dump_json()
            outcomes = [
                item_stages.run_item_here(item_stages.Order(text, item, opened))
                for item in list_items(recipe, folder, out)
            ]
            Path(asked["answer"]).write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - what the test waits for


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))

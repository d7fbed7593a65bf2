"""What a batch costs per file and per object, beside another checkout of this project, in turns in one run.

    python benchmarks/batch_costs.py BEFORE [TIMES] [PART ...]

BEFORE is the folder of the other checkout; parts are plain, small, look and objects, all by default. Small: 200 images
of 16 by 16 pixels in one process. Beyond: what that takes beyond the plain work, which is to read them, run the task,
and write labels and table. Look: the same folder again, all done, by a runner with its workers. Objects: measuring
5,041 discs in 2048 by 2048 pixels. Seconds are medians, with the ratio to BEFORE; those of computing are of use on a
machine that does other things, too, and the number of flushes to the disk is that of its waits.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("plain", "small", "look", "objects")
COUNT = 200


def make_folder(folder: Path) -> None:
    """Write the images, and labels of many objects."""
    import tifffile

    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        tifffile.imwrite(folder / "images" / f"{number}.tif", random.integers(0, 255, (16, 16)).astype(np.uint8))
    rows, columns = np.mgrid[:2048, :2048] // 29
    inside = np.hypot(*(np.mgrid[:2048, :2048] % 29 - 14)) < 9
    np.save(folder / "labels.npy", np.where(inside, rows * 71 + columns + 1, 0).astype(np.int32))


def count_flushes() -> list[int]:
    """Return a list that gets longer with each flush of a file or folder to the disk."""
    flushes: list[int] = []
    fsync = os.fsync

    def counted(file: int) -> None:
        flushes.append(file)
        fsync(file)

    os.fsync = counted
    return flushes


def found(*places: str) -> Any:
    """Return the first of some objects that exists, such as ``batch.items.list_items``: older checkouts name others."""
    for place in places:
        module, name = place.rsplit(".", 1)
        with suppress(ModuleNotFoundError, AttributeError):
            return getattr(import_module(f"napari_foundseg.{module}"), name)
    raise LookupError(places)


def do_plainly(folder: Path) -> tuple[float, float]:
    """Do the work of the part *small* without a batch; return when it began, after the first image."""
    import tifffile

    from napari_foundseg.io.readers import read_image
    from napari_foundseg.models.loading import load_model
    from napari_foundseg.tasks import TASKS

    task = TASKS["automatic"]
    settings = task.settings("decoder", {})
    began = (0.0, 0.0)
    model = load_model("foundseg-tiny")
    for number, path in enumerate(sorted((folder / "images").glob("*.tif"))):
        if number == 1:
            began = time.perf_counter(), time.process_time()
        result = task.run(read_image(path), task.inputs(), settings, model)
        tifffile.imwrite(folder / f"{path.stem}_labels.tif", result.labels)
        result.table.to_csv(folder / f"{path.stem}_labels.csv")
    return began


def seconds(part: str, folder: Path) -> tuple[float, float]:
    """Return the seconds of a part, and those that this process computed."""
    from napari_foundseg.batch.ledger import open_folder
    from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
    from napari_foundseg.batch.runner import Runner

    order = found("batch.item_stages.Order", "batch.work.Order")
    run_item_here = found("batch.item_stages.run_item_here", "batch.work.run_here")
    list_items = found("batch.items.list_items", "batch.items.items_of")
    measure = found("core.measuring.measurements.measure", "core.measure.measure")
    step = Step(task="automatic", method="decoder", model=ModelOf(name="foundseg-tiny"))
    recipe = Recipe(inputs=Sources(paths=("images",)), steps=(step,))
    if part == "plain":
        began = do_plainly(folder)
    elif part == "objects":
        labels = np.load(folder / "labels.npy")
        measure(labels[:64, :64], "YX", [1.0, 1.0], "px")
        began = time.perf_counter(), time.process_time()
        measure(labels, "YX", [1.0, 1.0], "px")
    elif part == "look":
        began = time.perf_counter(), time.process_time()
        assert Runner(recipe, folder, folder / "results").run().count("already done") == COUNT
    else:
        results = open_folder(folder / "results")
        first, *others = list_items(recipe, folder, folder / "results")
        text = recipe.model_dump_json()
        run_item_here(order(text, first, results))
        began = time.perf_counter(), time.process_time()
        for item in others:
            assert run_item_here(order(text, item, results)).state == "done"
    return time.perf_counter() - began[0], time.process_time() - began[1]


def main() -> None:
    """Run every part in both checkouts, in turns."""
    here = Path(__file__).resolve().parents[1]
    if sys.argv[1] in PARTS:
        flushes = count_flushes()
        print(*seconds(sys.argv[1], Path(sys.argv[2])), len(flushes))
        return
    parts = sys.argv[3:] or list(PARTS)
    taken: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(int((sys.argv[2:] or ["3"])[0])):
        for name, root in (("before", Path(sys.argv[1]).resolve()), ("now", here)):
            with tempfile.TemporaryDirectory() as folder:
                make_folder(Path(folder))
                for part in parts:
                    command = [sys.executable, str(Path(__file__).resolve()), part, folder]
                    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}"}
                    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
                    taken.setdefault((part, name), []).append([float(n) for n in done.stdout.split()[-3:]])
    middle = {key: [statistics.median(kind) for kind in zip(*rounds, strict=True)] for key, rounds in taken.items()}
    for name in ("before", "now") if {"plain", "small"} <= {*parts} else ():
        pairs = zip(middle["small", name], middle["plain", name], strict=True)
        middle["beyond", name] = [small - plain for small, plain in pairs]
    for part in dict.fromkeys(part for part, _ in middle):
        for kind, words in enumerate((" s", " s of computing", " flushes")):
            before, now = (middle[part, name][kind] for name in ("before", "now"))
            if before:
                print(f"{part}: before {before:.2f}{words}, now {now:.2f}{words}, ratio {now / before:.2f}")


if __name__ == "__main__":
    main()

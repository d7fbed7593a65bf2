"""Batches: what two workers gain over one, what a batch costs over a plain loop, and how much memory it takes.

    python benchmarks/batch.py [speed] [overhead] [memory]

Every pool is warm: its workers have loaded the model. Gain: two workers with one thread each against one with one
thread. Overhead: one worker against a loop in this process that reads, calls the task and writes labels and table, in
turns. Memory: the proportional set size of this process and all workers together, looked at twice a second.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile

from _held_out import mosaic
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
from napari_foundseg.batch.runner import Runner
from napari_foundseg.engine.pool import Pool
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.writers import write_labels, write_table

RECIPE = Recipe(
    inputs=Sources(paths=("images",)),
    steps=(Step(task="automatic", method="decoder", model=ModelOf(name="foundseg-tiny")),),
)
DIFFERENT = 10


def make_images(folder: Path, side: int, count: int) -> Path:
    """Write images in a folder of their own; every tenth is the same content under another name."""
    images = folder / f"{side} {count}" / "images"
    images.mkdir(parents=True)
    pixels = mosaic(side)[0]
    for number in range(count):
        path = images / f"{number}.tif"
        if number < DIFFERENT:
            tifffile.imwrite(path, np.roll(pixels, 37 * number, number % 2))
        else:
            os.link(images / f"{number % DIFFERENT}.tif", path)
    return images.parent


def batch(folder: Path, pool: Pool) -> float:
    """Return the seconds of a batch from first to last; its results are left in `results`."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    report = Runner(RECIPE, folder, pool=pool).run()
    assert report.complete
    return report.seconds


def loop(folder: Path, model: Any) -> float:
    """Return the seconds of a plain loop over the same images that writes the same files."""
    import napari_foundseg as fs

    out = folder / "looped"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    began = time.perf_counter()
    for path in sorted((folder / "images").iterdir()):
        image = read_image(path)
        found = fs.automatic(image, model=model, method="decoder")
        write_labels(out / f"{path.stem}_labels.tif", found.labels, image.label_axes, image.spacing, image.units)
        write_table(out / f"{path.stem}_labels.csv", found.table)
    return time.perf_counter() - began


def same_files(one: Path, other: Path) -> bool:
    """Tell whether two folders hold equal labels and tables."""
    names = sorted(path.name for path in one.glob("*_labels.*") if path.suffix in (".tif", ".csv"))
    return bool(names) and all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def speed(folder: Path) -> None:
    """Two workers against one."""
    images, small = make_images(folder, 1024, 60), make_images(folder, 512, 4)
    seconds = {}
    for workers in (1, 2):
        with Pool(workers, threads=1) as pool:
            batch(small, pool)
            seconds[workers] = statistics.median(batch(images, pool) for _ in range(3))
        shutil.move(images / "results", images / f"of {workers}")
    equal = same_files(images / "of 1", images / "of 2")
    print(
        f"60 images of 1024²: 1 worker {seconds[1]:.1f} s, 2 workers {seconds[2]:.1f} s, "
        f"gain {seconds[1] / seconds[2]:.2f}; equal files: {equal}"
    )


def overhead(folder: Path) -> None:
    """A batch against a plain loop."""
    import napari_foundseg as fs

    images, small = make_images(folder, 1024, 100), make_images(folder, 512, 3)
    model, looped, batched = fs.load_model("foundseg-tiny"), [], []
    with Pool(1) as pool:
        batch(small, pool)
        loop(small, model)
        for _ in range(3):
            looped.append(loop(images, model))
            batched.append(batch(images, pool))
    equal = same_files(images / "looped", images / "results")
    share = statistics.median(batched) / statistics.median(looped) - 1
    print(
        f"100 images of 1024²: loop {statistics.median(looped):.1f} s, batch {statistics.median(batched):.1f} s, "
        f"overhead {share:+.1%} (loops {rounded(looped)}, batches {rounded(batched)}); equal files: {equal}"
    )


def rounded(seconds: list[float]) -> str:
    return " ".join(f"{value:.1f}" for value in seconds)


def memory(folder: Path) -> None:
    """The most memory that a batch of large images takes."""
    images = make_images(folder, 2048, 300)
    most, ended = [0], threading.Event()

    def watch() -> None:
        here = psutil.Process()
        while not ended.wait(0.5):
            most[0] = max(most[0], sum(pss(process) for process in [here, *here.children(recursive=True)]))

    watching = threading.Thread(target=watch)
    watching.start()
    with Pool(2) as pool:
        seconds = batch(images, pool)
    ended.set()
    watching.join()
    print(f"300 images of 2048², 2 workers: at most {most[0] / 1e9:.2f} GB in all processes, {seconds:.0f} s")


def pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def main() -> None:
    parts: dict[str, Callable[[Path], None]] = {"speed": speed, "overhead": overhead, "memory": memory}
    for name in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Path(folder))


if __name__ == "__main__":
    main()

"""Tiling: memory and time of the decoder in the engine's process against the image's area, and what seams cost.

    python benchmarks/tiling.py

Each size has an engine of its own, as the window has one: peak memory is that process's, torch included; the time is
the median of three runs, from the request to the labels. Seams: IoU with the truth of objects that cross a border
between the windows' cores, against objects of like size that do not, on a mosaic of held-out images; and the same
objects against themselves where the picture begins elsewhere, so that the seams run through others.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _held_out import mosaic

SIDES = (1024, 2048, 4096)


def measure(side: int) -> tuple[float, float]:
    """Return seconds of a run and the engine's peak memory in GB."""
    from napari_foundseg.core.image import Image
    from napari_foundseg.engine.client import Engine
    from napari_foundseg.tasks import TASKS
    from napari_foundseg.tasks.run_request import RunRequest

    task, image = TASKS["automatic"], mosaic(side)[0]
    inputs, settings = task.inputs.parse({}), task.settings("decoder", {})
    engine, took = Engine(), []
    for _ in range(4):
        began = time.perf_counter()
        engine.submit(RunRequest("automatic", Image(image), inputs, settings, "foundseg-tiny")).wait(600)
        took.append(time.perf_counter() - began)
    status = Path(f"/proc/{engine.diagnostics()['pid']}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    engine.close()
    return statistics.median(took[1:]), peak / 1e6


def crossing(truth: NDArray[np.int64], model: Any, count: int) -> NDArray[np.bool_]:
    """Return, for ids 0 to `count`, whether the object crosses a border between two windows' cores."""
    from napari_foundseg.tasks.windows.instance_maps import map_windows

    crossed = np.zeros(count + 1, bool)
    for _, (y0, x0, _, _) in map_windows(truth.shape, model):
        for at, axis in ((y0, 0), (x0, 1)):
            if at:
                before, after = np.take(truth, at - 1, axis), np.take(truth, at, axis)
                crossed[before[(before == after) & (before > 0)]] = True
    return crossed


def best(image: NDArray[np.uint8], truth: NDArray[np.int64], model: Any, count: int) -> NDArray[np.float64]:
    """Return, for ids 0 to `count`, the best IoU of the object with an automatic mask."""
    import napari_foundseg as fs
    from napari_foundseg.core.measuring.comparison import match_objects

    matching = match_objects(truth, fs.automatic(np.ascontiguousarray(image), model=model).labels)
    scores = np.zeros(count + 1)
    scores[matching.truth] = matching.best
    return scores


def seams(side: int = 2048, by: int = 200) -> list[str]:
    """Return in words the mean IoU of the objects at seams, of others of like size, and where seams lie elsewhere."""
    import napari_foundseg as fs

    image, truth = mosaic(side)
    model, count = fs.load_model("foundseg-tiny"), int(truth.max())
    at_seam, scores = crossing(truth, model, count), best(image, truth, model, count)
    rest = truth[by:, by:]
    cut = np.isin(np.arange(count + 1), np.concatenate([truth[:by].ravel(), truth[:, :by].ravel()]))
    twice = at_seam & ~cut & ~crossing(rest, model, count)
    elsewhere = best(image[by:, by:], rest, model, count)[twice].mean()
    areas = np.bincount(truth.ravel(), minlength=count + 1)
    others = ~at_seam & (areas > 0)
    others[0] = False
    # Large objects are likelier at seams and easier: each seam object is compared with others of its own size.
    edges = np.quantile(areas[at_seam], np.linspace(0, 1, 9))[1:-1]
    bins = np.digitize(areas, edges)
    of_size = np.array([scores[others & (bins == k)].mean() for k in range(8)])
    like = of_size[bins[at_seam]].mean()
    return [
        f"IoU of {at_seam.sum()} objects at seams {scores[at_seam].mean():.3f}, of others of like size {like:.3f}",
        f"IoU of {twice.sum()} of them {scores[twice].mean():.3f}, where the seams lie elsewhere {elsewhere:.3f}",
    ]


def main() -> None:
    for side in SIDES:
        seconds, memory = measure(side)
        print(f"{side:5} x {side:5}: {seconds:7.2f} s, {seconds / side**2 * 1e6:.3f} s/Mpx, peak {memory:.2f} GB")
    print(*seams(), sep="\n")


if __name__ == "__main__":
    main()

"""Tiling: memory and time of the decoder in the engine's process against the image's area, and what seams cost.

    python benchmarks/tiling.py

Each size has an engine of its own, as the window has one: peak memory is that process's, torch included; the time is
the median of three runs, from the request to the labels. Seams: IoU with the truth of objects that cross a border
between the windows' cores, against objects of like size that do not, on a mosaic of held-out images.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from _held_out import mosaic

SIDES = (1024, 2048, 4096)


def measure(side: int) -> tuple[float, float]:
    """Return seconds of a run and the engine's peak memory in GB."""
    from napari_foundseg.core.image import Image
    from napari_foundseg.engine.client import Engine
    from napari_foundseg.tasks import TASKS

    task, image = TASKS["automatic"], mosaic(side)[0]
    inputs, settings = task.inputs.parse({}), task.settings("decoder", {})
    engine, took = Engine(), []
    for _ in range(4):
        began = time.perf_counter()
        engine.submit("automatic", Image(image), inputs, settings, "foundseg-tiny").wait(600)
        took.append(time.perf_counter() - began)
    status = Path(f"/proc/{engine.diagnostics()['pid']}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    engine.close()
    return statistics.median(took[1:]), peak / 1e6


def seams(side: int = 2048) -> tuple[float, float, int]:
    """Return mean IoU of the objects at seams, of others of like size, and how many are at seams."""
    import napari_foundseg as fs
    from napari_foundseg.core.compare import match
    from napari_foundseg.tasks.instance_maps import map_windows

    image, truth = mosaic(side)
    model = fs.load_model("foundseg-tiny")
    matching = match(truth, fs.automatic(image, model=model).labels)
    crossed = np.zeros(truth.max() + 1, bool)
    for _, (y0, x0, _, _) in map_windows(truth.shape, model):
        for at, axis in ((y0, 0), (x0, 1)):
            if at:
                before, after = np.take(truth, at - 1, axis), np.take(truth, at, axis)
                crossed[before[(before == after) & (before > 0)]] = True
    areas, at_seam, scores = matching.truth_areas, crossed[matching.truth], matching.best
    # Large objects are likelier at seams and easier: each seam object is compared with others of its own size.
    edges = np.quantile(areas[at_seam], np.linspace(0, 1, 9))[1:-1]
    bins = np.digitize(areas, edges)
    of_size = np.array([scores[~at_seam & (bins == k)].mean() for k in range(8)])
    return float(scores[at_seam].mean()), float(of_size[bins[at_seam]].mean()), int(at_seam.sum())


def main() -> None:
    for side in SIDES:
        seconds, memory = measure(side)
        print(f"{side:5} x {side:5}: {seconds:7.2f} s, {seconds / side**2 * 1e6:.3f} s/Mpx, peak {memory:.2f} GB")
    at, others, count = seams()
    print(f"IoU of {count} objects at seams {at:.3f}, of others of like size {others:.3f}, {others - at:+.3f}")


if __name__ == "__main__":
    main()

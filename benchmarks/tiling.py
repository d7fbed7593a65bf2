"""Tiling: memory and time of the decoder against the image's area, and what seams cost.

    python benchmarks/tiling.py

Each size runs in a process of its own; peak memory is that process's, torch included. Seams: IoU with the truth of
objects that cross a border between window cores, against the IoU of the others, on a mosaic of held-out images.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

from _held_out import mosaic, overlaps

SIDES = (1024, 2048, 4096)


def measure(side: int) -> None:
    """Run one size in this process and print seconds and peak memory."""
    import napari_foundseg as fs

    image, _ = mosaic(side)
    model = fs.load_model("foundseg-tiny")
    fs.automatic(image[:256, :256], model=model)
    began = time.perf_counter()
    fs.automatic(image, model=model)
    seconds = time.perf_counter() - began
    print(f"{seconds:.3f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.3f}")


def seams(side: int = 2048) -> tuple[float, float, int]:
    """Return mean IoU of the objects at seams, of the others, and how many are at seams."""
    import napari_foundseg as fs
    from napari_foundseg.tasks.automatic import map_windows

    image, truth = mosaic(side)
    model = fs.load_model("foundseg-tiny")
    found = fs.automatic(image, model=model).labels.astype(np.int64)
    best = overlaps(truth, found).max(1)
    crossed = np.zeros(truth.max() + 1, bool)
    for _, (y0, x0, _, _) in map_windows(truth.shape, model):
        for at, axis in ((y0, 0), (x0, 1)):
            if at:
                before, after = np.take(truth, at - 1, axis), np.take(truth, at, axis)
                crossed[before[(before == after) & (before > 0)]] = True
    ids = np.unique(truth)[1:]
    at_seam = crossed[ids]
    scores = best[ids - 1]
    return float(scores[at_seam].mean()), float(scores[~at_seam].mean()), int(at_seam.sum())


def main() -> None:
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
        return
    for side in SIDES:
        out = subprocess.run([sys.executable, __file__, str(side)], capture_output=True, text=True, check=True)
        seconds, memory = map(float, out.stdout.split())
        print(f"{side:5} x {side:5}: {seconds:7.2f} s, {seconds / side**2 * 1e6:.3f} s/Mpx, peak {memory:.2f} GB")
    at, others, count = seams()
    print(f"IoU of {count} objects at seams {at:.3f}, of the others {others:.3f}, difference {others - at:+.3f}")


if __name__ == "__main__":
    main()

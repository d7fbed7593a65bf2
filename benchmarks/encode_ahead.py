"""What encoding the next image in advance gains: the first clicks on an image, with its windows encoded and without.

Two pictures of the held-out mosaic that have no pixel in common. The windows of the second are encoded by the clicks
of the worklist (`widgets.worklist.next_image_encoding.clicks`) before it is clicked on; then objects of both are
clicked, in one process. The processor's time, all threads together, so that other programs do not count.

    python benchmarks/encode_ahead.py [--side 512]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from numpy.typing import NDArray

import napari_foundseg as fs
from _held_out import mosaic
from napari_foundseg.widgets.worklist.next_image_encoding import clicks

_OBJECTS = 20


def took(image: fs.Image, places: list[tuple[float, float]], model: object) -> list[float]:
    """Return the processor's milliseconds of each click."""
    found = []
    for place in places:
        start = time.process_time()
        fs.prompt(image, fs.Prompt([place]), model=model)
        found.append(1000 * (time.process_time() - start))
    return found


def middles(truth: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Return a place in each of up to 20 objects."""
    ids = np.unique(truth[truth > 0])[:: max(1, len(np.unique(truth)) // _OBJECTS)][:_OBJECTS]
    places = [np.argwhere(truth == i) for i in ids]
    return [(float(y), float(x)) for y, x in (own[len(own) // 2] for own in places)]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--side", type=int, default=512)
    side = options.parse_args().side
    whole, truth = mosaic(2 * side)
    model = fs.load_model("foundseg-tiny")
    took(fs.Image(whole[side:, side:]), [(side / 2, side / 2)] * 3, model)  # what only the first click of all costs
    cold, warm = fs.Image(whole[:side, :side]), fs.Image(whole[:side, side:])
    ahead = sum(took(warm, clicks((side, side)), model)) / 1000
    without = took(cold, middles(truth[:side, :side]), model)
    advance = took(warm, middles(truth[:side, side:]), model)
    print(f"{len(clicks((side, side)))} clicks in advance: {ahead:.1f} s in all")
    for name, values in (("not encoded", without), ("encoded in advance", advance)):
        print(f"{name:20} first click {values[0]:6.0f} ms, median of {len(values)} {statistics.median(values):6.0f} ms")


if __name__ == "__main__":
    main()

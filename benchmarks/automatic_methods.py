"""The methods of *Automatic masks* with the built-in model on the held-out images: mSA and seconds an image.

python benchmarks/automatic_methods.py [--every N] [--methods decoder,apg,grid]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.measuring.comparison import match_objects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--methods", default="decoder,apg", help="names, with commas between")
    options = parser.parse_args()
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    methods = options.methods.split(",")
    for n, (_, kind, image, truth) in enumerate(images()):
        if n % options.every:
            continue
        for method in methods:
            started = time.perf_counter()
            found = fs.automatic(image, method=method)
            seconds[method].append(time.perf_counter() - started)
            figures[kind, method].append(match_objects(truth, found.labels).precision.mean())
            figures["all", method].append(figures[kind, method][-1])
    kinds = sorted({kind for kind, _ in figures}, key=lambda k: (k == "all", k))
    print(f"{'mSA':14}{'images':>8}" + "".join(f"{method:>10}" for method in methods))
    for kind in kinds:
        count = len(figures[kind, methods[0]])
        print(f"{kind:14}{count:>8}" + "".join(f"{np.mean(figures[kind, method]):10.3f}" for method in methods))
    print(f"{'median s':22}" + "".join(f"{np.median(seconds[method]):10.2f}" for method in methods))


if __name__ == "__main__":
    main()

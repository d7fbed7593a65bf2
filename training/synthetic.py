"""Draw synthetic scenes with their truth and keep them in a folder, so that training knows more than nuclei.

    python training/synthetic.py --out SCENES --count 1200 --workers 2 [--kinds plain,tissue]

The kinds, their shares and what draws them are in ``scenes/__init__.py``.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from scenes import KINDS, draw
from scenes.painting import Scene


def choose_kind(seed: int, kinds: list[str]) -> str:
    """Return the kind of scene number `seed`, each with its share."""
    shares = np.array([KINDS[kind].share for kind in kinds])
    return kinds[np.random.default_rng([seed, 25]).choice(len(kinds), p=shares / shares.sum())]


def draw_scene(seed: int) -> Scene:
    """Return scene number `seed` and its truth, `(H, W, 3)` and `(H, W)`, of a kind chosen by its share."""
    return draw(choose_kind(seed, list(KINDS)), seed)


def write_scene(folder: Path, kinds: list[str], seed: int) -> None:
    """Write one scene as ``NNNNN.npz``, unless it is there: image, labels, kind, and if all objects are labelled."""
    path = folder / f"{seed:05d}.npz"
    if not path.exists():
        kind = choose_kind(seed, kinds)
        image, labels = draw(kind, seed)
        np.savez(path, image=image, labels=labels, kind=kind, complete=KINDS[kind].complete)


def main() -> None:
    """Write the scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kinds", default=",".join(KINDS), help="those to draw, with commas between them")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.workers) as pool:
        list(pool.map(partial(write_scene, options.out, options.kinds.split(",")), range(options.count), chunksize=8))


if __name__ == "__main__":
    main()

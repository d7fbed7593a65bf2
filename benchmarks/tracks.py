"""Tracks of drawn films: TRA and F1 of divisions, with foundseg-tiny's masks and with those that were drawn.

60 frames with 30 cells or more, 20 divisions, and movement up to a radius. TRA is that of the Cell Tracking Challenge,
checked by the package py-ctcmetrics where it is installed. A division counts if the mother's last object and both
daughters' first ones are those drawn.

    python -m benchmarks.tracks [--frames 60] [--cells 30] [--divisions 20] [--movements 4 9] [--seeds 1] [--drawn-only]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import napari_foundseg as fs
from tests.support.drawn_films import Film, division_f1, draw_film, tra

RADIUS = 9.0


def parents(found: fs.Segmentation) -> dict[int, int]:
    """Return the parent of each daughter."""
    return {int(child): int(mother) for child, mother in found.table[["label", "parent"]].to_numpy() if mother}


def checked(film: Film, found: fs.Segmentation) -> str:
    """Return TRA as py-ctcmetrics computes it of exported files, in words; empty where it is not installed."""
    try:
        from ctc_metrics.scripts.evaluate import evaluate_sequence
    except ImportError:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        result, truth = Path(folder, "01_RES"), Path(folder, "01_GT")
        fs.write_tracks(result, found)
        fs.write_tracks(truth / "TRA", film.truth, film.parents)
        (truth / "SEG").mkdir()
        (truth / "TRA" / "res_track.txt").rename(truth / "TRA" / "man_track.txt")
        for mask in (truth / "TRA").glob("mask*.tif"):
            mask.rename(mask.with_name(f"man_track{mask.name[4:]}"))
        scores = evaluate_sequence(str(result), str(truth), metrics=["Valid", "TRA"], threads=1)
    return f" (py-ctcmetrics: TRA {scores['TRA']:.4f}, valid {scores['Valid']})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--cells", type=int, default=30)
    parser.add_argument("--divisions", type=int, default=20)
    parser.add_argument("--movements", nargs="+", type=float, default=(4.0, RADIUS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--drawn-only", action="store_true", help="without a model: the masks that were drawn")
    given = parser.parse_args()
    for movement in given.movements:
        for seed in range(given.seeds):
            film = draw_film(
                given.frames, given.cells, given.divisions, movement, seed=seed, side=given.side, radius=RADIUS
            )
            ways = {"drawn masks": lambda film=film: fs.track(film.truth)}
            if not given.drawn_only:
                image = fs.Image(film.frames, "TYX")
                ways["foundseg-tiny"] = lambda image=image: fs.automatic(image, link="tracks", diameter=2 * RADIUS)
            for name, run in ways.items():
                begun = time.perf_counter()
                found = run()
                seconds = time.perf_counter() - begun
                known = found.provenance["tracking"]
                scores = [score(film.truth, film.parents, found.labels, parents(found)) for score in (tra, division_f1)]
                drawn = len(np.unique(list(film.parents.values())))
                print(
                    f"movement {movement:g}, seed {seed}, {name}: TRA {scores[0]:.4f}, division F1 {scores[1]:.3f}, "
                    f"{known['divisions']} divisions of {drawn}, {known['tracks']} tracks of {film.truth.max()}, "
                    f"looked for up to {known['max_movement']:.1f} pixels, {seconds:.0f} s{checked(film, found)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

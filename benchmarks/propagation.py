"""Propagation through drawn stacks: one click or box an object in its middle slice.

Ellipsoids, bent tubes and touching cells with noise and uneven contrast, 64 slices, one to four pixels apart. Printed
are the mean IoU in 3-D, the 5th percentile of the IoU of slices in which the object has 100 pixels or more, by how many
slices ends are wrong, the volume as a share of the truth, and the trend of the area: by how much the area found as a
share of the area drawn grows over ten slices away from the marked one.

    python benchmarks/propagation.py [--model foundseg-tiny] [--seeds 1] [--spacings 1 2 4] [--prompts click box]
    python benchmarks/propagation.py --memory [--side 1024]   # the peak of 100 and of 200 slices; the time to cancel
    python benchmarks/propagation.py --cost         # a slice against an uncached prompt with the same objects
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import napari_foundseg as fs
from tests.support.drawn_stacks import Drawn, draw_stack, middle_slice

KINDS = ("ellipsoids", "tubes", "touching")


def prompt_at(truth: np.ndarray, label: int, at: int, how: str) -> fs.Prompt:
    """Return a click at the deepest point of an object in a slice, or its box."""
    from scipy import ndimage

    inside = truth[at] == label
    rows, columns = np.nonzero(inside)
    if how == "box":
        return fs.Prompt(box=(at, rows.min(), columns.min(), at, rows.max(), columns.max()))
    y, x = np.unravel_index(ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1].argmax(), inside.shape)
    return fs.Prompt([(at, int(y), int(x))])


def measure(drawn: Drawn, found: np.ndarray, label: int) -> dict[str, Any]:
    """Compare one object with its truth."""
    a, b = drawn.truth == label, found == label
    true, got = a.sum((1, 2)), b.sum((1, 2))
    shared = (a & b).sum((1, 2))
    slice_iou = shared / np.maximum(1, true + got - shared)
    ends = [np.flatnonzero(areas)[[0, -1]] if areas.any() else np.array([0, 0]) for areas in (true, got)]
    large = true >= 100
    away = np.abs(np.arange(len(true)) - middle_slice(drawn.truth, label))[large]
    ratio = got[large] / true[large]
    return {
        "iou": shared.sum() / (true + got - shared).sum(),
        "slices": slice_iou[large].tolist(),
        "ends": np.abs(ends[0] - ends[1]).max(),
        "volume": got.sum() / true.sum(),
        "trend": 10 * np.polyfit(away, ratio, 1)[0] if np.ptp(away) > 3 else 0.0,
    }


def accuracy(model: str, seeds: int, spacings: list[float], prompts: list[str], kinds: list[str]) -> None:
    """Print one line for each kind, spacing and way to point."""
    everything = []
    for kind in kinds:
        for spacing in spacings:
            for how in prompts:
                rows = []
                for seed in range(seeds):
                    drawn = draw_stack(kind, spacing=spacing, seed=seed)  # type: ignore[arg-type]
                    labels = [int(i) for i in np.unique(drawn.truth)[1:]]
                    given = {i: prompt_at(drawn.truth, i, middle_slice(drawn.truth, i), how) for i in labels}
                    found = fs.propagate(drawn.stack, given, axes="ZYX", model=model).labels
                    rows += [measure(drawn, found, label) for label in labels]
                everything += rows
                print(f"{kind:10} spacing {spacing:g} {how:5}", in_words(rows), flush=True)
    print(f"{'all':24}", in_words(everything))


def in_words(rows: list[dict[str, Any]]) -> str:
    """Return the figures of some objects."""
    slices = [iou for row in rows for iou in row["slices"]]
    ends = [row["ends"] for row in rows]
    return (
        f"n {len(rows):3}  3-D IoU {np.mean([r['iou'] for r in rows]):.3f} (least {min(r['iou'] for r in rows):.2f})  "
        f"slices p5 {np.percentile(slices, 5):.3f}  ends within 2: {100 * np.mean(np.array(ends) <= 2):.0f} % "
        f"(worst {max(ends)})  volume {np.mean([r['volume'] for r in rows]):.3f}  "
        f"trend {100 * np.mean([r['trend'] for r in rows]):+.1f} %"
    )


def large_stack(slices: int, side: int = 1024) -> tuple[np.ndarray, dict[int, fs.Prompt]]:
    """Return a stack of square slices with two tubes, 8-bit."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    stack = np.empty((slices, side, side), np.uint8)
    places = [(round(0.29 * side), round(0.29 * side)), (round(0.68 * side), round(0.7 * side))]
    for z in range(slices):
        plane = rng.normal(40, 12, (side, side))
        for cy, cx in places:
            plane[np.hypot(y - cy - 10 * np.sin(z / 15), x - cx) < 45] += 120
        stack[z] = np.clip(plane, 0, 255)
    middle = slices // 2
    centre = 10 * np.sin(middle / 15)
    return stack, {i: fs.Prompt([(middle, cy + centre, cx)]) for i, (cy, cx) in enumerate(places, 1)}


def memory(side: int) -> None:
    """Print the peak of an engine's process for 100 and for 200 slices."""
    for slices in (100, 200):
        code = f"from benchmarks.propagation import engine_peak; engine_peak({slices}, {side})"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def engine_peak(slices: int, side: int) -> None:
    """Run in an engine of its own, and print the peak of its process and the time to cancel."""
    from napari_foundseg.core.image import Image
    from napari_foundseg.engine.client import Engine
    from napari_foundseg.tasks import TASKS
    from napari_foundseg.tasks.run_request import RunRequest

    stack, prompts = large_stack(slices, side)
    engine = Engine(address="")
    task = TASKS["propagate"]
    request = RunRequest(
        "propagate", Image(stack, "ZYX"), task.inputs.parse({"prompts": prompts}), task.settings("projection", {}),
        "foundseg-tiny",
    )  # fmt: skip
    began = time.perf_counter()
    found = engine.submit(request).wait(1800)
    seconds = time.perf_counter() - began
    status = Path(f"/proc/{engine.diagnostics()['pid']}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    seen = len({mask.index for mask in found.masks or ()})
    print(f"{slices} slices: peak {peak / 1e6:.2f} GB, {seconds:.1f} s, objects in {seen} slices", flush=True)
    # Cancelled in the middle: until the engine answers the next request, whose own time is taken off.
    prompt = TASKS["prompt"]
    click = prompt.inputs.parse({"prompts": [fs.Prompt([(0, side * 0.29, side * 0.29)])]})
    small = RunRequest("prompt", Image(stack[:1], "ZYX"), click, prompt.settings("sam", {}), "foundseg-tiny")
    engine.submit(small).wait(600)
    began = time.perf_counter()
    engine.submit(small).wait(600)
    alone = time.perf_counter() - began
    under_way = threading.Event()
    job = engine.submit(request, progress=lambda *_: under_way.set())
    under_way.wait(600)
    began = time.perf_counter()
    job.cancel()
    cancelled = time.perf_counter() - began
    engine.submit(small).wait(600)
    free = time.perf_counter() - began - alone
    print(f"cancel: the form is free after {cancelled:.3f} s, the engine after {free:.2f} s", flush=True)
    engine.close()


def cost(rounds: int = 5) -> None:
    """Print the time of a slice, and of an uncached prompt with both objects, one after the other."""
    from napari_foundseg.tasks.windows import embeddings

    stack, prompts = large_stack(21)
    model = fs.load_model("foundseg-tiny", protocol="Promptable")
    both = list(prompts.values())
    slice_seconds, prompt_seconds = [], []
    for _ in range(rounds):
        embeddings._kept.clear()
        began = time.perf_counter()
        fs.prompt(stack, both, model=model, axes="ZYX")
        prompt_seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        fs.propagate(stack, prompts, model=model, axes="ZYX")
        slice_seconds.append((time.perf_counter() - began) / len(stack))
    ratio = np.median(slice_seconds) / np.median(prompt_seconds)
    print(
        f"slice {1000 * np.median(slice_seconds):.0f} ms, prompt {1000 * np.median(prompt_seconds):.0f} ms: {ratio:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="foundseg-tiny")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--spacings", type=float, nargs="+", default=[1, 2, 4])
    parser.add_argument("--prompts", nargs="+", default=["click", "box"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--cost", action="store_true")
    given = parser.parse_args()
    if given.memory:
        memory(given.side)
    elif given.cost:
        cost()
    else:
        accuracy(given.model, given.seeds, given.spacings, given.prompts, given.kinds)

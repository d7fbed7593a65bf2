"""Edits of many objects in *Correct*: how long they take, and how long the window does not answer meanwhile.

    xvfb-run -a python benchmarks/gui_many_objects.py [--objects 20000] [--before SRC] [--few 100]

The largest gap between two ticks of a 5 ms timer is compared with that of napari's own refresh of the same layer:
wanted is less than twice as much. On a busy computer, compare the work of the window's thread between two ticks.
With the folder `src` of another version (`--before`), some objects of the same layer
are edited with both, one after the other in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Pixels from one object to the next.
PITCH = 28
TOOLS = ("grow", "shrink", "smooth", "fill holes", "keep largest part", "merge", "delete")


def cells(count: int) -> Any:
    """Return a square label image of discs with a hole, and a part apart: each tool has something to do."""
    import numpy as np

    side = int(np.ceil(count**0.5))
    rows, columns = np.indices((PITCH, PITCH)) - PITCH // 2
    away = np.hypot(rows, columns)
    cell = (away <= 9) & (away > 2)
    cell[1:3, 1:3] = True
    labels = np.kron(np.arange(1, side * side + 1).reshape(side, side), cell.astype(np.int64)).astype(np.uint16)
    labels[labels > count] = 0
    return labels


def measured(total: int, count: int, tools: list[str]) -> dict[str, dict[str, float]]:
    """Edit `count` of `total` objects with each tool, and undo it; seconds by tool."""
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    os.environ["FOUNDSEG_CACHE"] = tempfile.mkdtemp()
    import napari
    from qtpy.QtTest import QTest

    from benchmarks._gaps import Gaps
    from napari_foundseg.widgets.objects.correct_dock import CorrectWidget

    viewer = napari.Viewer()
    ids = range(1, total + 1)
    # Like those of a result: they are measured again, and go back with an undo.
    features = {"index": ids, "area": [0.0] * total, "predicted_iou": [0.9] * total}
    layer = viewer.add_labels(cells(total), name="cells", features=features)
    QTest.qWait(1000)
    out: dict[str, dict[str, float]] = {}
    gaps = []
    for _ in range(5):
        with Gaps() as refresh:
            layer.refresh()
            QTest.qWait(200)
        gaps.append((refresh.largest, refresh.busiest))
    middle = [sorted(numbers)[2] for numbers in zip(*gaps, strict=True)]
    out["napari's refresh"] = {"seconds": middle[0], "gap": middle[0], "work": middle[1]}
    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form)
    QTest.qWait(3000)
    acts = {"fill holes": form.fill_holes, "keep largest part": form.keep_largest}
    for tool in tools:
        with Gaps() as choosing:
            form.choose(list(range(1, count + 1)))
            QTest.qWait(1500)
            while form._outlines is not None and form._outlines.layer is None:
                QTest.qWait(50)
            QTest.qWait(500)
        out.setdefault("choose", {"seconds": choosing.largest, "gap": choosing.largest, "work": choosing.busiest})
        started = time.perf_counter()
        with Gaps() as edit:
            acts.get(tool, getattr(form, tool.split()[0], None))()
            while form.running.name:
                QTest.qWait(20)
            seconds = time.perf_counter() - started
            QTest.qWait(2000)
        if form.history.undo_name != tool:
            raise SystemExit(f"{tool}: {form.message.text() or form.state.text()}")
        with Gaps() as undo:
            form.history.undo()
            while form.running.name:
                QTest.qWait(20)
            QTest.qWait(2000)
        out[tool] = {"seconds": seconds, "gap": edit.largest, "undo gap": undo.largest}
        out[tool]["work"] = max(edit.busiest, undo.busiest)
        print(tool, out[tool], file=sys.stderr, flush=True)
    viewer.close()
    return out


def in_a_child(source: Path, total: int, count: int, tools: list[str]) -> dict[str, dict[str, float]]:
    """Measure another version, or this one, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(ROOT)])}
    command = [sys.executable, __file__, "--child", str(total), str(count), *tools]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measured(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])))
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--objects", type=int, default=20_000)
    options.add_argument("--before", type=Path)
    options.add_argument("--few", type=int, default=100)
    options.add_argument("--tools", nargs="*", default=TOOLS)
    chosen = options.parse_args()
    tools = list(chosen.tools)
    now = in_a_child(ROOT / "src", chosen.objects, chosen.objects, tools)
    wanted, work = (now["napari's refresh"][kind] for kind in ("gap", "work"))
    print(f"{chosen.objects} objects; napari's refresh of the layer: {1000 * wanted:.0f} ms")
    for tool in ("choose", *tools):
        gap = max(now[tool]["gap"], now[tool].get("undo gap", 0))
        print(
            f"{tool}: {now[tool]['seconds']:.1f} s, largest gap {1000 * gap:.0f} ms ({gap / wanted:.1f} times; < 2), "
            f"most work of the window's thread in one {1000 * now[tool]['work']:.0f} ms "
            f"({now[tool]['work'] / work:.1f} times)"
        )
    if chosen.before is not None:
        few = {name: in_a_child(source, chosen.objects, chosen.few, tools)
               for name, source in (("before", chosen.before), ("now", ROOT / "src"))}  # fmt: skip
        for tool in ("choose", *tools):
            texts = [
                f"{name} {found[tool]['seconds']:.2f} s, gap {1000 * found[tool]['gap']:.0f} ms"
                for name, found in few.items()
            ]
            print(f"{chosen.few} of {chosen.objects}, {tool}: {'; '.join(texts)}")


if __name__ == "__main__":
    main()

"""How long the window does not answer while *Models* opens, beside a dock of as many rows that does nothing else.

    xvfb-run -a python benchmarks/gui_models.py

The largest gap between two ticks of a 5 ms timer, and the most work of the window's thread in one, which other programs
of a busy computer do not lengthen: wanted is less than 50 ms beyond the control.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TIMES = 5


def main() -> None:
    """Open both docks in turns, and print."""
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    os.environ["FOUNDSEG_CACHE"] = tempfile.mkdtemp()
    import napari
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QTreeWidget, QTreeWidgetItem

    from benchmarks._gaps import Gaps
    from napari_foundseg.models.catalog import catalog
    from napari_foundseg.widgets.models.models_dock import ModelsWidget

    def control() -> QTreeWidget:
        table = QTreeWidget()
        table.addTopLevelItems([QTreeWidgetItem([name]) for name in catalog()])
        return table

    viewer = napari.Viewer()
    QTest.qWait(1500)
    kinds: dict[str, Any] = {"control": control, "models": lambda: ModelsWidget(viewer)}
    gaps: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(TIMES):
        for name, make in kinds.items():
            with Gaps() as opening:
                dock = viewer.window.add_dock_widget(make(), name=name)
                QTest.qWait(1000)
            gaps[name].append((opening.largest, opening.busiest))
            viewer.window.remove_dock_widget(dock)
            QTest.qWait(300)
    for kind, words in enumerate(("largest gap", "most work in one")):
        first = {name: 1000 * found[0][kind] for name, found in gaps.items()}
        later = {name: 1000 * median(pair[kind] for pair in found) for name, found in gaps.items()}
        print(
            f"{words}: first {first['models']:.0f} ms, control {first['control']:.0f}, beyond "
            f"{first['models'] - first['control']:.0f}; median {later['models']:.0f} ms, control "
            f"{later['control']:.0f}, beyond {later['models'] - later['control']:.0f} (wanted < 50)"
        )
    viewer.close()


if __name__ == "__main__":
    main()

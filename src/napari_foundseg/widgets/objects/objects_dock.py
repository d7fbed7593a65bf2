"""The dock widget *Objects*: measurements of every object, deletion by size or score, comparison with a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog, QFormLayout, QPushButton, QWidget

from napari_foundseg.core.editing import edits
from napari_foundseg.core.errors import ChangedError, FoundsegError
from napari_foundseg.core.measuring.columns import column_help
from napari_foundseg.core.measuring.measurements import boxes_of
from napari_foundseg.core.measuring.number_text import number_text
from napari_foundseg.io.files.known_files import KnownFiles
from napari_foundseg.io.output_paths import refuse_inputs
from napari_foundseg.io.writers import replace_table
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.controls.rows import side_by_side
from napari_foundseg.widgets.controls.sortable_table import TableView
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.camera import centre_on
from napari_foundseg.widgets.layers.input_files import find_input_files
from napari_foundseg.widgets.layers.layer_axes import label_spacing, layer_axes
from napari_foundseg.widgets.objects.comparison import ComparisonPanel
from napari_foundseg.widgets.objects.labels_dock import LabelsDock
from napari_foundseg.widgets.objects.measurements import Measurements, shared_measurements
from napari_foundseg.widgets.objects.object_outlines import ObjectOutlines, shared_outlines
from napari_foundseg.widgets.objects.removal import Removal
from napari_foundseg.widgets.qt.changed_files import ask_about_change

__all__ = ["ObjectsWidget"]

#: Minimum height in pixels, so that the table is legible below another dock widget.
_HEIGHT = 320


class ObjectsWidget(LabelsDock):
    """A table of a layer's objects; the selection in the table and the selected label follow each other."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._measurements: Measurements | None = None
        self._outlines: ObjectOutlines | None = None
        #: The tables that were saved here.
        self._known = KnownFiles()
        self.setMinimumHeight(_HEIGHT)
        self.build()

    def save_table(self, path: str | None = None) -> None:
        """Save the table as CSV, in the order shown; without a path, ask for it in a dialog."""
        layer = self.layer
        if layer is None:
            return
        if path is None:
            path, _ = QFileDialog.getSaveFileName(self, "Save table", f"{layer.name}.csv", "Table (*.csv)")
        if not path:
            return
        self.message.say("")
        self._write_table(path, self.table.model_.table)

    def save_slices(self, path: str | None = None) -> None:
        """Save a table with one row per slice of each object; without a path, ask for it in a dialog."""
        layer, measurements = self.layer, self._measurements
        if layer is None or measurements is None:
            return
        if path is None:
            name = f"{layer.name} slices.csv"
            path, _ = QFileDialog.getSaveFileName(self, "Save table by slice", name, "Table (*.csv)")
        if not path:
            return
        self.message.say("")
        self.state.setText("Measuring the slices…")

        def write(table: Any) -> None:
            if isinstance(table, Exception):
                self.state.setText("")
                self.message.say(f"The slices could not be measured ({table}). Nothing was saved.")
                return
            self._write_table(path, table)

        measurements.measure_slices(write)

    def _write_table(self, path: str, table: pd.DataFrame) -> None:
        try:
            refuse_inputs([path], find_input_files(self.viewer))
            if not self._may_replace(Path(path)):
                return
            replace_table(path, table)
            self._known.note(Path(path))
        except FoundsegError as error:
            self.fail(error)
            return
        self.state.setText(f"{len(table)} rows saved as {path}.")

    def _may_replace(self, path: Path) -> bool:
        """Ask before replacing a table that another program has changed since it was opened or saved here."""
        if self.layer is None:
            return True
        try:
            for known in (self._known, layer_file(self.layer).known):
                known.refuse_changed(path)
        except ChangedError as error:
            return ask_about_change(self, error, elsewhere=False) == "replace"
        return True

    def add_tools(self) -> None:
        """Add the table, and the controls that act on it."""
        self.table = TableView("Objects", "label", column_help)
        self.table.setMinimumHeight(180)
        self.table.setToolTip("Click a row to go to its object, a column's name to sort by it.")
        self.table.chosen.connect(self._go_to_object)
        self.save_button = QPushButton("Save table…")
        self.save_button.setToolTip("Save the table, in the order shown, as a CSV file.")
        self.save_button.clicked.connect(lambda: self.save_table())
        self.slices_button = QPushButton("Save by slice…")
        self.slices_button.setToolTip("Save a table with a row for each slice of each object, as a CSV file.")
        self.slices_button.clicked.connect(lambda: self.save_slices())
        self.removal = Removal()
        self.removal.wanted.connect(self._delete_rows)
        self.comparison = ComparisonPanel(self.viewer)
        self.comparison.chosen.connect(self._go_to_error)
        self.messages["comparison"] = self.comparison.message
        self._layout.addWidget(self.table, 100)
        self._layout.addWidget(side_by_side(self.save_button, self.slices_button))
        self._layout.addWidget(_fold_widget("Delete by size or score", self.removal))
        self._layout.addWidget(_fold_widget("Compare with a reference", self.comparison))
        self.image.changed.connect(self._use_image)

    def tools(self) -> list[QWidget]:
        """Return the buttons, and the controls that select the objects to delete."""
        removal = self.removal
        return [
            self.save_button,
            self.slices_button,
            removal.measure,
            removal.side,
            removal.bound,
            self.comparison.button,
        ]

    def enter(self, layer: Labels) -> None:
        """Show the objects of a layer."""
        assert self.history is not None
        self.state.setText("Measuring the objects…")
        self._measurements = shared_measurements(self.history, self)
        self._measurements.changed.connect(self._show_table)
        self._measurements.failed.connect(self._measuring_failed)
        self._outlines = shared_outlines(self.viewer, self.history, self)
        layer.events.selected_label.connect(self._choose_label)
        self.comparison.follow(self.history)
        self._use_image()
        self._show_table()

    def leave(self, layer: Labels) -> None:
        """Disconnect from a layer."""
        assert self._measurements is not None
        layer.events.selected_label.disconnect(self)
        self._measurements.changed.disconnect(self._show_table)
        self._measurements.failed.disconnect(self._measuring_failed)
        self._measurements.leave(self)
        self._measurements = None
        if self._outlines is not None:
            self._outlines.leave(self)
            self._outlines = None
        self.comparison.follow(None)
        self.table.show_table(pd.DataFrame())
        self.removal.show_table(pd.DataFrame({"label": [], "pixels": []}), current=False)

    def release(self) -> None:
        """Disconnect from the layer and the viewer."""
        super().release()
        self.comparison.release()

    def _use_image(self) -> None:
        if self._measurements is not None:
            self._measurements.use_image(self.chosen_image())

    def _show_table(self) -> None:
        measurements = self._measurements
        if measurements is None or measurements.table is None:
            return
        table = measurements.table
        if "c" in table and not table["c"].any():
            # The labels keep the channel axis of their image, with length 1.
            table = table.drop(columns="c")
        here = int((table["pixels"] > 0).sum())
        self.state.setText("1 object" if here == 1 else f"{number_text(here)} objects")
        self.table.show_table(table)
        for name in ("review", "note"):
            self.table.show_column(list(table).index(name), bool((table[name] != "").any()))
        self.removal.show_table(table, current=measurements.current)
        self.slices_button.setVisible(measurements.has_slices)
        self._follow_label()

    def _measuring_failed(self, reason: str) -> None:
        self.state.setText("")
        self.message.say(reason)

    def _choose_label(self, _event: Any = None) -> None:
        """Select and outline the object whose label is selected."""
        self._follow_label()
        self._outline()

    def _outline(self) -> None:
        if self._outlines is not None and self.layer is not None:
            self._outlines.show([int(self.layer.selected_label)])

    def _follow_label(self) -> None:
        if self.layer is not None:
            self.table.select(int(self.layer.selected_label))

    def _go_to_object(self, row: pd.Series) -> None:
        layer = self.layer
        if layer is not None and row["pixels"]:
            layer.selected_label = int(row["label"])
            self._outline()
            centre_on(self.viewer, layer, [float(row.get(axis, 0)) for axis in layer_axes(layer).lower()])

    def _go_to_error(self, row: pd.Series) -> None:
        layer = self.layer
        if layer is not None:
            if pd.notna(row["label"]):
                layer.selected_label = int(row["label"])
            centre_on(self.viewer, layer, row["position"])

    def _delete_rows(self, rows: pd.DataFrame) -> None:
        layer = self.layer
        if layer is not None:
            parts = boxes_of(rows, layer_axes(layer), label_spacing(layer)[0])
            self.write("delete by size or score", lambda labels: edits.delete_parts(labels, parts))


def _fold_widget(title: str, widget: QWidget) -> Fold:
    form = QFormLayout()
    form.setContentsMargins(12, 0, 0, 0)
    form.addRow(widget)
    return Fold(title, form)

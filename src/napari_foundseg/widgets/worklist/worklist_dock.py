"""The dock widget *Worklist*: images one after another, with labels saved before the next is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Labels
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QCoreApplication
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton, QWidget

from napari_foundseg.core.errors import ChangedError, FoundsegError, WorklistError
from napari_foundseg.io.formats.table import image_formats, listed
from napari_foundseg.widgets.controls.rows import labelled_row, side_by_side, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.editing.label_saving import save_and_wait
from napari_foundseg.widgets.editing.layer_file import LayerFile, layer_file
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.layers.layer_keys import bind_keys, unbind_keys
from napari_foundseg.widgets.qt.changed_files import Answer, ask_about_change
from napari_foundseg.widgets.worklist.item_table import WorklistTable
from napari_foundseg.widgets.worklist.open_image import OpenImage
from napari_foundseg.widgets.worklist.worklist_session import WorklistSession

__all__ = ["WorklistWidget"]

_BESIDE = "Beside the images"
_ELSEWHERE = "In another folder…"


class WorklistWidget(Dock):
    """Label the images of a folder, or open layers, one after another."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "image", "labels")
        self.session = WorklistSession(napari_viewer)
        self.session.ask_about_change = self._ask_about_change
        self._keyed: Any = None
        self._file: LayerFile | None = None
        self._add_controls()
        self.session.working.connect(self._show_working)
        self.session.settled.connect(self._update_controls)
        self.session.failed.connect(self._show_error)
        self.session.listed.connect(self._show_list)
        self.session.changed.connect(self._update_row)
        self.session.opened_other.connect(self._show_opened)
        napari_viewer.layers.selection.events.active.connect(self._follow_keys)
        self._application = QCoreApplication.instance()
        if self._application is not None:
            # Runs before Qt destroys any widget.
            self._application.aboutToQuit.connect(self.release)
        self._update_controls()

    def ask_folder(self, title: str) -> str:
        """Ask the user for a folder; empty if they cancel."""
        return QFileDialog.getExistingDirectory(self, title, str(self.session.images or ""))

    def choose_folder(self) -> None:
        """List the images of a folder that the user chooses."""
        self._clear_messages()
        if chosen := self.ask_folder("Folder of images"):
            self.session.list_images(Path(chosen))

    def choose_layers(self) -> None:
        """List the image layers of the viewer."""
        self._clear_messages()
        self.session.list_images(None)

    def open_results(self, results: Sequence[Any], row: int) -> None:
        """List the results of a batch and open one; later batch runs do not replace edited results."""
        self._clear_messages()
        self.session.list_results(results, row)

    def choose_labels(self, choice: int) -> None:
        """Set where labels are saved: 0 for the images' folder, 1 for a folder that the user chooses."""
        self._clear_messages()
        chosen = self.ask_folder("Folder for the labels") if choice else ""
        if chosen or not choice:
            self.session.move_labels(Path(chosen) if chosen else None)
        self._show_place()

    def open(self, row: int) -> None:
        """Open an image; the labels of the current one are saved first."""
        self._clear_messages()
        self.session.open(row)

    def next(self) -> None:
        """Open the next image."""
        self._go_to(1, "This is the last image.")

    def previous(self) -> None:
        """Open the previous image."""
        self._go_to(-1, "This is the first image.")

    def mark_done(self) -> None:
        """Mark the open image as done, or as not done, and save it."""
        self._clear_messages()
        self.session.mark_done()

    def use_selected(self) -> None:
        """Use the selected Labels layer as the labels of the open image."""
        layer = self.viewer.layers.selection.active
        opened = self.session.opened
        self._clear_messages()
        if opened is None or not isinstance(layer, Labels):
            self.fail(WorklistError("Open an image, then select a Labels layer, such as the masks of a run."))
            return
        try:
            opened.adopt(layer)
        except FoundsegError as error:
            self.fail(error)

    def save_work(self) -> str:
        """Save the open image; return why that failed, or an empty text."""
        return self.session.save_now()

    def release(self) -> None:
        """Save the open image and disconnect from the viewer; all layers stay."""
        if self._application is None:
            return
        self._application.aboutToQuit.disconnect(self.release)
        self._application = None
        self.viewer.layers.selection.events.active.disconnect(self)
        self._bind_layer_keys(None)
        try:
            self.session.release()
        except Exception as error:  # noqa: BLE001 - the widget is gone, so napari says it
            show_error(f"Worklist: the labels were not saved; they are still in their layer. {error}")
        super().release()

    # Building the form.

    def _add_controls(self) -> None:
        folder = QPushButton("Folder…")
        layers = QPushButton("Open layers")
        folder.setToolTip(f"List the images of a folder ({listed([row.name for row in image_formats()], 'and')}).")
        layers.setToolTip("List the image layers of the viewer.")
        folder.clicked.connect(lambda: self.choose_folder())
        layers.clicked.connect(lambda: self.choose_layers())
        self.folder_button = folder
        self.layers_button = layers
        self.source = wrapping_label("Choose a folder of images, or use the open layers.")
        self.place = QComboBox()
        self.place.setAccessibleName("Where labels are saved")
        self.place.addItems([_BESIDE, _ELSEWHERE])
        self.place.activated.connect(self.choose_labels)
        self.table = WorklistTable()
        self.table.wanted.connect(self.open)
        self.state = wrapping_label("")
        for widget in (labelled_row("Images", folder, layers), self.source, self.messages["image"],
                       labelled_row("Labels", self.place), self.messages["labels"], self.table, *self._make_buttons(),
                       self.state, self.messages["run"]):  # fmt: skip
            self._layout.addWidget(widget)
        self._layout.setStretchFactor(self.table, 1)
        self._show_place()

    def _make_buttons(self) -> list[QWidget]:
        self.previous_button, self.next_button = QPushButton("Previous (Page Up)"), QPushButton("Next (Page Down)")
        self.done_button, self.use_button = QPushButton("Mark as done (⇧Enter)"), QPushButton("Use as labels")
        self._keys: dict[str, Callable[[], None]] = {}
        for button, act, key, help_text in (
            (self.previous_button, self.previous, "PageUp", "Save the labels and open the previous image."),
            (self.next_button, self.next, "PageDown", "Save the labels and open the next image."),
            (self.done_button, self.mark_done, "Shift-Enter", "Save the labels and mark the image as done, or not."),
        ):
            shown = key.replace("Page", "Page ").replace("-", "+")
            button.setToolTip(f"{help_text} Key {shown} on any layer.")
            button.clicked.connect(lambda _checked=False, act=act: act())
            self._keys[key] = act
        self.use_button.setToolTip(
            "Use the selected Labels layer, such as the masks of a run, as labels of the open image; both are saved "
            "and closed together."
        )
        self.use_button.clicked.connect(lambda: self.use_selected())
        return [
            side_by_side(self.previous_button, self.next_button),
            side_by_side(self.done_button, self.use_button),
        ]

    # Signals of the session.

    def _show_working(self, words: str) -> None:
        self.state.setText(words)

    def _update_controls(self) -> None:
        opened = self.session.opened
        items = self.session.items
        no_items = "" if items else "There are no images: choose a folder, or the open layers."
        for button in (self.previous_button, self.next_button):
            set_usable(button, no_items)
        for button in (self.done_button, self.use_button):
            set_usable(button, "" if opened else no_items or "No image of the list is open.")
        self.done_button.setText(f"{'Not done yet' if opened and opened.state == 'done' else 'Mark as done'} (⇧Enter)")
        if not items:
            self.state.setText("")
            return
        done = f"{sum(item.record.state == 'done' for item in items)} of {len(items)} done."
        if opened is None:
            self.state.setText(f"{done} Double-click an image, or press Next.")
            return
        where = layer_file(opened.labels).in_words()
        self.state.setText(f"{done} {where[:1].upper()}{where[1:]}{'.' if where else ''}".strip())

    def _show_opened(self, opened: OpenImage | None) -> None:
        """Show where the labels of the open image are saved, whenever that changes."""
        if self._file is not None:
            self._file.changed.disconnect(self._show_place_of_labels)
        self._file = None if opened is None else layer_file(opened.labels)
        if self._file is not None:
            self._file.changed.connect(self._show_place_of_labels)

    def _show_place_of_labels(self) -> None:
        if not self.session.busy:
            self._update_controls()

    def _show_error(self, part: str, error: FoundsegError) -> None:
        self.messages[part].say(str(error))
        self.ensureWidgetVisible(self.messages[part])

    def _ask_about_change(self, error: ChangedError, opened: OpenImage) -> Answer:
        answer = ask_about_change(self, error)
        if answer == "elsewhere" and not save_and_wait(self, opened.labels):
            return "cancel"
        return answer

    def _show_list(self) -> None:
        session = self.session
        self.table.fill(session.items)
        self.source.setText(session.source)
        self._show_place()
        for row, item in enumerate(session.items):
            if row == session.row or item.name in session.unreadable:
                self._update_row(row)
        self._follow_keys()

    def _update_row(self, row: int) -> None:
        session = self.session
        item = session.items[row]
        unreadable = session.unreadable.get(item.name, "")
        self.table.show_item(row, item, opened=row == session.row, why_unreadable=unreadable)

    # Helpers.

    def _go_to(self, by: int, nothing: str) -> None:
        self._clear_messages()
        if not self.session.go(by) and self.session.items:
            self.state.setText(nothing)

    def _show_place(self) -> None:
        labels = self.session.labels
        self.place.setCurrentIndex(0 if labels is None else 1)
        self.place.setItemText(1, _ELSEWHERE if labels is None else f"In {labels.name or labels}")
        self.place.setToolTip(
            "Folder for the labels, which are saved as NAME_labels.tif."
            if labels is None
            else f"Labels are saved in {labels}. Choose again to change the folder."
        )

    def _follow_keys(self, _event: Any = None) -> None:
        self._bind_layer_keys(self.viewer.layers.selection.active if self.session.items else None)

    def _bind_layer_keys(self, layer: Any) -> None:
        """Bind the keys to the active layer only."""
        if self._keyed is not None:
            unbind_keys(self._keyed, self._keys)
        self._keyed = layer
        if layer is not None:
            bind_keys(layer, self._keys)

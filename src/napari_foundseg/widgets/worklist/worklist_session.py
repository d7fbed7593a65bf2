"""Going from image to image of a worklist; an image is closed only after its labels are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image as ImageLayer
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.errors import BadImageError, ChangedError, FoundsegError, WorklistError
from napari_foundseg.io.formats.table import image_formats, listed
from napari_foundseg.io.naming import is_image_folder
from napari_foundseg.io.worklist import WorklistItem, items_of_folder, named_items, paired_items
from napari_foundseg.widgets.layers.camera import fit_to_layer
from napari_foundseg.widgets.layers.file_facts import settle_facts
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.shown_channel import channels_in_view, show_channel
from napari_foundseg.widgets.qt.event_loop import draw_until
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.worklist.image_content import Content, read_content
from napari_foundseg.widgets.worklist.next_image_encoding import NextImageEncoding
from napari_foundseg.widgets.worklist.open_image import OpenImage

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.image import Image
    from napari_foundseg.widgets.qt.changed_files import Answer

__all__ = ["WorklistSession"]


class WorklistSession(QObject):
    """The images of a folder or of open layers, one of which is open at a time.

    Files are read and written in a background thread. Requests during that time are ignored.
    """

    #: Slow work has started; a message.
    working = Signal(str)
    #: The work is finished; errors were reported by `failed`.
    settled = Signal()
    #: An error has occurred: the part of the form that it concerns, and the error.
    failed = Signal(str, object)
    #: The list has changed.
    listed = Signal()
    #: One image of the list has changed; its row.
    changed = Signal(int)
    #: Another image was opened: the `OpenImage`; None if it was closed.
    opened_other = Signal(object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.items: list[WorklistItem] = []
        self.opened: OpenImage | None = None
        #: The folder of the images; None for open layers.
        self.images: Path | None = None
        #: The folder of the labels; None for that of the images.
        self.labels: Path | None = None
        #: Why images cannot be read, by name; only for images that were opened or are next.
        self.unreadable: dict[str, str] = {}
        self.busy = False
        self._at = -1
        self._layers: dict[str, ImageLayer] = {}
        #: The items of a batch, if its results are listed.
        self._results: Sequence[tuple[str, Path, Path, Callable[[], Image]]] = ()
        self._visible: dict[ImageLayer, bool] = {}
        self._files = FileThread()
        self._ahead: Content | None = None
        self._encode = NextImageEncoding()
        #: The channel that is shown first if the next image has several.
        self._channel = 0
        #: Asks the user about labels that another program has written meanwhile, and saves elsewhere if the user wants.
        self.ask_about_change: Callable[[ChangedError, OpenImage], Answer] = lambda *_: "cancel"
        #: The last warning; if the user repeats the request, the warning is ignored.
        self._told: object = None

    # The list.

    def list_images(self, images: Path | None) -> None:
        """List the images of a folder, or the image layers for None; the open image is saved and closed first."""
        if not self.busy:
            self._save_then(lambda: self._list_items(images))

    def list_results(self, results: Sequence[tuple[str, Path, Path, Callable[[], Image]]], row: int) -> None:
        """List the results of a batch and open one; they are saved in place, and count as edited by the user.

        Parameters
        ----------
        results : sequence of (str, Path, Path, callable)
            As in `io.worklist.paired_items`.
        """
        if self.busy:
            return

        def listed() -> None:
            self._list_items(None, results)
            if self.items:
                self.open(row)

        self._save_then(listed)

    def move_labels(self, folder: Path | None) -> None:
        """Save labels in another folder from now on; for None, in the folder of the images."""
        if self.busy:
            return
        if self._results:
            self.failed.emit("labels", WorklistError("The labels of a batch are saved among its results."))
            return
        try:
            items = self._find_items(self.images, folder, list(self._layers)) if self.items else []
            if self.opened is not None:
                item = next(item for item in items if item.name == self.opened.item.name)
                self.opened.move_labels(item)
        except FoundsegError as error:
            self.failed.emit("labels", error)
            return
        self.labels = folder
        self.items = items
        self._ahead = None
        self.listed.emit()
        self.settled.emit()

    # Opening and saving.

    def open(self, row: int) -> None:
        """Open an image; the labels of the current one are saved first."""
        if self.busy or self.row == row:
            return
        waiting = [] if self.opened is None else self.opened.waiting_masks()
        if waiting and self._told is not waiting[0]:
            self._told = waiting[0]
            self._report_error(
                WorklistError(
                    f"{waiting[0].name!r} would not be saved with this image. Select it and press 'Use as labels', or "
                    "repeat to continue without it."
                )
            )
            return
        self._save_then(lambda: self._read_item(row))

    def go(self, by: int) -> bool:
        """Open the next (1) or the previous (-1) image that is not missing; return False if there is none."""
        rows: Iterable[int] = range(self._at + 1, len(self.items)) if by > 0 else range(self._at - 1, -1, -1)
        row = next((row for row in rows if not self.items[row].missing), None)
        if row is not None:
            self.open(row)
        return row is not None

    @property
    def source(self) -> str:
        """A line that says where the images come from."""
        if self._results:
            return f"Results of a batch in {self.labels}."
        return str(self.images or "Image layers that were open.")

    @property
    def row(self) -> int | None:
        """The open image's row; None if no image is open."""
        names = [item.name for item in self.items]
        return names.index(self.opened.item.name) if self.opened is not None else None

    def mark_done(self) -> None:
        """Mark the open image as done, or as not done, and save it."""
        if self.opened is not None and not self.busy:
            self.opened.mark("in work" if self.opened.state == "done" else "done")
            self._save_then(self._become_idle)

    def save_now(self) -> str:
        """Save the open image and wait for it; return why that failed, or an empty text."""
        opened = self.opened
        if opened is None or not opened.unsaved:
            return ""
        result = self._wait_for(opened.saving())
        if isinstance(result, ChangedError):
            answer = self.ask_about_change(result, opened)
            if answer == "elsewhere":
                opened.leave_to_others()
                return ""
            if answer == "replace":
                result = self._wait_for(opened.saving(replace_file=True))
        if isinstance(result, Exception):
            return f"Worklist: {result}"
        opened.keep(result)
        return ""

    def release(self) -> None:
        """Save the open image, wait for it, and disconnect; all layers stay.

        Raises
        ------
        FoundsegError
            If the labels could not be saved; their journal is kept for recovery.
        """
        for layer, visible in self._visible.items():
            layer.visible = visible
        self._encode.stop()
        opened = self.opened
        self.opened = None
        if opened is None:
            self._files.finish()
            return
        try:
            opened.keep(self._files.finish(opened.saving()))
        finally:
            opened.close(remove=False)

    # Helpers.

    def _wait_for(self, work: Callable[[], Any]) -> Any:
        ended: list[Any] = []
        self._files.ask(work, ended.append)
        draw_until(lambda: bool(ended))
        return ended[0]

    def _list_items(
        self, images: Path | None, results: Sequence[tuple[str, Path, Path, Callable[[], Image]]] = ()
    ) -> None:
        self._close_opened()
        self._show_only(None)
        of_viewer = images is None and not results
        layers = [layer for layer in self._viewer.layers if type(layer) is ImageLayer] if of_viewer else []
        if self._results or results:
            self.labels = results[0][2].parent if results else None
        self._results = results
        self.images, self._layers = images, {layer.name: layer for layer in layers}
        self.items = []
        self._at = -1
        self._ahead = None
        self.unreadable.clear()
        try:
            self.items = self._find_items(images, self.labels, list(self._layers))
            if not self.items:
                formats = listed([row.name for row in image_formats()], "and")
                where = f"folder; {formats} are read" if images else "viewer"
                raise WorklistError(f"There is no image in this {where}.")
        except FoundsegError as error:
            self.failed.emit("image", error)
        self.listed.emit()
        self._become_idle()

    def _find_items(self, images: Path | None, labels: Path | None, names: Sequence[str]) -> list[WorklistItem]:
        if self._results:
            return paired_items(self._results)
        folder = labels or (images.parent if images is not None and is_image_folder(images) else images)
        if folder is None:
            raise WorklistError("Layers have no folder. First choose, below, the folder for their labels.")
        return named_items(names, folder) if images is None else items_of_folder(images, folder)

    def _save_then(self, then: Callable[[], None], *, replace_file: bool = False) -> None:
        """Save the open labels, then call `then` unless saving fails or the user cancels."""
        self.busy = True
        opened = self.opened
        if opened is None:
            then()
            return
        self.working.emit(f"Saving {opened.item.labels.name} …")

        def saved(result: Any) -> None:
            answer = self.ask_about_change(result, opened) if isinstance(result, ChangedError) else "cancel"
            if answer == "replace":
                self._save_then(then, replace_file=True)
                return
            if answer == "elsewhere":
                opened.leave_to_others()
                then()
                return
            if isinstance(result, Exception):
                self._report_error(result)
                return
            opened.keep(result)
            self._update_row()
            if result.words:
                self.failed.emit("run", WorklistError(result.words))
            if opened.unsaved:
                # Changes made in the meantime are saved, too.
                self._save_then(then)
            else:
                then()

        self._files.ask(opened.saving(replace_file=replace_file), saved)

    def _read_item(self, row: int) -> None:
        # Set even if the image cannot be read: *Next* then opens the one after it.
        self._at = row
        item = self.items[row]
        ahead = self._ahead
        self.working.emit(f"Opening {item.name} …")
        try:
            image = None
            if item.path is None:
                settle_facts(self._viewer, self._layer_of(item))
                image = image_from_layer(self._layer_of(item))
        except FoundsegError as error:
            self._report_error(error)
            return

        def read(result: Any) -> None:
            self._note_readable(item, result)
            if isinstance(result, Exception):
                self._report_error(result)
            elif item.record.image not in ("", result.fingerprint) and self._told != result.fingerprint:
                self._told = result.fingerprint
                self._report_error(
                    WorklistError(
                        f"{item.labels.name!r} was made for other pixels than {item.name!r} has now. Open it again "
                        "to use it all the same, or choose another folder for the labels."
                    )
                )
            else:
                self._save_then(lambda: self._show_item(row, result))

        self._files.ask(lambda: read_content(item, image, ahead), read)

    def _show_item(self, row: int, content: Content) -> None:
        before = self.opened
        if before is not None:
            shown = channels_in_view(self._viewer, before.layer)
            self._channel = self._channel if shown is None else shown[0]
        item = self.items[row]
        layer = None if item.path is not None else self._layer_of(item)
        self._close_opened()
        self._show_only(layer)
        self.opened = OpenImage(self._viewer, item, content, layer, before)
        self.opened.changed.connect(self._update_row)
        self.opened.lost.connect(self._labels_removed)
        fit_to_layer(self._viewer, self.opened.layer)
        if layer is None:
            self._show_channel(content.image)
        self._told = None
        self._ahead = None
        self._update_row()
        self.opened_other.emit(self.opened)
        self._become_idle()
        following = next((i for i in self.items[row + 1 :] if i.path is not None and not i.missing), None)
        if following is not None:
            self._files.ask(lambda: read_content(following), partial(self._keep_ahead, following))

    def _note_readable(self, item: WorklistItem, result: Any) -> None:
        """Record whether the file of an image could be read, and show it in the list."""
        known = self.unreadable.pop(item.name, None)
        if isinstance(result, BadImageError):
            self.unreadable[item.name] = str(result)
        row = next((row for row, other in enumerate(self.items) if other.name == item.name), None)
        if row is not None and known != self.unreadable.get(item.name):
            self.changed.emit(row)

    def _keep_ahead(self, item: WorklistItem, result: Any) -> None:
        # An error is reported when the image is opened.
        self._note_readable(item, result)
        self._ahead = result if isinstance(result, Content) else None
        if self._ahead is not None:
            image = self._ahead.image
            shown = None if self.opened is None else channels_in_view(self._viewer, self.opened.layer)
            if (
                image.channel_choice
                and shown is not None
                and shown[0] < image.levels[0].shape[str(image.axes).index("C")]
            ):
                image = replace(image, channels=shown)
            self._encode.begin(image)

    def _show_channel(self, image: Image) -> None:
        """Show the channel number that the previous image showed; napari would show the middle one."""
        assert self.opened is not None
        recipes = image.chosen_channels[:1] if image.channel_choice else ()
        # For results of a batch, the channel that was segmented.
        show_channel(self._viewer, self.opened.layer, recipes[0] if self._results and recipes else self._channel)

    def _layer_of(self, item: WorklistItem) -> ImageLayer:
        layer = self._layers[item.name]
        if layer not in self._viewer.layers:
            raise WorklistError(f"The layer {item.name!r} was removed. Press 'Open layers' for a new list.")
        return layer

    def _show_only(self, layer: ImageLayer | None) -> None:
        """Hide the other listed layers while one is open; None restores their visibility."""
        if layer is None:
            for other, visible in self._visible.items():
                other.visible = visible
            self._visible = {}
            return
        for other in self._layers.values():
            self._visible.setdefault(other, other.visible)
            other.visible = other is layer

    def _update_row(self) -> None:
        """Update the row of the open image."""
        row = self.row
        opened = self.opened
        if opened is not None and row is not None:
            record = replace(opened.item.record, state=opened.state)
            self.items[row] = replace(self.items[row], record=record)
            self.changed.emit(row)

    def _close_opened(self) -> None:
        """Close the open image, whose labels are saved."""
        row = self.row
        opened = self.opened
        self.opened = None
        self._encode.stop()
        if opened is not None and row is not None:
            self.opened_other.emit(None)
            opened.close(remove=True)
            self.changed.emit(row)

    def _labels_removed(self) -> None:
        """Save and close the image whose labels were removed from the layer list."""

        def put_away() -> None:
            self._close_opened()
            self._become_idle()

        if not self.busy:
            self._save_then(put_away)

    def _report_error(self, error: Exception) -> None:
        if self.opened is not None:
            self.opened.restore()
        known = isinstance(error, FoundsegError)
        self._become_idle()
        self.failed.emit("run", error if known else WorklistError(f"{type(error).__name__}: {error}"))

    def _become_idle(self) -> None:
        self.busy = False
        self.settled.emit()

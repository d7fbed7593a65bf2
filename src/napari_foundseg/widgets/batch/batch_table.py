"""The table of a batch: the state, time and number of objects of each item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QIcon, QImage, QPixmap, QResizeEvent

from napari_foundseg.widgets.worklist.item_table import ItemTable

if TYPE_CHECKING:
    from napari_foundseg.widgets.batch.batch_session import Line

__all__ = ["BatchTable", "read_picture"]

_SIDE = 32
#: Columns that are shown only if images have several channels, or if the diameter of objects is available.
_CHANNEL = 4
_DIAMETER = 5
_WITH_RESULT = ("done", "already done", "kept")
_STATE_HELP = {
    "waiting": "Not started yet.",
    "running": "In progress.",
    "done": "The result is written.",
    "already done": "Done by another run with the same recipe and models.",
    "kept": "You have edited its labels, so they were not replaced.",
    "elsewhere": "In progress in another run.",
    "failed": "There is no result.",
    "not done": "The run ended before this item.",
}


class BatchTable(ItemTable):
    """The items of a batch, with a thumbnail of each result.

    Only visible rows are updated, so that the window stays fast with many items.
    """

    #: Visible rows with a result, whose thumbnails must be read.
    pictures_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__("State", "Time", "Objects", "Channel", "Diameter")
        self.setColumnHidden(_CHANNEL, True)
        self.setColumnHidden(_DIAMETER, True)
        self.setIconSize(QSize(_SIDE, _SIDE))
        self.setMinimumHeight(220)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        blank = QPixmap(_SIDE, _SIDE)
        blank.fill(Qt.GlobalColor.transparent)
        self._blank = QIcon(blank)
        self._lines: Sequence[Line] = ()
        self._stale: set[int] = set()
        self._unpictured: set[int] = set()
        scroll = self.verticalScrollBar()
        assert scroll is not None
        scroll.valueChanged.connect(lambda _value: self._update_visible())

    def fill(self, lines: Sequence[Line]) -> None:
        """Replace all items in the table."""
        self._lines = lines
        self.setColumnHidden(_CHANNEL, not any(line.channel for line in lines))
        self.setColumnHidden(_DIAMETER, all(line.diameter is None for line in lines))
        self.make_rows(len(lines))
        if lines:
            # All rows are as high as the first, which needs an icon even before there are thumbnails.
            self._set_icon(0, self._blank)
        self._unpictured.clear()
        self.update_rows(range(len(lines)))

    def update_rows(self, rows: Iterable[int]) -> None:
        """Update some rows now if they are visible, and otherwise when they become visible."""
        self._stale.update(rows)
        self._update_visible()

    def show_picture(self, row: int, picture: QImage) -> None:
        """Show the thumbnail of a result, unless it is null."""
        if not picture.isNull():
            self._set_icon(row, QIcon(QPixmap.fromImage(picture)))

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Update rows that become visible."""
        super().resizeEvent(event)
        self._update_visible()

    def _update_visible(self) -> None:
        view = self.viewport()
        if view is None or not self._lines:
            return
        first, last = (self.indexAt(at).row() for at in (view.rect().topLeft(), view.rect().bottomLeft()))
        rows = range(max(0, first), (last if last >= 0 else len(self._lines) - 1) + 1)
        for row in self._stale.intersection(rows):
            self._show_line(row, self._lines[row])
        self._stale.difference_update(rows)
        if wanted := self._unpictured.intersection(rows):
            self._unpictured -= wanted
            self.pictures_wanted.emit(sorted(wanted))

    def _show_line(self, row: int, line: Line) -> None:
        share = f" {line.share:.0%}" if line.state == "running" and line.share else ""
        texts = (
            line.shown,
            f"{line.state}{share}{', look' if line.noted else ''}",
            f"{line.seconds:.1f} s" if line.seconds else "",
            "" if line.objects is None else str(line.objects),
            _short(line.channel),
            "" if line.diameter is None else f"{line.diameter:.3g} px",
        )
        why = f"{_STATE_HELP[line.state]} {line.reason}".strip()
        self.show_row(
            row,
            texts,
            (
                line.item.name,
                why,
                "Processing time, without waiting.",
                f"{line.counted or 'Number of objects in the result'}.",
                f"Used {line.channel}." if line.channel else "",
                "Diameter of the objects: given, or found in the image or on a sample of the batch."
                if line.diameter is not None
                else "",
            ),
        )
        if line.diameter is not None:
            self.setColumnHidden(_DIAMETER, False)
        if line.channel:
            self.setColumnHidden(_CHANNEL, False)
        if line.state in _WITH_RESULT:
            self._unpictured.add(row)

    def _set_icon(self, row: int, icon: QIcon) -> None:
        line = self.topLevelItem(row)
        if line is not None:
            line.setIcon(0, icon)


def _short(channel: str) -> str:
    """Return the names from a text such as ``channel 1 of 3 (DAPI)``, or the numbers if there are no names."""
    numbers, _, names = channel.partition(" (")
    return names.removesuffix(")") or numbers.removeprefix("channels").removeprefix("channel").strip()


def read_picture(path: Path) -> QImage:
    """Read a thumbnail, in any thread; null if there is none."""
    wanted = QImage(str(path))
    if wanted.isNull():
        return wanted
    return wanted.scaled(_SIDE, _SIDE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)

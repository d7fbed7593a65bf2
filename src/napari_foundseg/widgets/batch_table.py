"""The table of a batch: its items, how far each is, how long it took, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QIcon, QImage, QPixmap

from napari_foundseg.widgets.item_table import ItemTable

if TYPE_CHECKING:
    from napari_foundseg.widgets.batch_session import Line

__all__ = ["BatchTable", "read_picture"]

_SIDE = 32
_WITH_RESULT = ("done", "already done", "kept")
_STATE_HELP = {
    "waiting": "Not begun.",
    "running": "Under way.",
    "done": "Its result is written.",
    "already done": "An earlier run, or another at the same time, has done it with the same recipe and models.",
    "kept": "A person has worked on its labels, so they were left alone.",
    "elsewhere": "Another run is at it.",
    "failed": "There is no result.",
    "not done": "The run ended before.",
}


class BatchTable(ItemTable):
    """Items of a batch from top to bottom, with a small picture of each result."""

    #: Rows that are in view and have no picture yet.
    in_view = Signal(object)

    def __init__(self) -> None:
        super().__init__("State", "Time", "Objects")
        self.setIconSize(QSize(_SIDE, _SIDE))
        self.setMinimumHeight(220)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        scroll = self.verticalScrollBar()
        assert scroll is not None
        scroll.valueChanged.connect(lambda _value: self.ask_pictures())
        #: Rows with a result whose picture was not asked for.
        self._waiting: set[int] = set()

    def fill(self, lines: Sequence[Line]) -> None:
        """Show other items.

        Parameters
        ----------
        lines : sequence of Line
            From top to bottom.
        """
        self._waiting.clear()
        self.make_rows(len(lines))
        blank = QPixmap(_SIDE, _SIDE)
        blank.fill(Qt.GlobalColor.transparent)
        self._blank = QIcon(blank)
        for row, line in enumerate(lines):
            self.show_line(row, line)
            # The same height for all, before there are pictures.
            self._set_icon(row, self._blank)

    def show_line(self, row: int, line: Line) -> None:
        """Show how far an item is.

        Parameters
        ----------
        row : int
            Its row.
        line : Line
            What is known of it.
        """
        share = f" {line.share:.0%}" if line.state == "running" and line.share else ""
        texts = (
            line.shown,
            f"{line.state}{share}",
            f"{line.seconds:.1f} s" if line.seconds else "",
            "" if line.objects is None else str(line.objects),
        )
        why = f"{_STATE_HELP[line.state]} {line.reason}".strip()
        spent = "Time spent on it, waiting left out."
        if line.state in _WITH_RESULT:
            self._waiting.add(row)
        self.show_row(row, texts, (line.item.name, why, spent, "Objects in its result."))

    def ask_pictures(self) -> None:
        """Ask for the pictures of the rows in view that have none yet."""
        view = self.viewport()
        if view is None or not self.topLevelItemCount():
            return
        first = self.indexAt(view.rect().topLeft()).row()
        last = self.indexAt(view.rect().bottomLeft()).row()
        rows = range(max(0, first), (last if last >= 0 else self.topLevelItemCount() - 1) + 1)
        if wanted := self._waiting.intersection(rows):
            self._waiting -= wanted
            self.in_view.emit(sorted(wanted))

    def show_picture(self, row: int, picture: QImage) -> None:
        """Show the small picture of a result.

        Parameters
        ----------
        row : int
            Its row.
        picture : QImage
            Null where there is none.
        """
        if not picture.isNull():
            self._set_icon(row, QIcon(QPixmap.fromImage(picture)))

    def _set_icon(self, row: int, icon: QIcon) -> None:
        line = self.topLevelItem(row)
        if line is not None:
            line.setIcon(0, icon)


def read_picture(path: Path) -> QImage:
    """Read a small picture; any thread may.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    QImage
        Null where there is none.
    """
    wanted = QImage(str(path))
    if wanted.isNull():
        return wanted
    return wanted.scaled(_SIDE, _SIDE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)

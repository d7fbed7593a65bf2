"""The dock widget *Recover work*: all labels that are not in a file, and those that were discarded recently."""

from __future__ import annotations

from napari.viewer import Viewer

from napari_foundseg.widgets.forms.dock import Dock

__all__ = ["RecoverWidget"]


class RecoverWidget(Dock):
    """Lists unsaved work, including work that was discarded in the last two weeks or put off."""

    lists_everything = True

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._layout.addStretch(1)

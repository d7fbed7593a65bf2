"""Results that are not saved yet are kept for recovery, as a form changes them and as the user edits them."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_foundseg.widgets.editing.labels_history import open_histories, open_history, shared_history
from napari_foundseg.widgets.editing.layer_file import layer_file

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_foundseg.core.image import Image

__all__ = ["keep_result", "rewriting"]


def keep_result(layer: Labels, image: Image | None) -> None:
    """Keep a result that is in a viewer and in no file for recovery, as it is now and as long as it is there."""
    layer_file(layer).note_result(image)
    history = shared_history(layer, image, keep_result)
    if history.journal.is_open:
        history.journal.begin_soon()
    history.journal.open()
    history.leave(keep_result)


@contextmanager
def rewriting(layer: Labels) -> Iterator[None]:
    """Let a form give its result other pixels and features."""
    history = open_history(layer)
    if history is None:
        yield
    else:
        with history.rewriting():
            yield
    file = layer_file(layer)
    if file.untouched:
        file.note_result(file.image)
    else:
        file.note_work()


@atexit.register
def _close_journals() -> None:
    """Write what is left when the program ends while layers are still in a viewer."""
    for history in open_histories():
        history.journal.close()

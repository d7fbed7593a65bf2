"""Recovery of unsaved results: they are kept while a form changes them and while the user edits them."""

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
    """Keep an unsaved result for recovery, as it is now and for as long as it is in a viewer."""
    layer_file(layer).note_result(image)
    history = shared_history(layer, image, keep_result)
    if history.journal.is_open:
        history.journal.begin_soon()
    history.journal.open()
    history.leave(keep_result)


@contextmanager
def rewriting(layer: Labels) -> Iterator[None]:
    """Let a form replace the pixels and features of its own result, without an undo step."""
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
    """Write all remaining changes when the program ends while layers are still in a viewer."""
    for history in open_histories():
        history.journal.close()

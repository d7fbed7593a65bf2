"""The layer for painting prompts with napari's brush."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, label_colormap
from qtpy.QtCore import QTimer

from napari_foundseg.core.editing.history import painted
from napari_foundseg.core.errors import PromptError
from napari_foundseg.widgets.controls.colours import NEGATIVE, POSITIVE, listed_colormap
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.marks import labels_on_slice
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.prompt.mark_history import MarkStep
from napari_foundseg.widgets.prompt.other_sign import OtherSign
from napari_foundseg.widgets.prompt.prompt_rules import NOT_IT, Scribbles

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.editing.difference import Difference
    from napari_foundseg.core.editing.history import Atom
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
    from napari_foundseg.widgets.prompt.mark_history import MarkHistory

__all__ = ["ScribbleLayer"]

_LARGEST = int(np.iinfo(np.uint8).max)


class ScribbleLayer:
    """A Labels layer over an image for painted strokes and areas.

    In every mode, the right button and Alt paint one stroke or polygon with the opposite sign.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer; the layer is added to it.
    changed : callable
        Called without arguments after each stroke.
    history : MarkHistory
        Each stroke is added to it as a step.
    """

    def __init__(
        self, viewer: ViewerModel, target: ImageOnLayer, changed: Callable[[], None], history: MarkHistory
    ) -> None:
        self._changed = changed
        self._history = history
        self._quiet = False
        # napari reports some strokes before it writes them, so `changed` is called later.
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(changed)
        self._overlay = target.overlay
        #: The widest brush and the largest label used so far; the label is 0 while nothing is painted.
        self._brush = 1.0
        self._largest = 0
        self._areas: set[int] = set()
        self.layer = Labels(
            np.zeros(self._overlay.shape, np.uint8),
            name=unique_name(viewer.layers, "foundseg scribble"),
            colormap=_scribble_colormap(),
            metadata={TOOL: True},
            **self._overlay.transforms,
        )
        self.layer.brush_size = max(1, min(10, round(min(target.image.plane_shape) / 25)))
        self.layer.mode = "paint"
        self.layer.events.paint.connect(self._on_paint)
        viewer.add_layer(self.layer)
        self._other_sign = OtherSign(self.layer)

    @property
    def used(self) -> bool:
        """Whether anything was painted since the last `clear`."""
        return self._largest > 0

    @property
    def scribbles(self) -> Scribbles:
        """The painted prompts, for `prompts_from_layers`."""
        return Scribbles(self.layer, self._brush, frozenset(self._areas))

    def set_sign(self, positive: bool) -> None:
        """Select whether the brush marks the object or background."""
        self.layer.selected_label = 1 if positive else NOT_IT

    def take(self, labels: Labels, label: int, target: ImageOnLayer, index: tuple[int, ...]) -> None:
        """Paint an object of another layer as an area, in a new colour.

        Raises
        ------
        PromptError
            If the object is not on the slice, or all colours are used.
        """
        found = labels_on_slice(labels, target, index)
        if found is None or not label or not (found[1] == label).any():
            there = [] if found is None else [int(i) for i in np.unique(found[1])[:8] if i]
            raise PromptError(
                f"Label {label} of {labels.name!r} is not on this slice"
                + (f"; labels that are: {', '.join(map(str, there))}." if there else ", and no other is.")
                + " Choose one that is, or move the slider below the canvas."
            )
        own = max(NOT_IT, self._largest) + 1
        if own > _LARGEST:
            raise PromptError(
                f"All {_LARGEST} colours of {self.layer.name!r} are used. Accept or clear the marks first."
            )
        (top, left), ids = found
        rows, columns = np.nonzero(ids == label)
        before = self._state
        self._areas.add(own)
        self._largest = own
        where = self._overlay.pixels(index, rows + top, columns + left)
        atom = where, self.layer.data[where], np.full(len(rows), own, np.uint8)
        self._quiet = True
        self.layer.data_setitem(where, own)
        self._quiet = False
        self._add_step("Label", [atom], before)
        self._soon.start()

    def clear(self) -> None:
        """Remove all painted marks."""
        self._soon.stop()
        if self._largest:
            self._brush = 1.0
            self._largest = 0
            self._areas.clear()
            # A new array is faster than searching a whole stack for painted pixels.
            self.layer.data = np.zeros(self._overlay.shape, np.uint8)

    def release(self) -> None:
        """Disconnect from events; `PromptLayers` unbinds the keys."""
        self._soon.stop()
        self._other_sign.release()
        self.layer.events.paint.disconnect(self)

    @property
    def _state(self) -> tuple[float, int, set[int]]:
        return self._brush, self._largest, set(self._areas)

    def _on_paint(self, event: Any) -> None:
        if self._quiet:
            return
        before = self._state
        self._brush = max(self._brush, float(self.layer.brush_size))
        self._largest = max(self._largest, int(self.layer.selected_label), 1)
        self._add_step("Stroke", event.value, before)
        self._soon.start()

    def _add_step(self, name: str, atoms: Iterable[Atom], before: tuple[float, int, set[int]]) -> None:
        """Add painted pixels to the history of marks."""
        part = painted(self.layer.data, atoms)
        if part is None:
            return
        after = self._state
        back = part.reversed()
        self._history.add(
            MarkStep(
                name.lower(),
                f"{name} removed",
                f"{name} is back",
                lambda: self._restore(back, before),
                lambda: self._restore(part, after),
            )
        )

    def _restore(self, part: Difference, state: tuple[float, int, set[int]]) -> None:
        self._brush, self._largest, areas = state
        self._areas = set(areas)
        self.layer.data[part.box] = part.onto(np.array(self.layer.data[part.box]))[0]
        self.layer.refresh()


def _scribble_colormap() -> CyclicLabelColormap:
    others = label_colormap(_LARGEST + 1)
    return listed_colormap([POSITIVE, NEGATIVE, *(others.map(i) for i in range(NOT_IT + 1, _LARGEST + 1))])

"""The Labels layers of a result with classes: one of objects and one of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps import label_colormap
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.panoptic import panoptic_ids
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.widgets.controls.colours import LISTED, listed_colormap
from napari_foundseg.widgets.editing.kept_results import keep_result, rewriting
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.result_layers import object_features
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.tracks.tracks_layer import show_result_tracks

__all__ = ["ClassLayers", "is_empty"]

_CLEAR = "transparent"
#: Colour of labels without a class.
_GREY = "#808080"


class ClassLayers:
    """Two Labels layers over an image, of objects and of classes, with a shared class table.

    Parameters
    ----------
    target : ImageOnLayer
        The image; the layers' names begin with its name.
    """

    def __init__(self, viewer: ViewerModel, target: ImageOnLayer, segmentation: Segmentation) -> None:
        self._viewer = viewer
        self._overlay = target.overlay
        self._image = target.image
        self._name = target.name
        self.classes: ClassTable = segmentation.classes
        self.hidden: frozenset[int] = frozenset()
        self.edited = False
        self._writing = False
        #: Names and colours set by the user, which are kept when thresholds change.
        self._given: dict[int, dict[str, str]] = {}
        self.semantic = self._add_layer(_semantic_of(segmentation), f"{self._name} classes", 0.45)
        self.objects: Labels | None = None
        if _has_objects(segmentation):
            self.objects = self._add_layer(segmentation.labels, f"{self._name} objects", 0.7)
        for own in self.layers:
            own.events.paint.connect(self._mark_edited)
            own.events.labels_update.connect(self._mark_edited)
        self._write_metadata(segmentation)

    @property
    def layers(self) -> list[Labels]:
        """Both layers, or only the class layer."""
        return [own for own in (self.semantic, self.objects) if own is not None]

    @property
    def in_viewer(self) -> bool:
        """Whether the class layer is in the viewer."""
        return self.semantic in self._viewer.layers

    def show(self, segmentation: Segmentation) -> None:
        """Show the result with other thresholds; replaces the pixels of both layers."""
        self._write_pixels(self.semantic, self._overlay.expanded(_semantic_of(segmentation)))
        if self.objects is not None and _has_objects(segmentation):
            self._write_pixels(self.objects, self._overlay.expanded(segmentation.labels))
        self._write_metadata(segmentation)

    def rename(self, number: int, name: str) -> None:
        """Rename a class."""
        self._set_class_fields(number, name=name)
        self._write_class_table()

    def recolour(self, number: int, colour: str) -> None:
        """Change the colour of a class to ``#rrggbb``."""
        self._set_class_fields(number, colour=colour)
        self._write_class_table()
        self._update_colours()

    def toggle(self, number: int, on: bool) -> None:
        """Show or hide a class in both layers."""
        self.hidden = self.hidden - {number} if on else self.hidden | {number}
        self._update_colours()

    def merge(self, numbers: list[int], into: int) -> None:
        """Merge classes into another, in the current pixels, including those painted by the user."""
        self.edited = True
        self.classes = self.classes.merged(numbers, into)
        self.hidden -= set(numbers)
        pixels = np.asarray(self.semantic.data)
        self._write_pixels(self.semantic, np.where(np.isin(pixels, numbers), np.asarray(into, pixels.dtype), pixels))
        if self.objects is not None:
            table = self.objects.features
            table.loc[table["class"].isin(numbers), "class"] = into
            self.objects.features = table
        self._write_class_table()
        self._update_colours()

    def add_panoptic_ids(self) -> Labels:
        """Add a Labels layer of class × 1000 + object, from the current pixels of the two layers.

        Raises
        ------
        SettingsError
            If a class has a thousand objects or more.
        """
        import pandas as pd

        assert self.objects is not None
        semantic = np.asarray(self.semantic.data)
        objects = np.asarray(self.objects.data)
        ids = panoptic_ids(semantic, objects)
        known, first = np.unique(ids, return_index=True)
        numbers = semantic.ravel()[first]
        names = [self.classes.name_of(int(n)) if n in self.classes else "" for n in numbers]
        labels = Labels(
            ids,
            name=unique_name(self._viewer.layers, f"{self._name} panoptic ids"),
            features=pd.DataFrame({"index": known, "class": numbers, "class_name": names}),
            metadata=dict(self.semantic.metadata),
            **self._overlay.transforms,
        )
        self._viewer.add_layer(labels)
        keep_result(labels, self._image)
        return labels

    def disconnect(self) -> None:
        """Disconnect from the layers, which stay in the viewer."""
        for own in self.layers:
            own.events.paint.disconnect(self)
            own.events.labels_update.disconnect(self)

    def _add_layer(self, pixels: NDArray[Any], name: str, opacity: float) -> Labels:
        labels = Labels(
            self._overlay.expanded(pixels),
            name=unique_name(self._viewer.layers, name),
            opacity=opacity,
            **self._overlay.transforms,
        )
        self._viewer.add_layer(labels)
        return labels

    def _write_pixels(self, layer: Labels, pixels: NDArray[Any]) -> None:
        self._writing = True
        try:
            with rewriting(layer):
                layer.data = np.reshape(pixels, layer.data.shape)
        finally:
            self._writing = False

    def _write_metadata(self, segmentation: Segmentation) -> None:
        """Write a result's class table, object table and provenance into the layers."""
        self.classes = segmentation.classes
        for number, fields in self._given.items():
            if number in self.classes:
                self.classes = self.classes.with_row(number, **fields)
        if self.objects is not None:
            self.objects.features = object_features(segmentation)
        for own in self.layers:
            own.metadata = {**own.metadata, RUN_PROVENANCE: dict(segmentation.provenance)}
        self._write_class_table()
        self._update_colours()
        if self.objects is not None:
            show_result_tracks(self._viewer, self.objects, segmentation)

    def _set_class_fields(self, number: int, **fields: str) -> None:
        self._given[number] = self._given.get(number, {}) | fields
        self.classes = self.classes.with_row(number, **fields)

    def _write_class_table(self) -> None:
        """Write the class table into the features and metadata of both layers."""
        import pandas as pd

        frame = self.classes.to_frame().rename(columns={"id": "index", "name": "class_name"})
        none = pd.DataFrame([{"index": 0, "class_name": "", "colour": "", "kind": "", "area": 0, "count": 0}])
        self.semantic.features = pd.concat([none, frame], ignore_index=True)
        if self.objects is not None:
            table = self.objects.features
            table["class_name"] = [self.classes.name_of(int(number)) for number in table["class"]]
            self.objects.features = table
        for own in self.layers:
            known = {**own.metadata.get(RUN_PROVENANCE, {}), "classes": self.classes.to_json()}
            own.metadata = {**own.metadata, RUN_PROVENANCE: known}
            keep_result(own, self._image)

    def _update_colours(self) -> None:
        colours = {row.id: _CLEAR if row.id in self.hidden else row.colour for row in self.classes}
        self.semantic.colormap = listed_colormap(
            [colours.get(i, _GREY) for i in range(1, max(colours, default=0) + 1)], _GREY
        )
        if self.objects is None:
            return
        table = self.objects.features
        gone = table.loc[table["class"].isin(self.hidden), "index"].to_numpy()
        own = label_colormap(49)
        if len(gone):
            shown = own.map(np.arange(1, table["index"].max() + 1))
            shown[gone[gone > 0] - 1] = 0
            self.objects.colormap = listed_colormap(shown, _GREY)
        elif self.objects.colormap.name == LISTED:
            # Nothing is hidden any more; a colormap that the user has chosen is kept.
            self.objects.colormap = own

    def _mark_edited(self, event: Any) -> None:
        if not self._writing:
            self.edited = True
            layer_file(event.source).note_work()


def _semantic_of(segmentation: Segmentation) -> NDArray[Any]:
    assert segmentation.semantic is not None
    return segmentation.semantic


def _has_objects(segmentation: Segmentation) -> bool:
    return bool(segmentation.provenance.get("settings", {}).get("output", "objects") == "objects")


def is_empty(segmentation: Segmentation) -> bool:
    """Tell whether a result has no objects, and no class except the background."""
    background = [row.id for row in segmentation.classes if row.name.casefold() == "background"]
    return not len(segmentation) and bool(np.isin(_semantic_of(segmentation), [0, *background]).all())

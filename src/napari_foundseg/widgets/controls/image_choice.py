"""The image of a form: its layer and channel and, in a fold, its axes and contrast."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QComboBox, QFormLayout, QLineEdit, QVBoxLayout, QWidget

from napari_foundseg.core.contrast import (
    AsIs,
    Limits,
    MinMax,
    Normalisation,
    Percentile,
    describe_normalisation,
)
from napari_foundseg.core.errors import AxesError, BadImageError, FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.core.pyramids import Level, fitting_level
from napari_foundseg.widgets.controls.channel_choice import ChannelChoice
from napari_foundseg.widgets.controls.ct_window_row import CTWindowRow
from napari_foundseg.widgets.controls.elided_combo import ElidedCombo
from napari_foundseg.widgets.controls.file_facts_row import FileFactsRow
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import wrapping_label
from napari_foundseg.widgets.layers.file_facts import PATIENCE
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_axes import displayed_axes, layer_axes
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.shown_slab import shown_slab, slab_words

__all__ = ["NO_IMAGE", "ImageChoice"]

#: Seconds to wait for the axes of a file while a form is being drawn.
_GLANCE = 0.1
NO_IMAGE = "There is no image layer. Open an image (File > Open, or File > Open Sample > FoundSeg)."
_AUTOMATIC = "Automatic"
_AS_IS = "8-bit RGB as it is"
_MIN_MAX = "Min to max"
_PERCENTILES = "Percentiles"
_CONTRAST = "As displayed"
_CT = "CT window"


class ImageChoice(QWidget):
    """A choice among the image layers of a viewer, which follows the active layer.

    Parameters
    ----------
    levels : bool
        Whether to offer the levels of multiscale images.
    channels : bool
        Whether to offer the channels; if not, the channel in view is used.
    """

    changed = Signal()
    #: The channels to use have changed: the slider was moved, or the user chose others.
    channel_changed = Signal()
    #: The viewer shows a projection of other slices, or no longer shows one.
    slab_changed = Signal()

    def __init__(
        self, viewer: ViewerModel, parent: QWidget | None = None, *, levels: bool = True, channels: bool = True
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._expected: Normalisation = Percentile()
        self._offers_levels = levels
        help_text = "The image to segment. It follows the selection in the layer list."
        self._choice = LayerChoice(viewer, ImageLayer, help_text)
        self.combo = self._choice.combo
        self._followed: ImageLayer | None = None
        self.channel = ChannelChoice(viewer, offered=channels)
        self.file = FileFactsRow(viewer)
        self.ct_window = CTWindowRow()
        self._axes, self._normalisation, details = self._add_details()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._choice)
        layout.addWidget(self.file)
        layout.addWidget(self.channel)
        self.levels = ElidedCombo()
        self.levels.setAccessibleName("Level")
        self.levels.setToolTip(
            "Resolution level of a multiscale image to run the model on. Automatic: by the zoom, or by the diameter of "
            "the objects. Results always have the full resolution."
        )
        self.levels.hide()
        self.slab = wrapping_label("")
        self.slab.setToolTip(
            "What the model sees of a stack: the projection that napari shows, by the layer's projection mode and the "
            "thickness of the slices (right click on the slider below the canvas). Projection mode none: single slices."
        )
        self.slab.hide()
        viewer.dims.events.margin_left.connect(self._slab_changed)
        viewer.dims.events.margin_right.connect(self._slab_changed)
        viewer.dims.events.ndisplay.connect(self._slab_changed)
        viewer.dims.events.current_step.connect(self._show_slab)
        layout.addWidget(self.levels)
        layout.addWidget(self.slab)
        self._fold = Fold("Axes and contrast", details)
        layout.addWidget(self._fold)
        self._axes.editingFinished.connect(self._axes_changed)
        self.channel.changed.connect(self.channel_changed)
        self.file.applied.connect(self._file_read)
        self._normalisation.currentIndexChanged.connect(
            lambda: self.ct_window.activate(self._normalisation.currentData() == _CT)
        )
        self._choice.changed.connect(self._layer_changed)
        self._layer_changed()

    def expect(self, normalisation: Normalisation, colours: ColourRule) -> None:
        """Show the contrast that the model expects as the automatic choice, and use the method's colour rule."""
        self.channel.use_rule(colours)
        self._expected = normalisation
        words = f"{_AUTOMATIC} (as this model expects: {describe_normalisation(normalisation)})"
        self._normalisation.setItemText(0, words)
        self._normalisation.setItemData(0, words, Qt.ItemDataRole.ToolTipRole)

    @property
    def layer(self) -> ImageLayer | None:
        """The chosen layer; None if there is no image layer."""
        layer: ImageLayer | None = self._choice.layer
        return layer

    def image(self) -> Image:
        """Return the chosen layer as an image.

        Raises
        ------
        FoundsegError
            If there is no image layer, or it cannot be segmented.
        """
        if self.layer is None:
            raise BadImageError(None, NO_IMAGE)
        self.file.settle(_GLANCE)
        self.channel.settle(_GLANCE)
        return image_from_layer(
            self.layer,
            axes=self._typed_axes(),
            channels=self.channel.channels(),
            normalisation=self._chosen_normalisation(),
            displayed=displayed_axes(self._viewer, self.layer),
            colour=self.channel.colour(),
            slab=shown_slab(self._viewer, self.layer, self._typed_axes()),
        )

    def _typed_axes(self) -> str | None:
        return self._axes.text().strip().upper() or None

    def _show_slab(self, _event: Any = None) -> None:
        """Name the slices whose projection the model sees."""
        words = ""
        with suppress(FoundsegError):
            words = slab_words(self._viewer, self.layer, self._typed_axes()) if self.layer is not None else ""
        if words != self.slab.text():
            self.slab.setText(words)
            self.slab.setVisible(bool(words))

    def _slab_changed(self, _event: Any = None) -> None:
        self._show_slab()
        self.slab_changed.emit()

    def wait_for_file(self) -> None:
        """Wait for the axes from the layer's file and for its colours; errors are raised later by `image`."""
        with suppress(FoundsegError):
            self.file.settle(PATIENCE)
            self.channel.settle(PATIENCE)

    def target(self) -> ImageOnLayer:
        """Return the chosen layer with its image; raise the errors of `image`."""
        image = self.image()
        assert self.layer is not None
        return ImageOnLayer(self.layer, image)

    def level(self, image: Image, pixel: float) -> Level | None:
        """Return the level of a multiscale image on which to run; None for the finest.

        If *automatic* is chosen, use the coarsest level whose pixels are not much wider than `pixel`, in pixels of the
        finest level.
        """
        if len(image.usable_levels) < 2:
            return None
        number = self.levels.currentData()
        if number is None or number not in image.usable_levels:
            number = fitting_level(image, pixel)
        return Level(image, number) if number else None

    def disconnect_viewer(self) -> None:
        """Stop following the viewer."""
        self._choice.disconnect_viewer()
        self.channel.disconnect_viewer()
        for name in ("margin_left", "margin_right", "ndisplay"):
            getattr(self._viewer.dims.events, name).disconnect(self._slab_changed)
        self._viewer.dims.events.current_step.disconnect(self._show_slab)
        self.file.follow(None)
        self.ct_window.follow(None)
        self._follow(None)

    def _add_details(self) -> tuple[QLineEdit, QComboBox, QFormLayout]:
        axes = QLineEdit()
        axes.setAccessibleName("Axes")
        normalisation = ElidedCombo()
        normalisation.setAccessibleName("Contrast")
        axes.setToolTip(
            "One letter per axis: T time, C channel, Z depth, Y rows, X columns, for example TZYX. Empty: automatic."
        )
        for kind in (_AUTOMATIC, _AS_IS, _MIN_MAX, _PERCENTILES, _CONTRAST, _CT):
            normalisation.addItem(kind, kind)
        normalisation.setToolTip(
            "Grey values that are mapped to black and white for the model. Automatic: as the chosen model was trained. "
            "8-bit RGB as it is: photographs stay unchanged, other images get percentiles. Min to max: the least and "
            "greatest value of the whole stack. Percentiles: 0.5 and 99.5 of the whole stack. As displayed: the "
            "layer's contrast limits. CT window: a tissue, or a level and "
            "a width; the layer is then displayed in it, too."
        )
        form = QFormLayout()
        form.setContentsMargins(12, 0, 0, 0)
        for text, widget in (("Axes", axes), ("Contrast", normalisation)):
            form.addRow(text, widget)
        form.addRow(self.ct_window)
        return axes, normalisation, form

    def _chosen_normalisation(self) -> Normalisation:
        choice = self._normalisation.currentData()
        if choice == _AUTOMATIC:
            return self._expected
        if choice == _AS_IS:
            return AsIs()
        if choice == _MIN_MAX:
            return MinMax()
        if choice == _CONTRAST and self.layer is not None:
            low, high = self.layer.contrast_limits
            return Limits(low=float(low), high=float(high))
        if choice == _CT:
            return self.ct_window.chosen_window
        return Percentile()

    def _layer_changed(self) -> None:
        self._axes.clear()
        self._follow(self.layer)
        self.ct_window.follow(self.layer)
        self.file.follow(self.layer)
        self._axes_changed()
        self._list_levels()
        self.changed.emit()

    def _file_read(self) -> None:
        """Show the axes and scale that the layer got from its file."""
        self._axes_changed()
        self.changed.emit()

    def _follow(self, layer: ImageLayer | None) -> None:
        """Follow the axes and pixels of a layer instead of those of the previous one."""
        if self._followed is not None:
            self._followed.events.axis_labels.disconnect(self._axes_changed)
            self._followed.events.data.disconnect(self._axes_changed)
            self._followed.events.projection_mode.disconnect(self._slab_changed)
        if layer is not None:
            layer.events.axis_labels.connect(self._axes_changed)
            layer.events.data.connect(self._axes_changed)
            layer.events.projection_mode.connect(self._slab_changed)
        self._followed = layer

    def _axes_changed(self, _event: Any = None) -> None:
        """Show the layer's axes, also in the title of the closed fold, and offer its channels."""
        layer = self.layer
        try:
            usual = layer_axes(layer, displayed_axes(self._viewer, layer)) if layer else ""
        except AxesError:
            usual = ""
        self._axes.setPlaceholderText(usual)
        axes = self._axes.text().strip().upper() or usual
        self._fold.button.setText(f"Axes {axes} and contrast" if axes else "Axes and contrast")
        self.channel.show_layer(layer, axes)
        self._show_slab()

    def _list_levels(self) -> None:
        """List the levels of a multiscale image."""
        self.levels.clear()
        with suppress(FoundsegError):
            if self.layer is not None and self.layer.multiscale:
                image = self.image()
                self.levels.addItem("Level: automatic", None)
                for number in image.usable_levels:
                    height, width = image.at_level(number).plane_shape
                    self.levels.addItem(f"Level {number}: {height} by {width} pixels", number)
        self.levels.setVisible(self._offers_levels and self.levels.count() > 2)

"""The part of *Cluster* that fits a model to a layer or to a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import catalog
from napari_foundseg.tasks import SIDE_TASKS, TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.side_tasks.fit_files import free_name
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.controls.curve import Curve
from napari_foundseg.widgets.controls.rows import wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.forms.settings_form import SettingsForm
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_follower import RunFollower

__all__ = ["FitPanel"]

_LAYER = "This layer, all slices"
_FOLDER = "Folder…"
#: Milliseconds after cancelling a fit at which the catalogue is searched for the model that the fit has saved.
_LOOKS = (500, 1500, 3000, 6000)


class FitPanel(QWidget):
    """Controls of a fit.

    Parameters
    ----------
    find_target : callable
        Returns the form's image, or raises a `FoundsegError`.
    fail : callable
        Shows a `FoundsegError` next to the control that it concerns.
    offer_download : callable
        Offers to download a missing model, and then to call a function; returns whether the model is missing.
    """

    #: A fit has succeeded: the run and its `Segmentation`.
    fitted = Signal(object, object)
    #: A cancelled fit has saved a model; its name.
    kept = Signal(str)
    #: An intermediate result of a fit to the layer, a dict.
    shown = Signal(object)
    #: The user chose a method without a fit: the backbone, the method and its settings, a dict.
    plain_chosen = Signal(str, str, object)
    #: A fit has succeeded, failed or been cancelled.
    ended = Signal()

    def __init__(
        self,
        find_target: Callable[[], ImageOnLayer],
        fail: Callable[[FoundsegError], None],
        offer_download: Callable[[Callable[[], None], str], bool],
    ) -> None:
        super().__init__()
        self._find_target = find_target
        self._fail = fail
        self._offer_download = offer_download
        self._folder: str | None = None
        self._busy = False
        self._no_image = ""
        #: The image of the latest fit.
        self.target: ImageOnLayer | None = None
        self._follower = RunFollower(self)
        self._follower.progressed.connect(self._show_progress)
        self._follower.shown.connect(self._show_loss)
        self._follower.done.connect(self._fit_done)
        self._follower.failed.connect(self._fit_failed)
        self._follower.cancelled.connect(self._fit_stopped)
        self.source = QComboBox()
        self.backbone = QComboBox()
        self.name = QLineEdit()
        self.form = SettingsForm(
            SIDE_TASKS["fit_stego"].methods["stego"], "fit_stego.stego", more_title="More of the fit"
        )
        self.fit_button = QPushButton("Fit")
        self.cancel_button = QPushButton("Cancel the fit")
        self.bar = QProgressBar()
        self.curve = Curve()
        self.words = wrapping_label("")
        self.plain_button = QPushButton()
        self._plain: tuple[str, str, dict[str, Any]] | None = None
        self._add_controls()
        catalogue_watch().changed.connect(self.refresh)

    @property
    def current(self) -> Run | None:
        """The fit that is running, or None."""
        return self._follower.run

    def refresh(self) -> None:
        """List the backbones in the catalogue."""
        chosen = self.backbone.currentText()
        self.backbone.clear()
        self.backbone.addItems([row.name for row in catalog().values() if "FeatureExtractor" in row.protocols])
        self.backbone.setCurrentIndex(max(0, self.backbone.findText(chosen)))

    def start(self) -> None:
        """Start a fit with the values of the controls."""
        if self.current is not None or self._offer_download(self.start, self.backbone.currentText()):
            return
        try:
            target = self._find_target()
            name = free_name(self.name.text().strip() or None)
            inputs = SIDE_TASKS["fit_stego"].inputs.parse({"folder": self._folder, "name": name})
            settings = SIDE_TASKS["fit_stego"].settings("stego", self.form.values())
        except FoundsegError as error:
            self._fail(error)
            return
        self.form.remember()
        self.target = target
        self._show_busy(True)
        self.plain_button.hide()
        self.words.setText("starting")
        request = RunRequest("fit_stego", target.image, inputs, settings, self.backbone.currentText())
        self._follower.start(Run(request))

    def cancel(self) -> None:
        """Cancel the fit; the best model so far is saved."""
        run = self._follower.cancel()
        if run is None:
            return
        self._show_busy(False)
        self.words.setText("Cancelled. Looking for the saved model…")
        name = str(getattr(run.request.inputs, "name", ""))
        before = catalog().get(name)
        for wait in _LOOKS:
            # A timer that belongs to the form is destroyed with it.
            timer = QTimer(self)
            timer.setSingleShot(True)
            timer.timeout.connect(lambda last=wait == _LOOKS[-1]: self._find_saved_model(name, before, last))
            timer.timeout.connect(timer.deleteLater)
            timer.start(wait)
        self.ended.emit()

    def show_usability(self, no_image: str) -> None:
        """Enable the buttons that can be used now; `no_image` says why there is no image."""
        self._no_image = no_image
        set_usable(self.fit_button, "A fit is under way." if self._busy else no_image)
        set_usable(self.cancel_button, "" if self._busy else "No fit is under way.")

    def release(self) -> None:
        """Cancel the fit, since the form is being closed."""
        self._follower.cancel()

    def _find_saved_model(self, name: str, before: Any, last: bool) -> None:
        if self.current is not None or not self.words.text().startswith("Cancelled. Looking"):
            return
        found = catalog().get(name)
        if found is not None and found != before:
            self.words.setText(f"Cancelled. The best model so far was saved as {name}; Fit continues from it.")
            self.kept.emit(name)
        elif last:
            self.words.setText("Cancelled before there was a model to save.")

    def _show_progress(self, share: float, words: str) -> None:
        self.bar.setValue(round(100 * share))
        self.words.setText(words)

    def _show_loss(self, shown: dict[str, Any]) -> None:
        self.curve.show_values(shown["loss"])
        self.curve.show()
        if self._folder is None:
            self.shown.emit(shown)

    def _fit_done(self, run: Run, segmentation: Segmentation) -> None:
        self._show_busy(False)
        self.ended.emit()
        fitted = segmentation.provenance["fitted"]
        self.curve.show_values(fitted["losses"])
        self.words.setText("\n".join([f"Fitted: the model {fitted['model']}.", *fitted["notes"]]))
        self._offer_plain_method(run, fitted.get("plain_method"))
        self.fitted.emit(run, segmentation)

    def _offer_plain_method(self, run: Run, method: str | None) -> None:
        """Offer a method that does as well without a fit, with the settings of the fit."""
        self._plain = None
        if method is not None:
            shared = ("n_clusters", "context", "seed")
            values = {name: getattr(run.request.settings, name) for name in shared}
            self._plain = (run.request.model, method, values)
            title = TASKS["cluster"].methods[method].label_of("method")
            self.plain_button.setText(f"Use {title} instead")
        self.plain_button.setVisible(method is not None)

    def _choose_plain_method(self) -> None:
        if self._plain is not None:
            self.plain_chosen.emit(*self._plain)

    def _fit_failed(self, error: FoundsegError) -> None:
        self._fit_stopped()
        self._fail(error)

    def _fit_stopped(self) -> None:
        self._show_busy(False)
        self.ended.emit()
        self.words.setText("")

    def _show_busy(self, busy: bool) -> None:
        self._busy = busy
        self.show_usability(self._no_image)
        self.bar.setVisible(busy)
        self.bar.setValue(0)

    def _add_controls(self) -> None:
        self.source.addItems([_LAYER, _FOLDER])
        self.source.setAccessibleName("Images to fit to")
        self.source.setToolTip("Images to fit the model to. No labels are needed; more images give better clusters.")
        self.source.activated.connect(self._choose_source)
        self.backbone.setAccessibleName("Backbone")
        self.backbone.setToolTip(
            "The network whose features are used: what it sees at each place. The fit does not change it."
        )
        self.name.setPlaceholderText("automatic")
        self.name.setAccessibleName("Name of the new model")
        self.name.setToolTip("Name of the new model. A fit with the same name and images continues where it stopped.")
        for combo in (self.source, self.backbone, *self.form.findChildren(QComboBox)):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(7)
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for text, widget in (("Fit to", self.source), ("Backbone", self.backbone), ("Name", self.name)):
            rows.addRow(text, widget)
        self.fit_button.setToolTip("Fit STEGO to these images. This takes minutes, during which you can work on.")
        self.cancel_button.setToolTip("Stop the fit. The best model so far is saved.")
        self.plain_button.setToolTip("Cluster the features of the chosen image without the fit, by the same settings.")
        self.plain_button.clicked.connect(self._choose_plain_method)
        self.fit_button.clicked.connect(self.start)
        self.cancel_button.clicked.connect(self.cancel)
        line = QHBoxLayout()
        line.addWidget(self.fit_button, 2)
        line.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(rows)
        layout.addWidget(self.form)
        layout.addLayout(line)
        for part in (self.bar, self.curve, self.words, self.plain_button):
            layout.addWidget(part)
        self.curve.hide()
        self.plain_button.hide()
        self._show_busy(False)
        self.refresh()

    def _choose_source(self, at: int) -> None:
        if self.source.itemText(at) == _LAYER:
            self._folder = None
            return
        chosen = QFileDialog.getExistingDirectory(self, "Folder with images", self._folder or "")
        if chosen:
            self._folder = chosen
            self.source.setItemText(1, chosen)
            self.source.setToolTip(chosen)
        elif self._folder is None:
            self.source.setCurrentIndex(0)

"""The part of *Cluster* that fits a model: to the layer or to a folder, with the loss as a curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it
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

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.models.catalog import catalog
from napari_foundseg.tasks import SIDE_TASKS
from napari_foundseg.tasks.side_tasks.fit_files import free_name
from napari_foundseg.widgets.controls.curve import Curve
from napari_foundseg.widgets.controls.rows import quiet_label
from napari_foundseg.widgets.forms.settings_form import SettingsForm
from napari_foundseg.widgets.runs.run import Run

__all__ = ["FitPanel"]

_LAYER, _FOLDER = "This layer, all slices", "Folder…"
#: How long after a cancel the window looks for what was kept, in milliseconds.
_LOOKS = (500, 1500, 3000, 6000)


class FitPanel(QWidget):
    """Controls of a fit.

    Parameters
    ----------
    image : callable
        Returns the form's image, or raises a `FoundsegError`.
    fail : callable
        Given a `FoundsegError`, says it beside the control that it is about.
    """

    #: The run that ended well, and its `Segmentation`.
    fitted = Signal(object, object)
    #: Name of a model that a cancelled fit has kept.
    kept = Signal(str)
    #: What there is to show while a fit to the layer runs: the image, a dict.
    shown = Signal(object, object)
    #: A fit has ended, however.
    ended = Signal()

    def __init__(self, image: Callable[[], Image], fail: Callable[[FoundsegError], None]) -> None:
        super().__init__()
        self._image, self._fail = image, fail
        self._folder: str | None = None
        self.current: Run | None = None
        self.source, self.backbone, self.name = QComboBox(), QComboBox(), QLineEdit()
        self.form = SettingsForm(SIDE_TASKS["fit_stego"].methods["stego"], "fit_stego.stego")
        self.fit_button, self.cancel_button = QPushButton("Fit"), QPushButton("Cancel")
        self.bar, self.curve, self.words = QProgressBar(), Curve(), quiet_label("")
        self._build()

    def refresh(self) -> None:
        """Offer the backbones that there are."""
        chosen = self.backbone.currentText()
        self.backbone.clear()
        self.backbone.addItems([row.name for row in catalog().values() if "FeatureExtractor" in row.protocols])
        self.backbone.setCurrentIndex(max(0, self.backbone.findText(chosen)))

    def start(self) -> None:
        """Start a fit with what the controls show."""
        if self.current is not None:
            return
        try:
            image = self._image()
            name = free_name(self.name.text().strip() or None)
            inputs = SIDE_TASKS["fit_stego"].inputs.parse({"folder": self._folder, "name": name})
            settings = SIDE_TASKS["fit_stego"].settings("stego", self.form.values())
        except FoundsegError as error:
            self._fail(error)
            return
        self.form.remember()
        self.current = run = Run("fit_stego", image, inputs, settings, self.backbone.currentText())
        run.progressed.connect(self._progress, Qt.ConnectionType.QueuedConnection)
        run.shown.connect(self._show, Qt.ConnectionType.QueuedConnection)
        run.ended.connect(self._end, Qt.ConnectionType.QueuedConnection)
        self._busy(True)
        self.words.setText("starting")
        run.start()

    def cancel(self) -> None:
        """Stop the fit; the best so far is kept."""
        if self.current is None:
            return
        run, self.current = self.current, None
        run.cancel()
        self._busy(False)
        self.words.setText("Cancelled. Looking for what was kept…")
        name = str(getattr(run.inputs, "name", ""))
        before = catalog().get(name)
        for wait in _LOOKS:
            QTimer.singleShot(wait, lambda last=wait == _LOOKS[-1]: self._look(name, before, last))
        self.ended.emit()

    def release(self) -> None:
        """Stop, since the form is being closed."""
        if self.current is not None:
            run, self.current = self.current, None
            run.cancel()

    def _look(self, name: str, before: Any, last: bool) -> None:
        if self.current is not None or not self.words.text().startswith("Cancelled. Looking"):
            return
        found = catalog().get(name)
        if found is not None and found != before:
            self.words.setText(f"Cancelled. The best so far was kept as the model {name}; Fit goes on from it.")
            self.kept.emit(name)
        elif last:
            self.words.setText("Cancelled before there was anything to keep.")

    def _progress(self, share: float, words: str) -> None:
        if self.sender() is self.current:
            self.bar.setValue(round(100 * share))
            self.words.setText(words)

    def _show(self, shown: dict[str, Any]) -> None:
        run = self.sender()
        if run is self.current and isinstance(run, Run):
            self.curve.show_values(shown["loss"])
            self.curve.show()
            if self._folder is None:
                self.shown.emit(run.image, shown)

    def _end(self, run: Run, job: Any) -> None:
        if run is not self.current:
            return
        self.current = None
        self._busy(False)
        self.ended.emit()
        if job.state != "done":
            self.words.setText("")
            if not isinstance(job.error, Cancelled):
                self._fail(job.error)
            return
        told = job.result.provenance["fitted"]
        self.curve.show_values(told["losses"])
        self.words.setText("\n".join([f"Fitted: the model {told['model']}.", *told["notes"]]))
        self.fitted.emit(run, job.result)

    def _busy(self, busy: bool) -> None:
        self.fit_button.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        self.bar.setVisible(busy)
        self.bar.setValue(0)

    def _build(self) -> None:
        self.source.addItems([_LAYER, _FOLDER])
        self.source.setAccessibleName("Images to fit to")
        self.source.setToolTip("What the model is fitted to; no labels are needed. More images make better clusters.")
        self.source.activated.connect(self._choose_source)
        self.backbone.setAccessibleName("Backbone")
        self.backbone.setToolTip("The network whose features are used; it stays as it is.")
        self.name.setPlaceholderText("automatic")
        self.name.setAccessibleName("Name of the new model")
        self.name.setToolTip(
            "What the new model is called. A fit of the same name and images goes on where it stopped."
        )
        for combo in (self.source, self.backbone, *self.form.findChildren(QComboBox)):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(8)
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for text, widget in (("Fit to", self.source), ("Backbone", self.backbone), ("Name", self.name)):
            rows.addRow(text, widget)
        self.fit_button.setToolTip("Fit STEGO to these images. It takes minutes; you can go on working.")
        self.cancel_button.setToolTip("Stop the fit; the best so far is kept.")
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
        for part in (self.bar, self.curve, self.words):
            layout.addWidget(part)
        self.curve.hide()
        self._busy(False)
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

"""The dock widget *Cluster*: classes without names, from a fit to the user's own images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.viewer import Viewer
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QLineEdit, QPushButton, QSlider, QSpinBox, QWidget

from napari_foundseg.core.clusters.clusters import Edit
from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks import SIDE_TASKS, TASKS, Inputs, Settings
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.task_models import default_model
from napari_foundseg.widgets.cluster.cluster_layer import ClusterLayer
from napari_foundseg.widgets.cluster.cluster_list import ClusterList
from napari_foundseg.widgets.cluster.fit_panel import FitPanel
from napari_foundseg.widgets.cluster.fit_preview import FitPreview
from napari_foundseg.widgets.cluster.reference_panel import ReferencePanel, painted_over
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.controls.image_choice import NO_IMAGE
from napari_foundseg.widgets.controls.rows import labelled_row, side_by_side
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.editing.kept_results import keep_result
from napari_foundseg.widgets.editing.save_row import SaveRow
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import current_index
from napari_foundseg.widgets.layers.result_layers import add_colours, add_labels, in_words
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.side_runs import SideRuns

__all__ = ["ClusterWidget"]

_SLICE = "Current slice"
_WHOLE = "Whole image, all slices"
#: Settings that give other clusters: the user's changes to the old clusters are discarded.
_OTHERS = {"n_clusters", "context", "seed", "probe"}
_MOST = 16


class ClusterWidget(TaskForm):
    """Fit a model, choose the number of clusters, edit them, and make objects of them."""

    run_help = "Assign every pixel of the chosen image to a cluster (the result becomes a new layer)."

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["cluster"])
        self._edits: tuple[Edit, ...] = ()
        self._objects_of: tuple[int, ...] = ()
        self._shown = ClusterLayer(napari_viewer)
        self._preview = FitPreview(napari_viewer)
        self._side_runs = SideRuns()
        self.build()
        self._slide_to_form()

    def connect_controls(self) -> None:
        """Connect the signals of the controls and of the runs."""
        super().connect_controls()
        self._shown.clicked.connect(self._select_cluster)
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self._side_runs.said.connect(self.words.setText)
        self._side_runs.failed.connect(self.fail)
        self._side_runs.busy.connect(self._enable_cancel)
        self.fit.fitted.connect(self._show_fitted)
        self.fit.kept.connect(self._choose_model)
        self.fit.shown.connect(self._show_preview)
        self.fit.ended.connect(self._preview.drop)
        self.fit.plain_chosen.connect(self._use_plain_method)
        self.region.currentTextChanged.connect(self.update_estimate)
        self.slider.valueChanged.connect(self._change_count)
        self.count.valueChanged.connect(self._change_count)
        self.clusters.edited.connect(self._add_edit)
        self.clusters.undone.connect(self._undo_edit)
        self.clusters.list.itemSelectionChanged.connect(self._enable_buttons)
        self.reference.match_asked.connect(self._match_labels)
        self.reference.learn_asked.connect(self._learn_classes)
        self.view_button.clicked.connect(self._show_features)
        self.objects_button.clicked.connect(self._make_objects)
        self.save_button.clicked.connect(self._save_model)

    # The controls.

    def input_rows(self) -> list[QWidget]:
        """Return the fit, the region and the number of clusters."""
        self.fit = FitPanel(self.chosen_target, self.fail, self.offer_download)
        content = QFormLayout()
        content.setContentsMargins(12, 0, 0, 0)
        content.addRow(self.fit)
        self.fit_fold = Fold("Fit a model to images", content)
        self.region = QComboBox()
        self.region.addItems([_SLICE, _WHOLE])
        self.region.setAccessibleName("Region")
        self.region.setToolTip("Part of the image to segment. A cluster means the same in every slice.")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(1, _MOST)
        self.slider.setAccessibleName("Number of clusters")
        self.slider.setToolTip("More clusters tell finer differences apart. Changing it needs no new fit.")
        self.count = QSpinBox()
        self.count.setAccessibleName("Number of clusters")
        self.count.setToolTip(self.slider.toolTip())
        self.count.setSpecialValueText("auto")
        # Looks like the values of other sliders.
        self.count.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.count.setStyleSheet("background: transparent; border: 0;")
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.count.setKeyboardTracking(False)
        label = QLabel("Number of clusters")
        label.setToolTip(self.slider.toolTip())
        label.setBuddy(self.slider)
        return [self.fit_fold, labelled_row("Region", self.region), label, side_by_side(self.slider, self.count)]

    def result_rows(self) -> list[QWidget]:
        """Return the list of clusters and its buttons, hidden until there is a result."""
        self.clusters = ClusterList()
        self.reference = ReferencePanel(self.viewer)
        self.view_button = QPushButton("Show features")
        self.view_button.setToolTip(
            "Add the model's features as a colour image: their first three principal components."
        )
        self.saving = SaveRow(self.viewer.theme)
        self.saving_objects = SaveRow(self.viewer.theme, "objects")
        self.messages |= {"saving": self.saving.message, "saving objects": self.saving_objects.message}
        self._result_part = [self.clusters, self.saving, self._objects_row(), self._save_row(), self.reference]
        for part in (*self._result_part, self.saving_objects):
            part.hide()
        return [*self._result_part[:3], self.saving_objects, *self._result_part[3:], self.view_button]

    def _objects_row(self) -> QWidget:
        self.objects_button = QPushButton("To objects")
        self.objects_button.setToolTip(
            "Make each connected part of the selected clusters an object, in a new layer. Without a selection: of all."
        )
        self.refine_by = QComboBox()
        self.refine_by.addItems(["unchanged", "refined by a model"])
        self.refine_by.setAccessibleName("Objects")
        self.refine_by.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.refine_by.setMinimumContentsLength(8)
        self.refine_by.setToolTip("Keep the outlines of the parts, or have the promptable model refine them.")
        return side_by_side(self.objects_button, self.refine_by)

    def _save_row(self) -> QWidget:
        self.name = QLineEdit()
        self.name.setPlaceholderText("name of the model")
        self.name.setAccessibleName("Name to save the clusters under")
        self.save_button = QPushButton("Save")
        self.save_button.setToolTip("Save the present clusters as a model, for other images, recipes and Batch.")
        return side_by_side(self.name, self.save_button)

    # Running.

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the slice and the changes to the clusters."""
        return self.task.inputs.parse(
            {"index": self._slice_index(target), "edits": self._edits, "only": self._objects_of}
        )

    @property
    def settings(self) -> Settings:
        """The settings in the form, with objects as output for *To objects*."""
        settings = super().settings
        if not self._objects_of:
            return settings
        by = default_model("prompt") if self.refine_by.currentIndex() == 1 else ""
        return settings.model_copy(update={"output": "objects", "refine_model": by})

    def show_result(self, target: ImageOnLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Show clusters in the live layer, or objects in a new one."""
        if getattr(run.request.settings, "output", "") == "objects":
            names = [segmentation.classes.name_of(n) for n in getattr(run.request.inputs, "only", ())]
            objects = add_labels(self.viewer, target, segmentation, f"{target.name} {' and '.join(names) or 'objects'}")
            keep_result(objects, target.image)
            self.saving_objects.follow(objects)
            self.saving_objects.show()
            return in_words(segmentation, run.request.image, seconds)
        if self.image_change:
            # The live layer stays with the current image.
            outdated = add_labels(self.viewer, target, segmentation, f"{target.name} clusters")
            keep_result(outdated, target.image)
            return f"{len(segmentation.classes)} clusters, {seconds:.1f} s"
        self._shown.show(target, segmentation)
        self.saving.follow(self._shown.labels)
        self.clusters.show_classes(segmentation.classes, segmentation.provenance.get("hidden", ()), bool(self._edits))
        for part in self._result_part:
            part.show()
        self._enable_buttons()
        # For results of fits and side tasks, only this method is called.
        self.show_notes(segmentation.provenance)
        return f"{len(segmentation.classes)} clusters, {seconds:.1f} s"

    def setting_changed(self, name: str) -> None:
        """Cluster again if there is already a result."""
        super().setting_changed(name)
        if name in _OTHERS:
            self._edits = ()
        if name == "n_clusters":
            self._slide_to_form()
        if self._shown.is_of(self.image.layer):
            self._cluster_again()

    def cancel(self) -> None:
        """Cancel the run and all side runs; the form is idle immediately."""
        self._side_runs.cancel()
        super().cancel()

    def release(self) -> None:
        """Disconnect from the viewer, the engine and the layers."""
        self.viewer.layers.events.removed.disconnect(self)
        self.fit.release()
        self._preview.drop()
        self._shown.forget()
        self.reference.release()
        self._side_runs.cancel()
        super().release()

    def _layer_removed(self, event: Any) -> None:
        for saving in (self.saving, self.saving_objects):
            saving.forget(event.value)

    # Clusters.

    def _select_cluster(self, number: int, more: bool) -> None:
        self.clusters.select(number, more=more)

    def _cluster_again(self) -> None:
        self.run(replace="cluster")

    def _slice_index(self, target: ImageOnLayer) -> tuple[int, ...] | None:
        return current_index(self.viewer, target) if self.region.currentText() == _SLICE else None

    def _change_count(self, value: int) -> None:
        """Use a number of clusters from now on; 0 for the model's own number."""
        self.forms[self.method_name].set_values({"n_clusters": value or None})
        self._slide_to_form()

    def _slide_to_form(self) -> None:
        """Show the form's number of clusters on the slider; if it is automatic, the number of the last result."""
        form = self.forms.get(self.method_name)
        value = None if form is None else form.values()["n_clusters"]
        if value is None and self._shown.labels is not None:
            value = self.clusters.list.count()
        with QSignalBlocker(self.slider), QSignalBlocker(self.count):
            self.slider.setValue(min(_MOST, value or 4))
            self.count.setRange(int(self.method_name != "stego"), 64)
            self.count.setValue(value or 0)

    def _add_edit(self, edit: Edit) -> None:
        self._edits = (*self._edits, edit)
        self._cluster_again()

    def _undo_edit(self) -> None:
        self._edits = self._edits[:-1]
        self._cluster_again()

    def show_usability(self) -> None:
        """Enable the controls that can be used now."""
        super().show_usability()
        no_image = "" if self.image.layer is not None else NO_IMAGE
        set_usable(self.view_button, no_image)
        self.fit.show_usability(no_image)

    def _enable_buttons(self) -> None:
        self.objects_button.setEnabled(self.clusters.list.count() > 0)
        fitted = self.method_name == "stego"
        self.save_button.setEnabled(fitted)
        self.reference.learn_button.setEnabled(fitted)

    def _enable_cancel(self, busy: bool) -> None:
        set_usable(self.cancel_button, "" if busy or self.current is not None else "Nothing is running.")

    def _change_method(self) -> None:
        super()._change_method()
        self._edits = ()
        self._slide_to_form()
        self._enable_buttons()

    def _change_model(self) -> None:
        self._edits = ()
        super()._change_model()
        self.fit.refresh()

    # Fits.

    def _show_fitted(self, run: Run, segmentation: Segmentation) -> None:
        self._choose_model(segmentation.provenance["fitted"]["model"])
        target = self.fit.target
        if target is not None and target.layer is self.image.layer:
            self.result.setText(self.show_result(target, run, segmentation, 0.0))
            self._slide_to_form()
            self.result.show()
            # Again, with the settings of the form.
            self._cluster_again()

    def _choose_model(self, name: str) -> None:
        self.model.refresh(name)
        self.forms["stego"].set_values({"n_clusters": None})

    def _use_plain_method(self, backbone: str, method: str, values: dict[str, Any]) -> None:
        self.model.refresh(backbone)
        self.method.setCurrentIndex(self.method.findData(method))
        self.forms[method].set_values(values)
        self._cluster_again()

    def _show_preview(self, shown: dict[str, Any]) -> None:
        target = self.fit.target
        if target is not None and target.layer in self.viewer.layers:
            self._preview.show(target, shown)

    # Objects, models and features from clusters.

    def _make_objects(self) -> None:
        if self.offer_download(self._make_objects):
            return
        self._objects_of = self.clusters.selected or self.clusters.numbers
        self.run()
        self._objects_of = ()

    def _save_model(self) -> None:
        name = self.name.text().strip()
        if not name:
            self.messages["run"].say("Type a name for the model beside the button Save.")
            return

        def show_saved(run: Run, target: ImageOnLayer, result: Segmentation) -> None:
            self._choose_model(name)
            self._edits = ()
            self.result.setText(f"Saved as the model {name}. {self.show_result(target, run, result, 0.0)}")

        self._run_side_task("save_clusters", show_saved, lambda *_: {"edits": self._edits, "name": name})

    def _match_labels(self) -> None:
        if self._shown.labels is not None:
            self.reference.compare(np.asarray(self._shown.labels.data), self.clusters.name_of)

    def _learn_classes(self) -> None:
        def find_labels(target: ImageOnLayer, index: tuple[int, ...] | None) -> dict[str, Any]:
            labels = self.reference.choice.layer
            if labels is None or labels is self._shown.labels:
                raise PromptError("Choose the Labels layer whose classes are to be learnt, other than the clusters.")
            slices = list(target.image.indices()) if index is None else [index]
            return {"labels": painted_over(labels, target, slices)}

        def show_learnt(run: Run, target: ImageOnLayer, result: Segmentation) -> None:
            self.model.refresh(run.request.model)
            self.forms["stego"].set_values({"probe": "linear", "n_clusters": None})
            self._edits = ()
            shown = self.show_result(target, run, result, 0.0)
            self.result.setText(f"Learnt, and saved with the model {run.request.model}. {shown}")

        self._run_side_task("learn_classes", show_learnt, find_labels)

    def _show_features(self) -> None:
        def show(_run: Run, target: ImageOnLayer, result: Segmentation) -> None:
            add_colours(self.viewer, target, result, f"{target.name} features")

        self._run_side_task("features", show)

    def _run_side_task(
        self,
        name: str,
        use: Callable[[Run, ImageOnLayer, Segmentation], None],
        find_inputs: Callable[[ImageOnLayer, tuple[int, ...] | None], dict[str, Any]] = lambda *_: {},
    ) -> None:
        """Run one of `tasks.SIDE_TASKS` on the chosen image; `find_inputs` returns its inputs except the slice."""
        if self.offer_download(lambda: self._run_side_task(name, use, find_inputs)):
            return
        task = SIDE_TASKS[name]
        values = self.forms[self.method_name].values()
        try:
            target = self.chosen_target()
            index = self._slice_index(target)
            inputs = task.inputs.parse({"index": index, **find_inputs(target, index)})
            method = task.method_for(row(str(self.model.currentData())).protocols)
            fields = task.methods[method].model_fields
            settings = task.settings(method, {name: value for name, value in values.items() if name in fields})
        except FoundsegError as error:
            self.fail(error)
            return
        run = Run(RunRequest(name, target.image, inputs, settings, str(self.model.currentData())))
        self._side_runs.start(run, lambda result: use(run, target, result))

"""The dock widget *Cluster*: classes that nobody has named yet, from a fit to the person's own images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QLineEdit, QPushButton, QSlider, QWidget

from napari_foundseg.core.clusters.clusters import Edit
from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import default_model, row
from napari_foundseg.tasks import SIDE_TASKS, TASKS, Inputs, Settings
from napari_foundseg.widgets.cluster.cluster_layer import ClusterLayer
from napari_foundseg.widgets.cluster.cluster_list import ClusterList
from napari_foundseg.widgets.cluster.fit_panel import FitPanel
from napari_foundseg.widgets.cluster.fit_preview import FitPreview
from napari_foundseg.widgets.cluster.reference_panel import ReferencePanel, painted_over
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.controls.rows import labelled, side_by_side
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.layer_conversion import current_index
from napari_foundseg.widgets.layers.result_layers import add_colours, add_labels, in_words
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.side_runs import Beside

__all__ = ["ClusterWidget"]

_SLICE, _WHOLE = "Current slice", "Whole image, all slices"
#: Settings that make other clusters, so that changes to the old ones mean nothing any more.
_OTHERS = {"n_clusters", "context", "seed", "probe"}
_MOST = 16


class ClusterWidget(TaskForm):
    """Fit, slide the number of clusters, merge, split and name them, turn one into objects.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    run_help = "Give every pixel of the chosen image a cluster (the result becomes a new layer)."

    def __init__(self, napari_viewer: Viewer) -> None:
        self._edits: tuple[Edit, ...] = ()
        self._objects_of: tuple[int, ...] = ()
        self._fit_layer: ImageLayer | None = None
        self._shown = ClusterLayer(napari_viewer)
        self._preview = FitPreview(napari_viewer)
        self._beside = Beside()
        super().__init__(napari_viewer, TASKS["cluster"])
        self._shown.clicked.connect(lambda number, more: self.clusters.select(number, more=more))
        self._beside.said.connect(self.words.setText)
        self._beside.failed.connect(self.fail)
        self._beside.busy.connect(self._offer_cancel)
        self._slide_to_form()

    # What the form consists of.

    def input_rows(self) -> list[QWidget]:
        """Return the fit, the slices and the number of clusters.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.fit = FitPanel(self._image_to_fit, self.fail)
        self.fit.fitted.connect(self._fitted)
        self.fit.kept.connect(self._adopt)
        self.fit.shown.connect(self._show_preview)
        self.fit.ended.connect(self._preview.drop)
        content = QFormLayout()
        content.setContentsMargins(12, 0, 0, 0)
        content.addRow(self.fit)
        self.fit_fold = Fold("Fit a model to images", content)
        self.region = QComboBox()
        self.region.addItems([_SLICE, _WHOLE])
        self.region.setAccessibleName("Region")
        self.region.setToolTip("Where to look. Clusters mean the same in every slice.")
        self.region.currentTextChanged.connect(self.update_estimate_soon)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(1, _MOST)
        self.slider.setAccessibleName("Number of clusters")
        self.slider.setToolTip("How many clusters. Another number needs no other fit.")
        self.slider.valueChanged.connect(self._slid)
        self.count = QLabel()
        self.count.setMinimumWidth(22)
        return [self.fit_fold, labelled("Region", self.region), labelled("Clusters", self.slider, self.count)]

    def result_rows(self) -> list[QWidget]:
        """Return the list of clusters, and what can be made of them.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.clusters = ClusterList()
        self.clusters.edited.connect(self._edit)
        self.clusters.undone.connect(self._undo)
        self.clusters.list.itemSelectionChanged.connect(self._offer)
        self.reference = ReferencePanel(self.viewer)
        self.reference.match_asked.connect(self._match)
        self.reference.learn_asked.connect(self._learn)
        self.view_button = QPushButton("Show features")
        self.view_button.setToolTip("What the model sees: its features as colours (first three principal components).")
        self.view_button.clicked.connect(self._view)
        self._result_part = [self.clusters, self._objects_row(), self._save_row(), self.reference]
        for part in self._result_part:
            part.hide()
        return [*self._result_part, self.view_button]

    def _objects_row(self) -> QWidget:
        self.objects_button = QPushButton("To objects")
        self.objects_button.setToolTip(
            "Make each connected part of the selected clusters an object, in a new layer. Without a selection: of all."
        )
        self.objects_button.clicked.connect(self._convert)
        self.refine_by = QComboBox()
        self.refine_by.addItems(["as they are", "drawn anew"])
        self.refine_by.setAccessibleName("Objects")
        self.refine_by.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.refine_by.setMinimumContentsLength(8)
        self.refine_by.setToolTip("Connected parts as they are, or each drawn anew by the promptable model.")
        return side_by_side(self.objects_button, self.refine_by)

    def _save_row(self) -> QWidget:
        self.name = QLineEdit()
        self.name.setPlaceholderText("name of the model")
        self.name.setAccessibleName("Name to save the clusters under")
        self.save_button = QPushButton("Save")
        self.save_button.setToolTip(
            "Save the clusters as they are now as a model: for other layers, recipes and batch."
        )
        self.save_button.clicked.connect(self._save)
        return side_by_side(self.name, self.save_button)

    # What is asked of the engine.

    def inputs(self, layer: ImageLayer, image: Image) -> Inputs:
        """Return the slice and the changes to the clusters.

        Parameters
        ----------
        layer : napari.layers.Image
            The chosen layer.
        image : Image
            The layer as an image.

        Returns
        -------
        ClusterInputs
            As the form stands.
        """
        return self.task.inputs.parse(
            {"index": self._index(layer, image), "edits": self._edits, "only": self._objects_of}
        )

    @property
    def settings(self) -> Settings:
        """The settings as the form stands; objects where they were asked for."""
        settings = super().settings
        if not self._objects_of:
            return settings
        by = default_model("prompt") if self.refine_by.currentIndex() == 1 else ""
        return settings.model_copy(update={"output": "objects", "refine_model": by})

    def deliver(self, layer: ImageLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Show clusters in the live layer, objects in a new one.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        run : Run
            The run.
        segmentation : Segmentation
            Its result.
        seconds : float
            How long it took.

        Returns
        -------
        str
            What was found.
        """
        if getattr(run.settings, "output", "") == "objects":
            names = [segmentation.classes.name_of(n) for n in getattr(run.inputs, "only", ())]
            add_labels(self.viewer, layer, run.image, segmentation, f"{layer.name} {' and '.join(names) or 'objects'}")
            return in_words(segmentation, run.image, seconds)
        self._shown.show(layer, run.image, segmentation)
        self.clusters.show_classes(segmentation.classes, segmentation.provenance.get("hidden", ()), bool(self._edits))
        for part in self._result_part:
            part.show()
        self._offer()
        said = segmentation.provenance.get("fallbacks", [])
        told = [f"{len(segmentation.classes)} clusters, {seconds:.1f} s", *(w for w in said if "clusters" in w)]
        return ". ".join(told)

    def setting_changed(self, name: str) -> None:
        """Cluster again, where there is a result already.

        Parameters
        ----------
        name : str
            The field.
        """
        super().setting_changed(name)
        if name in _OTHERS:
            self._edits = ()
        if name == "n_clusters":
            self._slide_to_form()
        if self._shown.is_of(self.image.layer):
            self._again()

    def cancel(self) -> None:
        """Stop the run, or what runs beside it; the window is idle at once."""
        self._beside.cancel()
        super().cancel()

    def release(self) -> None:
        """Let go of the viewer, the engine and the layers."""
        self.fit.release()
        self._preview.drop()
        self._shown.forget()
        self.reference.release()
        self._beside.cancel()
        super().release()

    # Clusters.

    def _again(self) -> None:
        self.run(replace="cluster")

    def _index(self, layer: ImageLayer, image: Image) -> tuple[int, ...] | None:
        return current_index(self.viewer, layer, image) if self.region.currentText() == _SLICE else None

    def _slid(self, value: int) -> None:
        self.count.setText(str(value))
        self.forms[self.method.currentText()].set_values({"n_clusters": value})

    def _slide_to_form(self) -> None:
        """Show the form's number of clusters on the slider; of a model's own number what it last gave."""
        form = self.forms.get(self.method.currentText())
        value = None if form is None else form.values()["n_clusters"]
        if value is None and self._shown.labels is not None:
            value = self.clusters.list.count()
        self.slider.blockSignals(True)
        self.slider.setValue(min(_MOST, value or 4))
        self.slider.blockSignals(False)
        self.count.setText(str(value) if value else "auto")

    def _edit(self, edit: Edit) -> None:
        self._edits = (*self._edits, edit)
        self._again()

    def _undo(self) -> None:
        self._edits = self._edits[:-1]
        self._again()

    def _offer(self) -> None:
        self.objects_button.setEnabled(self.clusters.list.count() > 0)
        fitted = self.method.currentText() == "stego"
        self.save_button.setEnabled(fitted)
        self.reference.learn_button.setEnabled(fitted)

    def _offer_cancel(self, busy: bool) -> None:
        self.cancel_button.setEnabled(busy or self.current is not None)

    def _change_method(self) -> None:
        super()._change_method()
        self._edits = ()
        if hasattr(self, "clusters"):
            self._slide_to_form()
            self._offer()

    def _change_model(self) -> None:
        self._edits = ()
        super()._change_model()
        self.fit.refresh()

    # Fits.

    def _image_to_fit(self) -> Image:
        image, self._fit_layer = self.chosen_image(), self.image.layer
        return image

    def _fitted(self, run: Run, segmentation: Segmentation) -> None:
        self._adopt(segmentation.provenance["fitted"]["model"])
        layer = self.image.layer
        if layer is not None and layer is self._fit_layer:
            self._job_layer = layer
            self.result.setText(self.deliver(layer, run, segmentation, 0.0))
            self._slide_to_form()
            self.result.show()
            # As the form stands: with the CRF, for instance.
            self._again()

    def _adopt(self, name: str) -> None:
        self.model.refresh(name)
        self.forms["stego"].set_values({"n_clusters": None})

    def _show_preview(self, image: Image, shown: dict[str, Any]) -> None:
        layer = self._fit_layer
        if layer in self.viewer.layers and layer is not None and self.fit.current is not None:
            self._preview.show(layer, image, shown)

    # What is made of clusters.

    def _convert(self) -> None:
        self._objects_of = self.clusters.selected or self.clusters.numbers
        self.run()
        self._objects_of = ()

    def _save(self) -> None:
        name = self.name.text().strip()
        if not name:
            self.messages["run"].say("Give the model a name, beside the button Save.")
            return

        def saved(run: Run, layer: ImageLayer, result: Segmentation) -> None:
            self.model.refresh(name)
            self.forms["stego"].set_values({"n_clusters": None})
            self._edits = ()
            self.result.setText(f"Saved as the model {name}. {self.deliver(layer, run, result, 0.0)}")

        self._do_beside("save_clusters", saved, lambda *_: {"edits": self._edits, "name": name})

    def _match(self) -> None:
        if self._shown.labels is not None:
            self.reference.compare(np.asarray(self._shown.labels.data), self.clusters.name_of)

    def _learn(self) -> None:
        def given(layer: ImageLayer, image: Image, index: tuple[int, ...] | None) -> dict[str, Any]:
            labels = self.reference.choice.layer
            if labels is None or labels is self._shown.labels:
                raise PromptError(
                    "Choose the Labels layer whose classes are to be learnt; the clusters themselves are none."
                )
            slices = list(image.indices()) if index is None else [index]
            return {"labels": painted_over(labels, layer, image, slices)}

        def learnt(run: Run, layer: ImageLayer, result: Segmentation) -> None:
            self.model.refresh(run.model)
            self.forms["stego"].set_values({"probe": "linear", "n_clusters": None})
            self._edits = ()
            self.result.setText(f"Learnt, and kept with {run.model}. {self.deliver(layer, run, result, 0.0)}")

        self._do_beside("learn_classes", learnt, given)

    def _view(self) -> None:
        def show(run: Run, layer: ImageLayer, result: Segmentation) -> None:
            add_colours(self.viewer, layer, run.image, result, f"{layer.name} features")

        self._do_beside("features", show)

    def _do_beside(
        self,
        name: str,
        use: Callable[[Run, ImageLayer, Segmentation], None],
        given: Callable[[ImageLayer, Image, tuple[int, ...] | None], dict[str, Any]] = lambda *_: {},
    ) -> None:
        """Run one of `tasks.SIDE_TASKS` on the chosen image; `given` returns its inputs besides the slice."""
        self._clear_messages()
        task = SIDE_TASKS[name]
        values = self.forms[self.method.currentText()].values()
        try:
            image, layer = self.chosen_image(), self.image.layer
            assert layer is not None
            index = self._index(layer, image)
            inputs = task.inputs.parse({"index": index, **given(layer, image, index)})
            method = task.method_for(row(str(self.model.currentData())).protocols)
            fields = task.methods[method].model_fields
            settings = task.settings(method, {name: value for name, value in values.items() if name in fields})
        except FoundsegError as error:
            self.fail(error)
            return
        run = Run(name, image, inputs, settings, str(self.model.currentData()))
        self._beside.start(run, lambda result: use(run, layer, result))

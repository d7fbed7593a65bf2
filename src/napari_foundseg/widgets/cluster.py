"""The dock widget *Cluster*: classes that nobody has named yet, from a fit to the person's own images."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QLineEdit, QPushButton, QSlider, QWidget

from napari_foundseg.core.classes import ClassTable
from napari_foundseg.core.clusters import Edit
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.matching import Match, match
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import default_model
from napari_foundseg.tasks import FITS, TASKS, Inputs, Settings
from napari_foundseg.widgets.cluster_list import ClusterList
from napari_foundseg.widgets.fit_panel import FitPanel
from napari_foundseg.widgets.forms import Fold
from napari_foundseg.widgets.jobs import Run
from napari_foundseg.widgets.layer_choice import TOOL, LayerChoice
from napari_foundseg.widgets.layers import current_index
from napari_foundseg.widgets.live import Latest
from napari_foundseg.widgets.overlay import Overlay
from napari_foundseg.widgets.results import add_labels, in_words, object_features, unique_name
from napari_foundseg.widgets.rows import labelled, quiet_label, side_by_side
from napari_foundseg.widgets.task_form import TaskForm

__all__ = ["ClusterWidget"]

_SLICE, _WHOLE = "Current slice", "Whole image, all slices"
#: Settings that make other clusters, so that changes to the old ones mean nothing any more.
_OTHERS = {"n_clusters", "context", "seed", "probe"}
_MOST = 16
_PREVIEW = "fit preview"


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
        self._live: tuple[Labels, ImageLayer] | None = None
        self._preview: Labels | None = None
        self._others: list[Run] = []
        self._latest = Latest()
        super().__init__(napari_viewer, TASKS["cluster"])
        self._latest.done.connect(self._show_match)
        self._slide_to_form()

    # What the form consists of.

    def input_rows(self) -> list[QWidget]:
        """Return the fit, the slices and the number of clusters.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.fit = FitPanel(self.chosen_image, self.fail)
        self.fit.fitted.connect(self._fitted)
        self.fit.kept.connect(self._adopt)
        self.fit.shown.connect(self._show_preview)
        self.fit.ended.connect(self._drop_preview)
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
        self.objects_button = QPushButton("To objects")
        self.objects_button.setToolTip(
            "Make each connected part of the selected clusters an object, in a new layer. Without a selection: of all."
        )
        self.objects_button.clicked.connect(self._convert)
        self.refine_by = QComboBox()
        self.refine_by.addItems(["as they are", "each refined by a prompt"])
        self.refine_by.setAccessibleName("Objects")
        self.refine_by.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.refine_by.setMinimumContentsLength(8)
        self.refine_by.setToolTip("Connected parts as they are, or each given as a box to the promptable model.")
        self.name = QLineEdit()
        self.name.setPlaceholderText("name of the model")
        self.name.setAccessibleName("Name to save the clusters under")
        self.save_button = QPushButton("Save")
        self.save_button.setToolTip(
            "Save the clusters as they are now as a model: for other layers, recipes and batch."
        )
        self.save_button.clicked.connect(self._save)
        self.reference = LayerChoice(
            self.viewer, Labels, "Labels to compare with: each class is matched to one cluster.", follow=False
        )
        self.match_button = QPushButton("Match")
        self.match_button.setToolTip(
            "How well the clusters fit these labels: best one-to-one match (Hungarian method)."
        )
        self.match_button.clicked.connect(self._match)
        self.match_words = quiet_label("")
        self.view_button = QPushButton("Show features")
        self.view_button.setToolTip("What the model sees: its features as colours (first three principal components).")
        self.view_button.clicked.connect(self._view)
        self._result_part = [
            self.clusters,
            side_by_side(self.objects_button, self.refine_by),
            side_by_side(self.name, self.save_button),
            side_by_side(self.reference, self.match_button),
        ]
        for part in self._result_part:
            part.hide()
        self.match_words.hide()
        return [*self._result_part, self.match_words, self.view_button]

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
        return settings.model_copy(update={"output": "objects"}) if self._objects_of else settings

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
            if self.refine_by.currentIndex() == 1 and len(segmentation):
                self._refine(layer, run.image, segmentation)
            return in_words(segmentation, run.image, seconds)
        self._show_clusters(layer, run.image, segmentation)
        self.clusters.show_classes(segmentation.classes, self._hidden(segmentation), bool(self._edits))
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
        if self._is_live():
            self._again()

    def release(self) -> None:
        """Let go of the viewer, the engine and the layers."""
        self.fit.release()
        self._drop_preview()
        self._forget_live()
        self.reference.disconnect_viewer()
        for run in self._others:
            run.cancel()
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
        if value is None and self._live is not None:
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

    def _hidden(self, segmentation: Segmentation) -> set[int]:
        return set(segmentation.provenance.get("hidden", ()))

    def _offer(self) -> None:
        self.objects_button.setEnabled(self.clusters.list.count() > 0)
        self.save_button.setEnabled(self.method.currentText() == "stego")

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

    # The live layer.

    def _is_live(self) -> bool:
        if self._live is None:
            return False
        labels, layer = self._live
        return labels in self.viewer.layers and layer is self.image.layer

    def _show_clusters(self, layer: ImageLayer, image: Image, found: Segmentation) -> None:
        colours = _colours(found.classes)
        if self._is_live() and self._live is not None and self._live[1] is layer and not self._edited:
            labels = self._live[0]
            self._writing = True
            labels.data = Overlay(layer, image).expanded(found.labels)
            labels.features = object_features(found)
            labels.metadata = {**labels.metadata, "foundseg": dict(found.provenance)}
            self._writing = False
        else:
            self._forget_live()
            labels = add_labels(self.viewer, layer, image, found, f"{layer.name} clusters")
            self._live, self._edited, self._writing = (labels, layer), False, False
            labels.mouse_drag_callbacks.append(self._clicked)
            labels.events.paint.connect(self._mark_edited)
            labels.events.labels_update.connect(self._mark_edited)
        labels.colormap = colours

    _edited = _writing = False

    def _mark_edited(self, _event: Any = None) -> None:
        self._edited |= not self._writing

    def _forget_live(self) -> None:
        if self._live is not None:
            labels = self._live[0]
            labels.events.paint.disconnect(self._mark_edited)
            labels.events.labels_update.disconnect(self._mark_edited)
            labels.mouse_drag_callbacks.remove(self._clicked)
            self._live = None

    def _clicked(self, layer: Labels, event: Any) -> Any:
        """Select the cluster under a click that is no drag."""
        if layer.mode != "pan_zoom":
            return
        start = np.array(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos, float) - start).max() > 4:
            return
        value = layer.get_value(event.position, view_direction=event.view_direction,
                                dims_displayed=list(event.dims_displayed), world=True)  # fmt: skip
        if value:
            self.clusters.select(int(value), more="Control" in event.modifiers or "Shift" in event.modifiers)

    # Fits.

    def _fitted(self, run: Run, segmentation: Segmentation) -> None:
        name = segmentation.provenance["fitted"]["model"]
        self.model.refresh(name)
        self.forms["stego"].set_values({"n_clusters": None})
        layer = self.image.layer
        if layer is not None:
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
        layer = self.image.layer
        if layer is None or self.fit.current is None:
            return
        cells = np.frombuffer(shown["preview"], np.uint8).reshape(shown["shape"])
        y0, x0, y1, x1 = shown["box"]
        side = shown["stride"]
        plane = np.kron(cells, np.ones((side, side), np.uint8))[: y1 - y0 + 1, : x1 - x0 + 1]
        whole = np.zeros(image.shape, np.uint8)
        plane_view(whole, image.label_axes, tuple(shown["index"]))[y0 : y1 + 1, x0 : x1 + 1] = plane
        overlay = Overlay(layer, image)
        if self._preview is not None and self._preview in self.viewer.layers:
            self._preview.data = overlay.expanded(whole)
            return
        active = self.viewer.layers.selection.active
        self._preview = Labels(
            overlay.expanded(whole), name=unique_name(self.viewer.layers, _PREVIEW), metadata={TOOL: True},
            opacity=0.5, **overlay.transforms,
        )  # fmt: skip
        self.viewer.add_layer(self._preview)
        self.viewer.layers.selection.active = active

    def _drop_preview(self) -> None:
        if self._preview is not None and self._preview in self.viewer.layers:
            self.viewer.layers.remove(self._preview)
        self._preview = None

    # What is made of clusters.

    def _convert(self) -> None:
        self._objects_of = self.clusters.selected or self.clusters.numbers
        self.run()
        self._objects_of = ()

    def _refine(self, layer: ImageLayer, image: Image, found: Segmentation) -> None:
        """Give each object's box to the promptable model."""
        prompts = []
        slices = [axis for axis in image.label_axes if axis not in "YX"]
        for row in found.table.to_dict("records"):
            at = [float(row[axis.lower()]) for axis in slices]
            prompts.append(Prompt(box=[*at, row["y0"], row["x0"], *at, row["y1"], row["x1"]]))
        task = TASKS["prompt"]
        inputs, settings = task.inputs.parse({"prompts": tuple(prompts)}), task.settings("sam", {})
        run = Run("prompt", image, inputs, settings, default_model("prompt"))
        self._beside(run, lambda result: add_labels(self.viewer, layer, image, result, f"{layer.name} refined"))

    def _save(self) -> None:
        name = self.name.text().strip()
        if not name:
            self.messages["run"].say("Give the model a name, beside the button Save.")
            return
        image, layer = self.chosen_image(), self.image.layer
        assert layer is not None
        task = FITS["save_clusters"]
        inputs = task.inputs.parse({"index": self._index(layer, image), "edits": self._edits, "name": name})
        settings = task.settings("stego", self.forms["stego"].values())
        run = Run("save_clusters", image, inputs, settings, str(self.model.currentData()))

        def saved(result: Segmentation) -> None:
            self.model.refresh(name)
            self.forms["stego"].set_values({"n_clusters": None})
            self._edits = ()
            self.result.setText(f"Saved as the model {name}. {self.deliver(layer, run, result, 0.0)}")

        self._beside(run, saved)

    def _match(self) -> None:
        reference = self.reference.layer
        if self._live is None or reference is None:
            return
        clusters, given = np.asarray(self._live[0].data), reference.data
        if clusters.shape != np.shape(given):
            self._say_match(f"The labels have shape {np.shape(given)}, the clusters {clusters.shape}.")
            return
        self._latest.ask(lambda: match(clusters, np.asarray(given)))

    def _show_match(self, number: int, found: Match | Exception) -> None:
        if number != self._latest.number:
            return
        if isinstance(found, Exception):
            self._say_match(str(found))
            return
        pairs = ", ".join(f"{self.clusters.name_of(c)} = {k}" for c, k in sorted(found.pairs.items()))
        self._say_match(f"Accuracy {found.accuracy:.3f}, mIoU {found.mean_iou:.3f} ({pairs})")

    def _say_match(self, words: str) -> None:
        self.match_words.setText(words)
        self.match_words.show()

    def _view(self) -> None:
        image, layer = self.chosen_image(), self.image.layer
        assert layer is not None
        index = current_index(self.viewer, layer, image)
        context = self.forms[self.method.currentText()].values().get("context", 0)
        task = FITS["features"]
        run = Run("features", image, task.inputs.parse({"index": index}), task.settings(
            "components", {"context": context}), str(self.model.currentData()))  # fmt: skip

        def show(result: Segmentation) -> None:
            assert result.maps is not None
            overlay = Overlay(layer, image)
            channels = []
            for colour in range(3):
                whole = np.zeros(image.shape, np.uint8)
                for at, found in result.maps.items():
                    plane_view(whole, image.label_axes, at)[:] = found[colour]
                channels.append(overlay.expanded(whole))
            name = unique_name(self.viewer.layers, f"{layer.name} features")
            self.viewer.add_image(np.stack(channels, -1), name=name, rgb=True, **overlay.transforms)

        self._beside(run, show)

    def _beside(self, run: Run, use: Any) -> None:
        """Run something beside the form's own run, and use its result."""
        started = time.perf_counter()

        def end(ended: Run, job: Any) -> None:
            if ended not in self._others:
                return
            self._others.remove(ended)
            if job.state == "done":
                use(job.result)
                self.words.setText(f"done in {time.perf_counter() - started:.1f} s")
            elif job.state == "failed":
                self.fail(job.error)

        self._others.append(run)
        self._clear_messages()
        self.words.setText("working")
        self._ends = {**getattr(self, "_ends", {}), run: end}
        run.ended.connect(self._end_beside, Qt.ConnectionType.QueuedConnection)
        run.start()

    def _end_beside(self, run: Run, job: Any) -> None:
        end = self._ends.pop(run, None)
        if end is not None:
            end(run, job)


def _colours(classes: ClassTable) -> DirectLabelColormap:
    colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    colours |= {row.id: row.colour for row in classes}
    return DirectLabelColormap(color_dict=colours)

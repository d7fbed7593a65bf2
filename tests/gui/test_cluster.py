"""*Cluster* in a real window, by clicks; what the engine would run is run on the spot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import Qt

from napari_foundseg.core.classes.class_table import class_colour
from napari_foundseg.core.errors import EngineError
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import find_task
from napari_foundseg.widgets.cluster.cluster_dock import ClusterWidget
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.editing.layer_file import unsaved_layers

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def docked(viewer: Any) -> Any:
    form = ClusterWidget(viewer)
    viewer.window.add_dock_widget(form, name="Cluster")
    return form


def picture(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 40, (96, 128)).astype(np.uint8)
    image[16:64, 16:56] += 100
    image[40:90, 72:120] = (image[40:90, 72:120] + 200 * (np.indices((50, 48)).sum(0) % 8 < 4)).clip(0, 255)
    return image


@pytest.fixture
def on_the_spot(engine: Any) -> Any:
    def answer(job: Any) -> Any:
        request = job.request
        image, inputs, settings, model = request.image, request.inputs, request.settings, request.model
        task = find_task(job.task)
        loaded = load_model(model, protocol=task.protocols[settings.method])
        return task.run(image, inputs, settings, loaded, job.progress or (lambda *_: None))

    engine.answer = answer
    return engine


def quick_fit(form: Any, name: str) -> None:
    form.fit.form.set_values({"steps": 12, "batch_size": 8, "feature_samples": 5, "n_clusters": 3, "dim": 8})
    form.fit.name.setText(name)


def test_fit_slide_merge_rename_convert_save_and_apply(qtbot: Any, viewer: Any, on_the_spot: Any) -> None:
    layer = viewer.add_image(picture(), name="one", scale=(0.5, 0.5))
    form = docked(viewer)
    form.fit_fold.button.setChecked(True)
    quick_fit(form, "mine")
    form.forms["stego"].set_values({"crf": False})
    click(qtbot, form.fit.fit_button)
    qtbot.waitUntil(lambda: "one clusters" in viewer.layers, timeout=60_000)
    labels = viewer.layers["one clusters"]
    np.testing.assert_allclose(labels.scale, layer.scale)
    assert form.model.currentData() == "mine"
    assert len(form.fit.curve.values) == 12
    assert "fit preview" not in viewer.layers
    assert form.clusters.list.count() == 3
    shown = [labels.get_color(number) for number in (1, 2, 3)]
    expected = [transform_color(class_colour(number))[0] for number in (1, 2, 3)]
    np.testing.assert_allclose(shown, expected, atol=0.01)

    # Another number of clusters, without another fit, in the same layer.
    fits = sum(job.task == "fit_stego" for job in on_the_spot.jobs)
    form.slider.setValue(4)
    qtbot.waitUntil(lambda: form.clusters.list.count() == 4, timeout=60_000)
    assert viewer.layers["one clusters"] is labels
    assert set(np.unique(labels.data)) == {1, 2, 3, 4}
    assert sum(job.task == "fit_stego" for job in on_the_spot.jobs) == fits

    # Merge two.
    before = labels.data.copy()
    form.clusters.select(2)
    form.clusters.select(3, more=True)
    click(qtbot, form.clusters.merge)
    qtbot.waitUntil(lambda: form.clusters.list.count() == 3, timeout=60_000)
    np.testing.assert_array_equal(labels.data, np.where(before == 3, 2, before))

    # Rename by typing, hide by the box, and take that back.
    item = form.clusters.list.item(1)
    item.setText("stripes")
    qtbot.waitUntil(lambda: form.clusters.list.item(1).text() == "stripes" and form.current is None)
    form.clusters.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    qtbot.waitUntil(lambda: 1 not in labels.data, timeout=60_000)
    click(qtbot, form.clusters.undo)
    qtbot.waitUntil(lambda: 1 in labels.data, timeout=60_000)

    # One becomes objects.
    form.clusters.select(2)
    click(qtbot, form.objects_button)
    qtbot.waitUntil(lambda: "one stripes" in viewer.layers, timeout=60_000)
    objects = viewer.layers["one stripes"].data
    np.testing.assert_array_equal(objects > 0, labels.data == 2)

    # Save, and apply to another layer.
    form.name.setText("named")
    click(qtbot, form.save_button)
    qtbot.waitUntil(lambda: form.model.currentData() == "named", timeout=60_000)
    assert catalog()["named"].classes == ("cluster 1", "stripes", "cluster 4")
    saved = labels.data.copy()
    other = viewer.add_image(picture(1), name="two")
    # The clusters of the saved model are computed first; Run is disabled meanwhile.
    qtbot.waitUntil(lambda: form.image.layer is other and form.run_button.isEnabled(), timeout=60_000)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "two clusters" in viewer.layers, timeout=60_000)
    assert [form.clusters.list.item(i).text() for i in range(3)] == ["cluster 1", "stripes", "cluster 4"]
    np.testing.assert_array_equal(viewer.layers["one clusters"].data, saved)
    form.reference.choice.combo.setCurrentText("two clusters")
    click(qtbot, form.reference.match_button)
    qtbot.waitUntil(lambda: "Accuracy 1.000" in form.reference.words.text(), timeout=30_000)

    # What the fitted model sees.
    click(qtbot, form.view_button)
    qtbot.waitUntil(lambda: "two features" in viewer.layers, timeout=60_000)
    assert viewer.layers["two features"].data.shape == (96, 128, 3)
    viewer.layers.selection.active = other

    # Learn classes from strokes on a layer of another scale.
    strokes = np.zeros((48, 64), np.uint8)
    strokes[2:4, 4:40], strokes[12:28, 12:26] = 3, 5
    painted = viewer.add_labels(strokes, name="strokes", scale=(2, 2), translate=(0.5, 0.5))
    qtbot.waitUntil(lambda: form.reference.choice.combo.findText("strokes") >= 0)
    form.reference.choice.show_layer(painted)
    click(qtbot, form.reference.learn_button)
    qtbot.waitUntil(lambda: form.forms["stego"].values()["probe"] == "linear" and form.current is None, timeout=60_000)
    qtbot.waitUntil(lambda: [item.text() for item in form.clusters.items()] == ["class 3", "class 5"], timeout=60_000)
    learnt = viewer.layers["two clusters"].data
    assert (learnt[4:8, 8:80] == 1).mean() > 0.8
    assert (learnt[24:56, 24:52] == 2).mean() > 0.8


def test_a_click_on_the_image_selects_its_cluster(qtbot: Any, viewer: Any, on_the_spot: Any, canvas: Any) -> None:
    viewer.add_image(picture(), name="one")
    form = docked(viewer)
    form.forms["kmeans"].set_values({"n_clusters": 3, "crf": False})
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "one clusters" in viewer.layers, timeout=60_000)
    labels = viewer.layers["one clusters"]
    viewer.layers.selection.active = labels
    for place in ((8, 8), (40, 36)):
        canvas.click(labels, place)
        number = int(labels.data[place])
        qtbot.waitUntil(lambda number=number: form.clusters.selected == (number,))
    assert not form.save_button.isEnabled()


def test_clusters_and_their_objects_are_saved_and_asked_about(qtbot: Any, viewer: Any, on_the_spot: Any) -> None:
    viewer.add_image(picture(), name="one")
    form = docked(viewer)
    form.forms[form.method_name].set_values({"crf": False})
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "one clusters" in viewer.layers, timeout=60_000)
    clusters = viewer.layers["one clusters"]
    assert form.saving.button.isVisible()
    assert form.saving.layer is clusters
    assert form.saving.state.text() == "not saved yet"
    assert not form.saving_objects.isVisible()
    click(qtbot, form.objects_button)
    qtbot.waitUntil(form.saving_objects.isVisible, timeout=60_000)
    objects = viewer.layers[-1]
    assert form.saving_objects.layer is objects
    assert unsaved_layers(viewer.layers) == [clusters, objects]
    viewer.layers.remove(clusters)
    assert not form.saving.button.isEnabled()
    assert form.saving_objects.button.isEnabled()


def test_features_are_shown_as_colours(qtbot: Any, viewer: Any, on_the_spot: Any) -> None:
    viewer.add_image(picture(), name="one")
    form = docked(viewer)
    click(qtbot, form.view_button)
    qtbot.waitUntil(lambda: "one features" in viewer.layers, timeout=60_000)
    assert viewer.layers["one features"].data.shape == (96, 128, 3)
    assert form.image.layer is viewer.layers["one"], "what is shown is not the next image"


def test_what_runs_beside_is_cancelled_and_fails_in_words(qtbot: Any, viewer: Any, engine: Any) -> None:
    viewer.add_image(picture(), name="one")
    form = docked(viewer)
    click(qtbot, form.view_button)
    assert form.words.text() == "working"
    assert form.cancel_button.isEnabled()
    click(qtbot, form.cancel_button)
    assert engine.jobs[-1].state == "cancelled"
    assert not form.cancel_button.isEnabled()
    assert form.words.text() == "cancelled"
    click(qtbot, form.view_button)
    engine.jobs[-1].fail(EngineError("The engine was stopped."))
    qtbot.waitUntil(lambda: "stopped" in form.messages["run"].text())
    assert form.words.text() != "working"
    viewer.layers.clear()
    click(qtbot, form.view_button)
    assert form.messages["image"].text()


def test_a_fit_shows_a_preview_and_is_cancelled_at_once(qtbot: Any, viewer: Any, engine: Any) -> None:
    viewer.add_image(picture(), name="one")
    form = docked(viewer)
    form.fit_fold.button.setChecked(True)
    click(qtbot, form.fit.fit_button)
    job = engine.jobs[-1]
    shown = {"loss": [0.2, 0.1], "shape": [24, 32], "preview": bytes(24 * 32), "stride": 4, "index": [],
             "box": [0, 0, 95, 127]}  # fmt: skip
    job.progress(0.5, "step 2 of 400, loss 0.100", shown)
    qtbot.waitUntil(lambda: "fit preview" in viewer.layers)
    preview = viewer.layers["fit preview"]
    assert preview.data.shape == (24, 32)
    # A cell over four pixels by four.
    np.testing.assert_allclose(preview.data_to_world((0, 0)), (1.5, 1.5))
    np.testing.assert_allclose(preview.data_to_world((1, 2)), (5.5, 9.5))
    assert form.fit.words.text().startswith("step 2")
    click(qtbot, form.fit.cancel_button)
    assert job.state == "cancelled"
    assert form.fit.fit_button.isEnabled()
    assert "fit preview" not in viewer.layers
    qtbot.waitUntil(lambda: "before there was a model to save" in form.fit.words.text(), timeout=20_000)
    click(qtbot, form.fit.fit_button)
    engine.jobs[-1].fail(EngineError("The engine was stopped."))
    qtbot.waitUntil(lambda: "stopped" in form.messages["run"].text())


def test_the_form_fits_a_320_pixel_dock(qtbot: Any, viewer: Any, on_the_spot: Any) -> None:
    viewer.add_image(picture(), name="an image with a rather long name")
    form = docked(viewer)
    form.forms["kmeans"].set_values({"crf": False})
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: form.clusters.list.count() == 4, timeout=60_000)
    for fold in form.findChildren(Fold):
        fold.button.setChecked(True)
    form.resize(320, 300)
    assert form.widget().minimumSizeHint().width() <= form.minimumWidth() - form.verticalScrollBar().sizeHint().width()


def test_a_fit_that_brings_nothing_says_so_and_offers_the_method_without_a_fit(
    qtbot: Any, viewer: Any, on_the_spot: Any
) -> None:
    rng = np.random.default_rng(3)
    stripes = np.indices((96, 128)).sum(0) % 8 < 4
    image = np.where(np.arange(128) < 90, rng.integers(40, 60, (96, 128)), 60 + 160 * stripes).astype(np.uint8)
    viewer.add_image(image, name="two")
    form = docked(viewer)
    form.fit_fold.button.setChecked(True)
    quick_fit(form, "useless")
    form.fit.form.set_values({"n_clusters": 2, "context": 16})
    form.forms["stego"].set_values({"crf": False})
    click(qtbot, form.fit.fit_button)
    qtbot.waitUntil(lambda: form.fit.plain_button.isVisible(), timeout=60_000)
    assert "the fit brings nothing on these images" in form.fit.words.text()
    assert form.fit.plain_button.text() == "Use Spherical k-means instead"
    jobs = len(on_the_spot.jobs)
    click(qtbot, form.fit.plain_button)
    qtbot.waitUntil(lambda: len(on_the_spot.jobs) > jobs and form.current is None, timeout=60_000)
    request = on_the_spot.jobs[-1].request
    assert (request.model, request.settings.method) == ("foundseg-tiny", "spherical")
    assert (request.settings.n_clusters, request.settings.context) == (2, 16)
    assert form.clusters.list.count() == 2

"""Tracks in a real window: of labels that are there, edited, exported, and of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels, Tracks
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

import napari_foundseg as fs
from napari_foundseg.widgets.layers.object_features import indexed_features
from napari_foundseg.widgets.layers.result_layers import object_features
from napari_foundseg.widgets.tracks.track_dock import TrackWidget
from napari_foundseg.widgets.tracks.tracks_layer import show_result_tracks, tracks_layer_of
from tests.support.drawn_films import Film, draw_film
from tests.support.waits import wait_for_posted

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(scope="module")
def film() -> Film:
    return draw_film(8, 8, 2, 5.0, seed=4, side=128)


def open_form(viewer: Any) -> TrackWidget:
    form = TrackWidget(viewer)
    viewer.window.add_dock_widget(form, name="Track objects")
    return form


def add_film(viewer: Any, film: Film, **named: Any) -> Labels:
    layer: Labels = viewer.add_labels(film.truth.copy(), name="cells", scale=(60.0, 0.5, 0.5), **named)
    return layer


def track(qtbot: Any, viewer: Any, form: TrackWidget) -> tuple[Labels, Tracks]:
    before = set(viewer.layers)
    qtbot.mouseClick(form.run_button, LEFT)
    qtbot.waitUntil(lambda: any(isinstance(layer, Tracks) for layer in set(viewer.layers) - before))
    new = set(viewer.layers) - before
    [tracks] = [layer for layer in new if isinstance(layer, Tracks)]
    [labels] = [layer for layer in new if isinstance(layer, Labels)]
    return labels, tracks


def test_labels_become_tracks_with_lines_and_parents(qtbot: Any, viewer: Any, film: Film) -> None:
    layer = add_film(viewer, film, units=("s", "um", "um"))
    form = open_form(viewer)
    assert form.time.currentText() == "axis 0 (8)"
    assert not form.export.button.isEnabled()
    labels, tracks = track(qtbot, viewer, form)
    assert np.array_equal(layer.data, film.truth), "the labels that were tracked are not changed"
    assert "2 divisions" in form.result.text()
    assert "found from the film" in form.result.text()
    table = indexed_features(labels).set_index("index")
    parents = {int(child): int(mother) for child, mother in table["parent"].items() if mother}
    assert {child: [mother] for child, mother in parents.items()} == {
        int(child): [int(p) for p in mothers] for child, mothers in tracks.graph.items()
    }
    assert len(parents) == 4
    assert labels.axis_labels == ("t", "y", "x")
    np.testing.assert_array_equal(tracks.scale, layer.scale)
    assert tracks.units == layer.units
    # Lines go through the objects, in the world.
    for row in tracks.data[::9]:
        rows, columns = np.nonzero(labels.data[int(row[1])] == row[0])
        world = tracks.data_to_world(row[1:])
        np.testing.assert_allclose(world, [60 * row[1], 0.5 * rows.mean(), 0.5 * columns.mean()], atol=1e-6)
    sizes = [(labels.data[int(row[1])] == row[0]).sum() for row in tracks.data]
    assert tracks.features["area"].tolist() == sizes
    assert viewer.layers.selection.active is labels


def test_edits_keep_ids_and_the_tracks_are_drawn_again(qtbot: Any, viewer: Any, film: Film) -> None:
    add_film(viewer, film)
    form = open_form(viewer)
    labels, tracks = track(qtbot, viewer, form)
    before = tracks.data.copy()
    child, (mother,) = next(iter(tracks.graph.items()))
    alone = next(label for label in np.unique(labels.data[0]) if label and label not in (child, mother))
    data = labels.data.copy()
    data[data == mother] = 0
    data[3][data[3] == alone] = 0
    labels.data = data
    qtbot.mouseClick(form.update_button, LEFT)
    qtbot.waitUntil(lambda: "as the labels are now" in form.result.text())
    assert tracks_layer_of(viewer, labels) is tracks
    assert len(tracks.data) < len(before)
    kept = tracks.data[(tracks.data[:, 0] != mother) & (tracks.data[:, 0] != alone)]
    assert np.array_equal(kept, before[(before[:, 0] != mother) & (before[:, 0] != alone)])
    assert child not in tracks.graph
    assert f"Track {child} comes from track {mother}, which is not there any more" in form.notes.text()
    here = tracks.data[:, 0] == alone
    assert tracks.features["missed"][here].tolist().count(1) == 1
    table = indexed_features(labels).set_index("index")
    assert table["parent"][child] == 0


@pytest.mark.parametrize(
    ("kind", "name"), [("GEFF (*.geff)", "a.geff"), ("Cell Tracking Challenge: a folder (*)", "RES")]
)
def test_tracks_are_exported_where_the_user_says(
    qtbot: Any, viewer: Any, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    add_film(viewer, film, units=("s", "um", "um"))
    form = open_form(viewer)
    track(qtbot, viewer, form)
    typed = tmp_path / ("a" if name == "a.geff" else "RES.geff")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_a, **_k: (str(typed), kind))
    qtbot.mouseClick(form.export.button, LEFT)
    qtbot.waitUntil(lambda: form.export.state.text().startswith("Exported"))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("cache")] == [name]
    if name == "RES":
        assert len(list((tmp_path / "RES").glob("mask*.tif"))) == 8
        assert (tmp_path / "RES" / "res_track.txt").exists()
    # A folder of the user's is kept.
    (tmp_path / name / "mine.txt").write_text("mine")
    qtbot.mouseClick(form.export.button, LEFT)
    assert "was kept" in form.export.message.text()
    assert (tmp_path / name / "mine.txt").exists()


def test_a_depth_is_not_taken_for_time_unasked(qtbot: Any, viewer: Any, film: Film) -> None:
    add_film(viewer, film, axis_labels=("z", "y", "x"))
    form = open_form(viewer)
    qtbot.mouseClick(form.run_button, LEFT)
    assert "Which axis" in form.messages["image"].text() + form.messages["run"].text()
    assert len(viewer.layers) == 1
    form.time.setCurrentIndex(1)
    labels, _ = track(qtbot, viewer, form)
    assert labels.axis_labels == ("t", "y", "x")


def test_an_image_without_slices_says_so(qtbot: Any, viewer: Any) -> None:
    form = open_form(viewer)
    assert not form.run_button.isEnabled()
    viewer.add_labels(np.zeros((8, 8), np.uint8), name="plane")
    assert not form.run_button.isEnabled()
    assert "no slices" in form.run_button.toolTip()


def test_volumes_with_time_are_tracked(qtbot: Any, viewer: Any) -> None:
    film = np.zeros((4, 5, 40, 40), np.uint16)
    for t in range(4):
        film[t, 1:4, 10:20, 5 + 4 * t : 15 + 4 * t] = 1 + t
    viewer.add_labels(film, name="cells", scale=(1, 2, 0.5, 0.5), axis_labels=("t", "z", "y", "x"))
    form = open_form(viewer)
    assert form.time.currentText() == "T (4)"
    labels, tracks = track(qtbot, viewer, form)
    assert np.unique(labels.data).tolist() == [0, 1]
    np.testing.assert_allclose(tracks.data[:, 1:3], [[t, 2] for t in range(4)])


def test_tracks_are_saved_and_opened_again_with_their_parents(
    qtbot: Any, viewer: Any, film: Film, tmp_path: Path
) -> None:
    from napari_foundseg.widgets.editing.label_saving import saving

    add_film(viewer, film)
    form = open_form(viewer)
    labels, _ = track(qtbot, viewer, form)
    saving(labels, tmp_path / "tracks_labels.ome.tif")()
    viewer.layers.clear()
    [opened] = viewer.open(tmp_path / "tracks_labels.ome.tif", plugin="napari-foundseg", layer_type="labels")
    form.labels.show_layer(opened)
    assert form.time.currentText() == "T (8)"
    assert form.export.button.isEnabled()
    qtbot.mouseClick(form.update_button, LEFT)
    qtbot.waitUntil(lambda: "2 divisions, 0 gaps, as the labels are now" in form.result.text())
    shown = tracks_layer_of(viewer, opened)
    assert shown is not None
    assert len(shown.graph) == 4


def test_cancel_changes_nothing_and_leaves_the_form_ready(qtbot: Any, viewer: Any, film: Film) -> None:
    add_film(viewer, film)
    form = open_form(viewer)
    qtbot.mouseClick(form.run_button, LEFT)
    qtbot.mouseClick(form.cancel_button, LEFT)
    assert form.result.text() == "Cancelled; no layer was changed."
    assert form.run_button.isEnabled()
    wait_for_posted(qtbot)
    assert len(viewer.layers) == 1
    track(qtbot, viewer, form)


def test_a_result_whose_axes_were_named_in_the_form_has_lines_too(qtbot: Any, viewer: Any, film: Film) -> None:
    found = fs.track(film.truth)
    layer = viewer.add_labels(found.labels, features=object_features(found), name="cells")
    show_result_tracks(viewer, layer, found)
    qtbot.waitUntil(lambda: tracks_layer_of(viewer, layer) is not None)
    tracks = tracks_layer_of(viewer, layer)
    assert tracks is not None
    for row in tracks.data[::9]:
        rows, columns = np.nonzero(found.labels[int(row[1])] == row[0])
        np.testing.assert_allclose(row[2:], [rows.mean(), columns.mean()])
    show_result_tracks(viewer, layer, fs.Segmentation(found.labels, found.table.drop(columns="parent")))
    assert tracks_layer_of(viewer, layer) is None

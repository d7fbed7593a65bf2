"""Clusters and fits, on an extractor whose features are the picture's own colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.core.clusters.cluster_matching import match_clusters
from napari_foundseg.core.clusters.clusters import Edit
from napari_foundseg.core.errors import AxesError, BadImageError, Cancelled, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import TASKS, cluster
from napari_foundseg.tasks.side_tasks import fit_stego
from napari_foundseg.tasks.side_tasks.fit_settings import FitSettings
from napari_foundseg.tasks.windows.features import enlarged, feature_rgb, feature_windows, features_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))


class Colours:
    """Features are the mean colour, and its square, of squares of 4 pixels."""

    name, key, device, window = "foundseg-tiny", "colours@0", "cpu", 64
    features_window, feature_stride, feature_offset, feature_margin = 64, 4, 1.5, 8

    def features(self, rgb: Any) -> Any:
        height, width = -(-rgb.shape[0] // 4), -(-rgb.shape[1] // 4)
        padded = np.pad(rgb, ((0, 4 * height - rgb.shape[0]), (0, 4 * width - rgb.shape[1]), (0, 0)), mode="edge")
        mean = padded.reshape(height, 4, width, 4, 3).mean((1, 3)) / 255
        return np.moveaxis(np.concatenate([mean, mean**2], -1), -1, 0).astype(np.float16)


def _scene(seed: int = 0, shape: tuple[int, int] = (120, 150)) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, int)
    truth[20:80, 30:100] = 1
    truth[70:, 100:] = 2
    colours = np.array([[40, 60, 80], [200, 60, 60], [60, 200, 90]])[truth]
    return np.clip(colours + rng.normal(0, 8, (*shape, 3)), 0, 255).astype(np.uint8), truth


def _run(image: Any, method: str = "kmeans", inputs: Any = None, **settings: Any) -> Any:
    task = TASKS["cluster"]
    given = image if isinstance(image, Image) else Image(image)
    return task.run(given, task.inputs.parse(inputs or {}), task.settings(method, settings), Colours())


@pytest.mark.parametrize("method", ["kmeans", "spherical"])
@pytest.mark.parametrize("crf", [True, False])
def test_regions_of_one_colour_become_clusters(method: str, crf: bool) -> None:
    rgb, truth = _scene()
    result = _run(rgb, method, n_clusters=3, crf=crf)
    assert match_clusters(result.labels, truth).accuracy > (0.995 if crf else 0.97)
    assert sorted(np.unique(result.labels)) == [1, 2, 3]
    np.testing.assert_array_equal(result.semantic, result.labels)
    assert result.table.set_index("label").loc[1, "area"] == (result.labels == 1).sum()


def test_clusters_mean_the_same_in_every_slice() -> None:
    scenes = [_scene(seed) for seed in range(3)]
    stack = np.stack([rgb for rgb, _ in scenes])
    stack[1] = stack[1][::-1]
    truth = np.stack([t for _, t in scenes])
    truth[1] = truth[1][::-1]
    result = _run(Image(stack, "ZYXC"), n_clusters=3, crf=False)
    assert match_clusters(result.labels, truth).accuracy > 0.97


def test_flip_averaging_changes_next_to_nothing_where_features_are_symmetric() -> None:
    rgb, truth = _scene()
    assert match_clusters(_run(rgb, n_clusters=3, crf=False, flip=True).labels, truth).accuracy > 0.97


def test_a_region_and_a_slice() -> None:
    rgb, _ = _scene()
    result = _run(rgb, inputs={"region": (10, 20, 89, 119)}, n_clusters=2, crf=False)
    assert (result.labels[10:90, 20:120] > 0).all()
    assert result.labels.sum() == result.labels[10:90, 20:120].sum()


@pytest.mark.parametrize("crf", [True, False])
def test_edits_and_chosen_clusters(crf: bool) -> None:
    rgb, _ = _scene()
    plain = _run(rgb, n_clusters=3, crf=crf)
    edits = [{"kind": "merge", "clusters": [2, 3]}, {"kind": "rename", "clusters": [2], "name": "both"}]
    merged = _run(rgb, inputs={"edits": edits}, n_clusters=3, crf=crf)
    np.testing.assert_array_equal(merged.labels, np.where(plain.labels == 3, 2, plain.labels))
    assert merged.classes[2].name == "both"
    hidden = _run(rgb, inputs={"edits": [{"kind": "hide", "clusters": [1]}]}, n_clusters=3, crf=crf)
    np.testing.assert_array_equal(hidden.labels, np.where(plain.labels == 1, 0, plain.labels))
    only = _run(rgb, inputs={"only": [3]}, n_clusters=3, crf=crf)
    assert set(np.unique(only.labels)) == {0, 3}
    with pytest.raises(SettingsError, match="no cluster 9"):
        _run(rgb, inputs={"only": [9]}, n_clusters=3)


def test_a_cluster_becomes_objects() -> None:
    rgb = np.full((80, 80, 3), 30, np.uint8)
    for y, x in ((8, 8), (8, 48), (48, 8)):
        rgb[y : y + 16, x : x + 16] = 220
    result = _run(rgb, inputs={"only": [2]}, n_clusters=2, output="objects", min_area=20, crf=False)
    assert len(result) == 3
    assert set(result.table["class"]) == {2}


def test_objects_are_drawn_anew_by_a_promptable_model() -> None:
    rgb = np.full((96, 120, 3), 30, np.uint8)
    truth = np.zeros((96, 120), bool)
    for y, x in ((20, 26), (60, 80)):
        truth |= (np.indices(truth.shape)[0] - y) ** 2 + (np.indices(truth.shape)[1] - x) ** 2 < 12**2
    rgb[truth] = 200
    inputs = {"only": [2], "region": (4, 4, 90, 110)}
    given = {"n_clusters": 2, "output": "objects", "min_area": 20, "crf": False}
    rough, refined = (_run(rgb, inputs=inputs, **given, refine_model=name) for name in ("", "foundseg-tiny"))
    assert len(rough) == len(refined) == 2
    assert set(refined.table["class"]) == {2}
    rough_iou, iou = (((r.labels > 0) & truth).sum() / ((r.labels > 0) | truth).sum() for r in (rough, refined))
    assert iou > 0.9
    assert (rough.labels != refined.labels).any(), (rough_iou, iou)


def test_k_means_on_a_huge_image_looks_at_some_windows_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SAMPLED_WINDOWS", 4)
    looked: list[Any] = []
    reader = cluster._Reader(Colours())
    original = cluster._Reader.cells
    monkeypatch.setattr(cluster._Reader, "cells", lambda own, rgb: looked.append(rgb.shape) or original(own, rgb))
    sample = cluster._sampled(Image(_scene(shape=(300, 400))[0]), cluster.ClusterInputs(), reader, lambda: None)
    assert 2 < len(looked) <= 4
    assert len(sample) > 500


def test_windows_leave_no_seam() -> None:
    rgb, _ = _scene(shape=(200, 260))
    model = Colours()
    assert len(list(feature_windows((200, 260), model))) > 4
    whole = enlarged(features_of(model, rgb), model, (200, 260))
    out = np.zeros_like(whole)
    for box, core in feature_windows((200, 260), model):
        part = rgb[box[0] : box[2] + 1, box[1] : box[3] + 1]
        found = enlarged(features_of(model, np.ascontiguousarray(part)), model, part.shape[:2])
        y, x = core[0] - box[0], core[1] - box[1]
        out[:, core[0] : core[2] + 1, core[1] : core[3] + 1] = found[
            :, y : y + core[2] - core[0] + 1, x : x + core[3] - core[1] + 1
        ]
    assert np.abs(out - whole).mean() < 0.01


def test_features_as_colours_have_the_size_of_the_slice() -> None:
    rgb, truth = _scene()
    shown = feature_rgb(Image(rgb), Colours())
    assert shown.shape == rgb.shape
    assert abs(shown[truth == 1].mean(0) - shown[truth == 2].mean(0)).max() > 60


@pytest.mark.parametrize(("image", "count", "found"), [
    (np.zeros((40, 40), np.uint8), 4, 1),
    (np.full((9, 7, 3), 99, np.uint8), 3, 1),
    (np.random.default_rng(0).integers(0, 255, (3, 3), np.uint8), 8, 1),
    (np.random.default_rng(0).integers(0, 255, (1, 12), np.uint8), 8, 3),
    (np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8), 1, 1),
])  # fmt: skip
@pytest.mark.parametrize("method", ["kmeans", "spherical"])
def test_more_clusters_than_there_are_features_is_said_and_no_error(image, count, found, method) -> None:
    result = _run(image, method, n_clusters=count)
    assert len(result.classes) <= found
    assert (result.labels > 0).all()
    if count > found:
        assert "different features" in " ".join(result.provenance["fallbacks"])


def test_it_is_cancelled_between_windows() -> None:
    rgb, _ = _scene()
    task = TASKS["cluster"]
    with pytest.raises(Cancelled):
        task.run(Image(rgb), task.inputs.parse({}), task.settings("kmeans", {}), Colours(), cancelled=lambda: True)


# Fits.

QUICK: dict[str, Any] = {"steps": 30, "feature_samples": 6, "batch_size": 8, "dim": 8, "n_clusters": 3}


def _fit(images: Any, name: str = "mine", **more: Any) -> fit_stego.Fitted:
    settings = FitSettings.parse({**QUICK, **more})
    opened = [one if isinstance(one, Image) else Image(one) for one in images]
    return fit_stego.fit_stego(fit_stego.pictures_in(opened), settings, load_model("foundseg-tiny"), name)


def test_a_fitted_model_is_saved_once_and_applied_everywhere() -> None:
    (one, _), (other, _) = _scene(0), _scene(1)
    fitted = _fit([one, other])
    assert fitted.model.name in catalog()
    assert len(fitted.losses) == QUICK["steps"]
    assert fitted.notes == ()
    whole = fs.cluster(np.stack([one, other]), model="mine", axes="ZYXC", crf=False)
    alone = fs.cluster(one, model="mine", axes="YXC", crf=False)
    # The stack's grey values are stretched together, so next to nothing may differ.
    assert (whole.labels[0] == alone.labels).mean() > 0.97
    # Another number of clusters needs no other fit, and gives the same each time.
    two = [fs.cluster(one, model="mine", n_clusters=2, crf=False).labels for _ in range(2)]
    np.testing.assert_array_equal(*two)
    assert set(np.unique(two[0])) <= {1, 2}


@pytest.mark.parametrize(("given", "metric"), [
    ({}, "euclidean"), ({"context": 8}, "cosine"), ({"nearness": "angle"}, "cosine"),
    ({"context": 8, "nearness": "distance"}, "euclidean"),
])  # fmt: skip
def test_clusters_of_codes_are_found_by_distance_for_objects_and_by_angle_for_textures(given, metric) -> None:
    _fit([_scene(shape=(40, 48))[0]], steps=2, **given)
    model = load_model("mine")
    assert model.clusters.metric == metric
    assert cluster.of_model(model, cluster.StegoSettings(n_clusters=2)).metric == metric


def test_equal_seeds_give_equal_models_and_a_stopped_fit_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, _ = _scene()
    whole = _fit([rgb], "whole")
    assert "one image only" in " ".join(whole.notes)
    calls = iter(range(10_000))
    settings = FitSettings.parse(QUICK)
    # One window and ten steps, then the person cancels.
    with pytest.raises(Cancelled, match="best of 10 steps was kept"):
        fit_stego.fit_stego(
            [(Image(rgb), ())], settings, load_model("foundseg-tiny"), "stopped", cancelled=lambda: next(calls) > 10
        )
    assert fs.cluster(rgb, model="stopped", crf=False).labels.max() > 0
    resumed = _fit([rgb], "stopped")
    assert any("went on after 10 steps" in note for note in resumed.notes)
    assert resumed.losses == whole.losses
    np.testing.assert_array_equal(
        fs.cluster(rgb, model="stopped", crf=False).labels, fs.cluster(rgb, model="whole", crf=False).labels
    )


@pytest.mark.parametrize(("given", "expected"), [
    ({}, False), ({"context": 8}, False), ({"context": 8, "preset": "cityscapes"}, True),
    ({"context": 8, "pointwise": "on"}, True), ({"preset": "potsdam", "pointwise": "off"}, False),
])  # fmt: skip
def test_the_mean_of_each_point_is_left_unless_the_preset_is_published(given, expected) -> None:
    assert FitSettings.parse(given).is_pointwise is expected


def test_features_are_the_same_up_to_the_border_of_a_picture() -> None:
    """A flat picture has nothing at its border that it has not elsewhere."""
    model = load_model("foundseg-tiny")
    found = model.features(np.full((97, 130, 3), 90, np.uint8)).astype(float)
    assert found.shape == (448, 25, 33)
    spread = found.std((1, 2)) / (np.abs(found).mean((1, 2)) + 1e-3)
    assert np.median(spread) < 0.15


def test_a_fit_shows_its_loss_and_a_preview() -> None:
    rgb, _ = _scene()
    news: list[Any] = []
    fit_stego.fit_stego(
        [(Image(rgb), ())], FitSettings.parse(QUICK), load_model("foundseg-tiny"), "told",
        progress=lambda *told: news.append(told),
    )  # fmt: skip
    shown = [told[2] for told in news if len(told) > 2]
    assert shown
    preview = np.frombuffer(shown[-1]["preview"], np.uint8).reshape(shown[-1]["shape"])
    assert preview.shape == (30, 38)
    assert set(np.unique(preview)) <= {1, 2, 3}
    assert [told[0] for told in news] == sorted(told[0] for told in news)


@pytest.mark.parametrize("image", [
    np.zeros((40, 40), np.uint8),
    np.full((4, 4), 7, np.uint8),
    np.array([[9]], np.uint8),
])  # fmt: skip
def test_a_fit_to_next_to_nothing_says_what_it_found(image: Any) -> None:
    fitted = _fit([image], steps=3)
    result = fs.cluster(image, model="mine")
    assert (result.labels > 0).all()
    # A network sees its picture's border too; one cell has one code.
    if image.size <= 16:
        assert result.labels.max() == 1
        assert any("different codes" in note for note in fitted.notes)


def test_images_of_different_sizes_are_fitted_together() -> None:
    _fit([_scene(0)[0], _scene(1, (90, 170))[0]], steps=3)
    assert fs.cluster(_scene(2, (64, 200))[0], model="mine", crf=False).labels.shape == (64, 200)


def test_a_name_that_is_taken_and_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="another model 'foundseg-tiny'"):
        _fit([_scene()[0]], "foundseg-tiny")
    with pytest.raises(SettingsError, match="not a valid model name"):
        _fit([_scene()[0]], "a/b")
    with pytest.raises(BadImageError, match="no image"):
        _fit([])
    with pytest.raises(BadImageError, match="no images"):
        fs.fit_stego(tmp_path)


def test_a_linear_probe_learns_from_strokes() -> None:
    rgb, truth = _scene()
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[5:9, 10:60], strokes[50:54, 50:80], strokes[100:104, 120:140] = 4, 7, 9
    fitted = fs.fit_stego(rgb, name="probed", labels=strokes, **QUICK)
    assert fitted.model.name == "probed"
    result = fs.cluster(rgb, model="probed", probe="linear")
    assert [row.name for row in result.classes] == ["class 4", "class 7", "class 9"]
    # The largest class alone is 0.63; how much better depends on the weights of the built-in model.
    assert (result.labels == truth + 1).mean() > 0.75
    with pytest.raises(SettingsError, match="only class 4"):
        fs.fit_stego(rgb, name="one", labels=np.where(strokes == 4, 4, 0), **QUICK)
    with pytest.raises(AxesError, match="shape"):
        fs.fit_stego(rgb, name="shape", labels=strokes[:5], **QUICK)
    with pytest.raises(SettingsError, match="no linear probe"):
        fs.cluster(rgb, model="shape", probe="linear")


def test_edits_of_a_fitted_model_are_the_same_on_another_image() -> None:
    (one, _), (other, _) = _scene(0), _scene(1)
    _fit([one])
    edits = [Edit(kind="merge", clusters=(1, 2)), Edit(kind="split", clusters=(3,))]
    results = [fs.cluster(image, model="mine", edits=edits, crf=False) for image in (one, other)]
    assert results[0].classes.ids == results[1].classes.ids == (1, 3, 4)


def test_the_task_says_which_model_it_needs() -> None:
    assert cluster.TASK.method_for(["Clustering"]) == "stego"
    assert cluster.TASK.method_for(["FeatureExtractor"]) == "kmeans"

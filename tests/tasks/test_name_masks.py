from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import PromptError, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.models import catalog
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.name_masks import NameInputs, NameSettings

ROW = catalog.CatalogRow(
    name="stub", title="stub", family="stub", protocols=("TextImage",), sha256="0" * 64,
    size_mb=0, revision="0", code_licence="", weights_licence="", input="", citation="",
)  # fmt: skip


class Stub:
    """Pictures and colour names in the space of red, green and blue, and of how much was cut away."""

    name, key, device, window, scale = "stub", "stub@0", "cpu", 32, 20.0

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.sizes: list[tuple[int, ...]] = []

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        axes = {"red": 0, "crimson": 0, "green": 1, "blue": 2, "background": 3}
        rows = np.zeros((len(texts), 4), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for name, axis in axes.items():
                row[axis] += name in text
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def embed_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.sizes += [picture.shape[:2] for picture in pictures]
        rows = np.array([[*(p.reshape(-1, 3).mean(0) / 255), 0.2] for p in pictures], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog._adopted, "stub", ROW)


def scene() -> tuple[Image, NDArray[np.uint16]]:
    rgb = np.zeros((60, 80, 3), np.uint8)
    labels = np.zeros((60, 80), np.uint16)
    for label, (y, x, channel) in {3: (5, 5, 0), 7: (30, 10, 1), 900: (20, 50, 2), 12: (45, 60, 1)}.items():
        labels[y : y + 10, x : x + 12] = label
        rgb[y : y + 10, x : x + 12, channel] = 255
    return Image(rgb, normalisation=Limits(low=0, high=255)), labels


def named(labels: Any, vocabulary: Any, image: Image | None = None, model: Any = None, **settings: Any) -> Any:
    inputs = NameInputs.parse({"labels": labels, "vocabulary": vocabulary})
    return TASKS["name_masks"].run(image or scene()[0], inputs, NameSettings(**settings), model or Stub())


def test_each_object_gets_its_name_and_keeps_its_id() -> None:
    _, labels = scene()
    result = named(labels, ["red, crimson", "green", "blue"])
    assert np.array_equal(result.labels, labels)
    assert dict(zip(result.table["label"], result.table["class_name"], strict=True)) == {
        3: "red", 7: "green", 12: "green", 900: "blue",
    }  # fmt: skip
    assert [(row.name, row.count, row.area) for row in result.classes] == [
        ("red", 1, 120), ("green", 2, 240), ("blue", 1, 120), ("background", 0, 0),
    ]  # fmt: skip
    assert (result.table["name_1"] == result.table["class_name"]).all()
    assert (result.table["probability_1"] > 0.5).all()
    top = result.table[[f"probability_{k}" for k in (1, 2, 3)]].to_numpy()
    assert (np.diff(top, axis=1) <= 0).all()
    assert (top.sum(axis=1) <= 1 + 1e-9).all()
    assert np.array_equal(result.semantic > 0, labels > 0)


def test_probabilities_are_a_softmax_of_scaled_cosines_of_mean_embeddings() -> None:
    image, labels = scene()
    labels[labels != 3] = 0
    model = Stub()
    result = named(labels, ["red", "green"], model=model, top_k=3, templates="a {}; {}")
    views = []
    for box in ((5, 5, 14, 16), (2, 2, 16, 19)):
        seen = image.rgb((), box)
        own = labels[box[0] : box[2] + 1, box[1] : box[3] + 1, None] > 0
        views += [seen, np.where(own, seen, np.uint8(127))]
    mean = Stub().embed_pictures(views).mean(0)
    cosines = Stub().embed_texts(["red", "green", "background"]) @ (mean / np.linalg.norm(mean))
    powers = np.exp(20 * cosines)
    expected = np.sort(powers / powers.sum())[::-1]
    assert result.table[["probability_1", "probability_2", "probability_3"]].to_numpy()[0] == pytest.approx(
        expected, abs=1e-5
    )
    assert model.texts == ["a red", "red", "a green", "green", "a background", "background"]
    assert model.sizes == [views[0].shape[:2]] * 2 + [views[2].shape[:2]] * 2


def test_settings_choose_the_views() -> None:
    _, labels = scene()
    model = Stub()
    named(labels, ["red"], model=model, crops="1x", masked="masked", background="")
    assert model.sizes == [(10, 12)] * 4
    result = named(labels, ["red", "green"], background="")
    assert [row.name for row in result.classes] == ["red", "green"]


def test_an_object_of_several_slices_is_seen_where_it_is_largest() -> None:
    rgb = np.zeros((3, 40, 50, 3), np.uint8)
    labels = np.zeros((3, 40, 50), np.uint8)
    labels[0, 5:8, 5:8], labels[1, 5:25, 5:25] = 1, 1
    rgb[0, ..., 0], rgb[1, ..., 2] = 255, 255
    image = Image(rgb, "ZYXC", normalisation=Limits(low=0, high=255))
    result = named(labels, ["red", "blue"], image)
    assert result.table["class_name"].tolist() == ["blue"]
    assert result.labels.dtype == np.uint16


def test_labels_travel_as_json_and_come_from_files(tmp_path: Path) -> None:
    from napari_foundseg.io.writers import write_labels

    _, labels = scene()
    inputs = NameInputs.parse({"labels": labels, "vocabulary": "red; green"})
    again = NameInputs.parse(json.loads(json.dumps(inputs.model_dump(mode="json"))))
    assert np.array_equal(again.labels, labels)
    assert again.vocabulary == ("red", "green")
    write_labels(tmp_path / "a.tif", labels)
    assert np.array_equal(NameInputs.parse({"labels": str(tmp_path / "a.tif"), "vocabulary": ["x"]}).labels, labels)


def test_no_objects_are_no_error() -> None:
    result = named(np.zeros((60, 80), np.uint16), ["red"])
    assert len(result) == 0
    assert "name_1" in result.table


@pytest.mark.parametrize(
    ("labels", "vocabulary", "settings", "error", "words"),
    [
        (np.ones((5, 5), int), ["a"], {}, PromptError, "shape"),
        (np.ones((60, 80)), ["a"], {}, PromptError, "whole numbers"),
        (-np.ones((60, 80), int), ["a"], {}, PromptError, "whole numbers"),
        (None, [], {}, PromptError, "at least 1"),
        (None, ["a", " "], {}, PromptError, "a name is empty"),
        (None, ["a", "A"], {}, PromptError, "twice"),
        (None, ["background"], {}, PromptError, "is a name and the background too"),
        (None, ["a"], {"templates": "a photo"}, SettingsError, "where the name goes"),
    ],
)
def test_what_is_wrong_is_said(labels: Any, vocabulary: Any, settings: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        named(scene()[1] if labels is None else labels, vocabulary, **settings)

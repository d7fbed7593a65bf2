"""Tables of saved labels have no holes where objects were edited: what can be measured is measured again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_foundseg.batch.object_measures import measure
from napari_foundseg.core.image import Image
from napari_foundseg.io.files.object_cells import measured_properties
from napari_foundseg.io.formats.content import FileContent

SPACING, UNITS = {"Y": 0.5, "X": 0.5}, {"Y": "µm", "X": "µm"}


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((40, 50), np.uint16)
    labels[3:12, 5:25] = 1
    labels[20:33, 30:41] = 2
    labels[20:22, 3:6] = 5
    return labels


def content(labels: np.ndarray, table: pd.DataFrame | None) -> FileContent:
    return FileContent(labels, "YX", SPACING, UNITS, properties=table)


@pytest.mark.parametrize("edited", [[2], [1, 2, 5]])
def test_what_an_edit_has_emptied_is_measured_again(labels: np.ndarray, edited: list[int]) -> None:
    image = Image(np.random.default_rng(0).integers(0, 999, labels.shape, np.uint16), spacing=SPACING, units=UNITS)
    whole = measure(labels, image).assign(note="seen", predicted_iou=0.5)
    holed = whole.astype(dict.fromkeys(whole.columns.drop(["label", "note"]), float))
    holed.loc[holed["label"].isin(edited), holed.columns.drop(["label", "note"])] = np.nan
    found = measured_properties(content(labels, holed), image)
    scores = ["predicted_iou"]
    pd.testing.assert_frame_equal(found.drop(columns=scores), whole.drop(columns=scores), check_dtype=False)
    assert found.loc[found["label"].isin(edited), "predicted_iou"].isna().all(), "the model's scores stay empty"
    assert list(found) == list(whole)


def test_other_units_rejected_objects_and_tables_without_measurements_stay(labels: np.ndarray) -> None:
    table = pd.DataFrame({"label": [1, 9], "area (px²)": [np.nan, np.nan], "review": ["", "rejected"]})
    pd.testing.assert_frame_equal(measured_properties(content(labels, table)), table)
    plain = pd.DataFrame({"label": [1, 2], "review": ["accepted", None]})
    assert measured_properties(content(labels, plain)) is plain
    assert measured_properties(content(labels, None)) is None


def test_intensities_need_the_image(labels: np.ndarray) -> None:
    table = pd.DataFrame({"label": [1], "area (µm²)": [np.nan], "mean intensity": [np.nan]})
    found = measured_properties(content(labels, table))
    assert found["area (µm²)"].tolist() == [45.0]
    assert found["mean intensity"].isna().all()

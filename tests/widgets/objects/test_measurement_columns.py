from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from napari_foundseg.core.image import Image
from napari_foundseg.core.measuring.grey_values import grey_values
from napari_foundseg.core.measuring.measurements import measure
from napari_foundseg.widgets.layers.object_features import ACCEPTED, REJECTED, read_facts, write_facts
from napari_foundseg.widgets.objects.measurement_columns import object_table, unit_spacing
from napari_foundseg.widgets.objects.review import least_certain


def layer(features: dict[str, list[object]] | None = None) -> Labels:
    data = np.zeros((20, 20), np.uint16)
    data[1:4, 1:4], data[6:8, 6:8], data[10:18, 10:18] = 1, 2, 5
    return Labels(data, features=features)


def table(labels: Labels) -> pd.DataFrame:
    return object_table(measure(labels.data, "YX", [1.0, 1.0], "px"), labels.features)


def test_scores_stand_with_their_object_whatever_the_order() -> None:
    labels = layer({"index": [0, 5, 1], "predicted_iou": [0, 0.5, 0.9], "stability_score": [0, 0.8, 1.0]})
    found = table(labels).set_index("label")
    assert found.loc[5, "certainty"] == 0.4
    assert found.loc[1, "certainty"] == 0.9
    assert np.isnan(found.loc[2, "certainty"])
    assert found.loc[2, "pixels"] == 4


def test_without_scores_there_are_no_columns_of_them() -> None:
    assert "certainty" not in table(layer())
    assert (table(layer())["review"] == "").all()


def test_a_rejected_object_stays_in_the_table_until_it_is_back() -> None:
    labels = layer()
    before = labels.data.copy()
    write_facts(labels, {2: {"review": REJECTED, "note": "debris"}, 5: {"review": ACCEPTED}})
    labels.data[labels.data == 2] = 0
    found = table(labels).set_index("label")
    assert found.loc[2, ["review", "note", "pixels"]].tolist() == ["rejected", "debris", 0]
    assert found.loc[5, "review"] == "accepted"
    labels.data[:] = before
    assert table(labels).set_index("label").loc[2, ["review", "note", "pixels"]].tolist() == ["", "debris", 4]


def test_a_mark_leaves_what_else_is_known_of_objects() -> None:
    labels = layer({"index": [0, 1], "predicted_iou": [0, 0.9], "kind": ["", "cell"]})
    before = read_facts(labels)
    write_facts(labels, {1: before[1] | {"note": "a, b"}, 5: {"note": "a, b"}})
    kept = labels.features.set_index("index")
    assert kept.loc[1, ["predicted_iou", "kind", "note"]].tolist() == [0.9, "cell", "a, b"]
    assert kept.loc[5, "note"] == "a, b"
    assert set(table(labels)["label"]) == {1, 2, 5}
    write_facts(labels, {1: before[1], 5: {}})
    assert read_facts(labels) == before


def test_features_without_a_column_of_labels_are_known_by_their_rows() -> None:
    labels = layer({"kind": ["background", "cell", "debris"]})
    assert read_facts(labels) == {1: {"kind": "cell"}, 2: {"kind": "debris"}}
    write_facts(labels, {2: {"kind": "debris", "note": "x"}})
    assert read_facts(labels) == {1: {"kind": "cell"}, 2: {"kind": "debris", "note": "x"}}


def test_the_queue_goes_by_certainty_and_then_by_size() -> None:
    labels = layer({"index": [0, 1, 5], "predicted_iou": [0, 0.9, 0.5], "stability_score": [0, 1, 1]})
    found, seen = table(labels), []
    while (label := least_certain(found, seen)) is not None:
        seen.append(label)
    assert seen == [5, 1, 2]
    write_facts(labels, {5: read_facts(labels)[5] | {"review": ACCEPTED}})
    assert least_certain(table(labels), []) == 1


def test_grey_values_lie_on_the_labels() -> None:
    shape = (2, 4, 5)
    assert grey_values(Image(np.zeros((2, 4, 5)), axes="ZYX"), shape).shape == shape
    assert grey_values(Image(np.zeros((4, 5, 3), np.uint8), axes="YXC"), (4, 5)).shape == (4, 5, 3)
    assert grey_values(Image(np.zeros((3, 2, 4, 5)), axes="CZYX"), shape).shape == (2, 4, 5, 3)
    assert grey_values(Image(np.zeros((2, 3, 4, 5)), axes="TCYX"), (2, 1, 4, 5)).shape == (2, 1, 4, 5, 3)
    assert grey_values(Image(np.zeros((3, 4, 5)), axes="CYX"), shape) is None
    assert grey_values(Image(np.zeros((2, 4, 6)), axes="ZYX"), shape) is None


@pytest.mark.parametrize(
    ("axes", "shape", "labels"),
    [("ZYX", (2, 20, 24), (2, 20, 24)), ("YXC", (20, 24, 3), (20, 24)), ("CYX", (3, 20, 24), (20, 24)),
     ("TCYX", (2, 3, 20, 24), (2, 1, 20, 24))],
)  # fmt: skip
def test_a_lazy_image_has_the_intensities_of_one_in_memory(
    axes: str, shape: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, shape).astype(np.uint8)
    ids = rng.integers(0, 5, labels).astype(np.uint16)
    names = "TCYX"[-len(labels) :] if axes == "TCYX" else axes.replace("C", "")
    spacing = [None if axis in "TC" else 1.0 for axis in names]
    known = grey_values(Image(values, axes), labels)
    lazy = grey_values(Image(da.from_array(values, chunks=5), axes), labels)
    assert lazy is not None
    assert lazy.shape == known.shape
    pd.testing.assert_frame_equal(
        measure(ids, names, spacing, "px", lazy), measure(ids, names, spacing, "px", known), check_exact=False
    )
    assert grey_values(Image(da.zeros((9, 9)), "YX"), (9, 8)) is None


def test_the_unit_is_pixels_only_where_pixels_are_counted() -> None:
    data = np.zeros((3, 4, 5), np.uint8)
    assert unit_spacing(Labels(data)) == ([1, 1, 1], "px")
    assert unit_spacing(Labels(data, scale=(2, 0.5, 0.5))) == ([2, 0.5, 0.5], "scaled px")
    assert unit_spacing(Labels(data, scale=(2, 0.5, 0.5), units="um")) == ([2, 0.5, 0.5], "µm")
    spacing, unit = unit_spacing(Labels(data, scale=(2000, 0.5, 0.5), units=("nm", "um", "um")))
    np.testing.assert_allclose(spacing, [2, 0.5, 0.5])
    assert unit == "µm"

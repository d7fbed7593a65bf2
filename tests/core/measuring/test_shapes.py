from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from napari_foundseg.core.measuring import shapes
from napari_foundseg.core.measuring.columns import column_help, is_measured
from napari_foundseg.core.measuring.measurements import measure
from napari_foundseg.core.measuring.number_text import number_text, size_text


def disc(radius: float, spacing: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    ends = [int(radius / size) + 2 for size in spacing]
    y, x = np.mgrid[-ends[0] : ends[0] + 1, -ends[1] : ends[1] + 1]
    return ((y * spacing[0]) ** 2 + (x * spacing[1]) ** 2 <= radius**2).astype(np.uint16)


@given(arrays(bool, (6, 9), elements=st.sampled_from([True, True, False])).filter(np.any))
def test_shapes_in_the_plane_are_those_of_scikit_image(mask: np.ndarray) -> None:
    row = measure(mask.astype(np.uint8), "YX", [1.0, 1.0], "px").iloc[0]
    known = regionprops(mask.astype(np.uint8))[0]
    assert row["perimeter (px)"] == pytest.approx(known.perimeter_crofton)
    assert row["solidity"] == pytest.approx(known.solidity)
    assert row["major axis (px)"] == pytest.approx(known.axis_major_length, abs=1e-6)
    assert row["minor axis (px)"] == pytest.approx(known.axis_minor_length, abs=1e-6)


def test_shapes_of_volumes_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:7, :12, :15]
    mask = ((z - 3) ** 2 * 2 + (y - 6) ** 2 + (x - 7) ** 2 / 2 < 20) & (rng.random(z.shape) > 0.1)
    table = measure(mask.astype(np.uint8), "ZYX", [3.0, 1.0, 0.5], "µm")
    known = regionprops(mask.astype(np.uint8), spacing=(3, 1, 0.5))[0]
    row = table.iloc[0]
    assert row["solidity"] == pytest.approx(known.solidity)
    assert row["major axis (µm)"] == pytest.approx(known.axis_major_length)
    assert row["minor axis (µm)"] == pytest.approx(known.axis_minor_length)
    assert row["minor axis (µm)"] < row["middle axis (µm)"] < row["major axis (µm)"]
    assert not {"circularity", "perimeter (µm)"} & set(table), "a volume has none"


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.5), (0.25, 0.75)])
def test_a_disc_is_round_whatever_the_sides_of_a_pixel(spacing: tuple[float, float]) -> None:
    row = measure(disc(20, spacing), "YX", list(spacing), "µm").iloc[0]
    assert row["perimeter (µm)"] == pytest.approx(2 * np.pi * 20, rel=0.04)
    assert row["circularity"] == pytest.approx(1, abs=0.08)
    assert row["circularity"] <= 1
    assert row["solidity"] == pytest.approx(1, abs=0.05)
    assert row["major axis (µm)"] == pytest.approx(40, rel=0.03)
    assert row["minor axis (µm)"] == pytest.approx(40, rel=0.03)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (3, 1)])
def test_objects_of_few_pixels_are_measured(shape: tuple[int, int]) -> None:
    row = measure(np.ones(shape, np.uint8), "YX", [1.0, 1.0], "px").iloc[0]
    assert row["solidity"] == 1
    assert 0 < row["circularity"] <= 1
    assert row["perimeter (px)"] > 0


def test_intensities_are_named_by_channel() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[:2] = 2
    image = np.random.default_rng(0).integers(0, 60000, (4, 4, 2)).astype(np.uint16)
    row = measure(labels, "YX", [1.0, 1.0], "px", image, channels=("DAPI", "GFP (488)")).iloc[0]
    own = image[:2].reshape(-1, 2).astype(float)
    for i, name in enumerate(("DAPI", "GFP (488)")):
        expected = [own[:, i].mean(), own[:, i].min(), own[:, i].max(), own[:, i].sum(), own[:, i].std()]
        found = [row[f"{kind} intensity {name}"] for kind in ("mean", "min", "max", "sum", "std")]
        np.testing.assert_allclose(found, expected)
    assert "sum intensity 1" in measure(labels, "YX", [1.0, 1.0], "px", image)
    assert "sum intensity" in measure(labels, "YX", [1.0, 1.0], "px", image[..., 0])


@pytest.mark.parametrize(("axes", "spacing"), [("YX", [2.0, 2.0]), ("ZYX", [3.0, 2.0, 2.0]), ("TYX", [None, 2.0, 2.0])])
def test_size_comes_first_and_every_column_is_explained(axes: str, spacing: list[float | None]) -> None:
    labels = np.ones((2, 3, 4)[-len(axes) :], np.uint8)
    image = np.ones((*labels.shape, 2))
    table = measure(labels, axes, spacing, "mm", image, channels=("DAPI", "GFP"))
    names = list(table)
    size = next(i for i, name in enumerate(names) if name in ("area (mm²)", "volume (mm³)"))
    assert names[:size] == (["label", "t"] if "T" in axes else ["label"])
    for name in names:
        assert column_help(name), name
        assert "mm" in column_help(name) or "(" not in name
    assert not is_measured("label")
    assert is_measured("solidity")
    assert is_measured("std intensity GFP")


def test_numbers_are_read_without_powers_of_ten() -> None:
    texts = {193559.3: "193,559", 1234567: "1,234,567", 1999.5: "2,000", 12.3456: "12.35", 0.5: "0.5", 0: "0",
             0.00012345: "0.0001234", 123456789.25: "123,456,789", -4321.5: "-4,322", 1e-7: "1e-07"}  # fmt: skip
    assert {value: number_text(value) for value in texts} == texts
    assert number_text(float("nan")) == ""
    assert size_text(193559.3, "mm³") == "193,559 mm³ (193.6 ml)"
    assert size_text(12.5, "mm³") == "12.5 mm³"
    assert size_text(250.0, "cm³") == "250 cm³ (250 ml)"
    assert size_text(5e6, "µm³") == "5,000,000 µm³"


@pytest.mark.parametrize("seed", range(30))
def test_the_hull_of_a_plane_object_is_that_of_qhull(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 24, 2)) < random.choice([0.02, 0.2, 0.8])
    mask[random.integers(mask.shape[0]), random.integers(mask.shape[1])] = True
    hull, pixels = shapes._hull(mask)
    for spacing in ((1.0, 1.0), (0.3, 2.0)):
        expected = np.count_nonzero(mask) / shapes._count_inside(hull, mask.shape), shapes._widest(pixels, spacing)
        assert shapes.hull_measures(mask, spacing) == expected
        assert shapes.feret_diameter(mask, spacing) == expected[1]
    assert len(shapes._plane_hull(mask)[1]) <= len(pixels)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (2.5, 0.5, 0.5)])
def test_a_ball_has_its_surface_whatever_the_voxels_sides(spacing: tuple[float, float, float]) -> None:
    radius = 12 * spacing[0]
    z, y, x = (np.arange(-int(radius / size) - 1, int(radius / size) + 2) * size for size in spacing)
    ball = (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) < radius**2
    row = measure(ball.astype(np.uint8), "ZYX", spacing, "µm").iloc[0]
    assert row["surface (µm²)"] == pytest.approx(4 * np.pi * radius**2, rel=0.03)
    assert row["sphericity"] > 0.97
    rod = np.zeros((3, 3, 60), np.uint8)
    rod[1:2, 1:2] = 1
    assert measure(rod, "ZYX", spacing, "µm").iloc[0]["sphericity"] < 0.7


def test_a_hollow_adds_to_the_surface() -> None:
    body = np.ones((20, 20, 20), np.uint8)
    hollow = body.copy()
    hollow[7:13, 7:13, 7:13] = 0
    ones = (1.0, 1.0, 1.0)
    assert shapes.surface(hollow > 0, ones) > shapes.surface(body > 0, ones) + 150
    assert shapes.surface(np.ones((1, 1, 1), bool), ones) > 0

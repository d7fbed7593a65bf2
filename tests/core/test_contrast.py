"""A normalisation that loses the picture is noticed, mended where there is one sane answer, and said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_foundseg.core.contrast import AsIs, CTWindow, Limits, MinMax, Percentile
from napari_foundseg.core.image import Image


def _picture(dtype: Any = np.uint16, size: int = 256) -> NDArray[Any]:
    """Cells of 400 to 1000 with soft edges, on a background of about 100."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    image = rng.normal(100, 8, (size, size))
    for _ in range(12):
        row, column = rng.integers(20, size - 20, 2)
        image += rng.uniform(300, 900) * np.exp(-((((y - row) ** 2 + (x - column) ** 2) / 80.0) ** 2))
    return np.asarray(np.clip(image, 0, 4000)).astype(dtype)


def _sparse(size: int = 512, cells: int = 3) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Few cells over an exactly zero background."""
    y, x = np.mgrid[:size, :size]
    inside = np.zeros((size, size), bool)
    for k in range(cells):
        inside |= (y - 100 * (k + 1)) ** 2 + (x - 90 * (k + 1)) ** 2 < 100
    values = np.random.default_rng(1).integers(200, 800, (size, size))
    return np.where(inside, values, 0).astype(np.uint16), inside


def _plain(image: Image) -> tuple[float, float]:
    low, high = np.percentile(image._sample(), (0.5, 99.5))
    return float(low), float(high)


@pytest.mark.parametrize(
    "make",
    [
        _picture,
        lambda: 4000 - _picture(),
        lambda: _picture().astype(np.float32) / 4000,
        lambda: np.where(_picture() > 300, 255, 10).astype(np.uint8),
        lambda: np.clip(_picture() // 2, 0, 255).astype(np.uint8),
        lambda: np.stack([np.clip(255 - _picture() // 8, 0, 255).astype(np.uint8)] * 3, -1),
        lambda: np.where(_picture() > 300, 30_000, np.random.default_rng(2).poisson(20, (256, 256))).astype(np.uint16),
        lambda: np.where(_picture() > 250, _picture(), 0),
    ],
    ids=[
        "cells",
        "inverted",
        "floats",
        "two values",
        "saturated",
        "bright RGB",
        "saturated on noise",
        "background cut",
    ],
)
def test_limits_of_a_normal_picture_are_the_plain_percentiles(make: Any) -> None:
    image = Image(make())
    assert image.limits == _plain(image)
    assert image.doubts == ""


def test_cells_on_hardly_any_pixel_of_a_zero_background_are_seen() -> None:
    pixels, inside = _sparse()
    assert inside.mean() < 0.005
    image = Image(pixels)
    assert image.limits[0] == 0
    assert 700 < image.limits[1] <= 800
    assert image.rgb()[inside].mean() > 120
    assert image.rgb()[~inside].max() == 0
    assert "the percentiles 0.5 and 99.5 are equal" in image.doubts


@pytest.mark.parametrize("hot", [1, 40])
def test_hot_pixels_beside_sparse_cells_do_not_make_them_black(hot: int) -> None:
    pixels, inside = _sparse()
    rows = np.random.default_rng(3).choice(np.arange(300, 500, 4), hot)
    pixels[rows, np.arange(2, 2 + 4 * hot, 4)] = 65535
    assert Image(pixels).limits[1] <= 800
    assert Image(pixels).rgb()[inside].mean() > 120


def test_a_saturated_speck_beside_sparse_cells_does_not_make_them_black() -> None:
    pixels, inside = _sparse()
    pixels[400:416, 300:316] = 65535
    image = Image(pixels)
    assert image.rgb()[inside].mean() > 120
    assert "65535" in image.doubts


def test_a_saturated_speck_among_cells_does_not_make_them_black() -> None:
    pixels = _picture()
    plain = Image(pixels).limits
    pixels[10:40, 10:40] = 65535
    image = Image(pixels)
    assert image.limits == pytest.approx(plain, rel=0.1)
    assert "65535" in image.doubts


@pytest.mark.parametrize(
    ("fill", "dtype"),
    [(65535, np.uint16), (-32768, np.int16), (-2000 * 16, np.int16), (1e35, np.float32), (-9999.0, np.float64)],
)
@pytest.mark.parametrize("where", ["stripe", "tile", "corners"])
def test_a_fill_value_is_left_out(fill: float, dtype: Any, where: str) -> None:
    pixels = _picture(dtype)
    plain = Image(pixels).limits
    y, x = np.mgrid[:256, :256]
    filled = {"stripe": x < 60, "tile": (x < 128) & (y >= 128), "corners": (y - 128) ** 2 + (x - 128) ** 2 > 128**2}
    pixels[filled[where]] = fill
    image = Image(pixels)
    low, high = image.limits
    assert low == pytest.approx(plain[0], rel=0.1)
    assert 0.5 * plain[1] < high < 1.2 * plain[1]
    assert "% of the pixels have" in image.doubts


def test_zero_padding_far_below_the_values_is_left_out() -> None:
    pixels = _picture() + 30_000
    plain = Image(pixels).limits
    pixels[:, :60] = 0
    assert Image(pixels).limits == pytest.approx(plain, rel=0.01)


def test_photon_counts_are_seen() -> None:
    rng = np.random.default_rng(4)
    _, inside = _sparse()
    counts = rng.poisson(np.where(inside, 4, 0.0005)).astype(np.uint8)
    image = Image(counts)
    assert image.limits[1] >= 5
    assert image.rgb()[inside].mean() > 60


def test_nan_and_infinity_do_not_count() -> None:
    pixels, _ = _sparse()
    floats = pixels.astype(np.float32)
    floats[:, :20] = np.nan
    floats[0, 30:40] = np.inf
    assert 700 < Image(floats).limits[1] <= 800


def test_an_object_in_a_slice_that_is_not_sampled_is_seen() -> None:
    stack = np.zeros((60, 64, 64), np.uint16)
    stack[3, 20:40, 20:40] = 500
    image = Image(stack, "ZYX")
    assert image.limits == (0, 500)
    assert "All pixels" not in image.doubts
    assert image.rgb((3,))[30, 30, 0] == 255


def test_limits_that_show_nothing_are_said_and_kept() -> None:
    pixels = _picture()
    for norm in (Limits(low=5, high=5), Limits(low=5000, high=6000), CTWindow(level=-4000, width=100)):
        image = Image(pixels, normalisation=norm)
        assert f"makes every pixel {'white' if isinstance(norm, CTWindow) else 'black'}" in image.doubts
    assert Image(pixels, normalisation=Limits(low=0, high=1000)).doubts == ""


def test_8_bit_rgb_is_as_it_is_and_nothing_else() -> None:
    rgb = np.random.default_rng(5).integers(30, 90, (40, 50, 3)).astype(np.uint8)
    assert np.array_equal(Image(rgb, normalisation=AsIs()).rgb(), rgb)
    for pixels, axes in ((rgb.astype(np.uint16), "YXC"), (rgb[..., 0], "YX"), (np.moveaxis(rgb, -1, 0), "CYX")):
        as_is = Image(pixels, axes, normalisation=AsIs())
        assert as_is.limits == Image(pixels, axes, normalisation=Percentile()).limits


def test_min_to_max_is_exact_and_without_a_hot_pixel() -> None:
    pixels = np.zeros((1500, 1600), np.uint16) + _picture(size=100)[0, 0]
    pixels[:256, :256] = _picture()
    pixels[1, 1] = 3
    assert Image(pixels, normalisation=MinMax()).limits == (3, pixels.max())
    cells = _picture()
    brightest = cells.max()
    cells[50, 50] = 65535
    image = Image(cells, normalisation=MinMax())
    assert image.limits[1] <= brightest
    assert image.doubts

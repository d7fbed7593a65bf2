from __future__ import annotations

import tempfile
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_foundseg.core.contrast import CTWindow, Limits, Percentile
from napari_foundseg.core.errors import AxesError, BadImageError, DTypeError
from napari_foundseg.core.image import Image

REAL = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i2", ">u2", ">u4", ">f4", ">f8", "g"]
RANDOM = np.random.default_rng(0)


class Watched:
    """A lazy array that remembers what was asked of it."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.asked: list[Any] = []

    def __getitem__(self, key: Any) -> Any:
        self.asked.append(key)
        return self.array[key]

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the whole array was read")


def _mapped(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, array.dtype, "w+", 0, array.shape)
    mapped[:] = array
    return mapped


@given(
    array=st.sampled_from([d for d in REAL if d != "g"]).flatmap(
        lambda d: hnp.arrays(np.dtype(d), hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    )
)
def test_any_real_image_becomes_8_bit_rgb(array: np.ndarray[Any, Any]) -> None:
    rgb = Image(array).rgb()
    assert rgb.shape == (*array.shape, 3)
    assert rgb.dtype == np.uint8
    assert (rgb == rgb[..., :1]).all()


@pytest.mark.parametrize("dtype", REAL)
def test_brighter_pixels_stay_brighter(dtype: str) -> None:
    ramp = np.tile(np.linspace(0, 1 if dtype == "?" else 120, 121), (2, 1)).astype(dtype)
    grey = Image(ramp).rgb()[..., 0].astype(int)
    assert (np.diff(grey) >= 0).all()
    assert grey.min() == 0
    assert grey.max() == 255


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_or_one_pixel_image_has_finite_pixels(dtype: str, value: int) -> None:
    for shape in [(1, 1), (1, 7), (7, 1), (5, 6)]:
        rgb = Image(np.full(shape, value, dtype)).rgb()
        assert rgb.shape == (*shape, 3)
        assert len(np.unique(rgb)) == 1


@pytest.mark.parametrize("dtype", ["c8", "c16", "O", "S3", "U3", "M8[s]", "V4", "i4,f4"])
def test_pixels_without_grey_values_are_refused(dtype: str) -> None:
    with pytest.raises(DTypeError, match="no grey values"):
        Image(np.zeros((4, 4), dtype))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (0, 5, 5), (3, 0, 5)])
def test_an_image_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadImageError, match="no pixels"):
        Image(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_nan_and_infinities_do_not_disturb_the_other_pixels(bad: float, dtype: str) -> None:
    array = RANDOM.uniform(0, 100, (40, 50)).astype(dtype)
    other = np.ones(array.shape, bool)
    other[3, 4] = False
    damaged = array.copy()
    damaged[3, 4] = bad
    difference = Image(damaged).rgb()[other].astype(int) - Image(array).rgb()[other]
    assert np.abs(difference).max() <= 1
    expected = 255 if bad == np.inf else 0
    assert Image(damaged).rgb()[3, 4, 0] == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_of_nothing_finite_is_refused_or_finite(bad: float) -> None:
    assert Image(np.full((4, 4), bad)).rgb().shape == (4, 4, 3)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e300])
def test_extreme_floats_are_stretched(scale: float) -> None:
    array = np.tile(np.arange(100.0), (3, 1)) * scale
    grey = Image(array).rgb()[..., 0]
    assert grey.min() == 0
    assert grey.max() == 255


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda a: np.flip(np.flip(a).copy()),
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: da.from_array(a, chunks=5),
        lambda a: zarr.array(a, chunks=(5, 5)),
        _mapped,
    ],
    ids=["fortran", "negative strides", "strided", "other byte order", "dask", "zarr", "memory map"],
)
def test_the_memory_layout_changes_nothing(layout: Any) -> None:
    array = RANDOM.integers(0, 60000, (33, 21), np.uint16)
    other = Image(layout(array))
    assert np.array_equal(other.rgb(), Image(array).rgb())
    assert np.array_equal(other.rgb((), (2, 3, 20, 15)), Image(array).rgb()[2:21, 3:16])


def test_a_read_only_image_is_taken_and_not_altered() -> None:
    array = RANDOM.uniform(size=(8, 9))
    array.setflags(write=False)
    before = array.copy()
    rgb = Image(array).rgb()
    rgb[:] = 0
    assert np.array_equal(array, before)


@pytest.mark.parametrize(
    ("shape", "axes", "label_shape"),
    [
        ((8, 9), "YX", (8, 9)),
        ((8, 9, 3), "YXC", (8, 9)),
        ((8, 9, 4), "YXC", (8, 9)),
        ((8, 9, 5), "ZYX", (8, 9, 5)),
        ((2, 8, 9, 3), "ZYXC", (2, 8, 9)),
        ((2, 5, 8, 9), "TZYX", (2, 5, 8, 9)),
        ((2, 3, 5, 8, 9), "QTZYX", (2, 3, 5, 8, 9)),
        ((2, 5, 8, 9, 3), "TZYXC", (2, 5, 8, 9)),
    ],
)
def test_default_axes(shape: tuple[int, ...], axes: str, label_shape: tuple[int, ...]) -> None:
    image = Image(np.zeros(shape, np.uint8))
    assert (image.axes, image.shape) == (axes, label_shape)


@pytest.mark.parametrize("shape", [(), (5,), (2, 2, 2, 2, 8, 9), (2, 2, 2, 8, 9, 3)])
def test_too_few_or_too_many_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(AxesError, match=r"axes|rows"):
        Image(np.zeros(shape))


@pytest.mark.parametrize("axes", ["Y", "YXZ", "YY", "ZX", "YA", "YXC"])
def test_axes_that_do_not_fit_are_named(axes: str) -> None:
    with pytest.raises(AxesError, match=f"axes='{axes}'"):
        Image(np.zeros((8, 9)), axes=axes)


@given(order=st.permutations("TCZYX"), seed=st.integers(0, 99))
def test_any_order_of_axes_gives_the_same_slices(order: list[str], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 255, (2, 3, 4, 5, 6), np.uint8)
    image = Image(array.transpose(["TCZYX".index(a) for a in order]), "".join(order), channels=(2, 0, 1))
    index = tuple({"T": 1, "Z": 2}[a] for a in image.slice_axes)
    assert np.array_equal(image.raw(index), array[1][[2, 0, 1], 2].transpose(1, 2, 0))
    assert np.array_equal(image.raw(index, (1, 2, 3, 5)), image.raw(index)[1:4, 2:6])
    labels = np.zeros(image.shape, np.uint16)
    image.plane_view(labels, index)[1, 2] = 7
    at = {"T": 1, "Z": 2, "Y": 1, "X": 2}
    assert labels[tuple(at[a] for a in image.label_axes)] == 7
    assert np.count_nonzero(labels) == 1


def test_channels_are_chosen() -> None:
    array = RANDOM.integers(0, 255, (5, 8, 9), np.uint8)
    assert np.array_equal(Image(array, "CYX").raw(), array[0])
    assert np.array_equal(Image(array, "CYX", channels=3).raw(), array[3])
    assert (Image(array, "CYX", channels=(4, 1)).rgb()[..., 2] == 0).all()
    with pytest.raises(AxesError, match="0 to 4"):
        Image(array, "CYX", channels=5)
    with pytest.raises(AxesError, match="no channel axis"):
        Image(array, "ZYX", channels=1)


def test_channels_are_chosen_by_name_too() -> None:
    image = Image(np.zeros((4, 8, 9), np.uint8), "CYX", channel_names=("DAPI", "gfp", "GFP", "RFP"))
    assert image.channel_numbers(None) is None
    assert image.channel_numbers(2) == (2,)
    assert image.channel_numbers("dapi") == (0,)
    assert image.channel_numbers(("GFP", 3, "gfp")) == (2, 3, 1)
    with pytest.raises(AxesError, match=r"no channel is named 'Cy5'.*'DAPI', 'gfp', 'GFP', 'RFP'"):
        image.channel_numbers(("DAPI", "Cy5"))
    with pytest.raises(AxesError, match="several channels are named 'Gfp'"):
        image.channel_numbers("Gfp")
    with pytest.raises(AxesError, match="only numbers"):
        Image(np.zeros((4, 8, 9), np.uint8), "CYX").channel_numbers("DAPI")


@pytest.mark.parametrize("channels", [3, 4])
def test_alpha_is_no_colour(channels: int) -> None:
    array = RANDOM.integers(0, 255, (8, 9, channels), np.uint8)
    assert np.array_equal(Image(array, normalisation=Limits(low=0, high=255)).rgb(), array[..., :3])


def test_what_is_odd_about_grey_values_is_said() -> None:
    array = RANDOM.uniform(size=(20, 20))
    assert Image(array).doubts == ""
    assert Image(array > 0.5).doubts == ""
    array[0, :8] = np.nan
    for normalisation in (Percentile(), Limits(low=0, high=1)):
        assert Image(array, normalisation=normalisation).doubts.startswith("2 % of the pixels are NaN or infinite")
    assert "All pixels have the value 3" in Image(np.full((4, 5), 3, np.uint8)).doubts
    assert "No pixel has a finite value" in Image(np.full((4, 5), np.inf)).doubts


def test_percentiles_are_the_same_over_a_stack() -> None:
    array = np.stack([np.full((20, 20), v, np.uint16) for v in (100, 1000, 3000)])
    array[0, 0, 0] = 0
    image = Image(array, normalisation=Percentile(low=0, high=100))
    means = [image.rgb((z,)).mean() for z in range(3)]
    assert means == sorted(means)
    assert means[2] > 2 * means[1] > 4 * means[0], "each slice was stretched by itself"


def test_limits_and_ct_windows() -> None:
    array = np.array([[-2000, -160, 40, 240, 3000]], np.int16)
    by_window = Image(array, normalisation=CTWindow(level=40, width=400)).rgb()[0, :, 0]
    assert np.array_equal(by_window, Image(array, normalisation=Limits(low=-160, high=240)).rgb()[0, :, 0])
    assert by_window.tolist() == pytest.approx([0, 0, 127.5, 255, 255], abs=0.5)


def test_only_the_asked_slice_and_box_are_read() -> None:
    lazy = Watched(RANDOM.integers(0, 255, (50, 30, 40), np.uint8))
    image = Image(lazy, normalisation=Limits(low=0, high=255))
    image.rgb((7,), (3, 4, 10, 12))
    assert lazy.asked == [(7, slice(3, 11), slice(4, 13))]


def test_dask_computes_only_the_asked_chunk() -> None:
    computed = []

    def block(block_info: Any) -> np.ndarray[Any, Any]:
        computed.append(block_info[None]["chunk-location"])
        return np.zeros((1, 8, 9), np.uint8)

    stack = da.map_blocks(block, chunks=((1,) * 20, (8,), (9,)), dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    computed.clear()
    Image(stack, normalisation=Limits(low=0, high=1)).rgb((5,))
    assert set(computed) == {(5, 0, 0)}


def test_a_pyramid_gives_the_finest_pixels_and_normalises_by_a_coarser_level() -> None:
    fine = RANDOM.integers(0, 255, (2048, 2048), np.uint8)
    levels = [Watched(fine), Watched(fine[::2, ::2]), Watched(fine[::4, ::4])]
    image = Image(levels)
    assert image.shape == (2048, 2048)
    assert image.limits[1] > image.limits[0]
    assert not levels[0].asked, "the finest level was read for percentiles"
    assert np.array_equal(image.raw((), (5, 6, 50, 60)), fine[5:51, 6:61])


def test_a_list_of_equal_planes_is_a_stack() -> None:
    assert Image([np.zeros((8, 9)), np.ones((8, 9))]).shape == (2, 8, 9)


def test_equal_content_has_an_equal_fingerprint() -> None:
    array = RANDOM.integers(0, 255, (3, 8, 9), np.uint16)
    changed = array.copy()
    changed[1, 2, 3] += 1
    same = Image(np.asfortranarray(array)).fingerprint()
    assert same == Image(array).fingerprint() == Image(da.from_array(array)).fingerprint()
    assert same != Image(changed).fingerprint()
    assert same != Image(array, "TYX").fingerprint()


def test_a_slice_that_is_not_there_is_named() -> None:
    with pytest.raises(AxesError, match="1 indices"):
        Image(np.zeros((3, 8, 9))).raw(())


def test_a_ragged_list_is_refused() -> None:
    with pytest.raises((BadImageError, DTypeError)):
        Image([[1, 2], [3]])

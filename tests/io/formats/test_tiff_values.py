"""Values of TIFFs of every kind: as tifffile reads them, and then what they mean."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats import tiff
from napari_foundseg.io.readers import read_image, read_labels, read_stored

RANDOM = np.random.default_rng(0)
COMPRESSIONS = [None, "lzw", "zlib", "zstd", "packbits", "jpeg", "jpeg2000", "webp", "png", "lerc", "jpegxl", "jpegxr"]
DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"]
#: Photometric tag and planar configuration.
KINDS = [("minisblack", None), ("miniswhite", None), ("palette", None), ("rgb", "contig"), ("rgb", "separate")]
PALETTE = RANDOM.integers(0, 256, (256, 3), np.uint8)


def noise(shape: tuple[int, ...], dtype: str = "u1") -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return RANDOM.normal(size=shape).astype(kind)
    if kind.kind == "b":
        return RANDOM.integers(0, 2, shape).astype(bool)
    return RANDOM.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)


def write(path: Path, array: np.ndarray[Any, Any], photometric: str, orientation: int = 1, **options: Any) -> None:
    if photometric == "palette":
        options["colormap"] = PALETTE.T.astype(np.uint16) * 257
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, array, photometric=photometric, extratags=tags, metadata=None, **options)


def inverted(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if values.dtype.kind == "f":
        return -values
    low, high = (0, 1) if values.dtype.kind == "b" else (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
    return (int(high) + int(low) - values.astype(object)).astype(values.dtype)


def finest(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(read_image(path).levels[0])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_stored_values_are_tifffiles(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    orientations = itertools.cycle(range(1, 9))
    written = 0
    for dtype, order, (photometric, planar), predictor in itertools.product(DTYPES, "<>", KINDS, (False, True)):
        shape = {"contig": (16, 24, 3), "separate": (3, 16, 24)}.get(planar or "", (16, 24))
        options = {
            "compression": compression,
            "byteorder": order,
            "planarconfig": planar,
            "predictor": predictor or None,
        }
        orientation = next(orientations)
        array = noise(shape, dtype)
        try:
            write(path, array, photometric, orientation, **options)
        except Exception:  # noqa: BLE001 - no such file: a JPEG of 64 bits, a predictor of bits
            continue
        case = (dtype, photometric, orientation, options)
        try:
            expected = tifffile.imread(path)
        except Exception:  # noqa: BLE001 - what tifffile cannot read is no image, and says so
            with pytest.raises(BadImageError):
                read_image(path)
            continue
        written += 1
        stored = read_stored(path).data
        assert stored.dtype == expected.dtype, case
        assert np.array_equal(stored, expected, equal_nan=expected.dtype.kind == "f"), case
        meant = read_image(path)
        assert meant.plane_shape == (16, 24), case
        assert bool(meant.notes) == (orientation > 1 or photometric == "miniswhite"), case
        if planar == "separate":
            expected = np.moveaxis(expected, 0, -1)
        if photometric in ("minisblack", "rgb"):
            assert np.array_equal(meant.levels[0], expected, equal_nan=expected.dtype.kind == "f"), case
        if photometric == "palette":
            assert np.array_equal(meant.levels[0], PALETTE[expected]), case
        if photometric == "miniswhite":
            assert np.array_equal(meant.levels[0], inverted(expected), equal_nan=expected.dtype.kind == "f"), case
    assert written >= {"webp": 2, "jpeg": 8, "png": 12}.get(str(compression), 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
def test_an_orientation_moves_no_pixel_and_is_named(tmp_path: Path, orientation: int, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    array = np.zeros((16, 24), np.uint8)
    array[:8, :8] = 200
    write(path, array, "minisblack", orientation, compression=compression)
    image = read_image(path)
    assert image.shape == (16, 24)
    assert np.abs(image.raw().astype(int) - array).max() <= 2
    assert [f"orientation tag ({orientation}:" in note for note in image.notes] == [True] * (orientation > 1)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_photograph_lies_as_napari_shows_it(tmp_path: Path, orientation: int, ending: str) -> None:
    stored = np.zeros((32, 48), np.uint8)
    stored[:16, :16] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(stored).save(tmp_path / f"a{ending}", exif=exif)
    image = read_image(tmp_path / f"a{ending}")
    assert image.shape == (32, 48)
    assert np.abs(image.raw().astype(int) - stored).mean() < 3
    assert len(image.notes) == (2 <= orientation <= 8)


@pytest.mark.parametrize(
    ("bits", "dtype"), [(1, "?"), (2, "u1"), (4, "u1"), (8, "u1"), (10, "u2"), (12, "u2"), (16, "u2")]
)
def test_white_as_zero_is_inverted(tmp_path: Path, bits: int, dtype: str) -> None:
    path = tmp_path / "a.tif"
    values = RANDOM.integers(0, 1 << bits, (16, 24)).astype(dtype)
    if bits in (1, 8, 16):
        tifffile.imwrite(path, values, photometric="miniswhite")
    else:
        # Rows of packed bits, first written as rows of bytes.
        packed = np.packbits(values[..., None] >> np.arange(bits - 1, -1, -1) & 1, axis=None).reshape(16, -1)
        tifffile.imwrite(path, packed, photometric="miniswhite", metadata=None, rowsperstrip=16)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages[0].tags["ImageWidth"].overwrite(24)
            file.pages[0].tags["BitsPerSample"].overwrite(bits)
    stored = read_stored(path).data
    assert np.array_equal(stored, values)
    assert np.array_equal(finest(path).astype(int), (1 << bits) - 1 - stored.astype(int))
    assert np.array_equal(read_labels(path).data, stored)


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_planes_of_colour_are_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager: bool, compression: str | None, pages: int, dtype: str
) -> None:
    array = noise((pages, 16, 24, 3), dtype)
    planes = np.moveaxis(array, -1, 1)
    options = {"photometric": "rgb", "compression": compression}
    tifffile.imwrite(tmp_path / "contiguous.tif", array, planarconfig="contig", **options)
    tifffile.imwrite(tmp_path / "planes.tif", planes, planarconfig="separate", tile=(16, 16), **options)
    if not eager:
        monkeypatch.setattr(tiff, "EAGER_BYTES", 0)
    expected, found = read_image(tmp_path / "contiguous.tif"), read_image(tmp_path / "planes.tif")
    assert (found.axes, found.channels, found.shape) == (expected.axes, expected.channels, expected.shape)
    for index in expected.indices():
        assert np.array_equal(found.raw(index), expected.raw(index))
        assert np.array_equal(found.rgb(index, (2, 3, 9, 20)), expected.rgb(index, (2, 3, 9, 20)))
    assert found.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("pages", [1, 3])
def test_a_palette_is_colour_and_labels_keep_their_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager: bool, pages: int
) -> None:
    indices = noise((pages, 16, 24))[0] if pages == 1 else noise((pages, 16, 24))
    write(tmp_path / "a.tif", indices, "palette", tile=(16, 16), compression="lzw")
    if not eager:
        monkeypatch.setattr(tiff, "EAGER_BYTES", 0)
    image = read_image(tmp_path / "a.tif")
    assert str(image.axes).endswith("YXC")
    plane = indices if pages == 1 else indices[2]
    assert np.array_equal(image.raw((2,) if pages > 1 else ()), PALETTE[plane])
    assert np.array_equal(image.raw((2,) if pages > 1 else (), (1, 2, 8, 9)), PALETTE[plane[1:9, 2:10]])
    assert np.array_equal(read_labels(tmp_path / "a.tif").data, indices)


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    indices = noise((16, 24))
    ramp = np.tile(np.arange(255, -1, -1, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=ramp)
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YX"
    assert np.array_equal(image.raw(), 255 - indices)


def test_a_look_up_table_of_imagej_changes_no_intensities(tmp_path: Path) -> None:
    indices = noise((16, 24))
    tifffile.imwrite(
        tmp_path / "a.tif", indices, imagej=True, photometric="palette", colormap=PALETTE.T.astype("u2") * 257
    )
    assert np.array_equal(finest(tmp_path / "a.tif"), indices)


@pytest.mark.parametrize("given", ["CYX", "YXC"])
def test_axes_of_planes_may_be_given_as_stored_or_as_shown(tmp_path: Path, given: str) -> None:
    array = noise((3, 16, 24))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate")
    image = read_image(tmp_path / "a.tif", given)
    assert image.axes == "YXC"
    assert np.array_equal(image.raw(), np.moveaxis(array, 0, -1))
    assert read_image(tmp_path / "a.tif", "ZYX").slice_axes == "Z"


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_more_samples_than_colours(tmp_path: Path, planar: str) -> None:
    array = noise((16, 24, 5))
    stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=(0, 0))
    image = read_image(tmp_path / "a.tif")
    assert image.channels == (0, 1, 2)
    assert np.array_equal(image.raw(), array[..., :3])


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_with_alpha_is_grey(tmp_path: Path, photometric: str) -> None:
    array = noise((16, 24, 2))
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric=photometric, planarconfig="contig", extrasamples=("unassalpha",)
    )
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YX"
    assert np.array_equal(image.raw(), array[..., 0] if photometric == "minisblack" else 255 - array[..., 0])


def test_two_samples_without_a_meaning_are_channels(tmp_path: Path) -> None:
    array = noise((16, 24, 2))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig")
    image = read_image(tmp_path / "a.tif")
    assert (image.axes, image.channels) == ("YXC", (0,))


def test_cmyk_is_shown_as_pillow_shows_it(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(noise((16, 24, 4)), "CMYK")
    picture.save(tmp_path / "a.tif", compression="tiff_lzw")
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YXC"
    assert np.abs(image.raw().astype(int) - np.asarray(picture.convert("RGB"))).max() <= 1
    assert "CMYK" in image.notes[0]


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_ycbcr_without_jpeg_is_shown_as_pillow_shows_it(tmp_path: Path, planar: str) -> None:
    colours = PIL.Image.fromarray(RANDOM.integers(60, 200, (16, 24, 3), np.uint8))
    stored = np.asarray(colours.convert("YCbCr"))
    planes = stored if planar == "contig" else np.moveaxis(stored, -1, 0)
    options = {"photometric": "ycbcr", "planarconfig": planar, "extratags": [(530, "H", 2, (1, 1), True)]}
    tifffile.imwrite(tmp_path / "a.tif", planes, metadata=None, **options)
    shown = np.asarray(PIL.Image.fromarray(stored, "YCbCr").convert("RGB"))
    assert np.abs(read_image(tmp_path / "a.tif").raw().astype(int) - shown).max() <= 1


def test_lab_is_red_green_and_blue(tmp_path: Path) -> None:
    from skimage.color import rgb2lab

    colours = noise((16, 24, 3))
    lab = rgb2lab(colours)
    stored = np.dstack([lab[..., 0] * 255 / 100, lab[..., 1], lab[..., 2]]).round().astype(np.int16).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="cielab", planarconfig="contig")
    found = read_image(tmp_path / "a.tif").raw().astype(int)
    assert np.median(np.abs(found - colours)) <= 3


def test_jpeg_in_a_tiff_is_red_green_and_blue(tmp_path: Path) -> None:
    colours = np.zeros((32, 48, 3), np.uint8)
    colours[:, :16, 0] = colours[:, 16:32, 1] = colours[:, 32:, 2] = 200
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", compression="jpeg", compressionargs={"level": 95})
    image = read_image(tmp_path / "a.tif")
    assert np.abs(image.raw()[8, [8, 24, 40]].astype(int) - colours[8, [8, 24, 40]]).max() < 12
    assert image.notes == ()


def test_a_pyramid_of_planes_keeps_its_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise((3, 64, 96))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        options: dict[str, Any] = {
            "photometric": "rgb",
            "planarconfig": "separate",
            "tile": (32, 32),
            "compression": "lzw",
        }
        file.write(array, subifds=1, metadata=None, **options)
        file.write(array[:, ::2, ::2], subfiletype=1, metadata=None, **options)
    monkeypatch.setattr(tiff, "EAGER_BYTES", 0)
    image = read_image(tmp_path / "a.tif")
    assert [level.shape for level in image.levels] == [(64, 96, 3), (32, 48, 3)]
    assert np.array_equal(image.raw((), (10, 20, 40, 60)), np.moveaxis(array, 0, -1)[10:41, 20:61])

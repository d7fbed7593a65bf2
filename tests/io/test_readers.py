from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.errors import AxesError, BadImageError, FoundsegError
from napari_foundseg.io.formats import tiff
from napari_foundseg.io.readers import read_image

RANDOM = np.random.default_rng(0)


def noise(shape: tuple[int, ...], dtype: str = "u1") -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return RANDOM.normal(size=shape).astype(kind)
    native = kind.newbyteorder("=")
    return RANDOM.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, native, endpoint=True).astype(kind)


def pixels(path: Path, axes: str | None = None) -> np.ndarray[Any, Any]:
    return np.asarray(read_image(path, axes).levels[0])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8", ">u2", ">f4"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_of_every_dtype(tmp_path: Path, dtype: str, compression: str | None) -> None:
    array = noise((7, 9), dtype)
    order = ">" if dtype[0] == ">" else "<"
    tifffile.imwrite(tmp_path / "a.tif", array, compression=compression, byteorder=order)
    assert np.array_equal(pixels(tmp_path / "a.tif"), array)


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("YX", (1, 9), "YX"),
        ("YX", (9, 1), "YX"),
        ("YX", (1, 1), "YX"),
        ("ZYX", (1, 8, 9), "YX"),
        ("ZYX", (5, 8, 9), "ZYX"),
        ("TYX", (5, 8, 9), "TYX"),
        ("QYX", (5, 8, 9), "QYX"),
        ("IYX", (5, 8, 9), "ZYX"),
        ("AYX", (1, 8, 9), "YX"),
        ("CYX", (5, 8, 9), "CYX"),
        ("TCZYX", (2, 3, 4, 8, 9), "TCZYX"),
    ],
)
def test_axes_of_a_tiff(tmp_path: Path, axes: str, shape: tuple[int, ...], expected: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(shape), metadata={"axes": axes}, photometric="minisblack")
    assert read_image(tmp_path / "a.tif").axes == expected


def test_an_rgb_tiff_is_colour(tmp_path: Path) -> None:
    array = noise((8, 9, 3))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YXC"
    assert image.shape == (8, 9)
    assert np.array_equal(image.raw(), array)


def test_a_person_may_name_the_axes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((3, 8, 9)), metadata={"axes": "ZYX"}, photometric="minisblack")
    assert read_image(tmp_path / "a.tif", axes="cyx").axes == "CYX"
    with pytest.raises(AxesError, match="2 axes"):
        read_image(tmp_path / "a.tif", axes="YX")


def test_too_many_axes_are_named(tmp_path: Path) -> None:
    array = noise((2, 2, 2, 2, 4, 4))
    tifffile.imwrite(tmp_path / "a.tif", array, metadata={"axes": "QTCZYX"}, photometric="minisblack")
    with pytest.raises(AxesError, match="QTCZYX"):
        read_image(tmp_path / "a.tif")


def test_ome_spacing_and_units(tmp_path: Path) -> None:
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeY": 0.5,
        "PhysicalSizeZ": 900.0,
        "PhysicalSizeZUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", noise((4, 8, 9)), metadata=metadata, photometric="minisblack")
    image = read_image(tmp_path / "a.ome.tif")
    assert image.axes == "ZYX"
    assert dict(image.spacing) == {"Z": 900.0, "Y": 0.5, "X": 0.25}
    assert dict(image.units) == {"Z": "nm", "Y": "µm", "X": "µm"}


def test_ome_names_of_channels(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "488", "Cy5"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", noise((3, 8, 9)), metadata=metadata, photometric="minisblack")
    assert read_image(tmp_path / "a.ome.tif").channel_names == ("DAPI", "488", "Cy5")


def test_imagej_spacing_and_units(tmp_path: Path) -> None:
    metadata = {"axes": "TZYX", "spacing": 2.0, "unit": "micron", "finterval": 30.0}
    tifffile.imwrite(
        tmp_path / "a.tif", noise((2, 4, 8, 9), "u2"), imagej=True, metadata=metadata, resolution=(4.0, 2.0)
    )
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "TZYX"
    assert dict(image.spacing) == pytest.approx({"T": 30.0, "Z": 2.0, "Y": 0.5, "X": 0.25})
    assert dict(image.units) == {"T": "s", "Z": "µm", "Y": "µm", "X": "µm"}


@pytest.mark.parametrize("options", [{"bigtiff": True}, {"tile": (16, 16)}, {"compression": "packbits"}])
def test_other_layouts_of_a_tiff(tmp_path: Path, options: dict[str, Any]) -> None:
    array = noise((40, 50))
    if options.get("compression") == "packbits":
        PIL.Image.fromarray(array).save(tmp_path / "a.tif", compression="packbits")
    else:
        tifffile.imwrite(tmp_path / "a.tif", array, **options)
    assert np.array_equal(pixels(tmp_path / "a.tif"), array)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", ">i4", ">f4"])
@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits"])
def test_compressed_pixels_are_those_stored(tmp_path: Path, dtype: str, compression: str) -> None:
    planes = noise((3, 40, 50), dtype)
    order = ">" if dtype[0] == ">" else "<"
    tifffile.imwrite(tmp_path / "a.tif", planes, byteorder=order, photometric="minisblack", compression=compression)
    assert np.array_equal(pixels(tmp_path / "a.tif"), planes)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "zlib", "tile": (16, 16)}])
def test_a_large_stack_is_read_slice_by_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    array = noise((12, 48, 40), ">u2")
    tifffile.imwrite(tmp_path / "a.tif", array, byteorder=">", photometric="minisblack", **options)
    monkeypatch.setattr(tiff, "EAGER_BYTES", 0)
    image = read_image(tmp_path / "a.tif")
    assert not type(image.levels[0]) is np.ndarray  # noqa: E714 - a memory map is a subclass
    assert np.array_equal(image.raw((7,)), array[7])
    assert np.array_equal(image.raw((7,), (3, 5, 20, 30)), array[7, 3:21, 5:31])


def test_a_large_pyramid_keeps_its_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise((128, 96))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(array, subifds=1, tile=(32, 32), compression="zlib", metadata={"axes": "YX"})
        file.write(array[::2, ::2], subfiletype=1, tile=(32, 32), compression="zlib")
    monkeypatch.setattr(tiff, "EAGER_BYTES", 0)
    image = read_image(tmp_path / "a.ome.tif")
    assert [level.shape for level in image.levels] == [(128, 96), (64, 48)]
    assert np.array_equal(image.raw((), (10, 20, 40, 60)), array[10:41, 20:61])


def test_damage_found_late_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((4, 64, 64)), compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[2].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 2000] = b"\xaa" * 2000
    path.write_bytes(content)
    monkeypatch.setattr(tiff, "EAGER_BYTES", 0)
    image = read_image(path)
    image.raw((1,))
    with pytest.raises(BadImageError, match=r"a\.tif.*damaged"):
        image.raw((2,))


def _tiff_bytes(path: Path, **options: Any) -> bytes:
    tifffile.imwrite(path, noise((5, 64, 64)), photometric="minisblack", **options)
    return path.read_bytes()


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True, "compression": "zlib"}])
@pytest.mark.parametrize("share", [0.0, 0.0002, 0.0004, 0.001, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_tiff(tmp_path: Path, options: dict[str, Any], share: float) -> None:
    content = _tiff_bytes(tmp_path / "a.tif", **options)
    (tmp_path / "a.tif").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadImageError, match=r"a\.tif: "):
        read_image(tmp_path / "a.tif")


def _ifd_loop(content: bytes) -> bytes:
    first = struct.unpack_from("<I", content, 4)[0]
    entries = struct.unpack_from("<H", content, first)[0]
    changed = bytearray(content)
    struct.pack_into("<I", changed, first + 2 + 12 * entries, first)
    return bytes(changed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: b"", "empty"),
        (lambda c: c[:8], "truncated"),
        (lambda _: b"hello world " * 99, "not a TIFF, PNG or JPEG"),
        (lambda c: c[:2000] + b"\xaa" * 500 + c[2500:], "damaged"),
        (lambda c: c[:4] + struct.pack("<I", 10**9) + c[8:], "truncated"),
        (_ifd_loop, "loop"),
    ],
)
def test_a_damaged_tiff(tmp_path: Path, change: Any, reason: str) -> None:
    (tmp_path / "a.tif").write_bytes(change(_tiff_bytes(tmp_path / "b.tif", compression="zlib")))
    with pytest.raises(BadImageError, match=rf"a\.tif: .*{reason}"):
        read_image(tmp_path / "a.tif")


@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("kind", ["tif", "png", "jpg"])
def test_whatever_the_damage_an_image_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, flips: list[tuple[float, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"flipped.{kind}"
    plane = np.arange(40 * 50, dtype=np.uint8).reshape(40, 50)
    if kind == "tif":
        tifffile.imwrite(path, plane, compression="zlib")
    else:
        PIL.Image.fromarray(plane).save(path)
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    with suppress(FoundsegError):
        image = read_image(path)
        image.rgb(tuple(0 for _ in image.slice_axes))


def test_a_header_that_claims_a_huge_tiff_is_refused_before_allocation(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((64, 64)), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[tag].overwrite(1_000_000)
    tracemalloc.start()
    with pytest.raises(BadImageError, match=r"1000000 by 1000000.*cannot be all"):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_a_file_of_more_than_2_gib_is_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    shape = (66_000, 40_000)
    mapped = tifffile.memmap(path, shape=shape, dtype=np.uint8, bigtiff=True, photometric="minisblack")
    mapped[65_000, 39_000:39_100] = 7
    mapped.flush()
    del mapped
    assert path.stat().st_size > 1 << 31
    tracemalloc.start()
    image = read_image(path)
    part = image.raw((), (65_000, 39_000, 65_000, 39_099))
    assert (part == 7).all()
    assert image.rgb((), (0, 0, 99, 99)).shape == (100, 100, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    path.unlink()


def test_a_header_that_claims_a_huge_png_is_refused_before_allocation(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1_000_000, 1_000_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadImageError, match=r"1000000 by 1000000.*the 9 bytes"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_a_truncated_picture(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(noise((64, 64))).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: max(10, int(len(content) * share))])
    with pytest.raises(BadImageError, match=r"a\.\w+: .*truncated"):
        read_image(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(BadImageError, match="folder"):
        read_image(tmp_path / "folder.tif")
    with pytest.raises(BadImageError, match="no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(BadImageError, match="cannot be opened"):
        read_image(tmp_path / "null\0.png")


@pytest.mark.skipif(os.name != "posix", reason="POSIX pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(BadImageError, match="device"):
        read_image(tmp_path / "pipe.tif")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(BadImageError, match="not permitted"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.czi", "noextension"])
def test_an_unknown_extension_names_those_that_are_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadImageError, match=r"\.tif.*\.png.*\.jpg"):
        read_image(tmp_path / name)


def test_a_picture_with_the_wrong_extension_is_read(tmp_path: Path) -> None:
    array = noise((8, 9))
    PIL.Image.fromarray(array).save(tmp_path / "a.tif", format="PNG")
    assert np.array_equal(pixels(tmp_path / "a.tif"), array)


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("1", (8, 9), bool),
        ("L", (8, 9), np.uint8),
        ("LA", (8, 9), np.uint8),
        ("I;16", (8, 9), np.uint16),
        ("RGB", (8, 9, 3), np.uint8),
        ("RGBA", (8, 9, 4), np.uint8),
        ("P", (8, 9, 3), np.uint8),
    ],
)
def test_png_modes(tmp_path: Path, mode: str, shape: tuple[int, ...], dtype: type) -> None:
    base = PIL.Image.fromarray(noise((8, 9, 3)))
    picture = PIL.Image.fromarray(noise((8, 9), "u2")) if mode == "I;16" else base.convert(mode)
    picture.save(tmp_path / "a.png")
    array = pixels(tmp_path / "a.png")
    assert (array.shape, array.dtype) == (shape, dtype)
    if mode in ("RGB", "I;16", "L"):
        assert np.array_equal(array, np.asarray(picture))


def _png_of_16_bits(array: np.ndarray[Any, Any]) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    step = 2 * channels
    rows = array.astype(">u2").tobytes()
    lines, above = [], bytes(width * step)
    for y in range(height):
        line = rows[y * width * step : (y + 1) * width * step]
        left = bytes(step) + line[:-step]
        # Every filter of the format but Paeth's, line by line.
        base = (bytes(len(line)), left, above, bytes((a + b) // 2 for a, b in zip(left, above, strict=True)))[y % 4]
        lines.append(bytes([y % 4]) + bytes((a - b) % 256 for a, b in zip(line, base, strict=True)))
        above = line
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    data = zlib.compress(b"".join(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_16_bits_is_read_with_all_of_them(tmp_path: Path, channels: int) -> None:
    array = noise((8, 9, channels), "u2")
    (tmp_path / "a.png").write_bytes(_png_of_16_bits(array))
    found = pixels(tmp_path / "a.png")
    assert found.dtype == np.uint16
    assert np.array_equal(found, array[..., 0] if channels < 3 else array)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_photograph_whose_exif_is_damaged_is_read_as_it_lies(tmp_path: Path) -> None:
    PIL.Image.new("L", (9, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff\0\1")
    assert pixels(tmp_path / "a.jpg").shape == (8, 9)


def test_a_grey_palette_is_grey(tmp_path: Path) -> None:
    array = noise((8, 9))
    picture = PIL.Image.fromarray(array).convert("P")
    picture.save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png"), array)


@pytest.mark.parametrize(("mode", "shape"), [("L", (32, 40)), ("RGB", (32, 40, 3)), ("CMYK", (32, 40, 3))])
def test_jpeg_modes(tmp_path: Path, mode: str, shape: tuple[int, ...]) -> None:
    colour = PIL.Image.new("RGB", (40, 32), (200, 200, 200))
    colour.convert(mode).save(tmp_path / "a.jpg")
    array = pixels(tmp_path / "a.jpg")
    assert array.shape == shape
    assert np.abs(array.astype(int) - 200).max() <= 3


@pytest.mark.data
def test_real_images_are_read_whole(dsb: list[dict[str, str]]) -> None:
    for row in dsb[:20]:
        image, labels = read_image(row["image"]), read_image(row["labels"])
        assert image.shape == labels.shape
        assert labels.dtype == np.uint16
        assert image.source == row["image"]

"""Files that are no image, or not all of one: the message says what is so and what helps."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.writers import write_labels

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "web page"),
        (b"\xef\xbb\xbf\n<HTML><head></head></HTML>", "web page"),
        (bytes(5000), "zeros"),
        (b"", "0 bytes"),
        (b"%PDF-1.4 " * 9, "PDF"),
        (b"GIF89a" * 9, "GIF"),
        (b"\x89HDF\r\n\x1a\n" * 9, "HDF5"),
        (b"PK\x03\x04" * 9, "ZIP"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadImageError, match=words) as caught:
        read_image(tmp_path / "a.tif")
    assert "damaged" not in str(caught.value)


def test_a_jpeg_named_tif_is_read(tmp_path: Path) -> None:
    PIL.Image.fromarray(RANDOM.integers(0, 256, (16, 24), np.uint8)).save(tmp_path / "a.tif", format="JPEG")
    assert read_image(tmp_path / "a.tif").shape == (16, 24)


@pytest.mark.parametrize("code", [99, 32766, 34676, 34687])
def test_an_unknown_compression_is_not_called_damage(tmp_path: Path, code: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RANDOM.integers(0, 256, (16, 24), np.uint8), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(code)
    with pytest.raises(BadImageError, match=r"compress.*imagecodecs") as caught:
        read_image(path)
    assert "copy" not in str(caught.value)


def _next_page(path: Path, page: int, offset: int) -> None:
    """Overwrite where the page after this one begins."""
    with tifffile.TiffFile(path) as file:
        place = file.pages[page].offset
    content = bytearray(path.read_bytes())
    entries = struct.unpack_from("<H", content, place)[0]
    struct.pack_into("<I", content, place + 2 + 12 * entries, offset)
    path.write_bytes(content)


@pytest.mark.parametrize("rubbish", [bytes(64), b"\xff" * 64, b"a text that a program appends to the file " * 2])
def test_bytes_behind_the_last_page_are_no_truncation(tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RANDOM.integers(0, 256, (2, 16, 24), np.uint8), photometric="minisblack", metadata=None)
    path.write_bytes(path.read_bytes() + rubbish)
    assert read_image(path).shape == (2, 16, 24)
    _next_page(path, 1, path.stat().st_size - len(rubbish))
    with pytest.raises(BadImageError, match="behind its 2 pages are bytes that are not a page"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "lzw", "jpeg", "zstd"])
def test_pixels_behind_the_end_of_the_file_are_a_truncation(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    array = RANDOM.integers(0, 256, (3, 64, 64), np.uint8)
    options = {"photometric": "minisblack", "metadata": None, "tile": (32, 32)}
    tifffile.imwrite(path, array, compression=compression, **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        offsets = list(file.pages[2].dataoffsets)
        offsets[-1] = path.stat().st_size - 10
        file.pages[2].tags["TileOffsets"].overwrite(offsets)
    with pytest.raises(BadImageError, match="truncated"):
        read_image(path)


def test_tiles_that_are_not_in_the_file_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RANDOM.integers(1, 256, (64, 64), np.uint8), compression="zlib", tile=(32, 32))
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["TileByteCounts"].overwrite([0, *file.pages[0].databytecounts[1:]])
        file.pages[0].tags["TileOffsets"].overwrite([0, *file.pages[0].dataoffsets[1:]])
    image = read_image(path)
    assert "1 of its 4 strips or tiles" in image.notes[0]
    assert not image.raw()[:32, :32].any()


def test_a_missing_level_of_an_ome_zarr_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    write_labels(path, RANDOM.integers(0, 9, (2100, 2100)).astype(np.uint16))
    assert sorted(zarr.open_group(path, mode="r").array_keys()) == ["0", "1", "2"]
    shutil.rmtree(path / "1")
    image = read_image(path)
    assert image.shape == (2100, 2100)
    assert "levels, 1 of 3 are missing" in image.notes[0]
    shutil.rmtree(path / "0")
    with pytest.raises(BadImageError, match="finest level '0' is missing") as caught:
        read_image(path)
    assert "damaged" not in str(caught.value)

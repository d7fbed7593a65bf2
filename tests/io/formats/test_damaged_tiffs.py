"""TIFFs whose strips are damaged, missing or larger than they claim, and whose tags would fill the memory."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numcodecs import Zstd

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats import content, tiff
from napari_foundseg.io.formats.table import images_inside
from napari_foundseg.io.readers import read_image, read_labels
from tests.support.mutations import mutations

RANDOM = np.random.default_rng(0)
PIXELS = (np.indices((60, 90)).sum(0) + RANDOM.integers(0, 9, (60, 90))).astype(np.uint8)


def encoded(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, pixels, photometric=options.pop("photometric", "minisblack"), **options)
    return file.getvalue()


def tiff_of(width: int, height: int, compression: int, data: bytes, *more: tuple[int, int, int, int]) -> bytes:
    """Make a TIFF of one strip by hand; more tags are given as number, type, count and value."""
    data += bytes(len(data) % 2)
    tags = {
        tag: (tag, kind, count, value)
        for tag, kind, count, value in (
            *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)),
            *((273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(data))),
            *more,
        )
    }
    entries = b"".join(struct.pack("<HHII", *tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib", "rowsperstrip": 16},
        {"compression": "zlib", "tile": (32, 32), "predictor": True},
        {"compression": "lzma", "rowsperstrip": 16},
        {"compression": "png", "rowsperstrip": 60},
    ],
    ids=["zlib", "zlib tiles", "lzma", "png"],
)
@pytest.mark.parametrize("eager", [True, False])
def test_a_damaged_strip_with_a_checksum_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], eager: bool
) -> None:
    path = tmp_path / "a.tif"
    good = encoded(PIXELS, **options)
    if not eager:
        monkeypatch.setattr(tiff, "EAGER_BYTES", 0)
    path.write_bytes(good)
    assert np.array_equal(read_image(path).raw(), PIXELS)
    with tifffile.TiffFile(path) as file:
        strips = sorted(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True))
    first = strips[0][0]
    assert strips[-1][0] + strips[-1][1] >= len(good) - 1
    refused = 0
    for damaged in mutations(good, 60, first=first):
        path.write_bytes(damaged)
        try:
            found = read_image(path).raw()
        except BadImageError:
            refused += 1
            continue
        assert np.array_equal(found, PIXELS)
    assert refused >= 50


def test_zstd_with_a_checksum_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    packed = bytearray(Zstd(checksum=True).encode(PIXELS.tobytes()))
    path.write_bytes(tiff_of(90, 60, 50000, bytes(packed)))
    assert np.array_equal(read_image(path).raw(), PIXELS)
    packed[len(packed) // 2] ^= 1
    path.write_bytes(tiff_of(90, 60, 50000, bytes(packed)))
    with pytest.raises(BadImageError, match=r"a\.tif"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "jpeg"])
@pytest.mark.parametrize("first", [0, 500])
def test_whatever_the_damage_an_image_or_a_named_error(
    tmp_path: Path, compression: str | None, first: int | None
) -> None:
    path = tmp_path / "a.tif"
    good = encoded(PIXELS, compression=compression, rowsperstrip=16)
    for damaged in mutations(good, 30, seed=1, first=first):
        path.write_bytes(damaged)
        try:
            read_image(path)
        except BadImageError:
            continue


def test_flips_in_the_tags_of_a_compressed_page_change_no_pixel_unseen(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    good = encoded(PIXELS, compression="zlib", rowsperstrip=16, metadata=None)
    with tifffile.TiffFile(BytesIO(good)) as file:
        first = file.pages[0].offset
        entries = {first + 2 + 12 * i: tag.name for i, tag in enumerate(file.pages[0].tags.values())}
    size = ("ImageWidth", "ImageLength", "BitsPerSample", "RowsPerStrip", "StripOffsets", "StripByteCounts")
    for start in (start for start, name in entries.items() if name in size):
        for place in (start, start + 2, start + 4, start + 8, start + 9):
            for bit in range(8):
                damaged = bytearray(good)
                damaged[place] ^= 1 << bit
                path.write_bytes(damaged)
                try:
                    found = read_image(path).raw()
                except BadImageError:
                    continue
                assert found.shape != PIXELS.shape or np.array_equal(found, PIXELS), (
                    entries[start],
                    place - start,
                    bit,
                )


@pytest.mark.parametrize(("tag", "value"), [("StripByteCounts", 0), ("StripOffsets", 0)])
@pytest.mark.parametrize("compression", ["zlib", "lzw", None])
def test_a_strip_without_size_or_place_is_named(tmp_path: Path, compression: str | None, tag: str, value: int) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(encoded(PIXELS, compression=compression, rowsperstrip=16))
    with tifffile.TiffFile(path, mode="r+") as file:
        values = list(file.pages[0].tags[tag].value)
        values[1] = value
        file.pages[0].tags[tag].overwrite(values)
    with pytest.raises(BadImageError, match="strip or tile 2 of page 1 has"):
        read_image(path)


@pytest.mark.parametrize("compression", ["zlib", "lzw", None])
def test_more_rows_than_strips_are_named(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(encoded(PIXELS, compression=compression, rowsperstrip=16))
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageLength"].overwrite(6000)
    for read in (read_image, read_labels):
        with pytest.raises(BadImageError, match="4 of the 375 strips or tiles"):
            read(path)


def test_a_page_that_other_readers_miss_is_not_invented(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    good = tiff_of(90, 60, 1, PIXELS.tobytes())
    position = len(good)
    # Entries of known types that name neither width nor length.
    rubbish = struct.pack("<HHHIIHHIII", 2, 305, 4, 1, 7, 306, 4, 1, 7, 0)
    path.write_bytes(good[:-4] + struct.pack("<I", position) + rubbish)
    with pytest.raises(BadImageError, match="behind its 1 pages are bytes that are not a page"):
        read_image(path)


def _picture_of(codec: str) -> tuple[int, bytes]:
    large = np.zeros((3000, 3000), np.uint8)
    number = {"jpeg2k": 34712, "jpegxl": 50002, "jpegxr": 34934, "png": 34933, "webp": 50001, "jpeg8": 7}[codec]
    pixels = np.stack([large] * 3, -1) if codec == "webp" else large
    return number, bytes(getattr(imagecodecs, f"{codec}_encode")(pixels))


@pytest.mark.parametrize("codec", ["jpeg2k", "jpegxl", "jpegxr", "png", "webp", "jpeg8"])
def test_a_picture_in_a_strip_is_not_unpacked_beyond_the_strip(tmp_path: Path, codec: str) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of(64, 64, *_picture_of(codec)))
    with pytest.raises(BadImageError, match="of 64 by 64 pixels claims 3000 by 3000"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("size", "compression", "data", "words"),
    [
        (64, 8, zlib.compress(bytes(50_000_000)), "INSUFFICIENT_SPACE|BUF_ERROR"),
        (64, 50000, bytes(imagecodecs.zstd_encode(bytes(50_000_000))), "too small"),
        (60000, 8, zlib.compress(bytes(1000)), "60000 by 60000 pixels are 3.6 GB.*cannot be all"),
        (60000, 5, bytes(imagecodecs.lzw_encode(bytes(1000))), "60000 by 60000 pixels are 3.6 GB.*cannot be all"),
        (60000, 1, bytes(1000), "truncated"),
        (60000, 50000, bytes(imagecodecs.zstd_encode(bytes(1000))), "in one piece"),
        (60000, 7, bytes(imagecodecs.jpeg8_encode(PIXELS)), "in one piece"),
    ],
)
def test_a_strip_is_not_unpacked_beyond_its_size(
    tmp_path: Path, size: int, compression: int, data: bytes, words: str
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of(size, size, compression, data))
    tracemalloc.start()
    with pytest.raises(BadImageError, match=words):
        read_image(tmp_path / "a.tif").raw((), (0, 0, 9, 9))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000 + len(data)


def test_a_large_and_empty_strip_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(2000, 2000, 8, zlib.compress(bytes(4_000_000))))
    assert read_image(path).shape == (2000, 2000)
    monkeypatch.setattr(content, "_LARGE_PART", 1 << 20)
    with pytest.raises(BadImageError, match="in one piece"):
        read_image(path)
    path.write_bytes(encoded(np.zeros((2000, 2000), np.uint8), compression="zlib", tile=(256, 256)))
    assert read_image(path).shape == (2000, 2000)


def test_pages_that_share_a_text_do_not_multiply_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_foundseg.io.formats import tiff_damage

    monkeypatch.setattr(tiff_damage, "_SHARED", 1 << 20)
    text = b"x" * 200_000
    content = bytearray(b"II*\0" + struct.pack("<I", 8 + len(text)) + text)
    for number in range(100):
        tags = [(256, 3, 1, 10), (257, 3, 1, 10), (270, 2, len(text), 8), (273, 4, 1, 8), (279, 4, 1, 100)]
        after = len(content) + 6 + 12 * len(tags) if number < 99 else 0
        entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        content += struct.pack("<H", len(tags)) + entries + struct.pack("<I", after)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadImageError, match="its tags claim"):
        read_image(tmp_path / "a.tif")
    assert images_inside(tmp_path / "a.tif") == []


def test_many_pages_of_a_few_bytes_are_refused(tmp_path: Path) -> None:
    content = bytearray(b"II*\0" + struct.pack("<I", 16) + bytes(8))
    for number in range(20_000):
        tags = [(256, 3, 1, 1 + number % 7), (257, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 1)]
        after = len(content) + 6 + 12 * len(tags) if number < 19_999 else 0
        entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        content += struct.pack("<H", len(tags)) + entries + struct.pack("<I", after)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadImageError, match="20000 pages in"):
        read_image(tmp_path / "a.tif")


OME = (
    '<?xml version="1.0"?>{head}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="90" SizeY="60" SizeZ="{planes}" '
    'SizeC="1" SizeT="1">'
    "<TiffData {data}/></Pixels></Image></OME>"
)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"planes": 10**9}, r"1e\+09 planes"),
        ({"data": 'PlaneCount="500000000"'}, r"5e\+08 planes"),
        ({"data": 'FirstZ="999999999"', "planes": 1}, r"1e\+09 planes"),
        ({"head": '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'}, "entities"),
    ],
)
def test_ome_xml_does_not_fill_the_memory(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    text = OME.format(**{"head": "", "planes": 1, "data": "", **values})
    (tmp_path / "a.ome.tif").write_bytes(encoded(PIXELS, metadata=None, description=text))
    with pytest.raises(BadImageError, match=words):
        read_image(tmp_path / "a.ome.tif")


@pytest.mark.parametrize(
    "text", ['{"shape": ' + "[" * 100_000, "ImageJ=1.53t\nimages=1000000000\nslices=1000000000\n", '{"shape": [-1]}']
)
def test_texts_of_other_programs_are_no_unnamed_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.tif").write_bytes(encoded(PIXELS, metadata=None, description=text))
    with suppress(BadImageError):
        assert np.array_equal(read_image(tmp_path / "a.tif").raw(), PIXELS)


def test_without_the_tag_of_colours_grey_is_grey(tmp_path: Path) -> None:
    good = tiff_of(90, 60, 1, PIXELS.tobytes())
    (tmp_path / "a.tif").write_bytes(good.replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 263, 3, 1)))
    image = read_image(tmp_path / "a.tif")
    assert image.notes == ()
    assert np.array_equal(image.raw(), PIXELS)


def micromanager(frames: int, index: tuple[int, ...]) -> bytes:
    """Make a TIFF of Micro-Manager with one plane: header, summary, page, index of planes."""
    summary = json.dumps({"Frames": frames, "Slices": 1, "Channels": 1, "Positions": 1}).encode()
    summary += b" " * (len(summary) % 2)
    start = 40 + len(summary)
    page = start + PIXELS.size
    tags = [
        *((256, 4, 1, 90), (257, 4, 1, 60), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, start)),
        *((277, 3, 1, 1), (278, 4, 1, 60), (279, 4, 1, PIXELS.size), (51123, 2, len(summary), 40)),
    ]
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    places = struct.pack("<8I", 54773648, page + len(entries), 483765892, 0, 99384722, 0, 2355492, len(summary))
    content = b"II*\0" + struct.pack("<I", page) + places + summary + PIXELS.tobytes() + entries
    return content + struct.pack("<II5I", 3453623, 1, *index, page)


def test_an_index_of_micro_manager_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(micromanager(1, (0, 0, 0, 0)))
    assert np.array_equal(read_image(path).raw(), PIXELS)
    for frames, index in ((10**9, (0, 0, 0, 0)), (1, (0, 0, 4 * 10**9, 0))):
        path.write_bytes(micromanager(frames, index))
        with pytest.raises(BadImageError, match="planes, more than are supported"):
            read_image(path)

"""PNG and JPEG that are damaged, cut, or claim more than they hold."""

from __future__ import annotations

import json
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats import content
from napari_foundseg.io.readers import read_image, read_labels
from tests.support.mutations import mutations

RANDOM = np.random.default_rng(0)
GREY = (np.indices((60, 90)).sum(0) + RANDOM.integers(0, 9, (60, 90))).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)


def encoded(pixels: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    file = BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Make a PNG of chunks, whose checksums are right."""
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(width: int, height: int, bits: int = 8, colour: int = 0, interlace: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)


IDAT = zlib.compress(b"".join(b"\0" + bytes(row) for row in GREY))
END = (b"IEND", b"")


@pytest.mark.parametrize(
    "pixels",
    [GREY, COLOUR, GREY.astype(np.uint16) * 200, GREY > 80, np.dstack([COLOUR, GREY])],
    ids=["grey", "colour", "16 bits", "1 bit", "alpha"],
)
def test_a_damaged_png_is_never_read_with_other_pixels(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path = tmp_path / "a.png"
    good = encoded(pixels, "PNG")
    path.write_bytes(good)
    expected = read_image(path).levels[0]
    assert np.array_equal(expected, pixels)
    refused = 0
    for damaged in mutations(good, 60):
        path.write_bytes(damaged)
        try:
            found = read_image(path).levels[0]
        except BadImageError:
            refused += 1
            continue
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    assert refused >= 55


@pytest.mark.parametrize("mode", ["P", "LA", "I;16", "RGBA"])
def test_good_pngs_of_every_kind_are_read(tmp_path: Path, mode: str) -> None:
    picture = PIL.Image.fromarray(COLOUR if mode in ("P", "RGBA") else GREY)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture.convert(mode).save(tmp_path / "a.png", exif=exif)
    image = read_image(tmp_path / "a.png")
    assert image.plane_shape == GREY.shape
    assert "orientation tag (6" in image.notes[0]


@pytest.mark.parametrize(("size", "bits", "colour"), [((1, 1), 8, 2), ((3, 2), 1, 0), ((9, 17), 16, 6), ((5, 5), 4, 3)])
def test_interlaced_pngs_are_read(tmp_path: Path, size: tuple[int, int], bits: int, colour: int) -> None:
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    rows = []
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        columns, lines = len(range(x, size[0], dx)), len(range(y, size[1], dy))
        rows += [bytes(1 + (columns * bits * samples + 7) // 8)] * (lines if columns else 0)
    palette = [(b"PLTE", bytes(48))] if colour == 3 else []
    idat = (b"IDAT", zlib.compress(b"".join(rows)))
    (tmp_path / "a.png").write_bytes(png(header(*size, bits, colour, 1), *palette, idat, END))
    assert read_image(tmp_path / "a.png").plane_shape == size[::-1]


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ((header(60000, 60000), (b"IDAT", IDAT), END), "60000 by 60000 pixels are 3.6 GB.*cannot be all"),
        ((header(90, 61), (b"IDAT", IDAT), END), "91 of its 5551 bytes of pixels are missing"),
        ((header(90, 59), (b"IDAT", IDAT), END), "more pixels than its header says"),
        ((header(90, 60), (b"IDAT", IDAT[:-2]), END), "pixels are missing"),
        ((header(90, 60), (b"IDAT", IDAT[:-1] + b"x"), END), "cannot be unpacked"),
        ((header(90, 60), (b"IDAT", IDAT)), "truncated"),
        ((header(90, 60), END), "cannot be all"),
        ((header(0, 60), (b"IDAT", IDAT), END), "0 by 60 pixels"),
        ((header(90, 60, 3), (b"IDAT", IDAT), END), "3 bits"),
        (((b"IHDR", bytes(12)), (b"IDAT", IDAT), END), "header is wrong"),
    ],
)
def test_a_png_that_is_not_what_its_header_says_is_named(
    tmp_path: Path, chunks: tuple[tuple[bytes, bytes], ...], words: str
) -> None:
    (tmp_path / "a.png").write_bytes(png(*chunks))
    with pytest.raises(BadImageError, match=words):
        read_image(tmp_path / "a.png")


def test_a_large_and_empty_png_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = zlib.compress(bytes(2001 * 2000))
    (tmp_path / "a.png").write_bytes(png(header(2000, 2000), (b"IDAT", rows), END))
    assert not read_image(tmp_path / "a.png").raw().any()
    monkeypatch.setattr(content, "_LARGE_PART", 1 << 20)
    with pytest.raises(BadImageError, match=r"in one piece, of which it holds .* save it in tiles"):
        read_image(tmp_path / "a.png")
    monkeypatch.undo()
    monkeypatch.setattr(content, "available_memory", lambda: 1 << 20)
    with pytest.raises(BadImageError, match="memory are free"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_whose_pixels_end_early_is_named(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.jpg"
    good = encoded(COLOUR, "JPEG", **options)
    path.write_bytes(good)
    expected = read_image(path).raw()
    assert np.array_equal(expected, np.asarray(PIL.Image.open(path)))
    path.write_bytes(good + b"what a camera puts behind its picture \xff\xd8\xff")
    assert np.array_equal(read_image(path).raw(), expected)
    start = good.index(b"\xff\xda") + 14
    for cut in range(start, len(good) - 30, (len(good) - start) // 20):
        for end in (b"", b"\xff\xd9") if "progressive" not in options else (b"",):
            path.write_bytes(good[:cut] + end)
            with pytest.raises(BadImageError, match=r"truncated|damaged"):
                read_image(path)
    frame = good.index(b"\xff\xc2" if "progressive" in options else b"\xff\xc0")
    for height, width in ((60000, 60000), (33, 60000), (4000, 4000)):
        path.write_bytes(good[: frame + 5] + struct.pack(">HH", height, width) + good[frame + 9 :])
        with pytest.raises(BadImageError, match=r"truncated|damaged"):
            read_image(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_whatever_the_damage_to_a_jpeg_an_image_or_a_named_error(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.jpg"
    good = encoded(COLOUR, "JPEG", **options)
    refused = 0
    for damaged in mutations(good, 60):
        path.write_bytes(damaged)
        try:
            read_image(path)
        except BadImageError:
            refused += 1
    assert refused >= 15


@pytest.mark.parametrize(
    "note", ["[" * 100_000, '{"spacing": {"Y": -1}, "units": {}, "colours": {}}', "7", '{"spacing": 3}']
)
def test_a_note_of_another_program_is_left_out(tmp_path: Path, note: str) -> None:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("napari-foundseg", note)
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png", pnginfo=info)
    found = read_labels(tmp_path / "a.png")
    assert not found.spacing
    assert np.array_equal(found.data, GREY)
    assert json.dumps(found.units) == "{}"

"""PNG and JPEG that hold several pictures, and PNG with a palette."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.readers import read_image


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "MPO")])
def test_pictures_after_the_first_are_named(tmp_path: Path, name: str, kind: str) -> None:
    pictures = [PIL.Image.fromarray(np.full((16, 20, 3), value, np.uint8)) for value in (40, 120, 200)]
    pictures[0].save(tmp_path / name, kind, save_all=True, append_images=pictures[1:])
    image = read_image(tmp_path / name)
    assert image.notes == ("The file holds 3 pictures: the first is read.",)
    assert abs(int(image.raw()[0, 0, 0]) - 40) < 3
    pictures[0].save(tmp_path / f"one_{name}")
    assert read_image(tmp_path / f"one_{name}").notes == ()


def _palette_png(path: Path, colours: bytes, indices: np.ndarray) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", indices.shape[1], indices.shape[0], 8, 3, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    parts = [(b"IHDR", header), (b"PLTE", colours), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def test_a_colour_that_is_not_in_the_palette_is_an_error(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    grey = bytes([10, 10, 10, 50, 50, 50, 90, 90, 90])
    _palette_png(tmp_path / "whole.png", grey, indices)
    assert read_image(tmp_path / "whole.png").raw().tolist() == [[10, 50], [90, 50]]
    indices[1, 1] = 7
    _palette_png(tmp_path / "short.png", grey, indices)
    with pytest.raises(BadImageError, match="a pixel has colour 7 of a palette with colours 0 to 2"):
        read_image(tmp_path / "short.png")

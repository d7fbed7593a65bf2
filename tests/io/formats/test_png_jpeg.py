"""PNG and JPEG that hold several pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

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

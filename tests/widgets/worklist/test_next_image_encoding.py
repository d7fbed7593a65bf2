from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.image import Image
from napari_foundseg.tasks.windows.tiling import surrounding
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.overlay import image_layer
from napari_foundseg.widgets.worklist.next_image_encoding import clicks

SIDES = st.integers(1, 2048)
SHARES = st.floats(0, 1, exclude_max=True)


@given(SIDES, SIDES, SHARES, SHARES)
def test_wherever_a_person_clicks_the_window_is_encoded(rows: int, columns: int, y: float, x: float) -> None:
    shape = (rows, columns)
    encoded = {surrounding((a, b, a, b), shape, 256) for a, b in clicks(shape)}
    at = (y * (rows - 1), x * (columns - 1))
    assert surrounding(at * 2, shape, 256) in encoded


@given(st.sampled_from([((30, 40), "YX"), ((30, 40, 3), "YXC"), ((2, 30, 40), "CYX"), ((30, 40, 2), "YXC")]))
def test_the_layer_shows_the_engine_the_picture_that_was_encoded(kind: tuple[tuple[int, ...], str]) -> None:
    shape, axes = kind
    image = Image(
        np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16), axes, spacing={"Y": 0.5, "X": 0.5}
    )
    layer = image_layer(image, "cells")
    np.testing.assert_array_equal(image_from_layer(layer).rgb(), image.rgb())
    assert tuple(layer.scale[-2:]) == (0.5, 0.5)

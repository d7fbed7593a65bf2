"""A slice that is shrunk into the middle of a window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.objects import Candidates
from napari_foundseg.tasks.windows.shrunk import Shrunk


@pytest.mark.parametrize("shape", [(512, 512), (300, 700), (100, 400), (40, 40)])
@pytest.mark.parametrize("times", [1, 2])
def test_what_is_seen_in_the_window_lies_where_it_is_in_the_slice(shape: tuple[int, int], times: int) -> None:
    rgb = np.full((*shape, 3), 30, np.uint8)
    y0, x0, y1, x1 = (shape[0] // 4, shape[1] // 4, 3 * shape[0] // 4, 3 * shape[1] // 4)
    rgb[y0:y1, x0:x1] = 200
    shrunk = Shrunk(rgb, 128, times)
    assert shrunk.rgb.shape == (128, 128, 3)
    assert (shrunk.rgb[0] == shrunk.rgb[0, 0]).all()
    (y, x) = shrunk.prompt(Prompt(points=[((y0 + y1) / 2, (x0 + x1) / 2)])).points[0]
    assert shrunk.rgb[round(y), round(x), 0] > 115
    seen = shrunk.rgb[..., 0].astype(np.float32) - 115
    found = shrunk.candidates(Candidates(seen[None], np.ones(1, np.float32), np.ones(1, np.float32))).logits[0] > 0
    assert found.shape == shape
    truth = rgb[..., 0] > 115
    # As well as the smaller picture can show it.
    assert (found & truth).sum() >= (0.9 if min(shape) > 100 else 0.5) * (found | truth).sum()


def test_the_ground_around_it_is_that_of_its_rim() -> None:
    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[..., 1] = 90
    rgb[20:80, 20:80] = 255
    assert (Shrunk(rgb, 64, 1).rgb[0, 0] == (0, 90, 0)).all()

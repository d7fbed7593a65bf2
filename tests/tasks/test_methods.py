"""Every method of *Automatic masks*, whole and in tiles, with objects and without: none fails, and none is silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import napari_foundseg as fs
from tests.models.families.instances.test_cellpose_sam import _TrueFlows
from tests.tasks.windows.test_decoder_prompts import _Discs

#: Models whose answers are known stand for trained ones; the point grid and the decoder are the built-in model's.
MODELS: dict[str, Any] = {
    "grid": lambda: "foundseg-tiny",
    "decoder": lambda: "foundseg-tiny",
    "apg": _Discs,
    "flows": _TrueFlows,
}


def _picture(radius: float) -> NDArray[np.uint8]:
    """Return discs of a radius on black, or one of most of the picture."""
    y, x = np.mgrid[:300, :300]
    places = [(150, 150)] if radius > 100 else [(70, 70), (70, 220), (220, 150)]
    inside = np.any([(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx in places], axis=0)
    return np.where(inside, 200, 0).astype(np.uint8)


@pytest.mark.parametrize("objects", [True, False])
@pytest.mark.parametrize("tile", [True, False])
@pytest.mark.parametrize("method", list(MODELS))
def test_objects_are_found_and_none_gives_a_reason(method: str, tile: bool, objects: bool) -> None:
    picture = _picture(20) if objects else np.full((300, 300), 9, np.uint8)
    more: dict[str, Any] = {"points_per_side": 16} if method == "grid" else {}
    found = fs.automatic(picture, model=MODELS[method](), method=method, tile=tile, **more)
    assert found.labels.shape == picture.shape
    if objects:
        assert len(found) == 3
        assert "nothing_found" not in found.provenance
    else:
        assert not len(found)
        assert found.provenance["nothing_found"]


@pytest.mark.parametrize("method", ["decoder", "apg", "flows"])
def test_one_object_of_most_of_the_picture_stays(method: str) -> None:
    """That the largest mask is background is a rule of grids without a foreground of their own."""
    picture = _picture(133)
    assert 0.6 < (picture > 0).mean() < 0.65
    found = fs.automatic(picture, model=MODELS[method](), method=method, diameter=266)
    assert len(found) == 1
    largest = found.labels == found.table["label"].iloc[0]
    assert (largest & (picture > 0)).sum() / (largest | (picture > 0)).sum() > 0.9

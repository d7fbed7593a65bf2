"""Fixtures of the tests of SAM's families."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a test a catalogue of its own, and no model that another has loaded."""
    from napari_foundseg.models import loading

    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", type(loading._loaded)())


@pytest.fixture
def sam() -> Sam:
    from tests.support.small_sam import small_sam

    return small_sam()


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 60, (90, 130, 3), dtype=np.uint8)
    picture[30:60, 40:90] += 150
    return picture

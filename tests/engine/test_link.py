from __future__ import annotations

import sys

import dask
import dask.array as da
import pytest

from napari_foundseg.engine.pool import Pool
from tests.support import toy_stages


def test_no_setting_of_dask_changes_while_workers_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting would hold for the layers of the window too, and of two threads the later would leave it behind."""
    seen: set[str] = set()
    original = dask.config.set.__init__

    def spy(self: dask.config.set, *args: object, **settings: object) -> None:
        seen.update(settings)
        original(self, *args, **settings)

    monkeypatch.setattr(dask.config.set, "__init__", spy)
    with Pool(2, threads=1) as pool:
        futures = [pool.submit(toy_stages.STAGES, {"compute": 0.2}) for _ in range(2)]
        assert da.zeros(3, chunks=1).sum().compute() == 0, "where the pool's threads reach their workers meanwhile"
        assert len({future.result(60)["pid"] for future in futures}) == 2
        assert da.zeros(3, chunks=1).sum().compute() == 0
    assert "distributed" in sys.modules
    assert "scheduler" not in seen
    assert dask.config.get("scheduler", None) is None

"""Isolation, profiles and data that all tests share."""

from __future__ import annotations

import csv
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import ROOT
from tests.support.parallel import Displays, share_processors

share_processors()

# Before any window: where Mesa has loaded its own LLVM first, torchvision crashes the process.
# The product keeps the two apart.
import segment_anything  # noqa: E402, F401

DISPLAYS = Displays()

hypothesis.settings.register_profile(
    "default", deadline=None, max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("default"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start the display of a worker of pytest-xdist."""
    node.workerinput["display"] = DISPLAYS.start()


def pytest_configure(config: pytest.Config) -> None:
    """Let a worker of pytest-xdist open its windows on its own display."""
    if display := getattr(config, "workerinput", {}).get("display"):
        os.environ["DISPLAY"] = display


def pytest_unconfigure() -> None:
    """Stop the displays that were started for workers."""
    DISPLAYS.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what wants a display where there is none, so that a bare `pytest` works everywhere."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    skip = pytest.mark.skip(reason="opens a window and there is no display: use `make test`, or xvfb-run -a pytest")
    for item in items:
        if item.get_closest_marker("gui"):
            item.add_marker(skip)


@pytest.fixture(scope="module", autouse=True)
def _short_collections_of_modules() -> None:
    """Keep what imports and earlier modules made out of later garbage collections.

    napari collects garbage whenever a layer is removed or a window is closed; among the objects of torch, transformers
    and the tests themselves that takes half a second each time, and none of them goes before the session ends.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the person's napari settings, cache and engine out of the tests, and the tests out of them."""
    folder = tmp_path_factory.mktemp("isolated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_CONFIG", str(folder / "napari.yaml"))
        patch.setenv("FOUNDSEG_CACHE", str(folder / "cache"))
        patch.delenv("FOUNDSEG_DEVICE", raising=False)
        patch.delenv("FOUNDSEG_ENGINE", raising=False)
        yield


@pytest.fixture(autouse=True)
def _dask_as_it_was() -> Iterator[None]:
    """See that no test leaves a scheduler or a default client for the dask arrays of others."""
    yield
    if "dask" in sys.modules:
        import dask

        assert dask.config.get("scheduler", None) is None
    if "distributed" in sys.modules:
        import distributed

        with pytest.raises(ValueError, match="No client"):
            distributed.default_client()


@pytest.fixture(scope="session")
def dsb() -> list[dict[str, str]]:
    """Rows of the held-out images: name, kind, group, split, and the paths `image` and `labels`."""
    folder = Path(os.environ.get("FOUNDSEG_DATA", ROOT / "../shared/data")).resolve() / "dsb2018"
    if not folder.is_dir():
        pytest.skip(f"the annotated images are not in {folder}; set FOUNDSEG_DATA to the folder that holds dsb2018")
    with (ROOT / "training" / "split.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["folder"] == folder.name]
    for row in rows:
        row |= {part: str(folder / f"{part.rstrip('s')}s" / f"{row['name']}.png") for part in ("image", "labels")}
    return rows

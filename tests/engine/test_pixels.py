"""Pixels go once; files go as a reference; lazy data goes slice by slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile

from napari_foundseg.core.errors import BadImageError, EngineError
from napari_foundseg.core.image import Image
from napari_foundseg.engine.client import Engine
from napari_foundseg.engine.image_planes import PlaneStore, SentImage, describe, plane_key, read_plane
from tests.support.asking import submit

Asked = list[tuple[str, int]]


@pytest.fixture
def stack() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, 4000, (5, 48, 64), dtype=np.uint16)


@pytest.fixture
def new() -> Image:
    """Pixels that the worker has never seen."""
    return Image(np.random.default_rng(9).integers(0, 4000, (64, 80), dtype=np.uint16))


def expected(image: Image) -> Any:
    return np.asarray(image.levels[0]) > image.limits[0]


def test_equal_pixels_are_sent_once(engine: Engine, asked: Asked) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (64, 64), dtype=np.uint8)
    results = [submit(engine, Image(pixels.copy())).wait(20) for _ in range(3)]
    assert asked == [("run", 1), ("run", 0), ("run", 0)]
    assert all((r.labels == expected(Image(pixels))).all() for r in results)


def test_changed_pixels_are_sent_again(engine: Engine, asked: Asked) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    submit(engine, Image(pixels)).wait(20)
    pixels[3, 4] = 200
    assert submit(engine, Image(pixels)).wait(20).labels[3, 4] == 1
    assert asked == [("run", 1), ("run", 1)]


def test_a_new_worker_gets_the_pixels_again(engine: Engine, image: Image, asked: Asked) -> None:
    with pytest.raises(EngineError):
        submit(engine, image, "exit").wait(20)
    assert (submit(engine, image).wait(30).labels == expected(image)).all()
    assert asked == [("run", 0), ("run", 1)]


def test_planes_that_the_worker_let_go_are_sent_again(engine: Engine, image: Image, asked: Asked) -> None:
    link = engine._dispatcher.link
    assert link is not None
    other = Image(np.full((64, 80), 7, np.uint16))
    link.sent.add(plane_key(read_plane(other, ())))
    assert submit(engine, other).wait(20)
    assert asked == [("run", 0), ("deliver", 1)]


def test_only_the_slices_that_are_looked_at_are_computed_and_sent(
    engine: Engine, asked: Asked, stack: np.ndarray[Any, Any]
) -> None:
    computed: list[int] = []

    def block(part: np.ndarray[Any, Any], block_info: Any = None) -> np.ndarray[Any, Any]:
        if block_info:
            computed.append(block_info[0]["chunk-location"][0])
        return part

    lazy = da.from_array(stack, chunks=(1, 48, 64)).map_blocks(block, dtype=stack.dtype)
    image = Image(lazy, "ZYX")
    _ = image.limits, image.fingerprint()
    computed.clear()
    image.__dict__["fingerprint"] = lambda: "known"
    labels = submit(engine, image, index=(3,)).wait(20).labels
    assert set(computed) == {3}
    assert (labels[3] == expected(image)[3]).all()
    assert not labels[[0, 1, 2, 4]].any()
    assert sum(planes for _, planes in asked) == 1


def test_a_stack_too_large_to_go_at_once_goes_plane_by_plane(
    engine: Engine, asked: Asked, stack: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_foundseg.engine.run_transfer._AHEAD_BYTES", 1)
    image = Image(da.from_array(stack, chunks=(1, 48, 64)), "ZYX")
    assert (submit(engine, image).wait(20).labels == expected(image)).all()
    assert asked == [("run", 1)] + [("deliver", 1)] * 4
    assert (submit(engine, image).wait(20).labels == expected(image)).all()
    assert sum(planes for _, planes in asked) == 5


def test_a_file_is_opened_again_instead_of_sent(engine: Engine, asked: Asked, new: Image, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", new.data)
    referred = Image(new.data, source=str(tmp_path / "cells.tif"))
    assert (submit(engine, referred).wait(20).labels == expected(new)).all()
    assert asked == [("run", 0)]


def test_a_lazy_file_is_opened_again_instead_of_sent(
    engine: Engine, asked: Asked, stack: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    lazy = Image(da.from_array(stack, chunks=(1, 48, 64)), "ZYX", source=str(tmp_path / "stack.tif"))
    assert (submit(engine, lazy).wait(20).labels == expected(lazy)).all()
    assert asked == [("run", 0)]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("fault", ["other pixels", "other shape", "missing", "damaged"])
def test_a_file_with_other_content_is_not_believed(
    engine: Engine, asked: Asked, new: Image, tmp_path: Path, fault: str, lazy: bool
) -> None:
    path = tmp_path / "cells.tif"
    match fault:
        case "other pixels":
            tifffile.imwrite(path, new.data[::-1])
        case "other shape":
            tifffile.imwrite(path, new.data[1:])
        case "damaged":
            path.write_bytes(b"II*\0nothing")
    referred = Image(da.from_array(new.data) if lazy else new.data, source=str(path))
    assert (submit(engine, referred).wait(20).labels == expected(new)).all()
    assert sum(planes for _, planes in asked) == 1


@pytest.mark.parametrize("first", [0, 2])
def test_a_slice_that_cannot_be_read_is_a_named_error(
    engine: Engine, image: Image, stack: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr("napari_foundseg.engine.run_transfer._AHEAD_BYTES", 1)
    pid = engine.diagnostics()["pid"]
    lazy = Image(da.from_array(stack, chunks=(1, 48, 64)), "ZYX")
    _ = lazy.limits, lazy.fingerprint()
    original = lazy.raw

    def raw(index: tuple[int, ...]) -> Any:
        if index >= (first,):
            raise OSError("the disk is gone")
        return original(index)

    lazy.__dict__["raw"] = raw
    with pytest.raises(BadImageError, match="the disk is gone"):
        submit(engine, lazy).wait(20)
    assert submit(engine, image).wait(20).provenance["pid"] == pid


def test_a_sent_image_is_the_image() -> None:
    pixels = np.random.default_rng(3).integers(0, 999, (3, 4, 20, 30)).astype(">u2")
    image = Image(pixels, "CZYX", channels=(2, 0), spacing={"Z": 2.0}, units={"Z": "µm"})
    sent = SentImage(describe(image, image.fingerprint()), lambda index: read_plane(image, index))
    for name in ("axes", "shape", "dtype", "channels", "normalisation", "limits", "spacing", "units", "label_axes"):
        assert getattr(sent, name) == getattr(image, name), name
    assert sent.fingerprint() == image.fingerprint()
    assert (sent.rgb((3,), (2, 5, 9, 29)) == image.rgb((3,), (2, 5, 9, 29))).all()


def test_a_store_stays_within_its_bound() -> None:
    store = PlaneStore(250)
    for key in "abc":
        store.put(key, np.zeros(100, np.uint8))
    assert store.get("a") is None
    assert store.get("c") is not None

"""Files that are damaged or odd: each ends by itself, the others are done, and what files say of pixels is kept."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_foundseg.batch import item_stages
from napari_foundseg.batch.item_stages import ItemOutcome
from napari_foundseg.io.readers import read_labels
from napari_foundseg.io.writers import write_labels
from tests.support import toy_steps

RANDOM = np.random.default_rng(0)
BLOBS = np.kron(RANDOM.uniform(size=(6, 7)) > 0.6, np.ones((8, 8)))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright parts are objects, for tests that are about files alone."""
    monkeypatch.setattr(item_stages, "run_steps", toy_steps.steps_without_model)


def batch(folder: Path, files: dict[str, Any], **options: Any) -> dict[str, ItemOutcome]:
    """Run foundseg-tiny over files that hold these arrays or bytes; return what became of each, by its name."""
    images = folder / "images"
    images.mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (images / name).write_bytes(content)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tifffile.imwrite(images / name, **({"data": content} if isinstance(content, np.ndarray) else content))
    return {Path(o.name).name: o for o in toy_steps.run(toy_steps.recipe(min_area=5, **options), folder)}


def labels(folder: Path, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(read_labels(folder / "results" / f"{Path(name).stem}_labels.tif").data)


def test_damaged_files_fail_by_themselves(no_model: None, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", (BLOBS * 200).astype(np.uint8), compression="zlib")
    good = (tmp_path / "good.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "good.tif") as file:
        offset, ifd = file.pages[0].dataoffsets[0], file.pages[0].offset
        last = ifd + 2 + 12 * len(file.pages[0].tags)
    damaged = {
        "0 bytes.tif": b"",
        "header only.tif": good[:8],
        "30 percent.tif": good[: len(good) * 3 // 10],
        "90 percent.tif": good[: len(good) * 9 // 10],
        "bad zlib.tif": good[:offset] + b"\xaa" * 40 + good[offset + 40 :],
        "bad offset.tif": good[:4] + (10**9).to_bytes(4, "little") + good[8:],
        "loop.tif": good[:last] + ifd.to_bytes(4, "little") + good[last + 4 :],
        "wrong magic.tif": b"GIF89a" + good[6:],
    }
    outcomes = batch(tmp_path, {"a.tif": good, **damaged, "z.tif": good})
    assert {name for name, outcome in outcomes.items() if outcome.state == "done"} == {"a.tif", "z.tif"}
    for name in damaged:
        outcome = outcomes[name]
        assert (outcome.state, outcome.error) == ("failed", "BadImageError"), outcome
        assert name in outcome.reason
    assert labels(tmp_path, "a.tif").any()
    assert sorted(path.name for path in (tmp_path / "results").glob("*.tif")) == ["a_labels.tif", "z_labels.tif"]


def test_odd_grey_values_are_done_and_said(tmp_path: Path) -> None:
    grey = (BLOBS * 100 + 5).astype(np.float64)
    spot = np.zeros(grey.shape, bool)
    spot[3, 4] = True
    odd = {
        "nan": np.where(spot, np.nan, grey),
        "inf": np.where(spot, np.inf, grey),
        "minus inf": np.where(spot, -np.inf, grey),
        "all nan": np.full(grey.shape, np.nan),
        "constant": np.full(grey.shape, 7.0),
        "subnormal": grey * 5e-324,
        "beyond float32": grey * 1e300,
    }
    outcomes = batch(tmp_path, {f"{name}.tif": array for name, array in odd.items()} | {"plain.tif": grey})
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    said = {Path(name).stem: outcome.reason for name, outcome in outcomes.items()}
    for name in ("nan", "inf", "minus inf"):
        assert "NaN or infinite" in said[name]
    assert "No pixel has a finite value" in said["all nan"]
    assert "All pixels have the value 7" in said["constant"]
    assert said["plain"] == said["subnormal"] == said["beyond float32"] == ""
    for name in ("all nan", "constant"):
        assert not labels(tmp_path, f"{name}.tif").any()
    # Stretched to its own range, grey is the same picture whatever its size.
    for name in ("subnormal", "beyond float32"):
        np.testing.assert_array_equal(labels(tmp_path, f"{name}.tif"), labels(tmp_path, "plain.tif"))


SHAPES: dict[str, tuple[tuple[int, ...], str | None, dict[str, Any]]] = {
    "zero-size": ((0, 40), None, {}),
    "1 pixel": ((1, 1), "YX", {}),
    "1xN": ((1, 40), "YX", {}),
    "Nx1": ((40, 1), "YX", {}),
    "2xN": ((2, 40), "YX", {}),
    "prime": ((37, 53), "YX", {}),
    "RGB": ((40, 48, 3), "YX", {"photometric": "rgb"}),
    "RGBA": ((40, 48, 4), "YX", {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "CYX": ((5, 40, 48), "YX", {"metadata": {"axes": "CYX"}}),
    "YXC": ((40, 48, 5), "YX", {"metadata": {"axes": "YXC"}}),
    "TZYX": ((2, 2, 40, 48), "TZYX", {"metadata": {"axes": "TZYX"}}),
    "TCZYX": ((2, 3, 2, 40, 48), "TZYX", {"metadata": {"axes": "TCZYX"}}),
    "6-D": ((2, 2, 2, 2, 40, 48), None, {"metadata": {"axes": "QTCZYX"}}),
    "singletons": ((1, 3, 1, 40, 48), "ZYX", {"metadata": {"axes": "TZCYX"}}),
}


def test_images_of_every_shape_have_labels_of_their_axes_or_a_named_error(tmp_path: Path) -> None:
    files = {
        f"{name}.tif": {"data": RANDOM.integers(0, 255, shape, np.uint8), "photometric": "minisblack"} | options
        for name, (shape, _, options) in SHAPES.items()
    }
    outcomes = batch(tmp_path, files)
    for name, (shape, axes, options) in SHAPES.items():
        outcome = outcomes[f"{name}.tif"]
        if axes is None:
            assert (outcome.state, outcome.error) == ("failed", "AxesError" if len(shape) > 5 else "BadImageError")
            continue
        assert outcome.state == "done", outcome
        named = options.get("metadata", {}).get("axes", "YXC")
        sizes = {axis: n for axis, n in zip(named, shape, strict=False) if axis != "C"}
        expected = tuple(sizes[axis] for axis in axes)
        assert labels(tmp_path, f"{name}.tif").shape == tuple(n for n in expected if n > 1 or axes == "YX"), name


def test_pixels_of_every_type_are_done_or_refused_by_name(tmp_path: Path) -> None:
    kinds = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
    files: dict[str, Any] = {f"{np.dtype(kind)}.tif": (BLOBS * 100).astype(kind) for kind in kinds}
    # By default tifffile says of truth values that 0 is white.
    files["bool.tif"] = {"data": files["bool.tif"], "photometric": "minisblack"}
    impossible = {f"{np.dtype(kind)}.tif": BLOBS.astype(kind) for kind in ("c8", "c16")}
    outcomes = batch(tmp_path, files | impossible)
    for name in impossible:
        assert (outcomes[name].state, outcomes[name].error) == ("failed", "DTypeError")
        assert "no grey values" in outcomes[name].reason
    for name in files:
        assert outcomes[name].state == "done", outcomes[name]
        np.testing.assert_array_equal(labels(tmp_path, name), labels(tmp_path, "uint8.tif"), name)
    assert labels(tmp_path, "uint8.tif").any()


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr", ".png"])
def test_results_have_the_spacing_and_units_of_their_image(no_model: None, tmp_path: Path, ending: str) -> None:
    spacing, units = {"Z": 2.0, "Y": 0.5, "X": 0.25}, {"Z": "µm", "Y": "µm", "X": "µm"}
    volume = np.stack([BLOBS * 200] * 2).astype(np.uint16)
    axes = "YX" if ending == ".png" else "ZYX"
    for name in ("a.ome.tif", "b.ome.zarr"):
        (tmp_path / "images").mkdir(exist_ok=True)
        write_labels(tmp_path / "images" / name, volume[0] if axes == "YX" else volume, axes, spacing, units)
    assert [outcome.state for outcome in toy_steps.run(toy_steps.recipe(labels=ending), tmp_path)] == ["done"] * 2
    for name in "ab":
        found = read_labels(tmp_path / "results" / f"{name}_labels{ending}")
        assert found.axes == axes
        assert found.spacing == pytest.approx({axis: spacing[axis] for axis in axes})
        assert found.units == {axis: units[axis] for axis in axes}


@pytest.mark.parametrize("version", [2, 3])
def test_a_damaged_chunk_is_one_items_fault(no_model: None, tmp_path: Path, version: int) -> None:
    for name in ("a", "b"):
        store = tmp_path / "images" / f"{name}.ome.zarr"
        datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}]
        axes = [{"name": axis, "type": "space"} for axis in "yx"]
        described = {"multiscales": [{"axes": axes, "datasets": datasets, "version": "0.4"}]}
        if version == 3:
            described = {"ome": {"version": "0.5", **described}}  # type: ignore[dict-item]
        group = zarr.create_group(store, zarr_format=version, attributes=described)  # type: ignore[arg-type]
        array = group.create_array("0", shape=BLOBS.shape, dtype=np.uint8, chunks=(16, 16))
        array[...] = (BLOBS * 200).astype(np.uint8)
    for chunk in (tmp_path / "images" / "a.ome.zarr" / "0").rglob("*"):
        if chunk.is_file() and chunk.name not in ("zarr.json", ".zarray", ".zattrs"):
            chunk.write_bytes(chunk.read_bytes()[:3])
    outcomes = {Path(o.name).name: o for o in toy_steps.run(toy_steps.recipe(labels=".ome.zarr"), tmp_path)}
    assert (outcomes["a.ome.zarr"].state, outcomes["a.ome.zarr"].error) == ("failed", "BadImageError")
    assert "a.ome.zarr" in outcomes["a.ome.zarr"].reason
    assert outcomes["b.ome.zarr"].state == "done"
    assert np.asarray(read_labels(tmp_path / "results" / "b_labels.ome.zarr").data).shape == BLOBS.shape

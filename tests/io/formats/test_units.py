"""Sizes and units of pixels: every unit that is read can be written, validly, and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import yaozarrs
from ome_types.model import UnitsLength, UnitsTime

from napari_foundseg.io.formats.units import ome_unit, unit_name, unit_symbol
from napari_foundseg.io.readers import read_image, read_labels
from napari_foundseg.io.writers import write_labels

LABELS = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)
#: As ImageJ, OME-XML, OME-Zarr, napari and people spell units, and the symbol of each.
SPELT = {
    "pixels": "pixel",
    "pixel": "pixel",
    "px": "pixel",
    "": "pixel",
    "reference frame": "pixel",
    "micron": "µm",
    "Microns": "µm",
    "um": "µm",
    "µm": "µm",
    "\u03bcm": "µm",
    "\\u00B5m": "µm",
    "\\xb5m": "µm",
    "micrometer": "µm",
    "micrometres": "µm",
    "Å": "Å",
    "\u212b": "Å",
    "\\u00C5": "Å",
    "\\xc5": "Å",
    "angstrom": "Å",
    "Angstroms": "Å",
    "nm": "nm",
    "inch": "in",
    "inches": "in",
    "Mm": "Mm",
    "mm": "mm",
    "cm": "cm",
    "yd": "yd",
    "ly": "ly",
    "furlong": "furlong",
}


@pytest.mark.parametrize(("spelling", "symbol"), SPELT.items())
def test_a_unit_has_one_symbol(spelling: str, symbol: str) -> None:
    assert unit_symbol(spelling) == symbol


@pytest.mark.parametrize("spelling", SPELT)
@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr", ".tif"])
@pytest.mark.parametrize("dtype", ["u2", "u4"])
def test_every_unit_of_an_imagej_file_can_be_written_validly(
    tmp_path: Path, spelling: str, ending: str, dtype: str
) -> None:
    unit = spelling if spelling.isascii() else spelling.encode("unicode_escape").decode()
    options: dict[str, Any] = {"metadata": {"axes": "ZYX", "spacing": 2.0, "unit": unit}, "resolution": (2.0, 4.0)}
    tifffile.imwrite(tmp_path / "image.tif", LABELS, imagej=True, **options)
    image = read_image(tmp_path / "image.tif")
    out = tmp_path / f"labels{ending}"
    write_labels(out, LABELS.astype(dtype), "ZYX", image.spacing, image.units)
    back = read_labels(out)
    assert back.spacing == pytest.approx(dict(image.spacing), rel=1e-4)
    assert back.units == dict(image.units)
    assert back.units.get("X", "pixel") == SPELT[spelling]
    if ending == ".ome.tif":
        pixels = ome_types.from_tiff(out, validate=True).images[0].pixels
        expected = SPELT[spelling] if SPELT[spelling] != "furlong" else "reference frame"
        assert pixels.physical_size_x_unit.value == expected
        assert pixels.physical_size_x == pytest.approx(0.5)
    if ending == ".ome.zarr":
        yaozarrs.validate_zarr_store(str(out))


def test_every_unit_of_ome_is_known() -> None:
    for unit in UnitsLength:
        symbol = unit_symbol(unit.value)
        assert ome_unit(symbol, "length") == ("pixel" if unit.value == "reference frame" else unit.value)
    for unit in UnitsTime:
        assert ome_unit(unit_symbol(unit.value), "time") == unit.value
    assert unit_name("µm") == "micrometer"


@pytest.mark.parametrize("unit", ["s", "min", "frame", "pixel", "µm"])
def test_times_in_an_ome_tiff_are_valid_or_left_out(tmp_path: Path, unit: str) -> None:
    spacing = {"T": 3.0, "Y": 0.5, "X": 0.5}
    write_labels(tmp_path / "a.ome.tif", LABELS, "TYX", spacing, {"T": unit, "Y": "µm", "X": "s"})
    pixels = ome_types.from_tiff(tmp_path / "a.ome.tif", validate=True).images[0].pixels
    assert (pixels.time_increment is None) == (unit not in ("s", "min"))
    assert pixels.physical_size_x_unit.value == "reference frame"
    back = read_labels(tmp_path / "a.ome.tif")
    assert back.units["X"] == "s"
    if unit != "pixel":
        assert (back.spacing["T"], back.units["T"]) == (3.0, unit)


@pytest.mark.parametrize("dtype", ["u2", "u4"])
@pytest.mark.parametrize("units", [("µm", "µm"), ("nm", "µm"), ("Å", "Å"), ("mm", "in")])
def test_a_tiff_has_resolution_tags(tmp_path: Path, dtype: str, units: tuple[str, str]) -> None:
    z, xy = units
    write_labels(
        tmp_path / "a.tif", LABELS.astype(dtype), "ZYX", {"Z": 2, "Y": 0.5, "X": 0.25}, {"Z": z, "Y": xy, "X": xy}
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages[0].tags
        wide, high = (n / d for n, d in (tags.valueof("XResolution"), tags.valueof("YResolution")))
        per_cm = {"µm": 1e4, "Å": 1e8, "in": 1 / 2.54}[xy]
        factor = 1.0 if file.is_imagej else per_cm
        assert (wide, high) == pytest.approx((4 * factor, 2 * factor), rel=1e-4)
        assert file.is_imagej or tags.valueof("ResolutionUnit") == 3
    back = read_labels(tmp_path / "a.tif")
    assert back.units == {"Z": z, "Y": xy, "X": xy}
    assert back.spacing == pytest.approx({"Z": 2, "Y": 0.5, "X": 0.25}, rel=1e-4)


def test_angstroms_in_an_imagej_description_are_spelt_as_java_does(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", LABELS, "ZYX", {"Y": 2.0, "X": 2.0}, {"Y": "Å", "X": "Å"})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_imagej
        assert "unit=\\u00C5" in file.pages[0].description.splitlines()


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [
        ((20000, 40000), "CENTIMETER", (0.5, 0.25)),
        ((50800, 25400), "INCH", (0.5, 1.0)),
        ((1200, 1200), "INCH", (25400 / 1200, 25400 / 1200)),
        ((72, 72), "INCH", None),
        ((96, 96), "INCH", None),
        ((300, 300), "INCH", None),
        ((118.11, 118.11), "CENTIMETER", None),
        ((28.35, 28.35), "CENTIMETER", None),
        ((1, 1), "INCH", None),
        ((20000, 20000), "NONE", None),
    ],
)
def test_resolution_tags_are_a_pixel_size_unless_they_are_defaults(
    tmp_path: Path, resolution: tuple[float, float], unit: str, size: tuple[float, float] | None
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS[0], resolution=resolution, resolutionunit=unit)
    image = read_image(tmp_path / "a.tif")
    expected = {} if size is None else dict(zip("XY", size, strict=True))
    assert dict(image.spacing) == pytest.approx(expected, rel=1e-4)
    assert dict(image.units) == dict.fromkeys(expected, "µm")
    assert [note for note in image.notes if "per inch" in note] == list(image.notes)
    assert bool(image.notes) == (max(resolution) in (300, 118.11))


def test_a_pixel_size_in_the_metadata_goes_before_the_tags(tmp_path: Path) -> None:
    options: dict[str, Any] = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    metadata = {"axes": "YX", "PhysicalSizeX": 3.0, "PhysicalSizeY": 3.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", LABELS[0], metadata=metadata, **options)
    assert dict(read_image(tmp_path / "a.ome.tif").spacing) == {"Y": 3.0, "X": 3.0}
    tifffile.imwrite(tmp_path / "b.ome.tif", LABELS[0], metadata={"axes": "YX"}, **options)
    assert dict(read_image(tmp_path / "b.ome.tif").spacing) == pytest.approx({"Y": 0.5, "X": 0.5})

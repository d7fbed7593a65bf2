"""TIFFs of several images and of several files, as microscopes write them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray


def write_positions(path: Path, images: list[NDArray[Any]]) -> None:
    """Write an OME-TIFF with a position for each image, (Z, Y, X) or (Y, X)."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for i, pixels in enumerate(images):
            sizes = {f"PhysicalSize{axis}": 0.5 * (i + 1) for axis in "YX"}
            axes = "ZYX"[-pixels.ndim :]
            file.write(pixels, photometric="minisblack", metadata={"axes": axes, "Name": f"Pos{i}", **sizes})


def write_pages(path: Path, *images: NDArray[Any], **options: Any) -> None:
    """Write pages of different sizes."""
    with tifffile.TiffWriter(path) as file:
        for pixels in images:
            file.write(pixels, photometric="minisblack" if pixels.ndim == 2 else None, metadata=None, **options)


def write_data_set(folder: Path, planes: NDArray[Any], how: str = "full") -> list[Path]:
    """Write an OME-TIFF of one file a plane, (Z, Y, X).

    Each file has all metadata (full), or the first has them (first), or a file of XML has (companion).
    """
    paths = [folder / f"set_z{i}.ome.tif" for i in range(len(planes))]
    numbers = [f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, path.name)}" for path in paths]
    depth, height, width = planes.shape
    parts = "".join(
        f'<TiffData FirstZ="{i}" FirstC="0" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{path.name}">{number}</UUID></TiffData>'
        for i, (path, number) in enumerate(zip(paths, numbers, strict=True))
    )
    space = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    own = "urn:uuid:11111111-2222-3333-4444-555555555555"
    for i, (path, number) in enumerate(zip(paths, numbers, strict=True)):
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME {space} UUID="{number}"><Image ID="Image:0" Name="set">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="{planes.dtype}" SizeX="{width}" SizeY="{height}" '
            f'SizeZ="{depth}" SizeC="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1" Name="DAPI"/>{parts}</Pixels></Image></OME>'
        )
        if how == "companion" and i == 0:
            (folder / "set.companion.ome").write_text(text.replace(numbers[0], own, 1))
        if how == "companion" or (how == "first" and i):
            where = "set.companion.ome" if how == "companion" else paths[0].name
            text = (
                f'<?xml version="1.0" encoding="UTF-8"?><OME {space} UUID="{number}">'
                f'<BinaryOnly MetadataFile="{where}" UUID="{own if how == "companion" else numbers[0]}"/></OME>'
            )
        tifffile.imwrite(path, planes[i], description=text.encode(), metadata=None, photometric="minisblack")
    return paths

"""The columns of measurements: their names with units, and their help."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "column_help",
    "corner_names",
    "fixed_axes",
    "is_measured",
    "measured_columns",
    "plain_name",
    "sizes_by_slice",
    "unit_of",
]

_AXES = {2: ("major axis", "minor axis"), 3: ("major axis", "middle axis", "minor axis")}
_GREY = ("mean", "min", "max", "sum", "std")
_INTENSITY = " intensity"

#: Help of each column, by its name without unit and channel.
_HELP = {
    "label": "The object's id: its value in the Labels layer.",
    "area": "Area: number of pixels times the area of one.",
    "volume": "Volume: number of voxels times the volume of one.",
    "pixels": "How many pixels or voxels the object has.",
    "t": "Point in time, from 0.",
    "z": "Centroid along Z, in slices from 0.",
    "y": "Centroid along Y, in pixels from 0.",
    "x": "Centroid along X, in pixels from 0.",
    "perimeter": "Length of the outline, that of holes included (Crofton's formula in four directions, as "
    "scikit-image's perimeter_crofton).",
    "circularity": "4 π area / perimeter²: 1 for a disc, less for longer or rougher objects; at most 1.",
    "surface": "Area of the surface, that of hollows included (Crofton's formula in thirteen directions).",
    "sphericity": "Surface of the ball of the same volume divided by the object's: 1 for a ball, less for longer or "
    "rougher objects; at most 1.",
    "solidity": "Number of the object's pixels divided by that of its convex hull: 1 without dents.",
    "major axis": "Longest axis of the ellipse or ellipsoid with the same second moments.",
    "middle axis": "Second axis of the ellipsoid with the same second moments.",
    "minor axis": "Shortest axis of the ellipse or ellipsoid with the same second moments.",
    "equivalent diameter": "Diameter of the disc or ball of the same size.",
    "Feret diameter": "Largest distance between two corners of the object's pixels.",
    "mean intensity": "Mean of the image's own values in the object.",
    "min intensity": "Lowest of the image's own values in the object.",
    "max intensity": "Highest of the image's own values in the object.",
    "sum intensity": "Sum of the image's own values in the object (integrated density).",
    "std intensity": "Standard deviation of the image's own values in the object.",
    "certainty": "Predicted IoU times stability; review begins with the lowest.",
    "predicted IoU": "The model's own estimate of how well the object fits, 0 to 1.",
    "stability": "IoU of the masks at a lower and a higher threshold, 0 to 1.",
    "review": "accepted or rejected, from the review in Correct.",
    "note": "Your note, from the review in Correct.",
}


#: Columns of shape that may have no unit.
_SHAPES = ("perimeter", "circularity", "surface", "sphericity", "solidity")


def measured_columns(
    axes: str, spacing: Sequence[float | None], unit: str, channels: Sequence[str] | None
) -> list[str]:
    """Return the columns of a table of measurements.

    Parameters
    ----------
    axes, spacing, unit
        As for `measurements.measure`.
    channels : sequence of str or None
        Names of the image's channels; empty for an image without channels, None for no image.
    """
    rest = _sized_axes(axes, spacing)
    flat = len(rest) == 2
    size = f"area ({unit}²)" if flat else f"volume ({unit}³)"
    outline = [f"perimeter ({unit})", "circularity"] if flat else [f"surface ({unit}²)", "sphericity"]
    lengths = [f"{name} ({unit})" for name in (*_AXES[len(rest)], "equivalent diameter", "Feret diameter")]
    shape = [*outline, "solidity", *lengths]
    grey = [] if channels is None else [
        f"{kind} intensity{f' {channel}' if channel else ''}" for channel in channels or ("",) for kind in _GREY
    ]  # fmt: skip
    return ["label", *fixed_axes(axes, spacing), size, "pixels", *rest, *shape, *grey, *corner_names(axes, spacing)]


def fixed_axes(axes: str, spacing: Sequence[float | None]) -> list[str]:
    """Return the columns of axes without a size, such as time. Each point along them has its own rows."""
    return [axis.lower() for axis, size in zip(axes, spacing, strict=True) if size is None]


def sizes_by_slice(axes: str, spacing: Sequence[float | None]) -> list[float | None]:
    """Return sizes with which each slice of an object gets its own row: None for all axes but rows and columns."""
    return [size if axis in "YX" else None for axis, size in zip(axes, spacing, strict=True)]


def corner_names(axes: str, spacing: Sequence[float | None]) -> list[str]:
    """Return the columns of the first and last pixels of bounding boxes."""
    return [f"{axis}{end}" for end in (0, 1) for axis in _sized_axes(axes, spacing)]


def column_help(name: str) -> str:
    """Return the help of a column, with its unit; empty for an unknown column."""
    plain = plain_name(name)
    unit = unit_of(name)
    kind, _, channel = plain.partition(_INTENSITY)
    if len(plain) == 2 and plain[0] in "zyx" and plain[1] in "01":
        which = ("First", "Last")[int(plain[1])]
        return f"{which} pixel of the bounding box along {plain[0].upper()}, from 0, included."
    if kind in _GREY and channel:
        return f"{_HELP[f'{kind} intensity']} Channel: {channel.strip()}."
    text = _HELP.get(plain, "")
    if not text or not unit:
        return text
    pixels = " Give the layer a scale and units to have it in µm or mm." if unit.startswith("px") else ""
    return f"{text} In {unit}.{pixels}"


def is_measured(name: str) -> bool:
    """Tell whether a column is a measurement of an object, so that an edit of its pixels makes it untrue."""
    plain = plain_name(name)
    if _INTENSITY in plain:
        return plain.partition(_INTENSITY)[0] in _GREY
    return bool(unit_of(name)) or plain.startswith("centroid") or plain in _SHAPES


def plain_name(name: str) -> str:
    """Return the name of a column without its unit."""
    return name if _INTENSITY in name else name.partition(" (")[0]


def unit_of(name: str) -> str:
    """Return the unit in the name of a column; empty if there is none."""
    # Names of channels may have brackets too.
    return "" if _INTENSITY in name else name.partition(" (")[2].removesuffix(")")


def _sized_axes(axes: str, spacing: Sequence[float | None]) -> list[str]:
    return [axis.lower() for axis, size in zip(axes, spacing, strict=True) if size is not None]

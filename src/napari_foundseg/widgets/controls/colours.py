"""Colours of marks and previews that people with a colour vision deficiency can distinguish (Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

__all__ = [
    "CHOSEN",
    "CHOSEN_TOO",
    "GUESS",
    "HALO",
    "LISTED",
    "NEGATIVE",
    "POSITIVE",
    "PREVIEW",
    "listed_colormap",
    "theme_colour",
]

#: A point on the object, a box around it.
POSITIVE = "#009e73"
#: A point that is not on the object.
NEGATIVE = "#d55e00"
#: A mask that is not accepted yet.
PREVIEW = "#f0e442"
#: The mask that a click would give.
GUESS = "#f8f3b3"

#: Outlines of chosen objects: the first, into which the others are merged, and the others.
CHOSEN = "#ffffff"
CHOSEN_TOO = "#f0e442"
#: Drawn around both outlines, so that they are visible on bright pictures.
HALO = "#000000"

#: Name of the colormaps that `listed_colormap` makes.
LISTED = "listed"
#: Greatest number of colours of napari's cyclic colormap for labels, including the background.
_MOST = 2**16 - 1


def listed_colormap(
    colours: Sequence[Any] | NDArray[Any], others: Any = None
) -> CyclicLabelColormap | DirectLabelColormap:
    """Return a colormap for labels 1 to n; the background is transparent.

    A `DirectLabelColormap` makes numba compile a dictionary first, which blocks the window for a second. So it is only
    used for more labels than a cyclic colormap can hold.

    Parameters
    ----------
    colours : sequence of n colours, or (n, 4) ndarray of float
        Colours in any form that napari accepts.
    """
    from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap
    from napari.utils.colormaps.standardize_color import transform_color

    # Converted one by one unless all are numbers, because napari does not accept names mixed with numbers.
    known = colours if isinstance(colours, np.ndarray) else [transform_color(colour)[0] for colour in colours]
    colors = np.concatenate([transform_color("transparent"), np.reshape(known, (-1, 4))])
    if len(colors) > _MOST:
        return DirectLabelColormap(name=LISTED, color_dict={None: others or "transparent"} | dict(enumerate(colors)))
    if others is not None:
        colors = np.concatenate([colors, np.repeat(transform_color(others), _MOST - len(colors), 0)])
    return CyclicLabelColormap(name=LISTED, colors=colors)


def theme_colour(theme: str, name: str) -> str:
    """Return a colour of a napari theme as a hexadecimal text."""
    from napari.utils.theme import get_theme

    return str(getattr(get_theme(theme), name).as_hex())

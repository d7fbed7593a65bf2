"""One colour, one meaning, everywhere; chosen to be told apart with a colour vision deficiency (Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.utils.colormaps import CyclicLabelColormap

__all__ = ["GUESS", "NEGATIVE", "POSITIVE", "PREVIEW", "listed", "theme_colour"]

#: A point on the object, a box around it.
POSITIVE = "#009e73"
#: A point that is not on the object.
NEGATIVE = "#d55e00"
#: A mask that is not accepted yet. An accepted one has its own label's colour.
PREVIEW = "#f0e442"
#: The mask that a click would make: paler than one that a click made.
GUESS = "#f8f3b3"


def listed(colours: Sequence[Any]) -> CyclicLabelColormap:
    """Return a colormap of labels 1 to n; the background is transparent.

    A `DirectLabelColormap` would say the same, but has numba compile a dictionary first: the window stands still for a
    second.

    Parameters
    ----------
    colours : sequence of n colours
        As napari takes them.

    Returns
    -------
    napari.utils.colormaps.CyclicLabelColormap
        Label n + 1 would have the first colour again.
    """
    from napari.utils.colormaps import CyclicLabelColormap
    from napari.utils.colormaps.standardize_color import transform_color

    # One by one: napari takes either names or numbers.
    colors = np.concatenate([transform_color(colour) for colour in ("transparent", *colours)])
    return CyclicLabelColormap(name="listed", colors=colors)


def theme_colour(theme: str, name: str) -> str:
    """Return a colour of a napari theme.

    Parameters
    ----------
    theme : str
        The theme's id, as in `viewer.theme`.
    name : str
        Such as ``error``.

    Returns
    -------
    str
        For a style sheet.
    """
    from napari.utils.theme import get_theme

    return str(getattr(get_theme(theme), name).as_hex())

"""The object table of a layer: measurements, scores, review and note of each object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.arrays import Blocks
from napari_foundseg.widgets.layers.layer_axes import label_spacing
from napari_foundseg.widgets.layers.object_features import REJECTED

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_foundseg.core.editing.difference import SliceBox
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.measuring.measurements import GreyValues

__all__ = ["grey_values", "object_table", "unit_spacing"]

_SCORES = {"predicted_iou": "predicted IoU", "stability_score": "stability"}


def unit_spacing(layer: Labels) -> tuple[list[float | None], str]:
    """Return the size of a layer's pixels, and its unit as the table's columns name it.

    Returns
    -------
    list of float or None
        As `layers.label_spacing` gives it.
    str
        ``px`` only where pixels are counted; ``scaled px`` where the layer has a scale and no unit.
    """
    spacing, unit = label_spacing(layer)
    scaled = any(size not in (None, 1) for size in spacing)
    return spacing, "scaled px" if unit == "px" and scaled else unit


class _LazyGrey:
    """Reads the pixels of a lazy image in boxes of a label image."""

    def __init__(self, values: Any, axes: str, ndim: int) -> None:
        self._channel = axes.index("C") if "C" in axes else None
        #: Whether the labels have the channel axis, one pixel long.
        self._keeps = self._channel is not None and len(axes) == ndim
        self._blocks = Blocks(values, (axes.index("Y"), axes.index("X")), self._channel)
        shape = list(values.shape)
        channels = [] if self._channel is None else [shape.pop(self._channel)]
        if self._keeps and self._channel is not None:
            shape.insert(self._channel, 1)
        self.shape = (*shape, *channels)

    def __getitem__(self, box: SliceBox) -> NDArray[Any]:
        if self._channel is None:
            return self._blocks[box]
        parts = list(box)
        if self._keeps:
            del parts[self._channel]
        parts.insert(self._channel, slice(0, self.shape[-1]))
        values = np.moveaxis(self._blocks[tuple(parts)], self._channel, -1)
        return np.expand_dims(values, self._channel) if self._keeps else values


def grey_values(image: Image, shape: tuple[int, ...]) -> GreyValues | None:
    """Return the pixels of an image under those of a label image.

    They have its shape, with a last axis of channels if the image has channels: a view, or for a lazy image an object
    that reads parts on demand. None if the image does not fit.
    """
    values = image.levels[0]
    axes = str(image.axes)
    grey: Any
    if not isinstance(values, np.ndarray):
        grey = _LazyGrey(values, axes, len(shape))
    else:
        grey = values
        if "C" in axes:
            axis = axes.index("C")
            grey = np.moveaxis(values, axis, -1)
            if grey.ndim == len(shape):  # the labels keep the channels' axis, one pixel long
                grey = np.expand_dims(grey, axis)
    return grey if grey.shape[: len(shape)] == shape else None


def object_table(measured: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Join measurements with the features of a layer.

    The columns are ``label``, ``review``, ``note``, the scores if there are any, and the measurements; ``certainty`` is
    the product of the scores. Rejected objects, which have no pixels, follow without measurements. An object that was
    restored is no longer rejected.

    Parameters
    ----------
    measured : pandas.DataFrame
        As `core.measuring.measurements` gives it.
    features : pandas.DataFrame
        The layer's; the column ``index`` holds the label.
    """
    import pandas as pd

    known = features.rename(columns={"index": "label"} | _SCORES)
    kept = [name for name in ("label", *_SCORES.values(), "review", "note") if name in known]
    known = known[kept] if "label" in known else pd.DataFrame({"label": pd.Series(dtype=np.int64)})
    known = known[known["label"] != 0].drop_duplicates("label")
    known = known.assign(**{name: _text_column(known, name) for name in ("review", "note")})
    gone = known[(known["review"] == REJECTED) & ~known["label"].isin(measured["label"])]
    table = measured.merge(known, "left", "label")
    for name in ("review", "note"):
        table[name] = table[name].fillna("").astype(object)
    table.loc[table["review"] == REJECTED, "review"] = ""
    if len(gone):
        table = pd.concat([table, gone.assign(pixels=0)], ignore_index=True) if len(table) else gone.assign(pixels=0)
    scores = [name for name in _SCORES.values() if name in table and table[name].notna().any()]
    if len(scores) == len(_SCORES):
        table["certainty"] = table[scores[0]] * table[scores[1]]
        scores.insert(0, "certainty")
    first = ["label", "review", "note"]
    rest = [name for name in measured.columns if name not in first]
    return table.reindex(columns=[*first, *scores, *rest])


def _text_column(table: pd.DataFrame, name: str) -> Any:
    """Return a column of texts; missing values, NaN or 0 in the features, become empty texts."""
    import pandas as pd

    if name not in table:
        return pd.Series("", index=table.index, dtype=object)
    return table[name].map(lambda value: value if isinstance(value, str) else "").astype(object)

"""The object table of a layer: measurements, scores, review and note of each object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.measuring.columns import plain_name
from napari_foundseg.widgets.layers.layer_axes import label_spacing
from napari_foundseg.widgets.layers.object_features import REJECTED

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

__all__ = ["object_table", "unit_spacing"]

_SCORES = {"predicted_iou": "predicted IoU", "stability_score": "stability"}


def unit_spacing(layer: Labels) -> tuple[list[float | None], str]:
    """Return the size of a layer's pixels, and its unit as the table's columns name it.

    Returns
    -------
    list of float or None
        As in `layers.label_spacing`.
    str
        ``px`` only if pixels are counted; ``scaled px`` if the layer has a scale but no unit.
    """
    spacing, unit = label_spacing(layer)
    scaled = any(size not in (None, 1) for size in spacing)
    return spacing, "scaled px" if unit == "px" and scaled else unit


def object_table(measured: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Join measurements with the features of a layer.

    The columns are ``label`` and the size, ``review``, ``note``, the scores if there are any, and the other
    measurements; ``certainty`` is the product of the scores. Rejected objects have no pixels: they come last, without
    measurements. An object that was restored is no longer rejected.

    Parameters
    ----------
    measured : pandas.DataFrame
        As returned by `core.measuring.measurements`.
    features : pandas.DataFrame
        The layer's features; the column ``index`` holds the label.
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
    # Size comes first, since most users look for it.
    size = next(i for i, name in enumerate(measured) if plain_name(str(name)) in ("area", "volume"))
    first = list(measured)[: size + 2]
    rest = list(measured)[size + 2 :]
    return table.reindex(columns=[*first, "review", "note", *scores, *rest])


def _text_column(table: pd.DataFrame, name: str) -> Any:
    """Return a column of texts; missing values, which are NaN or 0 in the features, become empty texts."""
    import pandas as pd

    if name not in table:
        return pd.Series("", index=table.index, dtype=object)
    return table[name].map(lambda value: value if isinstance(value, str) else "").astype(object)

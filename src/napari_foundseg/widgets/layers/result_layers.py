"""Results as new layers over their image, and their descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.image import Image
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["add_colours", "add_labels", "editable_copy", "in_words", "object_features"]


def add_labels(viewer: ViewerModel, target: ImageOnLayer, segmentation: Segmentation, name: str) -> Labels:
    """Add a result as a new Labels layer over its image."""
    overlay = target.overlay
    labels = Labels(
        overlay.expanded(segmentation.labels),
        name=unique_name(viewer.layers, name),
        features=object_features(segmentation),
        metadata={RUN_PROVENANCE: dict(segmentation.provenance)},
        **overlay.transforms,
    )
    viewer.add_layer(labels)
    return labels


def add_colours(viewer: ViewerModel, target: ImageOnLayer, segmentation: Segmentation, name: str) -> ImageLayer:
    """Add a result's maps as a new RGB image layer.

    `name` is the name of the layer; a number is added if another layer has that name.
    """
    overlay = target.overlay
    image = target.image
    channels = []
    for colour in range(3):
        whole = np.zeros(image.shape, np.uint8)
        for index, found in (segmentation.maps or {}).items():
            image.plane_view(whole, index)[:] = found[colour]
        channels.append(overlay.expanded(whole))
    shown = ImageLayer(
        np.stack(channels, -1),
        name=unique_name(viewer.layers, name),
        rgb=True,
        metadata={TOOL: "features"},
        **overlay.transforms,
    )
    viewer.add_layer(shown)
    return shown


def editable_copy(viewer: ViewerModel, layer: Labels) -> Labels:
    """Return an editable in-memory copy of a Labels layer, with the same pixels and placement."""
    kept = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "features")
    return Labels(
        np.array(in_memory(layer.data[0] if layer.multiscale else layer.data)),
        name=unique_name(viewer.layers, f"{layer.name} copy"),
        **{name: getattr(layer, name) for name in kept},
    )


def object_features(segmentation: Segmentation) -> Any:
    """Return the object table as features for a Labels layer.

    The first row is for the background, with zeros and empty texts; then each object has one row. The column ``index``
    holds the label.
    """
    import pandas as pd

    table = segmentation.table.rename(columns={"label": "index"}).reset_index(drop=True)
    background = table.reindex([-1]).astype(object)
    for name, kind in table.dtypes.items():
        background[name] = 0 if kind.kind in "biufc" else ""
    if table.empty:
        return background.reset_index(drop=True)
    return pd.concat([background.astype(table.dtypes), table], ignore_index=True)


def in_words(segmentation: Segmentation, image: Image, seconds: float) -> str:
    """Describe the result, such as ``132 objects, 2 touch the border, 1.8 s``.

    `seconds` is the duration of the run; it is left out if it is 0.
    """
    touching = _count_touching(segmentation, image)
    parts = [
        segmentation.count_in_words,
        f"{touching} touch{'es' if touching == 1 else ''} the border" if touching else "",
    ]
    used = f"used {segmentation.channel_choice}" if segmentation.channel_choice else ""
    return ", ".join(
        [*filter(None, [*parts, segmentation.size_choice, used]), *([f"{seconds:.1f} s"] if seconds else [])]
    )


def _count_touching(segmentation: Segmentation, image: Image) -> int:
    height, width = image.plane_shape
    region = segmentation.provenance.get("inputs", {}).get("region") or (0, 0, height - 1, width - 1)
    table = segmentation.table[segmentation.table["area"] > 0]
    first = (table["y0"] <= region[0]) | (table["x0"] <= region[1])
    return int((first | (table["y1"] >= region[2]) | (table["x1"] >= region[3])).sum())

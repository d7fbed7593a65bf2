"""napari's own *Save Selected Layers*: labels that it saves count as saved, and our writer comes first for labels.

napari does not say what it has saved, and takes the first writer of its list, which is its own; that keeps neither
scale nor colours nor features. So once a form is open, the function through which napari saves notes the labels, and
our writer, which takes single Labels layers only, stands before others of these. No preference is changed, and the
dialog offers napari's writer as before.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import napari.plugins.io
import numpy as np
from napari.layers import Labels
from npe2 import PluginManager

from napari_foundseg.core.errors import ChangedError
from napari_foundseg.io.layer_files import files_of_labels
from napari_foundseg.io.save_names import with_label_ending
from napari_foundseg.widgets.editing.label_saving import mark_saved
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.layer_axes import layer_units
from napari_foundseg.widgets.qt.changed_files import ask_about_change

__all__ = ["watch_saves"]

_PLUGIN = "napari-foundseg"
#: Files that show labels and do not hold them.
_PICTURES = (".svg",)


def watch_saves() -> None:
    """Note what napari saves from now on, and let it save labels with our writer; doing it again changes nothing."""
    _put_our_writer_first()
    original = napari.plugins.io.save_layers
    if getattr(original, "noted_by", None) == _PLUGIN:
        return

    @wraps(original)
    def save_layers(path: Any, layers: Any, **more: Any) -> Any:
        writer = _writer_of(str(path), layers, more.get("plugin"), more.get("_writer"))
        _ask_if_changed(Path(path), layers)
        written = original(path, layers, **more)
        for layer in layers:
            if isinstance(layer, Labels) and (file := _file_of(layer, written)) is not None:
                layer_file(layer).known.note(*files_of_labels(file))
                mark_saved(layer, file, lost="" if writer == _PLUGIN else _lost_by_napari(layer))
        return written

    save_layers.noted_by = _PLUGIN  # type: ignore[attr-defined] # so that it is not wrapped twice
    napari.plugins.io.save_layers = save_layers


def _ask_if_changed(path: Path, layers: Any) -> None:
    """Raise a ChangedError if others have written a layer's file since it was opened, and the user keeps that."""
    if len(layers) != 1 or not isinstance(layers[0], Labels):
        return
    try:
        layer_file(layers[0]).known.refuse_changed(*files_of_labels(with_label_ending(path)))
    except ChangedError as error:
        if ask_about_change(None, error, elsewhere=False) != "replace":
            raise


def _put_our_writer_first() -> None:
    """Move our writer before those that fit a layer equally well; npe2 has no public way."""
    writers = getattr(getattr(PluginManager.instance(), "_contrib", None), "_writers", None)
    if isinstance(writers, list):
        writers.sort(key=lambda entry: entry[-1].plugin_name != _PLUGIN)


def _writer_of(path: str, layers: Any, plugin: str | None, writer: Any) -> str:
    """Return the name of the plugin that will save the layers; empty where there is none."""
    if writer is None and layers:
        kinds = [type(layer).__name__.lower() for layer in layers]
        writer, _ = PluginManager.instance().get_writer(path, kinds, plugin)
    return "" if writer is None else str(writer.plugin_name)


def _file_of(layer: Labels, written: Any) -> Path | None:
    """Return which of the written files holds a layer: in a folder, the one of its name."""
    files = [Path(file) for file in written or () if not str(file).lower().endswith(_PICTURES)]
    return next((file for file in files if file.name.startswith(str(layer.name))), files[0] if files else None)


def _lost_by_napari(layer: Labels) -> str:
    """Return what of a layer napari's writer does not keep, in words."""
    lost = {
        "scale": bool(np.any(np.asarray(layer.scale) != 1)),
        "units": any(str(unit) not in ("", "pixel") for unit in layer_units(layer)),
        "colours": getattr(layer.colormap, "color_dict", None) is not None,
        "properties": bool(len(layer.features.columns)),
    }
    words = [name for name, is_lost in lost.items() if is_lost]
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)

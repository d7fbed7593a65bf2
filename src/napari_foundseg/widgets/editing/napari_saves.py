"""napari's own *Save Selected Layers*: labels that it saves count as saved, and our writer is tried first.

napari does not report the saved files. It uses the first writer in its list, its own, which drops scale, colours
and features. Therefore, once a form is open, napari's save function is wrapped to note the saved labels. Our writer,
which only accepts single Labels layers, is moved before the other writers. No preference is changed, and the dialog
still offers napari's writer.
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
#: Endings of files that picture labels but do not store them.
_PICTURES = (".svg",)


def watch_saves() -> None:
    """Note labels that napari saves from now on, and make our writer its first choice; a second call has no effect."""
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
    """Raise a ChangedError if a layer's file was changed elsewhere and the user does not want to replace it."""
    if len(layers) != 1 or not isinstance(layers[0], Labels):
        return
    try:
        layer_file(layers[0]).known.refuse_changed(*files_of_labels(with_label_ending(path)))
    except ChangedError as error:
        if ask_about_change(None, error, elsewhere=False) != "replace":
            raise


def _put_our_writer_first() -> None:
    """Move our writer before other writers that fit a layer equally well; npe2 has no public function for this."""
    writers = getattr(getattr(PluginManager.instance(), "_contrib", None), "_writers", None)
    if isinstance(writers, list):
        writers.sort(key=lambda entry: entry[-1].plugin_name != _PLUGIN)


def _writer_of(path: str, layers: Any, plugin: str | None, writer: Any) -> str:
    """Return the name of the plugin that will save the layers; empty if there is none."""
    if writer is None and layers:
        kinds = [type(layer).__name__.lower() for layer in layers]
        writer, _ = PluginManager.instance().get_writer(path, kinds, plugin)
    return "" if writer is None else str(writer.plugin_name)


def _file_of(layer: Labels, written: Any) -> Path | None:
    """Return the written file that holds a layer: in a folder, the file named after the layer."""
    files = [Path(file) for file in written or () if not str(file).lower().endswith(_PICTURES)]
    return next((file for file in files if file.name.startswith(str(layer.name))), files[0] if files else None)


def _lost_by_napari(layer: Labels) -> str:
    """Name the properties of a layer that napari's writer does not keep."""
    lost = {
        "scale": bool(np.any(np.asarray(layer.scale) != 1)),
        "units": any(str(unit) not in ("", "pixel") for unit in layer_units(layer)),
        "colours": getattr(layer.colormap, "color_dict", None) is not None,
        "properties": bool(len(layer.features.columns)),
    }
    words = [name for name, is_lost in lost.items() if is_lost]
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)

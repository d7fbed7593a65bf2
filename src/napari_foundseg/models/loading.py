"""Loads models, and keeps as many as fit into memory."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import RLock
from typing import Any

from napari_foundseg.core.errors import CheckpointError, FoundsegError, ModelNotFoundError
from napari_foundseg.models.abilities import check_model
from napari_foundseg.models.catalog import CatalogRow, row
from napari_foundseg.models.device import choose_device
from napari_foundseg.models.families import family_module
from napari_foundseg.models.family import check_packages
from napari_foundseg.models.kept_models import Key, device_memory, make_room, model_bytes
from napari_foundseg.models.out_of_memory import free_memory, is_out_of_memory
from napari_foundseg.models.store import row_with_hash, weights
from napari_foundseg.models.torch_import import check_torch_import

__all__ = ["forget_model", "load_model"]

#: Loaded models, the least recently used first.
_loaded: OrderedDict[Key, Any] = OrderedDict()
_lock = RLock()


def load_model(model: Any, *, device: str | None = None, protocol: str | None = None) -> Any:
    """Return a loaded model.

    Parameters
    ----------
    model : str or loaded model
        A name in the catalogue. A loaded model is returned unchanged.
    device : str, optional
        As in `models.device.choose_device`.
    protocol : str, optional
        Name of a protocol that the model must implement.

    Returns
    -------
    loaded model
        It implements the protocols in its row.

    Raises
    ------
    ModelNotFoundError
        If the name is unknown or the model does not implement the protocol.
    CheckpointError
        If its weights are missing or damaged.
    PackageError
        If a package that it needs is missing or too old.
    EngineError
        If this process has a window, and torch was not imported before the window opened: importing it now could crash
        the process.
    """
    if isinstance(model, str):
        check_torch_import()
    loaded = _by_name(model, choose_device(device)) if isinstance(model, str) else model
    found = row(loaded.name).protocols
    if protocol is not None and protocol not in found:
        raise ModelNotFoundError(f"{loaded.name} cannot do this: it offers {', '.join(found)}, not {protocol}.")
    return loaded


def _by_name(name: str, device: str) -> Any:
    with _lock:
        found = row_with_hash(row(name))
        path = weights(found)
        key = (found.name, found.key, device)
        if key not in _loaded:
            _loaded[key] = _load_with_room(found, path, device)
        _loaded.move_to_end(key)
        return _loaded[key]


def forget_model(name: str) -> bool:
    """Unload a model, so that nothing reads its files any more.

    Parameters
    ----------
    name : str
        Its name in the catalogue.

    Returns
    -------
    bool
        Whether it was loaded.
    """
    with _lock:
        keys = [key for key in _loaded if key[0] == name]
        for key in keys:
            del _loaded[key]
    if keys:
        free_memory()
    return bool(keys)


def _load_with_room(row: CatalogRow, path: Path, device: str) -> Any:
    make_room(_loaded, device, int(row.size_mb * 1e6))
    try:
        model = _load(row, path, device)
    except Exception as error:
        if not is_out_of_memory(error) or not _loaded:
            raise
        model = None
    if model is None:
        # The model needs more memory than the size of its file, so all other models are unloaded.
        _loaded.clear()
        free_memory()
        model = _load(row, path, device)
    size = model_bytes(model)
    total, free = device_memory(device)
    # The new model is loaded already, so its size counts as free here.
    make_room(_loaded, device, size, lambda _device: (total, free + size))
    return model


def _load(row: CatalogRow, path: Path, device: str) -> Any:
    module = family_module(row.family)
    check_packages(module.FAMILY, row)
    try:
        model = module.load(row, path, device)
    except (FoundsegError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{path} cannot be loaded as {row.title} ({type(error).__name__}: {error!s:.300}). It is damaged or of "
            "another model; get it again."
        ) from error
    check_model(model, row)
    return model

"""Files of fits: names and folders of models, and the state from which a fit can continue."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.models.catalog import CatalogRow, catalog, models_folder
from napari_foundseg.models.protocols.objects import FeatureExtractor
from napari_foundseg.models.store import hash_of
from napari_foundseg.tasks.side_tasks.fit_settings import FitSettings

if TYPE_CHECKING:
    from napari_foundseg.models.nets.stego.stego_fit import Fit

__all__ = ["FitState", "free_name", "refuse_other_fit", "register"]

#: Settings that may differ when a fit continues.
_NOT_OF_THE_FIT = {"steps", "n_clusters", "nearness"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def free_name(name: str | None) -> str:
    """Return the name for a new model.

    Parameters
    ----------
    name : str or None
        The wanted name; None for the next free one.

    Returns
    -------
    str
        The name.

    Raises
    ------
    SettingsError
        If the name is not valid, or another model or its leftover folder has it.
    """
    there = catalog()
    if name is None:
        wanted = (f"stego-{i}" for i in range(1, 10_000))
        return next(n for n in wanted if n not in there and not (models_folder() / n).exists())
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is not a valid model name; use letters, digits, '-', '_' and '.'.")
    if name in there and models_folder() / there[name].file != models_folder() / name:
        raise SettingsError(f"There is another model {name!r}; choose another name.")
    if name not in there and (models_folder() / name).exists():
        raise SettingsError(
            f"{str(models_folder() / name)!r} is there already, though no model has this name; it may hold the "
            "weights of one that was removed. Choose another name."
        )
    return name


def refuse_other_fit(
    name: str, settings: FitSettings | None = None, model: FeatureExtractor | None = None, *, overwrite: bool = False
) -> None:
    """Raise SettingsError if a fitted model has this name, unless that fit can continue or be overwritten.

    Parameters
    ----------
    name : str
        Name of the new model.
    settings : FitSettings, optional
        Settings of the fit; None if no existing fit can continue.
    model : FeatureExtractor, optional
        Backbone of the fit.
    overwrite : bool
        Whether to replace a fitted model if its files were not changed since the fit.

    Raises
    ------
    SettingsError
        If another fit has that name, or the files of the model were changed.
    """
    known = catalog().get(name)
    folder = models_folder() / name
    if known is None or not folder.exists():
        return
    if hash_of(folder) != known.sha256:
        raise SettingsError(
            f"The files of the model {name!r} were changed after its fit, and are kept. Choose another name."
        )
    if overwrite or (settings is not None and model is not None and _is_same_fit(folder, settings, model)):
        return
    raise SettingsError(
        f"There is a fitted model {name!r} already, of another fit, and it is kept. Choose another name, or replace it "
        "with --overwrite (in Python overwrite=True)."
    )


def _is_same_fit(folder: Path, settings: FitSettings, model: FeatureExtractor) -> bool:
    try:
        known = json.loads((folder / "foundseg.json").read_bytes())
        before = known["settings"]
        key = known["backbone_key"]
        now = settings.model_dump(mode="json", exclude=_NOT_OF_THE_FIT)
        return bool(key == model.key and all(before.get(field, value) == value for field, value in now.items()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def register(name: str, folder: Path) -> CatalogRow:
    """Register a model's folder in the catalogue.

    Parameters
    ----------
    name : str
        The model's name.
    folder : Path
        Folder of the model.

    Returns
    -------
    CatalogRow
        The row.
    """
    from napari_foundseg.models.importing import import_model

    return import_model(folder, name=name, family="stego")


class FitState:
    """State from which a fit can continue, in a file that identifies the fit.

    Parameters
    ----------
    name : str
        Name of the model.
    settings : FitSettings
        Settings of the fit.
    model : FeatureExtractor
        Backbone of the fit.
    fit : Fit
        The fit, with the features and the biases of its loss.
    """

    def __init__(self, name: str, settings: FitSettings, model: FeatureExtractor, fit: Fit) -> None:
        self._path = models_folder() / "fits" / f"{name}.safetensors"
        kept = settings.model_dump(mode="json", exclude=_NOT_OF_THE_FIT)
        of = json.dumps([kept, model.key, asdict(fit.settings)], sort_keys=True)
        digest = hashlib.blake2b(of.encode(), digest_size=16)
        for one in fit.crops.maps:
            digest.update(one.numpy().data)
        self._of = digest.hexdigest()

    def restore(self, fit: Fit) -> bool:
        """Restore the stored state, so that a fit continues where it stopped.

        Parameters
        ----------
        fit : Fit
            A fit that has not begun.

        Returns
        -------
        bool
            False if there is no state of this fit.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self._path), "pt") as file:
                if (file.metadata() or {}).get("fit") != self._of:
                    return False
                fit.restore({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, RuntimeError):
            return False
        return fit.done > 0

    def write(self, fit: Fit) -> None:
        """Write the state, completely or not at all.

        Parameters
        ----------
        fit : Fit
            The fit to store.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from safetensors.torch import save

        from napari_foundseg.io.atomic import atomic_write, named_errors

        with named_errors(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path) as file:
            file.write(save(fit.state(), metadata={"fit": self._of}))

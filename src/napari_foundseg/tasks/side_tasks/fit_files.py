"""Files of fits: names and folders of models, and the state of a fit that may go on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.models.catalog import CatalogRow, catalog, models_folder
from napari_foundseg.models.protocols import FeatureExtractor
from napari_foundseg.tasks.side_tasks.fit_settings import FitSettings

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.nets.stego.stego_fit import Fit

__all__ = ["FitState", "free_name", "register"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def free_name(name: str | None) -> str:
    """Return the name that a new model gets.

    Parameters
    ----------
    name : str or None
        The wanted name; None for the next free one.

    Returns
    -------
    str
        It.

    Raises
    ------
    SettingsError
        If it is no name, or another kind of model has it.
    """
    there = catalog()
    if name is None:
        return next(n for n in (f"stego-{i}" for i in range(1, 10_000)) if n not in there)
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name of a model; use letters, digits, '-', '_' and '.'.")
    if name in there and there[name].file != str(models_folder() / name):
        raise SettingsError(f"There is another model {name!r}; choose another name.")
    return name


def register(name: str, folder: Path) -> CatalogRow:
    """Make a model's folder a row of the catalogue.

    Parameters
    ----------
    name : str
        The model's name.
    folder : Path
        Its folder.

    Returns
    -------
    CatalogRow
        The row.
    """
    from napari_foundseg.models.importing import import_model

    return import_model(folder, name=name, family="stego")


class FitState:
    """What a fit needs to go on, in a file that says of which fit it is.

    Parameters
    ----------
    name : str
        Of the model.
    settings : FitSettings
        Of the fit.
    model : FeatureExtractor
        Its backbone.
    maps : sequence of Tensor
        The features that it is fitted to.
    """

    def __init__(self, name: str, settings: FitSettings, model: FeatureExtractor, maps: Sequence[torch.Tensor]) -> None:
        self._path = models_folder() / "fits" / f"{name}.safetensors"
        kept = settings.model_dump(mode="json", exclude={"steps", "n_clusters", "nearness"})
        digest = hashlib.blake2b(json.dumps([kept, model.key], sort_keys=True).encode(), digest_size=16)
        for one in maps:
            digest.update(one.numpy().data)
        self._of = digest.hexdigest()

    def restore(self, fit: Fit) -> bool:
        """Have a fit go on where it stopped.

        Parameters
        ----------
        fit : Fit
            A fit that has not begun.

        Returns
        -------
        bool
            False where there is no state of this fit.
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
        """Write the state, wholly or not at all.

        Parameters
        ----------
        fit : Fit
            The fit as it is.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        from safetensors.torch import save

        from napari_foundseg.io.atomic import atomic_write, named_errors

        with named_errors(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path) as file:
            file.write(save(fit.state(), metadata={"fit": self._of}))

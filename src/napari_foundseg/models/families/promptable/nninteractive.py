"""nnInteractive on the user's server, through its authors' client. Only the client has to be installed here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView

if TYPE_CHECKING:
    from napari_foundseg.models.servers.nninteractive import NNInteractive

__all__ = ["FAMILY", "load", "recognise"]

FAMILY = Family(
    rank=97,
    protocols=("PromptableVolume",),
    verified_against="a server that speaks the protocol of nninteractive-client 2.6; not the authors' network",
    title="nnInteractive",
    packages=(Package("nninteractive-client", "2.5"),),
)


def recognise(_found: WeightsView) -> dict[str, Any] | None:
    """Return None, since its weights are on the server and never imported."""
    return None


def load(row: CatalogRow, _path: Path, device: str) -> NNInteractive:
    """Return the model. The server is not contacted before there is a volume."""
    # Listing the models imports this module, and must not import an array library.
    from napari_foundseg.models.servers.nninteractive import NNInteractive

    return NNInteractive(row, device)

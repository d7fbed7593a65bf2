"""The switch that keeps this package from the network."""

from __future__ import annotations

from napari_foundseg.core.errors import OfflineError
from napari_foundseg.io.preferences import offline_switch

__all__ = ["check_online"]


def check_online(what: str, address: str, place: str = "") -> None:
    """Raise OfflineError if the network may not be used.

    `what` would be fetched from `address`. The message asks the user to put the file at `place`, if there is one.
    """
    switch = offline_switch()
    if not switch:
        return
    raise OfflineError(
        f"{what} would be fetched from {address}, but {switch}, so nothing is fetched. Switch it off"
        + (f", or put the file at {place} from a computer that has it." if place else ".")
    )

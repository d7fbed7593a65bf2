"""The download of a model's weights; in the engine's process or on the command line, never in a window."""

from __future__ import annotations

from collections.abc import Callable

from napari_foundseg.core.errors import Cancelled, DownloadError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.store import addresses

__all__ = ["download"]


def _no_progress(_share: float, _words: str) -> None:
    pass


def download(
    row: CatalogRow,
    progress: Callable[[float, str], None] = _no_progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> CatalogRow:
    """Download the weights of a model, or go on where an earlier download ended.

    Parameters
    ----------
    row : CatalogRow
        The model.
    progress : callable, optional
        Called with the share done (0 to 1) and words.
    cancelled : callable, optional
        Returns whether to stop; then what is here stays, and the next call goes on there.

    Returns
    -------
    CatalogRow
        The model's row with what was downloaded: file, hash, size and revision.

    Raises
    ------
    Cancelled
        If `cancelled` said so.
    DownloadError
        If it cannot be downloaded; the message says why, and what to do.
    """
    progress(0.0, "")
    if cancelled():
        raise Cancelled("The download was cancelled.")
    raise DownloadError(f"{row.title} cannot be downloaded yet; get it from {' and '.join(addresses(row))}.")

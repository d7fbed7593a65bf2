"""Progress reports of a fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.clusters import clusters_of_codes

if TYPE_CHECKING:
    from napari_foundseg.models.nets.stego.stego_fit import Fit
    from napari_foundseg.tasks.side_tasks.fit_settings import FitSettings

__all__ = ["FitProgress", "News"]

#: Called with the share done, a text and, from time to time, a dict to show.
News = Callable[..., None]
_PREVIEW_SECONDS = 2.0


class FitProgress:
    """Reporter of the progress of a fit, which also shows the current clusters from time to time."""

    def __init__(self, progress: News, fit: Fit, settings: FitSettings, place: dict[str, Any]) -> None:
        self._progress = progress
        self._settings = settings
        self._fit = fit
        self._place = place
        self._shown = 0.0

    def tell(self) -> None:
        """Report the share done and the loss; every few seconds with a preview."""
        fit = self._fit
        share = 0.3 + 0.68 * fit.done / self._settings.steps
        words = f"step {fit.done} of {self._settings.steps}, loss {fit.losses[-1]:.3f}"
        if time.monotonic() - self._shown < _PREVIEW_SECONDS:
            self._progress(share, words)
            return
        preview = _preview(fit, self._settings)
        shown = {**self._place, "loss": list(fit.losses), "shape": list(preview.shape), "preview": preview.tobytes()}
        self._progress(share, words, shown)
        self._shown = time.monotonic()


def _preview(fit: Fit, settings: FitSettings) -> NDArray[np.uint8]:
    """Return the current clusters of the first window, (H, W)."""
    import torch

    first = fit.crops.maps[0]
    with torch.no_grad():
        fit.head.eval()
        codes = fit.head(first.float().movedim(-1, 0)[None])[0].flatten(1).T.numpy()
    sample = codes[:: max(1, len(codes) // 1500)]
    clusters = clusters_of_codes(sample, settings.n_clusters, settings.metric, settings.seed)
    return np.asarray(clusters.nearest(codes).reshape(first.shape[:2]), np.uint8)

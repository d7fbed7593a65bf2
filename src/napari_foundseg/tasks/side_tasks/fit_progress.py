"""What a fit reports while it runs."""

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

#: Told the share done, what is being done in words, and now and then what there is to show.
News = Callable[..., None]
_PREVIEW_SECONDS = 2.0


class FitProgress:
    """Tells the progress of a fit, and now and then shows the clusters as they are."""

    def __init__(self, progress: News, fit: Fit, settings: FitSettings, place: dict[str, Any]) -> None:
        self._progress = progress
        self._settings = settings
        self._fit = fit
        self._place = place
        self._shown = 0.0

    def tell(self) -> None:
        """Tell the share done and the loss; every few seconds with a preview."""
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
    """Return the clusters of the first window as they are now."""
    import torch

    first = fit.crops.maps[0]
    with torch.no_grad():
        fit.head.eval()
        codes = fit.head(first.float().movedim(-1, 0)[None])[0].flatten(1).T.numpy()
    sample = codes[:: max(1, len(codes) // 1500)]
    clusters = clusters_of_codes(sample, settings.n_clusters, settings.metric, settings.seed)
    return np.asarray(clusters.nearest(codes).reshape(first.shape[:2]), np.uint8)

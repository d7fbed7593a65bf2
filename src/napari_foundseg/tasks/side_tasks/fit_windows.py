"""Features of the windows of a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_foundseg.tasks.windows.features import feature_windows, features_of

if TYPE_CHECKING:
    import torch

    from napari_foundseg.core.image import Image
    from napari_foundseg.models.protocols.objects import FeatureExtractor
    from napari_foundseg.tasks.side_tasks.fit_progress import News
    from napari_foundseg.tasks.side_tasks.fit_settings import FitSettings

__all__ = ["features_of_windows"]

#: Bytes of features that are kept in memory; if there are more, an even selection of the windows is used.
_BUDGET = 1 << 30


def features_of_windows(
    pictures: Sequence[tuple[Image, tuple[int, ...]]],
    settings: FitSettings,
    model: FeatureExtractor,
    progress: News,
    poll: Callable[[], None],
) -> tuple[list[torch.Tensor], list[str]]:
    """Return the features of an even selection of windows, (H, W, D) in float16, and notes for the user."""
    import torch

    windows = [
        (image, index, core) for image, index in pictures for _, core in feature_windows(image.plane_shape, model)
    ]
    maps: list[torch.Tensor] = []
    chosen = windows
    for i, (image, index, box) in enumerate(windows):
        if i == 1:
            fit_in = max(1, _BUDGET // max(1, maps[0].nbytes))
            chosen = [windows[k] for k in np.unique(np.linspace(0, len(windows) - 1, fit_in).round().astype(int))]
        if i >= len(chosen):
            break
        image, index, box = chosen[i]
        poll()
        progress(0.3 * i / len(chosen), f"looking at image {i + 1} of {len(chosen)}")
        found = features_of(model, image.rgb(index, box), settings.context)
        maps.append(torch.as_tensor(found).movedim(0, -1).half().contiguous())
    notes = []
    if len(chosen) < len(windows):
        notes.append(f"{len(chosen)} of {len(windows)} windows were used, so that their features fit into memory")
    if len(pictures) == 1:
        notes.append("there is one image only: crops of it were used as each other's neighbours")
    return maps, notes

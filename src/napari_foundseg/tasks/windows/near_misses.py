"""`NearMisses`: best candidates of a run, to say which threshold rejected them if nothing is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.watershed import instance_scores, instances
from napari_foundseg.tasks.windows.instance_maps import scale_for
from napari_foundseg.tasks.windows.point_grid import LIVE

if TYPE_CHECKING:
    from napari_foundseg.core.masks import Mask
    from napari_foundseg.tasks.automatic_settings import DecoderSettings, FlowsSettings, GridSettings, PromptsSettings

__all__ = ["NearMisses"]

#: Least factor of resizing for the diameter that may be the reason why nothing is found.
_RESIZED = 2.0


@dataclass
class NearMisses:
    """Best candidates of a run, to say which threshold rejected them if nothing is left.

    Parameters
    ----------
    settings : Settings
        Settings of the run.
    """

    settings: DecoderSettings | GridSettings | PromptsSettings | FlowsSettings
    score: float = -1.0
    stability: float = -1.0
    area: int = 0
    foreground: float = 0.0
    probability: float = -np.inf

    def look_at_maps(self, maps: NDArray[Any], thresholds: dict[str, Any], calibration: Any) -> None:
        """Record the best candidates in a slice's maps."""
        self.foreground = max(self.foreground, float(maps[0].max()))
        found = instances(maps, **{**thresholds, "min_area": 0})
        if found.any():
            self.area = max(self.area, int(np.bincount(found.ravel())[1:].max()))
            self.score = max(self.score, float(instance_scores(maps, found, calibration)[0].max()))

    def look_at_masks(self, masks: Iterable[Mask]) -> None:
        """Record the best masks of a slice."""
        for mask in masks:
            self.area = max(self.area, mask.area)
            self.score = max(self.score, mask.predicted_iou)
            self.stability = max(self.stability, mask.stability_score)

    def in_words(self, diameter: float | None = None) -> list[str]:
        """Return sentences on the thresholds that left nothing; `diameter` in pixels, None if the user gave none."""
        words = {"grid": self._of_grid, "apg": self._of_prompts, "flows": self._of_flows}.get(
            self.settings.method, self._of_decoder
        )()
        if self.area and self.area < self.settings.min_area:
            words.append(f"The largest candidate has {self.area} pixels; the minimum area is {self.settings.min_area}.")
        factor = scale_for(diameter)
        if max(factor, 1 / factor) >= _RESIZED:
            size = f"enlarged {factor:.3g} times" if factor > 1 else f"shrunk to {100 * factor:.3g} %"
            words.append(
                f"For the diameter of {diameter:.4g} pixels the image was {size}. If the objects are of another size, "
                "give theirs, or none."
            )
        return words

    def _of_decoder(self) -> list[str]:
        settings: Any = self.settings
        if self.area:
            return self._of_score()
        if self.foreground < settings.foreground_threshold:
            least = settings.foreground_threshold
            return [
                f"The foreground probability is {self.foreground:.2f} at most; the foreground threshold is {least:g}."
            ]
        thresholds = (
            f"centre threshold {settings.centre_threshold:g}, boundary threshold {settings.boundary_threshold:g}"
        )
        return [f"There is foreground, but no centre of an object in it ({thresholds})."]

    def _of_score(self) -> list[str]:
        settings: Any = self.settings
        least = settings.pred_iou_thresh
        return [f"The best candidate scored {self.score:.2f}; the minimum confidence is {least:g}."] * (
            self.score < least
        )

    def look_at_flows(self, maps: NDArray[Any]) -> None:
        """Record the highest cell probability in a slice's flow maps."""
        self.probability = max(self.probability, float(maps[2].max()))

    def _of_flows(self) -> list[str]:
        settings: Any = self.settings
        least = settings.probability_threshold
        if self.probability <= least:
            return [f"The cell probability is {self.probability:.2f} at most; its threshold is {least:g}."]
        words = f"flow threshold {settings.flow_threshold:g}, minimum area {settings.min_area}"
        return [f"There are pixels of cells, but no flows that meet in the middle of an object ({words})."]

    def _of_prompts(self) -> list[str]:
        settings: Any = self.settings
        if self.area:
            return self._of_score()
        thresholds = (
            f"foreground threshold {settings.foreground_threshold:g}, centre threshold {settings.centre_threshold:g}, "
            f"boundary threshold {settings.boundary_threshold:g}"
        )
        return [f"The decoder sees no place to click on ({thresholds})."]

    def _of_grid(self) -> list[str]:
        settings: Any = self.settings
        if not self.area:
            least = [max(0.0, v - LIVE) for v in (settings.pred_iou_thresh, settings.stability_score_thresh)]
            return [f"No candidate has a confidence above {least[0]:.2g} and a stability above {least[1]:.2g}."]
        words = self._of_score()
        if self.stability < settings.stability_score_thresh:
            words.append(
                f"The most stable candidate has a stability of {self.stability:.2f}; the minimum is "
                f"{settings.stability_score_thresh:g}."
            )
        return words

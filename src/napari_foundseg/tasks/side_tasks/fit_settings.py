"""Settings and inputs of a fit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from napari_foundseg.core.clusters.clusters import Metric
from napari_foundseg.tasks.regions import Region
from napari_foundseg.tasks.settings import Settings

__all__ = ["FitInputs", "FitSettings"]

_MORE: dict[str, JsonValue] = {"more": True}


class FitInputs(Region):
    """Images to fit to, and the name of the new model."""

    folder: str | None = None
    """Folder whose images are used instead of the image."""
    name: str | None = None
    """Name of the new model; by default ``stego-1`` and so on."""


class FitSettings(Settings):
    """STEGO: fits a small network (head) that gives similar places similar codes."""

    method: Literal["stego"] = Field("stego", title="STEGO")
    n_clusters: int = Field(4, ge=1, le=64, title="Clusters in the fit")
    """More clusters separate finer differences. The number can be changed later without another fit."""
    context: int = Field(0, ge=0, le=512, title="Averaging in the fit", json_schema_extra={"unit": "pixels", "step": 8})
    """Higher values average the features over a larger square, about as large as the pattern of a texture. 0 for single
    objects."""
    steps: int = Field(400, ge=1, le=100_000, json_schema_extra={"step": 100})
    """More steps take longer. The best head is kept, so more do no harm."""
    nearness: Literal["auto", "angle", "distance"] = Field("auto", title="Similarity of codes", json_schema_extra=_MORE)
    """By angle (STEGO's cluster probe), or by distance, which separates a few objects from a large background better.
    Auto: by distance where the averaging window is 0."""
    preset: Literal[
        "balanced",
        "directory",
        "potsdam",
        "cocostuff27-vit-small",
        "cocostuff27-vit-small-10-3",
        "cocostuff27-vit-base",
        "cocostuff27-moco",
        "cocostuff27-older",
        "cityscapes",
        "cityscapes-older",
    ] = Field("balanced", title="Loss weights", json_schema_extra=_MORE)
    """Weights and biases of the loss: measured on your images (balanced), or as published for a data set."""
    pointwise: Literal["auto", "on", "off"] = Field("auto", title="Subtract point means", json_schema_extra=_MORE)
    """Subtract the mean correspondence of each point. Auto: off where the loss weights are balanced; on elsewhere, as
    published."""
    zero_clamp: bool = Field(True, title="Limit repulsion", json_schema_extra=_MORE)
    """On: codes are not pushed further apart than at right angles."""
    stabilised: bool = Field(False, title="Limit attraction", json_schema_extra=_MORE)
    """On: codes that are alike already are not drawn closer together."""
    dim: int | None = Field(None, ge=2, le=512, title="Code channels", json_schema_extra=_MORE)
    """More channels keep more differences. Automatic: 64 by angle; 4 by distance, where more would keep differences
    within the background too."""
    feature_samples: int = Field(11, ge=2, le=40, title="Points per crop side", json_schema_extra=_MORE)
    """Points along each side of the grid at which crops are compared. More are slower and steadier."""
    neg_samples: int = Field(5, ge=1, le=20, title="Negative samples", json_schema_extra=_MORE)
    """Random partners of each crop. More are slower and steadier."""
    neighbours: int = Field(7, ge=1, le=30, title="Nearest neighbours", json_schema_extra=_MORE)
    """How many of the most similar crops may be the partner of a crop. More give more varied pairs."""
    batch_size: int = Field(16, ge=2, le=256, title="Crops per step", json_schema_extra=_MORE)
    """More crops per step are slower and steadier."""
    learning_rate: float = Field(1e-3, ge=1e-5, le=1, json_schema_extra={"step": 1e-4, **_MORE})
    """Step size of the optimiser (Adam). Higher values fit faster, but less steadily."""
    seed: int = Field(0, ge=0, title="Random seed of the fit", json_schema_extra=_MORE)
    """Start of the random numbers. On a CPU the same seed gives the same model."""

    @property
    def is_pointwise(self) -> bool:
        """Whether the mean correspondence of each point is subtracted."""
        return self.pointwise == "on" or (self.pointwise == "auto" and self.preset != "balanced")

    @property
    def metric(self) -> Metric:
        """Metric by which the nearness of codes is measured."""
        by_angle = self.nearness == "angle" or (self.nearness == "auto" and self.context > 0)
        return "cosine" if by_angle else "euclidean"

    @property
    def code_dim(self) -> int:
        """Number of channels of the codes."""
        return self.dim or (64 if self.metric == "cosine" else 4)

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
    """What the head is fitted to, besides the image."""

    folder: str | None = None
    """Folder whose images are taken instead of the image."""
    name: str | None = None
    """What the new model is called; by default ``stego-1`` and so on."""


class FitSettings(Settings):
    """STEGO: a head that draws together the codes of places that look alike."""

    method: Literal["stego"] = "stego"
    n_clusters: int = Field(4, ge=1, le=64)
    """How many clusters the model is saved with; it can be changed later without another fit."""
    context: int = Field(0, ge=0, le=512, json_schema_extra={"unit": "pixels", "step": 8})
    """Average features over a square of this side: about the size of a texture's pattern; 0 for single objects."""
    steps: int = Field(400, ge=1, le=100_000, json_schema_extra={"step": 100})
    """How long to fit. The best head is kept, so more steps do no harm."""
    nearness: Literal["auto", "angle", "distance"] = Field("auto", json_schema_extra=_MORE)
    """When codes are of one cluster: by their angle (STEGO's cluster probe), or by their distance, which tells a few
    objects from a large background. Auto: by distance where context is 0."""
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
    ] = Field("balanced", json_schema_extra=_MORE)
    """Weights and biases of the loss: measured on your images (balanced), or as published for a data set."""
    pointwise: Literal["auto", "on", "off"] = Field("auto", json_schema_extra=_MORE)
    """Take each point's mean correspondence off. Auto: off where the preset is balanced; on elsewhere, as published."""
    zero_clamp: bool = Field(True, json_schema_extra=_MORE)
    """Do not push codes further apart than at right angles."""
    stabilised: bool = Field(False, json_schema_extra=_MORE)
    """Do not draw codes together that are alike already."""
    dim: int | None = Field(None, ge=2, le=512, json_schema_extra=_MORE)
    """Channels of the codes. Auto: 64 by angle; 4 by distance, where more would keep what is no object, too."""
    feature_samples: int = Field(11, ge=2, le=40, json_schema_extra=_MORE)
    """Points along each side of the grid at which crops are compared."""
    neg_samples: int = Field(5, ge=1, le=20, json_schema_extra=_MORE)
    """Random partners of each crop."""
    neighbours: int = Field(7, ge=1, le=30, json_schema_extra=_MORE)
    """Nearest neighbours of a crop that may be its partner."""
    batch_size: int = Field(16, ge=2, le=256, json_schema_extra=_MORE)
    """Crops a step."""
    learning_rate: float = Field(1e-3, ge=1e-5, le=1, json_schema_extra={"step": 1e-4, **_MORE})
    """Of Adam."""
    seed: int = Field(0, ge=0, json_schema_extra=_MORE)
    """Of chance: on a CPU equal seeds give equal models."""

    @property
    def is_pointwise(self) -> bool:
        """Whether each point's mean correspondence is taken off."""
        return self.pointwise == "on" or (self.pointwise == "auto" and self.preset != "balanced")

    @property
    def metric(self) -> Metric:
        """How the nearness of codes is measured."""
        by_angle = self.nearness == "angle" or (self.nearness == "auto" and self.context > 0)
        return "cosine" if by_angle else "euclidean"

    @property
    def code_dim(self) -> int:
        """Channels of the codes."""
        return self.dim or (64 if self.metric == "cosine" else 4)

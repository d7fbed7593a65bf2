"""Embeddings of SAM's encoders: features, and the sizes that map the picture's pixels to the encoder's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.nets.sam.mask_enlargement import Enlarger

__all__ = ["SamEmbedding"]


@dataclass(frozen=True, eq=False)
class SamEmbedding:
    """Features of one picture, and the sizes that map its pixels to the encoder's.

    Parameters
    ----------
    features : (1, C, H, W) tensor
        Output of the image encoder.
    original_size : tuple of int
        Rows and columns of the picture.
    input_size : tuple of int
        Rows and columns after its longer side was resized to the window.
    """

    features: torch.Tensor
    original_size: tuple[int, int]
    input_size: tuple[int, int]
    finer: tuple[torch.Tensor, ...] = ()
    """Finer features that the decoder also uses, finest first; SAM 2 has two."""
    prepared: dict[str, Any] = field(default_factory=dict, repr=False)
    """Results that decoding computes once from the features, for all prompts."""

    @property
    def nbytes(self) -> int:
        """Bytes of the features and of everything in `prepared`."""
        parts = (*self.finer, *self.prepared.values())
        return int(self.features.nbytes) + sum(int(getattr(part, "nbytes", 0)) for part in parts)

    def on(self, device: str) -> Self:
        """Return the embedding on a device: itself if it is there already, else a copy with an empty `prepared`."""
        if str(self.features.device) == device:
            return self
        finer = tuple(part.to(device) for part in self.finer)
        return replace(self, features=self.features.to(device), finer=finer, prepared={})

    def in_window(self, xy: NDArray[np.float64]) -> torch.Tensor:
        """Convert positions in the picture to positions in the encoder's window.

        Parameters
        ----------
        xy : (..., 2) ndarray of float
            (x, y) in the picture's pixels.

        Returns
        -------
        (..., 2) tensor of float64
            (x, y) in the encoder's pixels.
        """
        import torch

        (height, width), (used_height, used_width) = self.original_size, self.input_size
        return torch.as_tensor(xy * (used_width / width, used_height / height), device=self.features.device)

    def mask_input(self, mask: NDArray[np.bool_], side: int, window: int, logit: float) -> torch.Tensor:
        """Convert a mask of the picture to the small logits that a prompt encoder takes.

        Parameters
        ----------
        mask : (M, N) ndarray of bool
            The mask.
        side : int
            Rows and columns of the logits.
        window : int
            Rows and columns of the encoder's window.
        logit : float
            Logit inside the mask; outside it is the negative.

        Returns
        -------
        (1, side, side) tensor of float32
            Logits.
        """
        import torch
        from torch.nn import functional

        size = [max(1, round(n * side / window)) for n in self.input_size]
        inside = torch.as_tensor(mask, dtype=torch.float, device=self.features.device)[None, None]
        small = functional.interpolate(inside, size, mode="bilinear", align_corners=False, antialias=True)[0]
        padded = functional.pad(small, (0, side - size[1], 0, side - size[0]))
        return (padded * 2 - 1) * logit

    def enlarger(self, small: tuple[int, int], window: tuple[int, int], used: tuple[int, int]) -> Enlarger:
        """Return the cached `Enlarger` that resizes logits to `window`, and the `used` part of that to the picture."""
        from napari_foundseg.models.nets.sam.mask_enlargement import Enlarger

        if "enlarger" not in self.prepared:
            self.prepared["enlarger"] = Enlarger(small, window, used, self.original_size, self.features.device)
        enlarger: Enlarger = self.prepared["enlarger"]
        return enlarger

    def packed(self, dtype: str) -> bytes:
        """Return the embedding as bytes, with features in the precision `dtype`, such as ``float16``."""
        import torch
        from safetensors.torch import save

        def stored(part: torch.Tensor) -> torch.Tensor:
            return part.detach().to("cpu", getattr(torch, dtype)).contiguous().clone()

        sizes = torch.tensor([*self.original_size, *self.input_size])
        finer = {f"finer.{i}": stored(part) for i, part in enumerate(self.finer)}
        return bytes(save({"features": stored(self.features), "sizes": sizes, **finer}))

    @classmethod
    def unpacked(cls, data: bytes, device: str) -> Self:
        """Return the embedding from the bytes that `packed` returned, in float32."""
        import torch
        from safetensors.torch import load

        tensors = load(data)
        height, width, used_height, used_width = tensors.pop("sizes").tolist()
        features, *finer = (tensors[name].to(device, torch.float32) for name in sorted(tensors))
        return cls(features, (height, width), (used_height, used_width), tuple(finer))

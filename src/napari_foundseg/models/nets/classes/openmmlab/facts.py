"""Settings of a network that its tensors do not show, such as strides and dilations, with common defaults."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Facts"]


@dataclass(frozen=True)
class Facts:
    """Settings from the configuration of a network; the defaults are those of most published networks."""

    strides: tuple[int, ...] = (1, 2, 2, 2)
    """Strides of the stages of a ResNet."""
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    """Dilations of the stages of a ResNet."""
    contract_dilation: bool = True
    """Whether the first block of a dilated stage has half of the dilation."""
    multi_grid: tuple[int, ...] = ()
    """Dilations of the blocks of the last stage of a ResNet; empty: the dilation of the stage."""
    rates: tuple[int, ...] = (1, 12, 24, 36)
    """Dilations of the branches of ASPP."""
    pools: tuple[int, ...] = (1, 2, 3, 6)
    """Sides in bins of the branches of pyramid pooling."""
    head_dilation: int = 1
    """Dilation of the convolutions of an FCN head."""
    heads: int = 0
    """Attention heads of a ViT; 0: one for 64 channels."""
    taken: tuple[int, ...] = ()
    """Layers of a ViT whose features are used; empty: the last, or the last of each quarter if several are needed."""
    class_token: bool | None = None
    """Whether a ViT has a class token; None: unless several layers are aggregated."""
    up_scale: int = 0
    """Factor by which each convolution of SETR enlarges; 0: 4 for a single one, else 2."""
    align_corners: bool = False
    """Whether interpolation keeps the centres of corner pixels."""

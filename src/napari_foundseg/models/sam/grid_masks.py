"""Masks of a grid of points from a mask decoder's logits: enlarged, and only the stable ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_foundseg.core.masks import Mask

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.nets.sam.mask_enlargement import Enlarger
    from napari_foundseg.models.protocols.objects import GridOptions

__all__ = ["stable_masks"]


def stable_masks(
    logits: torch.Tensor, iou: torch.Tensor, enlarger: Enlarger, threshold: float, options: GridOptions
) -> list[Mask]:
    """Enlarge masks and keep the stable ones, each cropped to its box.

    Parameters
    ----------
    logits : (M, h, w) tensor of float
        Logits at the decoder's low resolution.
    iou : (M,) tensor of float
        Predicted IoU of each mask.
    enlarger : Enlarger
        Enlarger of the picture.
    threshold : float
        Logit above which a pixel belongs to the mask.
    options : GridOptions
        Threshold and offset of the stability score.

    Returns
    -------
    list of Mask
        In the picture's pixels, in the order of the logits.
    """
    numbered: list[tuple[int, Mask]] = []
    for group in enlarger.masks(logits.float(), threshold, options.stability_score_offset):
        stable = group.stability >= options.stability_score_thresh
        if not bool(stable.any()):
            continue
        which = group.which[stable]
        stability = group.stability[stable]
        arrays = [a.cpu().numpy() for a in (which, group.origin[stable], group.crops[stable], iou[which], stability)]
        for number, origin, crop, quality, score in zip(*arrays, strict=True):
            scores = {"predicted_iou": float(quality), "stability_score": float(score)}
            numbered.append((int(number), Mask.from_array(crop, (int(origin[0]), int(origin[1])), **scores)))
    return [mask for _, mask in sorted(numbered, key=lambda pair: pair[0]) if mask.crop.size]

"""What training minimises: masks and their predicted quality, and the maps of the instance decoder."""

import torch
from torch import Tensor
from torch.nn import functional as F

TOUCHING = 4.0


def mask_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """Return cross-entropy in units of the object's area plus Dice of each mask, `(N, M)`; truth is `(N, 1, H, W)`."""
    area = truth.sum(dim=(2, 3))
    entropy = F.binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none").sum(dim=(2, 3))
    sure = torch.sigmoid(logits)
    overlap = (sure * truth).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (sure.sum(dim=(2, 3)) + area + 1)
    return entropy / (4 * area + 400) + dice


@torch.no_grad()
def true_quality(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU of each thresholded mask with the truth, `(N, M)`."""
    mask, truth = logits > 0, truth > 0.5
    return (mask & truth).sum(dim=(2, 3)) / (mask | truth).sum(dim=(2, 3)).clamp(min=1)


def prompt_loss(masks: Tensor, quality: Tensor, truth: Tensor, meant: Tensor, clicked: Tensor) -> dict[str, Tensor]:
    """Return the losses of one round of prompts.

    Parameters
    ----------
    masks : Tensor, shape (N, 4, 128, 128)
        Logits, the single mask first.
    quality : Tensor, shape (N, 4)
    truth : Tensor, shape (N, 1, 128, 128)
    meant : Tensor, shape (N,)
        False where the prompt lies on the background: the quality is to be zero there, and no mask is asked for.
    clicked : Tensor, shape (N,)
        True where one click is all there is, so that the three masks count most; elsewhere the single one does.
    """
    each = mask_losses(masks.float(), truth)
    several = 0.7 * each[:, 1:].amin(dim=1) + 0.3 * each[:, 1:].mean(dim=1)
    mixed = torch.where(clicked, several + 0.5 * each[:, 0], each[:, 0] + 0.25 * several)
    actual = true_quality(masks, truth) * meant[:, None]
    best = actual[:, 1:].gather(1, quality[:, 1:].argmax(dim=1, keepdim=True)).squeeze(1)
    shown = torch.where(clicked, best, actual[:, 0])
    count = meant.sum().clamp(min=1)
    return {
        "mask": (mixed * meant).sum() / count,
        "quality": F.mse_loss(quality.float(), actual) * 2
        + F.l1_loss(quality.float(), actual) * 0.5
        + 0.3 * rank_loss(quality[meant, 1:].float(), actual[meant, 1:]),
        "iou_click": (shown * meant * clicked).sum() / (meant & clicked).sum().clamp(min=1),
        "iou_box": (shown * meant * ~clicked).sum() / (meant & ~clicked).sum().clamp(min=1),
    }


def rank_loss(quality: Tensor, actual: Tensor) -> Tensor:
    """Return how far the choice among the masks of a prompt, `(N, 3)`, is from choosing the truly best (ListNet)."""
    wanted = torch.softmax(actual / 0.05, dim=1)
    return -(wanted * torch.log_softmax(quality / 0.05, dim=1)).sum(dim=1).sum() / max(1, len(quality))


def between(labels: Tensor) -> Tensor:
    """Return 1 where two objects lie within 3 pixels, else 0, `(B, H, W)`."""
    ids = labels.float()[:, None]
    none = ids.max() + 1
    highest = F.max_pool2d(ids, 7, 1, 3)
    lowest = -F.max_pool2d(-torch.where(ids > 0, ids, none), 7, 1, 3)
    return (lowest < highest).float()[:, 0]


def instance_loss(maps: Tensor, labels: Tensor, centre: Tensor, boundary: Tensor) -> Tensor:
    """Return the loss of the instance decoder's logits `(B, 3, 256, 256)`.

    Objects and background weigh alike, and pixels between two objects `TOUCHING` times as much: few as they are, they
    decide whether objects are told apart (U-Net's weight map, Ronneberger et al., MICCAI 2015, equation 2).
    """
    maps = maps.float()
    inside = (labels > 0).float()
    emphasis = 1 + (TOUCHING - 1) * between(labels)
    entropy = F.binary_cross_entropy_with_logits(maps[:, 0], inside, emphasis)
    sure = torch.sigmoid(maps)
    dice = 1 - (2 * (sure[:, 0] * inside).sum() + 1) / (sure[:, 0].sum() + inside.sum() + 1)
    weight = inside / inside.sum().clamp(min=1) + 0.3 * (1 - inside) / (1 - inside).sum().clamp(min=1)
    weight = weight * emphasis
    far = ((sure[:, 1] - centre).abs() * weight).sum()
    near = ((sure[:, 2] - boundary).abs() * weight).sum()
    return entropy + 0.5 * dice + far + 2 * near

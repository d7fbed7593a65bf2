"""Names of objects by their places in a picture: RegionCLIP's way, and its ensemble with crops.

Zhong et al., CVPR 2022: the picture is encoded once, each box gets an embedding, cosines times the temperature go
through a softmax in which background has the cosine 0. Gu et al. (ViLD), ICLR 2022, section 3.3: the probabilities of
two heads are joined by a weighted geometric mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.models.protocols.words import RegionText
from napari_foundseg.tasks.windows import tiling

__all__ = ["grown_box", "joined_probabilities", "region_probabilities", "softmax"]

#: Side of the windows in which large pictures are encoded.
_SIDE = 1024
#: How much larger than its box the window of an object is that fits into none of them.
_GROWN = 1.5


def region_probabilities(
    image: Image,
    places: Sequence[tuple[tuple[int, ...], Box]],
    texts: NDArray[np.float32],
    model: RegionText,
    report: Callable[[float], None],
) -> NDArray[np.float64]:
    """Return how probable each text (column) is for each object (row).

    Parameters
    ----------
    image : Image
        The image.
    places : sequence of tuple
        The slice and the box of each object.
    texts : (K, D) ndarray of float32
        Embeddings of length 1; 0 for background.
    model : RegionText
        The model.
    report : callable
        Told the share done; may raise to stop.
    """
    groups: dict[tuple[tuple[int, ...], Box], list[int]] = {}
    for number, (index, box) in enumerate(places):
        window = _window_of(box, image.plane_shape)
        groups.setdefault((index, window), []).append(number)
    found = np.zeros((len(places), len(texts)))
    for done, ((index, window), numbers) in enumerate(groups.items()):
        report(done / len(groups))
        y, x = window[:2]
        boxes = [(a - y, b - x, c - y, d - x) for a, b, c, d in (places[number][1] for number in numbers)]
        cosines = model.embed_regions(image.rgb(index, window), boxes) @ texts.T
        found[numbers] = softmax(cosines.astype(np.float64) * model.scale)
    report(1.0)
    return found


def joined_probabilities(first: NDArray[np.float64], second: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return the weighted geometric mean of two models' probabilities, rows that sum to 1; `share` is the second's."""
    joined = first ** (1 - share) * second**share
    total = joined.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, joined / np.where(total > 0, total, 1), first))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of each row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def grown_box(box: Box, factor: float, shape: tuple[int, ...]) -> Box:
    """Return a box as many times as large about its middle, within the picture."""
    y0, x0, y1, x1 = box
    more_y, more_x = ((factor - 1) / 2 * (b - a + 1) for a, b in ((y0, y1), (x0, x1)))
    return (
        max(0, round(y0 - more_y)),
        max(0, round(x0 - more_x)),
        min(shape[0] - 1, round(y1 + more_y)),
        min(shape[1] - 1, round(x1 + more_x)),
    )


def _window_of(box: Box, shape: tuple[int, int]) -> Box:
    """Return the window in which an object is looked at: the one that has its middle, if all of it is inside."""
    sides = min(_SIDE, shape[0]), min(_SIDE, shape[1])
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    for window, core in tiling.cover(shape, sides, _SIDE // 4):
        if core[0] <= middle[0] <= core[2] and core[1] <= middle[1] <= core[3]:
            inside = all(a <= b for a, b in zip(window[:2], box[:2], strict=True)) and all(
                a >= b for a, b in zip(window[2:], box[2:], strict=True)
            )
            return window if inside else grown_box(box, _GROWN, shape)
    return grown_box(box, _GROWN, shape)

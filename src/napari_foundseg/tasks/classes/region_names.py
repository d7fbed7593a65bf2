"""Names of objects by their places in a picture, as in RegionCLIP, and their ensemble with crops.

Zhong et al., CVPR 2022: the picture is encoded once, and each box gets an embedding. A softmax over the cosines times
the temperature gives the probabilities; background has the cosine 0. Gu et al. (ViLD), ICLR 2022, section 3.3: the
probabilities of two heads are joined by a weighted geometric mean.
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
#: Factor by which a box is enlarged to a window if its object fits into none of these windows.
_GROWN = 1.5


def region_probabilities(
    image: Image,
    places: Sequence[tuple[tuple[int, ...], Box]],
    texts: NDArray[np.float32],
    model: RegionText,
    report: Callable[[float], None],
) -> NDArray[np.float64]:
    """Return the probability of each text (column) for each object (row).

    Parameters
    ----------
    image : Image
        The image.
    places : sequence of tuple
        Slice and box of each object.
    texts : (K, D) ndarray of float32
        Embeddings of length 1; 0 for background.
    model : RegionText
        The model.
    report : callable
        Called with the share done; may raise to stop.
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
    """Return the weighted geometric mean of two models' probabilities; rows sum to 1, `share` weights the second."""
    joined = first ** (1 - share) * second**share
    total = joined.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, joined / np.where(total > 0, total, 1), first))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of each row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def grown_box(box: Box, factor: float, shape: tuple[int, ...]) -> Box:
    """Return a box enlarged by a factor around its centre, cropped to the picture."""
    y0, x0, y1, x1 = box
    more_y, more_x = ((factor - 1) / 2 * (b - a + 1) for a, b in ((y0, y1), (x0, x1)))
    return (
        max(0, round(y0 - more_y)),
        max(0, round(x0 - more_x)),
        min(shape[0] - 1, round(y1 + more_y)),
        min(shape[1] - 1, round(x1 + more_x)),
    )


def _window_of(box: Box, shape: tuple[int, int]) -> Box:
    """Return the window for an object: the one that has its centre, or if it is not all inside, a grown box."""
    sides = min(_SIDE, shape[0]), min(_SIDE, shape[1])
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    for window, core in tiling.cover(shape, sides, _SIDE // 4):
        if core[0] <= middle[0] <= core[2] and core[1] <= middle[1] <= core[3]:
            inside = all(a <= b for a, b in zip(window[:2], box[:2], strict=True)) and all(
                a >= b for a, b in zip(window[2:], box[2:], strict=True)
            )
            return window if inside else grown_box(box, _GROWN, shape)
    return grown_box(box, _GROWN, shape)

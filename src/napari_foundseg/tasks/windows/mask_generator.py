"""SAM's automatic mask generator, written again: the same masks as the reference, several times faster.

`generate` has the reference's options and defaults, including crops and the cleaning of small regions.
`tasks.windows.point_grid` uses the same steps in the windows of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.core.suppression import boxes_of, select, suppress
from napari_foundseg.models.protocols.objects import GridOptions, PointGrid
from napari_foundseg.tasks.windows.embeddings import embedding

__all__ = ["GeneratorOptions", "clean_small_regions", "generate"]

#: Distance from a crop's border, in pixels, within which a mask counts as cut off.
_NEAR_EDGE = 20.0


@dataclass(frozen=True)
class GeneratorOptions:
    """Options of ``segment_anything.SamAutomaticMaskGenerator``, with its defaults."""

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0

    @property
    def grid(self) -> GridOptions:
        """The options that the model needs."""
        return GridOptions(
            points_per_batch=self.points_per_batch,
            pred_iou_thresh=self.pred_iou_thresh,
            stability_score_thresh=self.stability_score_thresh,
            stability_score_offset=self.stability_score_offset,
        )


def generate(
    model: PointGrid,
    rgb: NDArray[np.uint8],
    options: GeneratorOptions | None = None,
    poll: Callable[[], None] = lambda: None,
) -> list[Mask]:
    """Return the masks that the reference makes of a picture.

    Parameters
    ----------
    model : PointGrid
        The model.
    rgb : (M, N, 3) ndarray of uint8
        The picture.
    options : GeneratorOptions, optional
        By default, those of the reference.
    poll : callable
        Called before each batch of points; may raise to stop.

    Returns
    -------
    list of Mask
        Masks in the order of the reference.
    """
    from segment_anything.utils.amg import build_all_layer_point_grids, generate_crop_boxes

    options = options or GeneratorOptions()
    grids = build_all_layer_point_grids(
        options.points_per_side, options.crop_n_layers, options.crop_n_points_downscale_factor
    )
    crops, layers = generate_crop_boxes(rgb.shape[:2], options.crop_n_layers, options.crop_overlap_ratio)
    found: list[Mask] = []
    sizes: list[int] = []
    for (x0, y0, x1, y1), layer in zip(crops, layers, strict=True):
        crop = np.ascontiguousarray(rgb[y0:y1, x0:x1])
        raw = model.grid_masks(embedding(model, crop), grids[layer], options.grid, poll)
        whole = [m for m in raw if not _is_cut((x0, y0, x1, y1), m, rgb.shape)]
        found += [m.moved(y0, x0) for m in _kept(whole, options)]
        sizes += [(x1 - x0) * (y1 - y0)] * (len(found) - len(sizes))
    if len(crops) > 1:
        # Masks of smaller crops are preferred.
        numbers = suppress(boxes_of(found), 1 / np.array(sizes, np.float32), options.crop_nms_thresh)
        found = [found[i] for i in numbers]
    if options.min_mask_region_area > 0 and found:
        found = clean_small_regions(
            found, rgb.shape[:2], options.min_mask_region_area, max(options.box_nms_thresh, options.crop_nms_thresh)
        )
    return found


def _kept(masks: list[Mask], options: GeneratorOptions) -> list[Mask]:
    return select(
        masks,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        box_nms_thresh=options.box_nms_thresh,
    )


def _is_cut(crop: tuple[int, int, int, int], mask: Mask, shape: tuple[int, ...]) -> bool:
    """Tell whether a mask ends near an edge of its crop that is not an edge of the picture."""
    y0, x0, y1, x1 = mask.box
    left, top = crop[:2]
    box = np.array([x0 + left, y0 + top, x1 + left, y1 + top], float)
    near_crop = np.abs(box - crop) <= _NEAR_EDGE
    near_picture = np.abs(box - [0, 0, shape[1], shape[0]]) <= _NEAR_EDGE
    return bool((near_crop & ~near_picture).any())


def clean_small_regions(masks: list[Mask], shape: tuple[int, int], min_area: int, box_nms_thresh: float) -> list[Mask]:
    """Fill small holes and remove small islands of masks, then remove masks that became duplicates.

    Parameters
    ----------
    masks : list of Mask
        The masks.
    shape : tuple of int
        Rows and columns of the picture.
    min_area : int
        Regions of fewer pixels are small.
    box_nms_thresh : float
        Largest IoU that the boxes of two kept masks may have; masks that needed no cleaning are preferred.

    Returns
    -------
    list of Mask
        The cleaned masks, first those that needed no cleaning.
    """
    cleaned = []
    unchanged = []
    for mask in masks:
        plane = np.zeros(shape, bool)
        y0, x0, y1, x1 = mask.box
        plane[y0 : y1 + 1, x0 : x1 + 1] = mask.crop
        filled, holes = _without_small(plane, min_area, holes=True)
        whole, islands = _without_small(filled, min_area, holes=False)
        unchanged.append(not (holes or islands))
        again = Mask.from_array(whole, predicted_iou=mask.predicted_iou, stability_score=mask.stability_score)
        cleaned.append(mask if unchanged[-1] else replace(again, index=mask.index, label=mask.label))
    numbers = suppress(boxes_of(cleaned), np.array(unchanged, np.float32), box_nms_thresh)
    return [cleaned[i] for i in numbers]


def _without_small(mask: NDArray[np.bool_], min_area: int, *, holes: bool) -> tuple[NDArray[np.bool_], bool]:
    from scipy import ndimage

    regions, count = ndimage.label(mask != holes, np.ones((3, 3), bool))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    small = sizes < min_area
    if not small.any():
        return mask, False
    chosen = np.concatenate([[holes], small if holes else ~small])
    if not chosen.any():
        # Every region is small: keep the largest.
        chosen[1 + int(np.argmax(sizes))] = True
    return np.asarray(chosen[regions], bool), True

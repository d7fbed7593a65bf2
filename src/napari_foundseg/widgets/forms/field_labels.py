"""Labels of settings and methods in forms. In recipes and Python they keep the names of their fields."""

from __future__ import annotations

__all__ = ["field_label", "method_label"]

#: Labels that a field's name does not give.
_FIELDS = {
    "box_nms_thresh": "Maximum box overlap",
    "context": "Smoothing window",
    "crf": "Refine edges (CRF)",
    "crops": "Crop size",
    "dim": "Code channels",
    "flip": "Average with mirror image",
    "link": "Link slices",
    "mask_threshold": "Minimum probability",
    "masked": "Surroundings",
    "mode": "Speed",
    "n_clusters": "Clusters",
    "neg_samples": "Negative samples",
    "nesting": "Overlapping objects",
    "nms_kernel": "Minimum distance of centres",
    "output": "Result",
    "overlap": "Overlapping concepts",
    "overlap_mask_area_threshold": "Minimum visible part",
    "overlap_threshold": "Maximum covered part",
    "pred_iou_thresh": "Minimum confidence",
    "probe": "Classes",
    "refine_model": "Refine outlines with",
    "scales": "Magnification levels",
    "seed": "Random seed",
    "seed_smoothing": "Centre smoothing",
    "stability_score_offset": "Stability offset",
    "stability_score_thresh": "Minimum stability",
    "stuff_area": "Minimum background area",
    "templates": "Sentence templates",
    "threshold": "Minimum confidence",
    "tile": "Full resolution (tiles)",
    "top_k": "Number of candidates",
}
_METHODS = {
    "decoder": "Decoder",
    "grid": "Point grid",
    "kmeans": "k-means",
    "sam": "SAM",
    "spherical": "Spherical k-means",
    "stego": "STEGO",
}


def field_label(field: str) -> str:
    """Return the label of a settings field: ``Minimum area`` for ``min_area``."""
    if field in _FIELDS:
        return _FIELDS[field]
    words = field.replace("min_", "minimum_").replace("max_", "maximum_").replace("_", " ")
    return words[:1].upper() + words[1:]


def method_label(method: str) -> str:
    """Return the label of a method."""
    return _METHODS.get(method, method[:1].upper() + method[1:])

"""Class names of the data sets that published models were trained on, by number."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from napari_foundseg.core.errors import CheckpointError

__all__ = ["CLASS_SETS", "MOST_CLASSES", "class_set", "numbered_classes", "stuff_of"]

#: Classes that a network may tell apart: labels have 16 bits.
MOST_CLASSES: Final = 65_000

_THINGS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
_COCO_STUFF = (
    "banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door-stuff", "floor-wood", "flower", "fruit",
    "gravel", "house", "light", "mirror-stuff", "net", "pillow", "platform", "playingfield", "railroad", "river",
    "road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent", "towel", "wall-brick", "wall-stone", "wall-tile",
    "wall-wood", "water-other", "window-blind", "window-other", "tree-merged", "fence-merged", "ceiling-merged",
    "sky-other-merged", "cabinet-merged", "table-merged", "floor-other-merged", "pavement-merged", "mountain-merged",
    "grass-merged", "dirt-merged", "paper-merged", "food-other-merged", "building-other-merged", "rock-merged",
    "wall-other-merged", "rug-merged",
)  # fmt: skip
_CITYSCAPES_STUFF = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky",
)  # fmt: skip
#: Numbers of COCO's things that no object has.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def _with_gaps() -> tuple[str, ...]:
    """Return COCO's things by their own numbers, background first."""
    names = iter(_THINGS)
    return ("__background__", *("N/A" if i in _UNUSED else next(names) for i in range(1, 91)))


#: COCO's numbers of stuff.
_STUFF_NUMBERS = (
    92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151, 154,
    155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201),
)  # fmt: skip


def _by_number() -> tuple[str, ...]:
    """Return COCO's things and stuff by their own numbers, to 249."""
    names = ["N/A", *_with_gaps()[1:], *["N/A"] * 159]
    for number, name in zip(_STUFF_NUMBERS, _COCO_STUFF, strict=True):
        names[number] = name
    return tuple(names)


#: By the name that a row of the catalogue may have in place of a list.
CLASS_SETS: Final[dict[str, tuple[str, ...]]] = {
    "ADE20K": (
        "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "window", "grass", "cabinet",
        "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
        "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
        "rock", "wardrobe", "lamp", "tub", "rail", "cushion", "base", "box", "column", "signboard",
        "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand",
        "path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge",
        "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove",
        "palm", "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus",
        "towel", "light", "truck", "tower", "chandelier", "awning", "street lamp", "booth", "tv", "plane",
        "dirt track", "clothes", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster",
        "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "pool", "stool",
        "barrel", "basket", "falls", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank",
        "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket",
        "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "trash can", "fan", "pier", "crt screen",
        "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag",
    ),
    "COCO": _with_gaps(),
    "COCO panoptic": (*_THINGS, *_COCO_STUFF),
    "COCO panoptic by id": _by_number(),
    "Cityscapes": (
        *_CITYSCAPES_STUFF, "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    "VOC": (
        "__background__", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
}  # fmt: skip
#: Class names that identify a data set, and its classes of stuff.
_STUFF = (
    ({"wall-other-merged", "sky-other-merged"}, _COCO_STUFF),
    ({"vegetation", "terrain"}, _CITYSCAPES_STUFF),
)


def class_set(name: str) -> tuple[str, ...]:
    """Return the classes of a data set by number; ValueError if there is no such set."""
    if name not in CLASS_SETS:
        raise ValueError(f"{name!r} is no set of classes; choose one of {', '.join(CLASS_SETS)}")
    return CLASS_SETS[name]


def numbered_classes(count: int, first: int = 0) -> tuple[str, ...]:
    """Return names for classes that only have numbers; CheckpointError if weights claim more than labels can hold."""
    if count > MOST_CLASSES:
        raise CheckpointError(f"The weights tell {count} classes apart; {MOST_CLASSES} can be. They are damaged.")
    return tuple(f"class {i}" for i in range(first, count))


def stuff_of(names: Collection[str]) -> tuple[str, ...]:
    """Return which of a model's classes are stuff; empty unless they are COCO's or Cityscapes'."""
    return next((own for signs, own in _STUFF if signs <= set(names)), ())

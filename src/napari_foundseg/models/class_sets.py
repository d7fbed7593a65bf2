"""Class names, by number, of the data sets that published models were trained on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from napari_foundseg.core.errors import CheckpointError

__all__ = ["CLASS_SETS", "MOST_CLASSES", "STUFF_SETS", "class_set", "numbered_classes", "stuff_of"]

#: Largest number of classes of a network, since labels have 16 bits.
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
_CITYSCAPES_THINGS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
_VISTAS_STUFF = (
    "Curb", "Fence", "Guard Rail", "Barrier", "Wall", "Bike Lane", "Curb Cut", "Parking", "Pedestrian Area",
    "Rail Track", "Road", "Service Lane", "Sidewalk", "Bridge", "Building", "Tunnel", "Lane Marking - General",
    "Mountain", "Sand", "Sky", "Snow", "Terrain", "Vegetation", "Water", "Pothole", "On Rails", "Car Mount",
    "Ego Vehicle",
)  # fmt: skip
_VISTAS = (
    "Bird", "Ground Animal", "Curb", "Fence", "Guard Rail", "Barrier", "Wall", "Bike Lane", "Crosswalk - Plain",
    "Curb Cut", "Parking", "Pedestrian Area", "Rail Track", "Road", "Service Lane", "Sidewalk", "Bridge", "Building",
    "Tunnel", "Person", "Bicyclist", "Motorcyclist", "Other Rider", "Lane Marking - Crosswalk",
    "Lane Marking - General", "Mountain", "Sand", "Sky", "Snow", "Terrain", "Vegetation", "Water", "Banner", "Bench",
    "Bike Rack", "Billboard", "Catch Basin", "CCTV Camera", "Fire Hydrant", "Junction Box", "Mailbox", "Manhole",
    "Phone Booth", "Pothole", "Street Light", "Pole", "Traffic Sign Frame", "Utility Pole", "Traffic Light",
    "Traffic Sign (Back)", "Traffic Sign (Front)", "Trash Can", "Bicycle", "Boat", "Bus", "Car", "Caravan",
    "Motorcycle", "On Rails", "Other Vehicle", "Trailer", "Truck", "Wheeled Slow", "Car Mount", "Ego Vehicle",
)  # fmt: skip
_COCO_STUFF_ALONE = (
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement", "pillow",
    "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock", "roof",
    "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone",
    "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable", "wall-brick",
    "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other", "waterdrops",
    "window-blind", "window-other", "wood",
)  # fmt: skip
#: Numbers of the stuff classes of ADE20K.
_ADE_STUFF = {
    0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77, 79,
    84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145,
}  # fmt: skip
#: Numbers between 1 and 90 that COCO does not use.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def _with_gaps() -> tuple[str, ...]:
    """Return COCO's things by their original numbers, which have gaps; the background is first."""
    names = iter(_THINGS)
    return ("__background__", *("N/A" if i in _UNUSED else next(names) for i in range(1, 91)))


#: COCO's original numbers of the stuff classes.
_STUFF_NUMBERS = (
    92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151, 154,
    155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201),
)  # fmt: skip


def _by_number() -> tuple[str, ...]:
    """Return COCO's things and stuff by their original numbers, 0 to 249."""
    names = ["N/A", *_with_gaps()[1:], *["N/A"] * 159]
    for number, name in zip(_STUFF_NUMBERS, _COCO_STUFF, strict=True):
        names[number] = name
    return tuple(names)


_ADE = (
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
)  # fmt: skip
#: Sets of classes by name. A row of the catalogue may have the name in place of a list.
CLASS_SETS: Final[dict[str, tuple[str, ...]]] = {
    "ADE20K": _ADE,
    "ADE20K objects": tuple(name for i, name in enumerate(_ADE) if i not in _ADE_STUFF),
    "COCO": _with_gaps(),
    "COCO objects": _THINGS,
    "COCO panoptic": (*_THINGS, *_COCO_STUFF),
    "COCO panoptic by id": _by_number(),
    "COCO-Stuff": (*_THINGS, *_COCO_STUFF_ALONE),
    "Cityscapes": (*_CITYSCAPES_STUFF, *_CITYSCAPES_THINGS),
    "Cityscapes objects": _CITYSCAPES_THINGS,
    "Mapillary Vistas": _VISTAS,
    "VOC": (
        "__background__", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
}  # fmt: skip
#: Stuff classes of data sets that cannot be identified by their class names.
STUFF_SETS: Final[dict[str, tuple[str, ...]]] = {
    "ADE20K": tuple(name for i, name in enumerate(_ADE) if i in _ADE_STUFF),
    "Mapillary Vistas": _VISTAS_STUFF,
}
#: Class names that identify a data set, and the data set's stuff classes.
_STUFF = (
    ({"wall-other-merged", "sky-other-merged"}, _COCO_STUFF),
    ({"vegetation", "terrain"}, _CITYSCAPES_STUFF),
)


def class_set(name: str) -> tuple[str, ...]:
    """Return the classes of a data set by number; raise ValueError if there is no such set."""
    if name not in CLASS_SETS:
        raise ValueError(f"{name!r} is not a set of classes; choose one of {', '.join(CLASS_SETS)}")
    return CLASS_SETS[name]


def numbered_classes(count: int, first: int = 0) -> tuple[str, ...]:
    """Return names for classes without names; raise CheckpointError if there are more than labels can hold."""
    if count > MOST_CLASSES:
        raise CheckpointError(f"The weights are damaged: {count} classes, of which {MOST_CLASSES} are supported.")
    return tuple(f"class {i}" for i in range(first, count))


def stuff_of(names: Collection[str]) -> tuple[str, ...]:
    """Return the stuff classes of the data set that a model's classes identify (COCO, Cityscapes); else empty."""
    return next((own for signs, own in _STUFF if signs <= set(names)), ())

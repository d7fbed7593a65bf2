"""EfficientPS, implemented from its paper. Files have this package's own format, since the published layout is unknown.

The authors' code is under GPL-3.0; none of it was read or copied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.logit_fusion import BoxLogits, fused_logits
from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import MOST_CLASSES
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checked_network import check_network, load_network
from napari_foundseg.models.files.checkpoints import read_config
from napari_foundseg.models.loaded import LoadedClasses
from napari_foundseg.models.protocols.classes import PanopticOptions

if TYPE_CHECKING:
    from napari_foundseg.models.nets.classes.efficientps.network import EfficientPS, Found

__all__ = ["FAMILY", "EfficientPSModel", "load", "recognise", "save_efficientps"]

_FORMAT = "foundseg-efficientps"
_MARK = "encoder.stem.0.weight"
#: Mean and deviation of red, green and blue from 0 to 255, as in its authors' training.
_MEAN = (106.433, 116.617, 119.559)
_STD = (65.496, 67.6, 74.123)
#: Bounds of the network's sizes that a file may state.
_SIZES = {"width": (0.05, 8.0), "depth": (0.05, 8.0), "channels": (8, 2048), "hidden": (8, 8192)}

FAMILY = Family(
    rank=12,
    title="EfficientPS (networks of the paper's layout, in this package's format)",
    protocols=("PanopticSegments", "SemanticClasses"),
    verified_against=(
        "a second composition in plain torch after the paper: classes, boxes and masks, equal within 1e-3; its fusion: "
        "a plain loop, equal; numbers of channels and scales are the paper's"
    ),
    packages=(Package("torchvision"),),
    expects="as is",
    defaults={"panoptic.segments": {"threshold": 0.5, "overlap_mask_area_threshold": 0.5}},
)


class EfficientPSModel(LoadedClasses):
    """EfficientPS; implements `PanopticSegments` and `SemanticClasses`.

    Parameters
    ----------
    network : EfficientPS
        The network.
    row : CatalogRow
        Its row.
    facts : mapping
        The facts in its file.
    """

    def __init__(self, network: EfficientPS, row: CatalogRow, facts: Mapping[str, Any]) -> None:
        super().__init__(network, row)
        self.window = int(facts["window"])
        self._stuff_area = int(facts["stuff_area"])
        #: Class numbers of the things, in the order of the network's things, and of the stuff.
        self._things = [facts["classes"].index(name) for name in facts["things"]]
        self._stuff = [i for i in range(len(facts["classes"])) if i not in self._things]
        self._mean, self._std = (np.array(facts[name], np.float32) for name in ("mean", "std"))

    def panoptic(self, rgb: NDArray[np.uint8], options: PanopticOptions) -> Panoptic:
        """Split a picture into objects and stuff with the fusion from the paper."""
        found = self._found(rgb, options.threshold)
        fused = fused_logits(
            found.classes.cpu().numpy(),
            [one for one in self._objects(found, rgb.shape, options.mask_threshold) if one is not None],
            stuff=self._stuff,
            score_threshold=options.threshold,
            overlap_threshold=1 - options.overlap_mask_area_threshold,
            stuff_area=self._stuff_area,
        )
        # A class named background has no id.
        numbers = fused.semantic - (fused.semantic > 0) * (1 - self.first)
        return fused._replace(semantic=numbers.astype(np.uint16), classes=fused.classes - 1 + self.first)

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        return np.asarray(self._found(rgb, 1.0).classes.argmax(0).cpu().numpy() + self.first, np.uint16)

    def _found(self, rgb: NDArray[np.uint8], least: float) -> Found:
        """Run the network on a picture, padded at the bottom and right; class scores are cropped to the picture."""
        import torch

        from napari_foundseg.models.nets.classes.efficientps.network import STRIDE

        rows, columns = rgb.shape[:2]
        picture = (rgb.astype(np.float32) - self._mean) / self._std
        padded = np.pad(picture, ((0, -rows % STRIDE), (0, -columns % STRIDE), (0, 0)))
        with torch.inference_mode():
            found: Found = self.network(torch.from_numpy(padded.transpose(2, 0, 1)[None]).to(self.device), least)
        return found._replace(classes=found.classes[:, :rows, :columns])

    def _objects(self, found: Found, shape: Sequence[int], threshold: float) -> list[BoxLogits | None]:
        """Return objects with logits at the picture's resolution, shifted so that the threshold is 0."""
        boxes, masks = found.boxes.cpu().numpy(), found.masks.cpu()
        shift = float(np.log(np.clip(threshold, 1e-6, 1 - 1e-6) / (1 - np.clip(threshold, 1e-6, 1 - 1e-6))))
        things, scores = found.things.tolist(), found.scores.tolist()
        return [
            _in_picture(box, mask - shift, shape, self._things[thing], score)
            for box, mask, thing, score in zip(boxes, masks, things, scores, strict=True)
        ]


def save_efficientps(
    path: Path, network: EfficientPS, classes: Sequence[str], things: Sequence[str], **facts: Any
) -> None:
    """Write a network in the format that `recognise` and `load` accept.

    Parameters
    ----------
    path : Path
        The file, ``.safetensors``.
    network : EfficientPS
        A network of `models.nets.classes.efficientps.network`.
    classes : sequence of str
        Names of the classes, in the network's order.
    things : sequence of str
        Names of the classes with separate objects, in the network's order.
    **facts
        Arguments of the network that differ from the paper (`width`, `depth`, `channels`, `hidden`); `mean` and `std`
        of red, green and blue from 0 to 255; `window` in pixels; and `stuff_area`.
    """
    from safetensors.torch import save_file

    said = {"classes": list(classes), "things": list(things), **facts}
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, metadata={"format": _FORMAT, "version": "1", "facts": json.dumps(said)})


def load(row: CatalogRow, path: Path, device: str) -> EfficientPSModel:
    """Load the model of a row; raise CheckpointError if the tensors and facts of the file do not match."""
    facts = _facts(path, read_config(path))
    network: Any = load_network(path, lambda _shapes: _network(facts), _MARK, "EfficientPS", device)[0]
    return EfficientPSModel(network, row, facts)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields for a file in this format; None for other files."""
    if found.config.get("format") != _FORMAT:
        return None
    if found.config.get("version") != "1":
        raise CheckpointError(f"{found.path} has version {found.config.get('version')!r:.20}; version 1 is supported.")
    facts = _facts(found.path, found.config)
    check_network(found.path, lambda _shapes: _network(facts), found.shapes, "EfficientPS")
    return {
        "title": "EfficientPS",
        "classes": tuple(facts["classes"]),
        "options": {"stuff": [name for name in facts["classes"] if name not in facts["things"]]},
        "code_licence": "BSD-3-Clause",
        "input": "2-D, any dtype, grey or RGB",
        "citation": "Mohan and Valada, IJCV 2021 (arXiv 2004.02307)",
    }


def _network(facts: Mapping[str, Any]) -> EfficientPS:
    from napari_foundseg.models.nets.classes.efficientps.network import EfficientPS

    sizes = {name: facts[name] for name in _SIZES if name in facts}
    return EfficientPS(len(facts["classes"]), len(facts["things"]), **sizes)


def _facts(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts in a file, completed with defaults; raise CheckpointError if they are impossible."""
    try:
        facts = {"mean": _MEAN, "std": _STD, "window": 1024, "stuff_area": 2048, **json.loads(config["facts"])}
        classes, things = facts["classes"], facts["things"]
        named = all(isinstance(one, str) for one in (*classes, *things))
        right = named and things and len(set(classes)) == len(classes) <= MOST_CLASSES and set(things) <= set(classes)
        for name, (least, most) in _SIZES.items():
            right = right and least <= facts.get(name, least) <= most
        right = right and len(facts["mean"]) == len(facts["std"]) == 3 and min(facts["std"]) > 0
        right = right and 32 <= facts["window"] <= 8192 and facts["stuff_area"] >= 0
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} lacks facts of its network, or says them oddly ({error!s:.100}).") from error
    if not right:
        raise CheckpointError(
            f"{path} says of its network what cannot be: {config['facts']:.300}. Things are some of its classes, each "
            "named once. Save it again."
        )
    return facts


def _in_picture(box: Any, mask: Any, shape: Sequence[int], number: int, score: float) -> BoxLogits | None:
    """Return an object with logits resized to its box; None if the box is outside the picture."""
    from torch.nn import functional

    x0, y0 = (int(np.floor(value)) for value in box[:2])
    x1, y1 = (int(np.ceil(value)) for value in box[2:])
    whole = functional.interpolate(
        mask[None, None], (max(1, y1 - y0), max(1, x1 - x0)), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    top, left = max(0, y0), max(0, x0)
    part = whole[top - y0 : max(0, shape[0] - y0), left - x0 : max(0, shape[1] - x0)]
    return BoxLogits(part, (top, left), number, score) if part.size else None

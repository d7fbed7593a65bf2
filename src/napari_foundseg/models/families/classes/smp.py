"""Networks of segmentation_models_pytorch (U-Net, FPN and others), from a folder written by its `save_pretrained`.

A network with a classification head also predicts the view of a picture, as in Harouni et al., ISBI 2018: one encoder,
a decoder for organs, and a head for the view. The view decides which organs may occur.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import MOST_CLASSES
from napari_foundseg.models.family import Family, Package, WeightsView, installed_version
from napari_foundseg.models.files.checkpoints import check, read_config, read_tensors
from napari_foundseg.models.files.class_names import ClassNames, names_beside
from napari_foundseg.models.files.network_bounds import network_outline
from napari_foundseg.models.files.transformers_folder import class_names
from napari_foundseg.models.files.transforms import Transforms, transforms_beside
from napari_foundseg.models.pixel_classes import PixelClasses, Preparation, named_or_numbered
from napari_foundseg.models.protocols.classes import View

if TYPE_CHECKING:
    import torch

__all__ = ["ARCHITECTURES", "FAMILY", "SmpClasses", "SmpViews", "load", "recognise"]

#: Title, and the smallest side of pictures in pixels.
ARCHITECTURES = {
    "Unet": ("U-Net", 32),
    "UnetPlusPlus": ("UNet++", 32),
    "MAnet": ("MAnet", 32),
    "Linknet": ("LinkNet", 32),
    "FPN": ("FPN", 32),
    "PSPNet": ("PSPNet", 64),
    "PAN": ("PAN", 128),
    "DeepLabV3": ("DeepLabV3", 32),
    "DeepLabV3Plus": ("DeepLabV3+", 32),
    "UPerNet": ("UPerNet", 32),
    "Segformer": ("SegFormer", 32),
    "DPT": ("DPT", 32),
}
_PACKAGE = "segmentation-models-pytorch"
#: Name of a tensor that every such network has.
_HEAD = "segmentation_head.0.weight"
_WINDOW = 512

FAMILY = Family(
    rank=41,
    title=f"{', '.join(title for title, _ in ARCHITECTURES.values())} (of segmentation_models_pytorch)",
    protocols=("SemanticClasses", "ViewClasses"),
    verified_against="segmentation_models_pytorch: its forward pass, equal",
    packages=(Package(_PACKAGE, "0.5"), Package("timm", "1.0")),
    expects="as is",
)


class SmpClasses(PixelClasses):
    """A network without a classification head."""


class SmpViews(PixelClasses):
    """A network whose classification head predicts the view; implements `ViewClasses`."""

    def __init__(self, network: Any, row: CatalogRow, preparation: Preparation, names: ClassNames, **more: Any) -> None:
        super().__init__(network, row, preparation, **more)
        ids = {entry.name: entry.id for entry in self.classes}
        #: Names of views by number, each with the ids of its classes.
        self._views = [(view, tuple(ids[one] for one in own if one in ids)) for view, own in names.views]

    def view(self, rgb: NDArray[np.uint8]) -> View:
        """Return the most probable view of a whole picture."""
        import torch

        with torch.inference_mode():
            scores = self.network(self._prepared(rgb)[0])[1][0]
            chances = torch.sigmoid(scores) if len(scores) == 1 else torch.softmax(scores, 0)
            number = int(chances.argmax())
        everything = tuple(entry.id for entry in self.classes)
        name, own = self._views[number] if self._views else (f"view {number + 1} of {len(scores)}", everything)
        return View(name, round(float(chances[number]), 4), own)

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        return self.semantic_in(rgb, self.view(rgb))

    def semantic_in(self, rgb: NDArray[np.uint8], view: View) -> NDArray[np.uint16]:
        """Return the class of each pixel among those of the view, (M, N)."""
        import torch

        scores = self.scores(rgb)
        # Background (class number 0 of networks that have it) has no id, and may occur in any view.
        other = [i for i in range(len(scores)) if i + self.first and i + self.first not in view.classes]
        with torch.inference_mode():
            scores[other] = -np.inf
            return self._decided(scores)

    def _run(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(inputs)[0]
        return found


def load(row: CatalogRow, path: Path, device: str) -> SmpClasses | SmpViews:
    """Load the model of a row; raise CheckpointError if config.json and the weights do not match."""
    from napari_foundseg.models.nets.classes.smp_network import fixed_side, make_network, normalisation, settings_of

    config = read_config(path)
    tensors = read_tensors(path)
    _check_tensors(path, config, {name: tuple(value.shape) for name, value in tensors.items()})
    kind = str(config["_model_class"])
    network = make_network(kind, settings_of(config))
    network.load_state_dict(tensors)
    network = network.to(device).eval().requires_grad_(False)
    names = _names(path, config)
    row = replace(row, classes=named_or_numbered(names.classes, int(config.get("classes", 1))))
    told = transforms_beside(path)
    mean, std = (told.mean, told.std) if told.mean else normalisation(config)
    if config.get("in_channels", 3) == 1 and len(mean) != 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    side = fixed_side(network)
    preparation = Preparation(
        mean=mean,
        std=std,
        window=_window(told, side),
        size=(side, side) if told.size and side else told.size,
        multiple=side or max(32, int(getattr(network.encoder, "output_stride", 32))),
        least=side or ARCHITECTURES[kind][1],
    )
    independent = config.get("activation") == "sigmoid"
    if getattr(network, "classification_head", None) is not None:
        return SmpViews(network, row, preparation, names, independent=independent)
    return SmpClasses(network, row, preparation, independent=independent)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a folder is of this family; else None."""
    config = found.config
    kind = str(config.get("_model_class"))
    if kind not in ARCHITECTURES:
        _check_whole(found)
        return None
    classes = config.get("classes", 1)
    channels = config.get("in_channels", 3)
    if type(classes) is not int or not 1 <= classes <= MOST_CLASSES:
        raise CheckpointError(f"config.json has classes: {classes!r:.60}; 1 to {MOST_CLASSES} are supported.")
    if channels not in (1, 3):
        raise CheckpointError(
            f"{found.path} takes {channels!r:.20} channels; grey pictures (1) or RGB (3) can be given to it here."
        )
    if installed_version(_PACKAGE) and installed_version("timm"):
        _check_tensors(found.path, config, found.shapes)
    names = _names(found.path, config)
    views = "ViewClasses" if config.get("aux_params") else ""
    return {
        "title": f"{ARCHITECTURES[kind][0]} {config.get('encoder_name')}",
        "protocols": ("SemanticClasses", *([views] if views else [])),
        "classes": named_or_numbered(names.classes, classes),
        "options": {"architecture": kind, "encoder": str(config.get("encoder_name"))},
        "code_licence": "MIT",
        "input": "2-D, any dtype, grey or RGB",
        "assumed": _assumed(config, names, transforms_beside(found.path)),
    }


def _check_tensors(path: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError if a folder's network cannot be built, or its tensors differ from the weights."""
    from napari_foundseg.models.nets.classes.smp_network import make_network, settings_of

    kind = str(config["_model_class"])
    settings = settings_of(config)
    try:
        outline = network_outline(path, partial(make_network, kind, settings), shapes)
    except CheckpointError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, AssertionError, AttributeError) as error:
        raise CheckpointError(
            f"config.json of {path} describes no {kind} that can be made ({type(error).__name__}: {error!s:.200}). "
            "Save the model again with the installed segmentation_models_pytorch."
        ) from error
    wanted = {name: tuple(value.shape) for name, value in outline.state_dict().items()}
    check(path, wanted, shapes, f"{ARCHITECTURES[kind][0]} with {settings['encoder_name']}")


def _check_whole(found: WeightsView) -> None:
    """Raise CheckpointError if weights are of such a network, but the facts that identify it are missing."""
    if found.config.get("encoder_name"):
        raise CheckpointError(
            f"config.json of {found.path} names an encoder, but the network "
            f"{found.config.get('_model_class')!r:.60} is none of {', '.join(ARCHITECTURES)}. Save the model with "
            "its save_pretrained."
        )
    own = found.path.is_file() and found.shapes
    if own and _HEAD in own and any(name.startswith("encoder.") for name in own):
        raise CheckpointError(
            f"{found.path} holds weights of a network of segmentation_models_pytorch, but not which network and "
            "encoder. Load them there and save a folder with model.save_pretrained(FOLDER), then import the folder."
        )


def _names(path: Path, config: Mapping[str, Any]) -> ClassNames:
    """Return the names of classes and views in a folder; the class names may be in ``id2label``, as in transformers."""
    more = config.get("aux_params")
    count = int(config.get("classes", 1))
    names = names_beside(path, count, int(more.get("classes", 0)) if isinstance(more, dict) else 0)
    if names.classes or not config.get("id2label"):
        return names
    named = class_names(config)
    if len(named) != count:
        raise CheckpointError(f"id2label of config.json names {len(named)} classes; the network tells {count} apart.")
    return names._replace(classes=named)


def _window(told: Transforms, side: int | None) -> int:
    return side or (max(told.size) if told.size else told.window or _WINDOW)


def _assumed(config: Mapping[str, Any], names: ClassNames, told: Transforms) -> str:
    """Return a text about the facts that a folder does not contain."""
    said = []
    if not names.classes:
        first = "" if config.get("classes", 1) == 1 else ", class 0 is taken for background"
        said.append(f"Its classes have no names{first}: name them in classes.json beside config.json")
    if config.get("aux_params") and not names.views:
        said.append('Its views have no names and no classes of their own: put "views" into classes.json')
    if not told.mean:
        said.append("Pictures are normalised as for the encoder's published weights")
    if told.left_out:
        said.append(f"Of albumentations_config_eval.json {', '.join(told.left_out)} is left out")
    if not (told.size or told.window):
        said.append(f"It sees tiles of up to {_WINDOW} pixels")
    return ". ".join(said)

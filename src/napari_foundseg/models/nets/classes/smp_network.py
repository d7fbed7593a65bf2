"""Networks of segmentation_models_pytorch, built from a folder's ``config.json`` without fetching anything."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping
from typing import Any

import segmentation_models_pytorch as smp
import timm
from torch import nn

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.pixel_classes import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["fixed_side", "make_network", "normalisation", "settings_of"]

#: Arguments of timm encoders that name no files.
_OF_ENCODERS = {"img_size", "dynamic_img_size", "window_size", "drop_path_rate", "drop_rate"}
#: Arguments of earlier versions that the package still takes.
_OF_BEFORE = {"decoder_use_batchnorm", "psp_use_batchnorm"}
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_DPN = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a network.

    Raises CheckpointError if its encoder is unknown, or if it does not take an argument. Weights of encoders are never
    fetched. Activations are left out, because they do not change the order of scores.
    """
    kind = getattr(smp, str(config["_model_class"]))
    known = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"} | _OF_ENCODERS | _OF_BEFORE
    given = {name: value for name, value in config.items() if not name.startswith("_") and name != "id2label"}
    if unknown := sorted(given.keys() - known):
        raise CheckpointError(
            f"config.json has {unknown[0]}: {given[unknown[0]]!r:.80}, which {config['_model_class']} of the installed "
            f"segmentation_models_pytorch {smp.__version__} does not take. Save the model again with it."
        )
    _check_encoder(str(given.get("encoder_name", "")), config)
    more = given.get("aux_params")
    if more is not None:
        if not isinstance(more, dict) or type(more.get("classes")) is not int:
            raise CheckpointError(
                f"config.json has a classification head (aux_params: {more!r:.80}) without its number of classes. Save "
                "the model again with aux_params={'classes': …}."
            )
        given["aux_params"] = more | {"activation": None}
    return given | {"encoder_weights": None, "activation": None}


def make_network(kind: str, settings: Mapping[str, Any]) -> nn.Module:
    """Return a network with untrained weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: nn.Module = getattr(smp, kind)(**settings)
    return network


def normalisation(config: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation, for values from 0 to 1, that an encoder's published weights were trained with."""
    name = str(config["encoder_name"])
    weights = config.get("encoder_weights")
    if name.startswith("dpn"):
        return _DPN
    if weights == "advprop" or name.startswith(("inception", "xception", "timm-tf_efficientnet_lite")):
        return _HALF
    published = timm.models.get_pretrained_cfg(name[3:]) if name.startswith("tu-") else None
    if published is not None:
        return tuple(map(float, published.mean)), tuple(map(float, published.std))
    return IMAGENET_MEAN, IMAGENET_STD


def fixed_side(network: nn.Module) -> int | None:
    """Return the side of pictures that an encoder requires (ViT, Swin); None if it takes any size."""
    for part in network.modules():
        if getattr(part, "strict_img_size", False) and getattr(part, "img_size", None):
            sides: Any = part.img_size
            return int(sides[0])
    return None


def _check_encoder(name: str, config: Mapping[str, Any]) -> None:
    plain = re.fullmatch(r"[\w.-]+", name) is not None
    of_timm = name.startswith("tu-") and plain and timm.models.is_model(name[3:])
    renamed = plain and re.match(r"timm-(regnet|res2|resnest|mobilenetv3|gernet)", name)
    if not (of_timm or renamed or name in smp.encoders.encoders):
        raise CheckpointError(
            f"config.json names the encoder {name!r:.80} of a {config['_model_class']}, which neither "
            f"segmentation_models_pytorch {smp.__version__} nor timm {timm.__version__} has; nothing is fetched. "
            "Install the versions that the model was saved with, or correct the name."
        )

"""Write tests/data/small_networks: scores of the authors' TransUNet, SegNet and U-Net for the brain, of small widths.

Needs ml_collections beside the test requirements, and checkouts of Beckschen/TransUNet (Apache-2.0),
say4n/pytorch-segnet (MIT) and mateuszbuda/brain-segmentation-pytorch (MIT):

python -m tests.oracles.small_networks_outputs TRANSUNET SEGNET BRAIN
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests.support.mmseg_files import filled, picture, write_json
from tests.support.small_networks import FROZEN, square

#: Channels of VGG16 divided by it.
NARROWER = 8


def transunet(folder: Path) -> Any:
    sys.path.insert(0, str(folder))
    configs = importlib.import_module("networks.vit_seg_configs")
    config = configs.get_r50_b16_config()
    config.update({"hidden_size": 64, "n_classes": 3, "decoder_channels": (32, 16, 16, 8)})
    config.transformer.update({"mlp_dim": 96, "num_heads": 1, "num_layers": 2})
    with config.resnet.ignore_type():
        config.resnet.update({"num_layers": (1, 2, 1), "width_factor": 0.5})
    config.skip_channels = [256, 128, 32, 8]
    config.patches.grid = (6, 6)
    return importlib.import_module("networks.vit_seg_modeling").VisionTransformer(config, img_size=96)


def segnet(folder: Path) -> Any:
    """Return SegNet with narrower convolutions: its authors have the widths in the text."""
    sys.path.insert(0, str(folder / "src"))
    module = importlib.import_module("model")
    conv, up, norm = torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.BatchNorm2d

    def narrow(width: int) -> int:
        return width if width in (3, 5) else width // NARROWER

    def narrowed(kind: Any) -> Any:
        return lambda in_channels, out_channels, **more: kind(narrow(in_channels), narrow(out_channels), **more)

    names = {"Conv2d": narrowed(conv), "ConvTranspose2d": narrowed(up), "BatchNorm2d": lambda n: norm(narrow(n))}
    with (
        mock.patch.multiple(module.nn, **names),
        mock.patch.object(module.models, "vgg16", return_value=None),
        mock.patch.object(module.SegNet, "init_vgg_weigts", return_value=None),
    ):
        return module.SegNet(input_channels=3, output_channels=5)


def brain(folder: Path) -> Any:
    sys.path.insert(0, str(folder))
    return importlib.import_module("unet").UNet(3, 1, 8)


def main() -> None:
    FROZEN.mkdir(exist_ok=True)
    layouts, scores = {}, {}
    made = {"transunet": transunet, "segnet": segnet, "unet_brain": brain}
    shown = {"transunet": square(), "segnet": picture(), "unet_brain": picture()}
    for (name, make), folder in zip(made.items(), sys.argv[1:], strict=True):
        network = make(Path(folder)).eval()
        layouts[name] = {key: list(value.shape) for key, value in network.state_dict().items()}
        network.load_state_dict(filled({key: tuple(shape) for key, shape in layouts[name].items()}))
        inputs = torch.as_tensor(shown[name]).float().movedim(-1, 0)[None] / 255
        if name == "segnet":
            inputs = (inputs - torch.tensor((0.485, 0.456, 0.406))[:, None, None]) / torch.tensor(
                (0.229, 0.224, 0.225)
            )[:, None, None]
        if name == "unet_brain":
            deviation, mean = torch.std_mean(inputs, dim=(-2, -1), keepdim=True, correction=0)
            inputs = (inputs - mean) / deviation
        with torch.inference_mode():
            found = network(inputs)
        scores[name] = (found[0] if isinstance(found, tuple) else found)[0].numpy()[:, ::2, ::2]
        print(name, len(layouts[name]), scores[name].std(), np.unique(scores[name].argmax(0)))  # noqa: T201
    write_json(FROZEN / "layouts.json.gz", layouts)
    np.savez_compressed(FROZEN / "scores.npz", **scores)


if __name__ == "__main__":
    main()

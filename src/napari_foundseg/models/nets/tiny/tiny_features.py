"""Dense features of foundseg-tiny's encoder: its maps before they are narrowed for SAM, joined at stride 4."""

import torch
from torch import Tensor

from napari_foundseg.models.nets.tiny.tiny import TinyEncoder
from napari_foundseg.models.nets.tiny.tiny_parts import enlarge

#: Input pixels per cell. Cell i is centred on pixel 4 i, as in strided convolutions.
STRIDE = 4


def dense_features(encoder: TinyEncoder, x: Tensor) -> Tensor:
    """Return the features of pictures.

    Parameters
    ----------
    encoder : TinyEncoder
        The encoder.
    x : Tensor, shape (B, 3, 32 H, 32 W)
        Normalised as `Sam.preprocess` does.

    Returns
    -------
    Tensor, shape (B, 448, 8 H, 8 W)
        Maps of the way down at stride 4, 8 and 16 (textures), and of the way up at stride 4 (objects).
    """
    x4 = encoder.down4(encoder.down2(x))
    x8 = encoder.down8(x4)
    x16 = encoder.down16(x8)
    y8 = encoder.up8(encoder.up16(encoder.down32(x16), x16), x8)
    y4 = encoder.up4(y8, x4)
    return torch.cat([x4, enlarge(x8), enlarge(enlarge(x16)), y4], dim=1)

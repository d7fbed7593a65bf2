"""Small pictures as text, for recipes and records: PNG in base64."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import PromptError

__all__ = ["picture_of", "png_text"]


def png_text(picture: NDArray[np.uint8], longest: int) -> str:
    """Return a picture as text.

    Parameters
    ----------
    picture : (M, N, 3) ndarray of uint8
        8-bit RGB.
    longest : int
        Largest side in pixels; larger pictures are shrunk.

    Returns
    -------
    str
        PNG in base64.
    """
    from PIL.Image import Resampling, fromarray

    shown = fromarray(np.ascontiguousarray(picture))
    shown.thumbnail((longest, longest), Resampling.BILINEAR)
    stream = io.BytesIO()
    shown.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def picture_of(text: str) -> NDArray[np.uint8]:
    """Return the picture that a result of `png_text` encodes.

    Returns
    -------
    (M, N, 3) ndarray of uint8

    Raises
    ------
    PromptError
        If the text is not a PNG in base64.
    """
    from PIL.PngImagePlugin import PngImageFile

    try:
        with PngImageFile(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
            return np.array(picture.convert("RGB"))
    except (binascii.Error, OSError, SyntaxError, ValueError) as error:
        raise PromptError(f"An example is not a PNG in base64 ({error}); make it from the image again.") from error

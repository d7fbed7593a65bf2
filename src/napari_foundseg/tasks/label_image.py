"""Label images as inputs of tasks: arrays in Python, files on the command line, packed text in recipes."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, PlainSerializer

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.tasks.settings import Inputs

__all__ = ["LabelImage", "LabelInputs", "label_array"]


def label_array(value: Any) -> NDArray[Any]:
    """Return the label image in an array, a file or a recipe's packed text; whole numbers from 0, else an error."""
    if isinstance(value, str | Path):
        from napari_foundseg.io.readers import read_stored

        value = read_stored(value).data
    if isinstance(value, Mapping):
        raw = zlib.decompress(base64.b64decode(value["zlib"]))
        value = np.frombuffer(raw, np.dtype(value["dtype"])).reshape(value["shape"]).copy()
    labels = np.asarray(value)
    if labels.dtype.kind not in "bui" or (labels.size and labels.min() < 0):
        raise SettingsError(f"labels must be whole numbers from 0, got {labels.dtype}")
    return labels


def _to_json(labels: NDArray[Any]) -> dict[str, Any]:
    small = np.ascontiguousarray(labels.astype(np.min_scalar_type(int(labels.max(initial=0)))))
    packed = base64.b64encode(zlib.compress(small.tobytes(), 6)).decode()
    return {"shape": list(small.shape), "dtype": small.dtype.str, "zlib": packed}


#: A field for a label image: an array of whole numbers from 0, or the name of a file that holds one. The model that
#: declares it needs ``arbitrary_types_allowed``.
LabelImage = Annotated[Any, BeforeValidator(label_array), PlainSerializer(_to_json)]
_OptionalLabelImage = Annotated[
    Any,
    BeforeValidator(lambda value: None if value is None else label_array(value)),
    PlainSerializer(lambda labels: None if labels is None else _to_json(labels)),
]


class LabelInputs(Inputs):
    """Base of the inputs of a task that works on existing objects."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    takes_labels: ClassVar[bool] = True

    labels: _OptionalLabelImage = None
    """A label image of the image's shape; as JSON the name of a labels file. A recipe step may leave it out: it then
    uses the objects of the steps before it."""

    def with_labels(self, labels: NDArray[Any]) -> Self:
        """Return these inputs with the objects of the earlier steps of a recipe, unless they already have labels."""
        return self.model_copy(update={"labels": labels}) if self.labels is None else self

"""Weights as a pickle of NumPy arrays (detectron2's ``.pkl``), read without running any code in the file.

Only plain containers, numbers, texts and arrays of numbers are built. NumPy's own unpickling is not used either: the
file's description of an array (type, shape, bytes) is read and checked, and the array is made from it.
"""

from __future__ import annotations

import mmap
import pickle
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.files.bounded_pickles import (
    BoundedUnpickler,
    Callables,
    Table,
    check_sizes,
    check_total,
    named_leaves,
    scan,
)
from napari_foundseg.models.files.torch_pickles import TORCH_START

__all__ = ["is_array_pickle", "read_array_shapes", "read_arrays"]

#: A pickle's first byte.
_PICKLE = b"\x80"
#: Module of NumPy's functions, in NumPy 1 and in NumPy 2.
_CORES = ("numpy.core", "numpy._core")


def is_array_pickle(path: Path) -> bool:
    """Return whether a file may be a pickle of arrays: its first bytes are a pickle's, but not torch's."""
    with path.open("rb") as file:
        head = file.read(len(TORCH_START))
    return head.startswith(_PICKLE) and head != TORCH_START and not zipfile.is_zipfile(path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a pickle by name.

    Raises pickle.UnpicklingError if it names anything else, or an array contradicts its description. Nothing is run.
    """
    return {name: found.array() for name, found in _described(path).items()}


def read_array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a pickle by name; raises the errors of `read_arrays`."""
    return {name: check_sizes(name, found.shape) for name, found in _described(path).items()}


def _described(path: Path) -> dict[str, _Array]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        scan(memory)
        # The model zoo's files were written by Python 2 and need this encoding.
        found = named_leaves(_Reader(memory, encoding="latin1").load(), _Array)
        needed = (prod(check_sizes(name, a.shape)) * a.dtype.itemsize for name, a in found.items())
        check_total(sum(needed), len(memory))
    return found


class _Type:
    """A file's description of the type of an array."""

    def __init__(self, text: str, *_flags: Any) -> None:
        self.text = text
        self.order: Any = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """Return the type; raise UnpicklingError if it is not a type of numbers."""
        try:
            found = np.dtype(str(self.text))
            ordered = found if self.order in ("|", "=") else found.newbyteorder(self.order)
        except (TypeError, ValueError) as error:
            raise pickle.UnpicklingError(f"{self.text!r} is not a numeric dtype") from error
        if ordered.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {self.text!r} is not an array of numbers")
        return ordered


class _Array:
    """A file's description of an array."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    @property
    def shape(self) -> Any:
        """Shape in the file's description, which is not checked yet."""
        return self.state[1] if len(self.state) == 5 else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers; UnpicklingError if the file gives none."""
        kind = self.state[2] if len(self.state) == 5 else None
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("an array is not what the file says it is: it has no type")
        return kind.dtype()

    def array(self) -> NDArray[Any]:
        """Return the array; raise UnpicklingError if its description is wrong."""
        try:
            _, shape, _, by_columns, raw = self.state
            data = raw.encode("latin1") if isinstance(raw, str) else raw
            dtype = self.dtype
            flat = np.frombuffer(data, dtype)
            return flat.reshape(shape, order="F" if by_columns else "C").astype(dtype.newbyteorder("="))
        except (TypeError, ValueError, AttributeError) as error:
            raise pickle.UnpicklingError(f"an array is not what the file says it is: {error}") from error


def _never(*_values: Any) -> Any:
    """Refuse a call of ``numpy.ndarray``, which pickles name but do not call."""
    raise pickle.UnpicklingError("numpy.ndarray is called")


def _reconstruct(*_kind: Any) -> _Array:
    return _Array()


def _frombuffer(raw: Any, kind: Any, shape: Any, order: Any, *_more: Any) -> _Array:
    """Return the description of an array that was pickled with protocol 5."""
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"an array in the order {order!r}")
    found = _Array()
    found.__setstate__((1, shape, kind, order == "F", raw))
    return found


def _scalar(kind: Any, raw: Any = b"") -> Any:
    found = _Array()
    found.__setstate__((1, (), kind, False, raw))
    return found


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Encode a text as ``_codecs.encode`` does, which pickles of protocol 2 use to write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    **{(f"{core}.multiarray", "_reconstruct"): Callables(_reconstruct) for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): Callables(_scalar) for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): Callables(_frombuffer) for core in _CORES},
    ("numpy", "ndarray"): Callables(_never),
    ("numpy", "dtype"): Callables(_Type),
    ("_codecs", "encode"): Callables(_encode),
    ("collections", "OrderedDict"): Callables(Table),
}


class _Reader(BoundedUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong in an array")
        return found

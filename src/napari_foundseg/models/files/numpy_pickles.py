"""Weights as a pickle of NumPy arrays (detectron2's ``.pkl``), read without running anything that the file holds.

Of such a file only plain containers, numbers, texts and arrays of numbers are built. NumPy's own unpickling is not
used either: what the file says of an array (type, shape, bytes) is taken down and checked, and the array made of it.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_array_pickle", "read_arrays"]

#: A pickle's first byte, and the number with which torch's old files begin (pickled by protocol 2).
_PICKLE = b"\x80"
_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
#: Module of NumPy's functions; the first name is that of NumPy 1.
_CORES = ("numpy.core", "numpy._core")


def is_array_pickle(path: Path) -> bool:
    """Return whether a file may be a pickle of arrays: by its first bytes a pickle, but not torch's."""
    with path.open("rb") as file:
        head = file.read(len(_TORCH))
    return head.startswith(_PICKLE) and head != _TORCH and not zipfile.is_zipfile(path)


def read_arrays(path: Path) -> Any:
    """Read a pickle of arrays.

    Raises pickle.UnpicklingError if it names anything else, or an array is not what it says; nothing of it was run.
    """
    with path.open("rb") as file:
        # Files of Python 2, as the model zoo has them, need the encoding.
        return _made(_Reader(file, encoding="latin1").load())


class _Type:
    """What a file says of the type of an array."""

    def __init__(self, text: str, *_flags: Any) -> None:
        self.text = text
        self.order: Any = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """Return the type, of numbers alone."""
        try:
            found = np.dtype(str(self.text))
            ordered = found if self.order in ("|", "=") else found.newbyteorder(self.order)
        except (TypeError, ValueError) as error:
            raise pickle.UnpicklingError(f"{self.text!r} is no type of numbers") from error
        if ordered.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {self.text!r} is no array of numbers")
        return ordered


class _Array:
    """What a file says of an array."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> NDArray[Any]:
        """Return the array."""
        try:
            _, shape, kind, by_columns, raw = self.state
            data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
            dtype = kind.dtype()
            flat = np.frombuffer(data, dtype)
            return flat.reshape(shape, order="F" if by_columns else "C").astype(dtype.newbyteorder("="))
        except (TypeError, ValueError, AttributeError) as error:
            raise pickle.UnpicklingError(f"an array is not what the file says it is: {error}") from error


class _Callable:
    """What a file may call. A file could write into a function or a class of ours, but not into this."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *values: Any) -> Any:
        return self._call(*values)

    def __setstate__(self, _state: Any) -> None:
        raise pickle.UnpicklingError("it writes where nothing is to be written")


def _never(*_values: Any) -> Any:
    """Stand for ``numpy.ndarray``, which is named and not called."""
    raise pickle.UnpicklingError("numpy.ndarray is called")


def _reconstruct(*_kind: Any) -> _Array:
    return _Array()


def _frombuffer(raw: Any, kind: Any, shape: Any, order: Any, *_more: Any) -> _Array:
    """Take down an array of protocol 5."""
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
    """Do what pickles of protocol 2 ask of ``_codecs.encode`` to write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    **{(f"{core}.multiarray", "_reconstruct"): _Callable(_reconstruct) for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _Callable(_scalar) for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _Callable(_frombuffer) for core in _CORES},
    ("numpy", "ndarray"): _Callable(_never),
    ("numpy", "dtype"): _Callable(_Type),
    ("_codecs", "encode"): _Callable(_encode),
    ("collections", "OrderedDict"): _Callable(dict),
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return found


def _made(content: Any) -> Any:
    """Make the arrays of nested containers."""
    if isinstance(content, _Array):
        return content.array()
    if isinstance(content, dict):
        return {key: _made(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_made(value) for value in content]
    return content

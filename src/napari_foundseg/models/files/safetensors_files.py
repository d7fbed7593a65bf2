"""Files in the safetensors format, whose header is checked before any tensor is made."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["CUT_SHORT", "MOST_OF_NOTHING", "is_safetensors", "read_header", "read_safetensors"]

CUT_SHORT = "is cut short: the download or copy did not end; get it again"
#: Largest dimension of a tensor without numbers. Such a tensor takes no space in a file, whatever its shape.
MOST_OF_NOTHING = 65_536
#: Most bytes of a header, as in the safetensors library.
_MOST_HEADER = 100_000_000
_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
#: Most tensors of a file. The largest published networks have a tenth of it.
_MOST_TENSORS = 100_000


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like safetensors: eight bytes of length, then JSON.

    Raises CheckpointError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return the shapes of the tensors by name, and the metadata.

    Raises CheckpointError if the header is damaged or does not fit the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MOST_HEADER, size - 8):
            raise CheckpointError(f"{path} is damaged: its header is said to have {length} bytes; get it again.")
        text = file.read(length)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        places = sorted(_checked(name, facts) for name, facts in header.items())
        "".join((*metadata, *metadata.values()))  # a TypeError if one is not text
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: its header cannot be read ({error!s:.200}); get it again."
        ) from error
    if len(places) > _MOST_TENSORS:
        raise CheckpointError(f"{path} is damaged: it names {len(places)} tensors; get it again.")
    end = 0
    for first, last, name in places:
        if first < end:
            raise CheckpointError(f"{path} is damaged: {name[:60]} has its numbers where others are; get it again.")
        end = last
    if size < 8 + length + end:
        raise CheckpointError(f"{path} {CUT_SHORT}.")
    return {name: tuple(facts["shape"]) for name, facts in header.items()}, metadata


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name; raise CheckpointError if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); get it again.") from error


def _checked(name: str, facts: Any) -> tuple[int, int, str]:
    """Return the first byte, the end and the name of a tensor.

    Raises ValueError, TypeError or KeyError if its description is wrong.
    """
    shape = facts["shape"]
    first, last = facts["data_offsets"]
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in (*shape, first, last)):
        raise TypeError(f"{name[:60]} has the shape {shape!r:.60} at {first!r:.30} to {last!r:.30}")
    if facts["dtype"] not in _BYTES:
        raise ValueError(f"{name[:60]} has numbers of the type {facts['dtype']!r:.30}, which is not read")
    if last - first != prod(shape) * _BYTES[facts["dtype"]]:
        raise ValueError(f"{name[:60]} of the shape {shape!r:.60} has {last - first} bytes")
    if not prod(shape) and max(shape) > MOST_OF_NOTHING:
        raise ValueError(f"{name[:60]} has the shape {shape!r:.60}")
    return first, last, name

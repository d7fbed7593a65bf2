"""Reading files of weights without running any code in them.

A ``.pth``, ``.pt``, ``.ckpt``, ``.bin`` or ``.pkl`` is a pickle: a program that builds objects and can call any
function. `torch_pickles` and `numpy_pickles` use a reader that calls nothing, and build only tensors, arrays and plain
containers. Objects of packages that write checkpoints (a Lightning module's options, say) are left empty. A file that
names anything else is refused.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.families import families
from napari_foundseg.models.files.folder_files import read_json
from napari_foundseg.models.files.known_kinds import is_onnx
from napari_foundseg.models.files.numpy_pickles import is_array_pickle, read_array_shapes, read_arrays
from napari_foundseg.models.files.safetensors_files import CUT_SHORT, is_safetensors, read_header, read_safetensors
from napari_foundseg.models.files.torch_pickles import (
    ForeignNamesError,
    read_torch_facts,
    read_torch_shapes,
    read_torch_tensors,
)
from napari_foundseg.models.store import weight_files

if TYPE_CHECKING:
    import torch

__all__ = ["check", "describe", "read_config", "read_facts", "read_shapes", "read_tensors"]

#: JSON files that describe a folder of weights: transformers' and ours.
_CONFIGS = ("config.json", "foundseg.json")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a weights file or folder, on the CPU.

    Raises CheckpointError if a file is damaged, holds code, or does not hold weights; the message says which.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in _files(path):
        tensors |= read_safetensors(file) if is_safetensors(file) else _pickled(file)
    return tensors


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the tensors of a file or folder; raises CheckpointError as `read_tensors`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in _files(path):
        shapes |= read_header(file)[0] if is_safetensors(file) else _pickled_shapes(file)
    return shapes


def read_config(path: Path) -> dict[str, Any]:
    """Read the JSON file that describes a folder of weights, or the metadata of a safetensors file.

    The result is empty for other files. Raises CheckpointError if the content is not JSON.
    """
    if not path.is_dir():
        return dict(read_header(path)[1]) if is_safetensors(path) else {}
    for name in _CONFIGS:
        if (path / name).is_file():
            config = read_json(path / name)
            if isinstance(config, dict):
                return config
    return {}


def read_facts(path: Path, name: str) -> Any:
    """Read the value that a pickled file of torch holds under a name next to its tensors.

    The value is made of numbers, texts, lists and tables. The result is None for other values and other files. Raises
    CheckpointError as `read_tensors`.
    """
    if not path.is_file() or is_safetensors(path) or is_array_pickle(path):
        return None
    with _named_errors(path):
        return read_torch_facts(path, name, _is_left_empty)


def describe(path: Path) -> str:
    """Return a description of a file without weights, such as ``is a web page (HTML) …``, to follow its name."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    start = head.lstrip().lower()
    if not head:
        return "is empty: get it again"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page (HTML), not weights: the download led to a page; open the link and get the file itself"
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        large = f", which have {int(size[1]) / 1e6:.1f} MB" if size else ""
        return f"is a pointer of Git LFS, not the weights themselves{large}: get the file itself (git lfs pull)"
    if start.startswith((b"{", b"[")):
        return "is a text in JSON, not weights: perhaps the answer of a server; get the file again"
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return f"is {name}, not weights"
    if is_onnx(head):
        return "is an ONNX model, not weights"
    if head.startswith(b"PK\x03\x04"):
        return "is a ZIP archive without weights: unpack it" if zipfile.is_zipfile(path) else CUT_SHORT
    if head[:1] == b"\x80" or _is_safetensors_name(path):
        return "is damaged or cut short: get it again"
    return "is not a known kind of weights file (.safetensors, .pth, .pt, .ckpt, .bin, .pkl)"


_OTHERS = {b"\x89PNG": "a picture (PNG)", b"\xff\xd8\xff": "a picture (JPEG)", b"II*\0": "a TIFF image",
           b"MM\0*": "a TIFF image", b"%PDF": "a PDF", b"\x1f\x8b": "a gzip archive", b"\x89HDF": "an HDF5 file",
           b"ONNX": "an ONNX model"}  # fmt: skip


def check(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    """Raise CheckpointError if tensors of a network are missing in a checkpoint, unknown, or of another shape.

    The message names the first of them; `what` is the name of the network in it.
    """
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    wrong = [name for name in expected if name in found and tuple(expected[name]) != tuple(found[name])]
    for names, words in ((missing, "lacks"), (unknown, "has besides"), (wrong, "has with another shape")):
        if names:
            some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise CheckpointError(
                f"{path} is taken for {what}, but {words} {len(names)} of {len(expected)} tensors: {some}. It is "
                "incomplete or of another model; get it again."
            )


def _files(path: Path) -> list[Path]:
    found = weight_files(path)
    if not found:
        raise CheckpointError(f"{path} holds no weights (.safetensors, .bin, .pth); choose the folder that does.")
    if missing := [file for file in found if not file.is_file()]:
        raise CheckpointError(f"{missing[0]} is not there; choose a file of weights.")
    return found


def _is_safetensors_name(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def _pickled(path: Path) -> dict[str, torch.Tensor]:
    import torch

    with _named_errors(path):
        if is_array_pickle(path):
            return {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}
        return read_torch_tensors(path, _is_left_empty)


def _pickled_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with _named_errors(path):
        return read_array_shapes(path) if is_array_pickle(path) else read_torch_shapes(path, _is_left_empty)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Convert errors of the pickle readers to CheckpointErrors that describe the file. Nothing in it was run."""
    try:
        yield
    except MemoryError:
        raise
    except ForeignNamesError as error:
        raise CheckpointError(
            f"{path} holds code beside weights ({error}): opening it could run that. Nothing was run. Get the weights "
            "from their authors' own place, or as .safetensors."
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} {_of_a_pickle(path)} ({error}).") from error
    except Exception as error:  # in the unpickler, a damaged file can raise any error
        raise CheckpointError(f"{path} {describe(path)}.") from error


def _of_a_pickle(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(1)
    if start != b"\x80" and not zipfile.is_zipfile(path):
        return describe(path)
    return "is damaged, or a pickle that may hold code; nothing of it was run. Get the weights as .safetensors or .pth"


def _is_left_empty(package: str) -> bool:
    return any(package in family.FAMILY.pickle_names for family in families().values())

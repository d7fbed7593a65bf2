"""Reading files of weights without running anything that they hold.

A ``.pth``, ``.pt``, ``.ckpt``, ``.bin`` or ``.pkl`` is a pickle: a program that builds objects and can call any
function. Here only tensors, arrays, numbers and plain containers are built. A file that also names classes of packages
that write checkpoints (a Lightning module's options, say) is read with those left empty; one that names anything else
is refused before any of it runs.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.families import families
from napari_foundseg.models.files.numpy_pickles import is_array_pickle, read_arrays
from napari_foundseg.models.store import weight_files

if TYPE_CHECKING:
    import torch

__all__ = ["check", "describe", "flattened", "read_config", "read_shapes", "read_tensors"]

#: Packages whose objects any training script may store next to the weights; they are left empty. What a model family's
#: own pickles name is declared by the family.
_ANY_SCRIPT = {"argparse", "numpy", "pathlib", "typing"}
#: Of the builtins, what only holds values.
_PLAIN = {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range",
          "set", "slice", "str", "tuple"}  # fmt: skip
#: What rebuilds tensors.
_REBUILDERS = {"OrderedDict": "collections", "defaultdict": "collections", "_rebuild_tensor_v2": "torch._utils",
               "_rebuild_parameter": "torch._utils", "Size": "torch"}  # fmt: skip
#: JSON files that say what a folder of weights is: transformers' and ours.
_CONFIGS = ("config.json", "foundseg.json")
_CUT_SHORT = "is cut short: the download or copy did not end; get it again"


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a weights file or folder, on the CPU.

    Raises CheckpointError if it is damaged, holds code, or is something else; the message says which.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in _files(path):
        tensors |= _safetensors(file) if _is_safetensors(file) else _pickled(file)
    return tensors


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read names and shapes of the tensors of a file or folder; CheckpointError as `read_tensors`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in _files(path):
        if _is_safetensors(file):
            header = _header(file)
            shapes |= {name: tuple(value["shape"]) for name, value in header.items() if name != "__metadata__"}
        else:
            shapes |= {name: tuple(tensor.shape) for name, tensor in _pickled(file).items()}
    return shapes


def read_config(path: Path) -> dict[str, Any]:
    """Read what a folder of weights, or the header of a safetensors file, says of itself.

    Raises CheckpointError if that is no JSON.
    """
    if not path.is_dir():
        return dict(_header(path).get("__metadata__", {})) if _is_safetensors(path) else {}
    for name in _CONFIGS:
        if (path / name).is_file():
            try:
                config = json.loads((path / name).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise CheckpointError(
                    f"{path / name} cannot be read as JSON: {error}. Get the folder again."
                ) from error
            if isinstance(config, dict):
                return config
    return {}


def describe(path: Path) -> str:
    """Say what a file is that holds no weights, such as ``is a web page (HTML) …``, to follow its name."""
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
        return "is a pointer of Git LFS, not the weights themselves: get the file itself (git lfs pull)"
    if start.startswith((b"{", b"[")):
        return "is a text in JSON, not weights: perhaps the answer of a server; get the file again"
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return f"is {name}, not weights"
    if head.startswith(b"PK\x03\x04"):
        return "is a ZIP archive without weights: unpack it" if zipfile.is_zipfile(path) else _CUT_SHORT
    if head[:1] == b"\x80" or _is_safetensors_name(path):
        return "is damaged or cut short: get it again"
    return "is no weights file that is known (.safetensors, .pth, .pt, .ckpt, .bin, .pkl)"


_OTHERS = {b"\x89PNG": "a picture (PNG)", b"\xff\xd8\xff": "a picture (JPEG)", b"II*\0": "a TIFF image",
           b"MM\0*": "a TIFF image", b"%PDF": "a PDF", b"\x1f\x8b": "a gzip archive", b"\x89HDF": "an HDF5 file",
           b"ONNX": "an ONNX model", b"\x08\x03": "an ONNX model"}  # fmt: skip


def check(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    """Make sure that a checkpoint has the tensors that a network needs.

    Raises CheckpointError naming the first that are missing, unknown or of another shape.
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


def flattened(content: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return tensors and arrays of nested containers as tensors, under names joined by dots."""
    import numpy as np
    import torch

    if isinstance(content, np.ndarray):
        content = torch.from_numpy(content)
    if isinstance(content, torch.Tensor):
        return {prefix: content}
    found: dict[str, torch.Tensor] = {}
    parts = dict(enumerate(content)) if isinstance(content, list | tuple) else content
    for name, part in parts.items() if isinstance(parts, Mapping) else ():
        found |= flattened(part, f"{prefix}.{name}" if prefix else str(name))
    return found


def _files(path: Path) -> list[Path]:
    found = weight_files(path)
    if not found:
        raise CheckpointError(f"{path} holds no weights (.safetensors, .bin, .pth); choose the folder that does.")
    if missing := [file for file in found if not file.is_file()]:
        raise CheckpointError(f"{missing[0]} is not there; choose a file of weights.")
    return found


def _is_safetensors_name(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def _is_safetensors(path: Path) -> bool:
    """Tell by the first bytes: eight of a length, then JSON."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length))
            ends = [value["data_offsets"][1] for name, value in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged: its header cannot be read; get it again.") from error
    if size < 8 + length + max(ends, default=0):
        raise CheckpointError(f"{path} {_CUT_SHORT}.")
    return dict(header)


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _header(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); get it again.") from error


def _pickled(path: Path) -> dict[str, torch.Tensor]:
    import torch

    if is_array_pickle(path):
        return flattened(_arrays(path))
    zipped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            # Other protocols than 2 are read too, or are an error.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        content = _without_objects(path, zipped, error)
    except Exception as error:  # whatever a damaged file makes of the unpickler, it is a damaged file
        raise CheckpointError(f"{path} {describe(path)}.") from error
    return flattened(content)


def _arrays(path: Path) -> Any:
    try:
        return read_arrays(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} {_of_a_bare_pickle(path)} ({error}).") from error
    except Exception as error:  # whatever a damaged file makes of the unpickler, it is a damaged file
        raise CheckpointError(f"{path} {describe(path)}.") from error


def _without_objects(path: Path, zipped: bool, error: Exception) -> Any:
    """Read a checkpoint that also names classes, with their objects left empty; refuse other names."""
    import torch

    if not zipped:
        raise CheckpointError(f"{path} {_of_a_bare_pickle(path)}.") from error
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as other:
        raise CheckpointError(f"{path} {describe(path)}.") from other
    foreign = [name for name in named if not _is_inert(name)]
    if foreign:
        raise CheckpointError(
            f"{path} holds code beside weights ({', '.join(sorted(foreign)[:3])}): opening it could run that. Nothing "
            "was run. Get the weights from their authors' own place, or as .safetensors."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=True, pickle_module=_INERT_PICKLE)
    except Exception as other:
        raise CheckpointError(f"{path} {describe(path)}.") from other


def _of_a_bare_pickle(path: Path) -> str:
    """Say what a file is of which the pickle reader refused something, without running any of it."""
    with path.open("rb") as file:
        if file.read(1) != b"\x80":
            return describe(path)
    return "is damaged, or a pickle that may hold code; nothing of it was run. Get the weights as .safetensors or .pth"


def _is_inert(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module in ("builtins", "__builtin__"):
        return attribute in _PLAIN
    if _REBUILDERS.get(attribute) == module:
        return True
    package = module.partition(".")[0]
    return package in _ANY_SCRIPT or any(package in family.FAMILY.pickle_names for family in families().values())


class _Empty:
    """Stands for an object of a class that is not looked at."""

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_options: Any) -> None: ...

    def _nothing(self, *_args: Any) -> None: ...

    __setstate__ = __setitem__ = append = extend = add = _nothing


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if _REBUILDERS.get(name) == module or (module == "builtins" and name in _PLAIN):
            return super().find_class(module, name)
        return _Empty


#: As torch.load takes it. Storages it resolves itself; everything else passes `_InertUnpickler.find_class`.
_INERT_PICKLE = SimpleNamespace(Unpickler=_InertUnpickler, load=None, __name__="inert")

"""Weights as torch writes them (``.pth``, ``.pt``, ``.ckpt``, ``.bin``), read without running any code in them.

torch's own reader is not used. The file's description of each tensor (type, shape, place of its numbers) is read and
checked, and the tensor is a view of the file. Objects of packages that write checkpoints are left empty. A file that
names anything else is refused.
"""

from __future__ import annotations

import io
import mmap
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_foundseg.models.files.bounded_pickles import (
    BoundedUnpickler,
    Callables,
    Table,
    check_sizes,
    check_total,
    named_leaves,
    scan,
)

if TYPE_CHECKING:
    import torch

__all__ = ["TORCH_START", "ForeignNamesError", "read_torch_facts", "read_torch_shapes", "read_torch_tensors"]

#: First bytes of torch's files that are not archives: a number, pickled with protocol 2.
TORCH_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
#: Types of numbers: their names by torch's names of storages, and the bytes of each.
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip
_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1, "complex64": 8, "complex128": 16, "uint16": 2, "uint32": 4, "uint64": 8,
}  # fmt: skip
#: Most values other than tensors, and how deep they may be nested.
_MOST_FACTS = 100_000
_DEEPEST_FACTS = 20
#: Packages whose objects any training script may store next to the weights; they are left empty.
_ANY_SCRIPT = {"argparse", "numpy", "pathlib", "typing"}
#: Packages that store whole networks as objects.
_NETWORKS = {"ultralytics"}
#: Names of builtins and of torch that only hold values.
_PLAIN = {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range",
          "set", "slice", "str", "tuple", "long", "unicode", "xrange"}  # fmt: skip
_PLAIN_OF_TORCH = {"torch.device", "torch.layout", "torch.strided", "torch.Tensor", "torch.nn.parameter.Parameter",
                   "torch.serialization._get_layout", "torch.contiguous_format", "torch.preserve_format",
                   "torch.utils._pytree.PyTree"}  # fmt: skip


class ForeignNamesError(pickle.UnpicklingError):
    """A file names functions or classes that do not belong in a file of weights; `names` lists them."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(", ".join(sorted(names)[:3]))
        self.names = sorted(names)


@dataclass(frozen=True)
class _Storage:
    """A file's description of a storage, an array of numbers."""

    key: str
    dtype: str
    numel: int
    first: int = 0


@dataclass(frozen=True)
class _Tensor:
    """A file's description of a tensor."""

    storage: _Storage
    offset: int
    shape: Any
    stride: Any
    dtype: str


class _Named(NamedTuple):
    """A type of numbers, named by itself or by its storages."""

    dtype: str


class _Empty:
    """Replacement for an object of a class that is not read."""

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_options: Any) -> None: ...

    def _nothing(self, *_args: Any) -> None: ...

    __setstate__ = __setitem__ = append = extend = add = _nothing


class _Module(Table):
    """Replacement for a network that was stored as an object: its tensors and parts by name, and its class names."""

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        return dict.__new__(cls)

    def __init__(self, *_args: Any, **_options: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            return
        for kind in ("_parameters", "_buffers", "_modules"):
            part = state.get(kind)
            self.update(part if isinstance(part, dict) else {})
        if isinstance(state.get("names"), dict | list):
            self["names"] = state["names"]


def read_torch_tensors(path: Path, inert: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name, as views of the file.

    `inert` returns whether objects of a top-level package are to be left empty. Raises pickle.UnpicklingError if the
    file is not a file of weights, or contradicts itself.
    """
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    tensors, places = _read(path, memory, inert)
    flat: dict[tuple[str, str], torch.Tensor] = {}
    return {name: _made(memory, tensor, places, flat) for name, tensor in tensors.items()}


def read_torch_shapes(path: Path, inert: Callable[[str], bool]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a file by name; raises the errors of `read_torch_tensors`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        return {name: tuple(tensor.shape) for name, tensor in _read(path, memory, inert)[0].items()}


def read_torch_facts(path: Path, name: str, inert: Callable[[str], bool]) -> Any:
    """Return the value that a file holds under a name next to its tensors.

    The value is made of numbers, texts, lists and tables; everything else is None. Raises the errors of
    `read_torch_tensors`.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        reader, content, _ = _of_archive(path, memory, inert) if zipfile.is_zipfile(path) else _old(memory, inert)
    if reader.foreign:
        raise ForeignNamesError(reader.foreign)
    left = [_MOST_FACTS]
    return _facts(content.get(name) if isinstance(content, dict) else None, 0, left)


def _facts(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST_FACTS:
        raise pickle.UnpicklingError("what is said beside the weights is nested too deep, or too long")
    if isinstance(value, dict):
        return {str(key): _facts(one, depth + 1, left) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_facts(one, depth + 1, left) for one in value]
    return value if isinstance(value, str | int | float | bool) else None


def _read(
    path: Path, memory: mmap.mmap, inert: Callable[[str], bool]
) -> tuple[dict[str, _Tensor], dict[str, tuple[int, int]]]:
    """Return the checked descriptions of a file's tensors, and each storage's place: first byte and size in bytes."""
    reader, content, places = _of_archive(path, memory, inert) if zipfile.is_zipfile(path) else _old(memory, inert)
    if reader.foreign:
        raise ForeignNamesError(reader.foreign)
    tensors = named_leaves(content, _Tensor)
    for name, tensor in tensors.items():
        _check(name, tensor, places)
    check_total(sum(prod(tensor.shape) * _BYTES[tensor.dtype] for tensor in tensors.values()), len(memory))
    return tensors, places


def _check(name: str, tensor: _Tensor, places: dict[str, tuple[int, int]]) -> None:
    shape = check_sizes(name, tensor.shape)
    stride = tensor.stride
    fits = isinstance(stride, list | tuple) and len(stride) == len(shape)
    numbers = [*(stride if fits else [None]), tensor.offset]
    if not all(isinstance(n, int) and 0 <= n < 2**48 for n in numbers):
        raise pickle.UnpicklingError(f"the strides of {name} are {stride!r:.80}")
    room = places.get(tensor.storage.key, (0, 0))[1] // _BYTES[tensor.dtype]
    count = prod(shape)
    last = tensor.storage.first + tensor.offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if count and (last >= room or count > room):
        raise pickle.UnpicklingError(f"{name} has {count} numbers, of which {room} are in the file")


def _made(
    memory: mmap.mmap,
    tensor: _Tensor,
    places: dict[str, tuple[int, int]],
    flat: dict[tuple[str, str], torch.Tensor],
) -> torch.Tensor:
    """Return a tensor; `flat` caches the numbers of each storage, which several tensors may share."""
    import torch

    dtype = getattr(torch, tensor.dtype)
    if not prod(tensor.shape):
        return torch.empty(tuple(tensor.shape), dtype=dtype)
    key = (tensor.storage.key, tensor.dtype)
    if key not in flat:
        first, size = places[tensor.storage.key]
        itemsize = _BYTES[tensor.dtype]
        # Numbers may begin at any byte of a file. Copy those that are not aligned, because processors read them slowly.
        aligned = first % itemsize == 0
        source = memory if aligned else bytearray(memory[first : first + size])
        flat[key] = torch.frombuffer(source, dtype=dtype, count=size // itemsize, offset=first if aligned else 0)
    return flat[key].as_strided(tuple(tensor.shape), tuple(tensor.stride), tensor.storage.first + tensor.offset)


def _of_archive(
    path: Path, memory: mmap.mmap, inert: Callable[[str], bool]
) -> tuple[_Reader, Any, dict[str, tuple[int, int]]]:
    """Read a ZIP archive, the format of torch since 2020."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    pickled = [name for name in entries if name.rpartition("/")[2] == "data.pkl" and name.count("/") == 1]
    if not pickled:
        raise pickle.UnpicklingError("it has no data.pkl")
    root = pickled[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries):
        raise ForeignNamesError({"a TorchScript program"})
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise pickle.UnpicklingError("its parts are compressed, which torch never does; save it again with torch.save")
    order = f"{root}byteorder"
    if order in entries and _bytes(memory, entries[order]) == b"big":
        raise pickle.UnpicklingError("it was written by a computer with another order of bytes")
    text = _bytes(memory, entries[pickled[0]])
    reader = _Reader(io.BytesIO(text), inert)
    scan(reader.source)
    content = reader.load()
    places = {}
    for key in reader.storages:
        if f"{root}data/{key}" not in entries:
            raise pickle.UnpicklingError(f"it lacks the numbers {key!r:.40}")
        places[key] = _place(memory, entries[f"{root}data/{key}"])
    return reader, content, places


def _place(memory: mmap.mmap, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return the place of a part of an archive: first byte and size in bytes."""
    start = entry.header_offset
    header = memory[start : start + 30]
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise pickle.UnpicklingError(f"{entry.filename!r:.60} is cut short")
    first = start + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if first + entry.file_size > len(memory):
        raise pickle.UnpicklingError(f"{entry.filename!r:.60} is cut short")
    return first, entry.file_size


def _bytes(memory: mmap.mmap, entry: zipfile.ZipInfo) -> bytes:
    first, size = _place(memory, entry)
    return memory[first : first + size]


def _old(memory: mmap.mmap, inert: Callable[[str], bool]) -> tuple[_Reader, Any, dict[str, tuple[int, int]]]:
    """Read the format of torch before 2020: several pickles, then the numbers."""
    start = memory[: len(TORCH_START)]
    if start != TORCH_START:
        raise pickle.UnpicklingError(
            "expected a file that torch.save wrote, which is a ZIP archive or begins with the bytes "
            f"{TORCH_START[:6].hex(' ')}; got one that begins with {start[:6].hex(' ')}"
        )
    reader = _Reader(memory, inert)
    parts = []
    for _ in range(5):
        scan(memory)
        reader = _Reader(memory, inert, reader)
        parts.append(reader.load())
    content, keys = parts[3:]
    places = {}
    at = memory.tell()
    for key in keys if isinstance(keys, list) else ():
        storage = reader.storages.get(str(key))
        if storage is None:
            raise pickle.UnpicklingError(f"nothing needs the numbers {key!r:.40}")
        size = int.from_bytes(memory[at : at + 8], "little") * _BYTES[storage.dtype]
        places[str(key)] = (at + 8, size)
        at += 8 + size
        if at > len(memory):
            raise pickle.UnpicklingError("it is cut short")
    return reader, content, places


class _Reader(BoundedUnpickler):
    """Reader that collects descriptions of storages; it shares those of an `earlier` pickle of the same file."""

    def __init__(self, source: Any, inert: Callable[[str], bool], earlier: _Reader | None = None) -> None:
        super().__init__(source, encoding="utf-8")
        self.source = source
        self._inert = inert
        self.storages: dict[str, _Storage] = {} if earlier is None else earlier.storages
        self.foreign: set[str] = set() if earlier is None else earlier.foreign

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement for a name, and collect names that do not belong in a file of weights."""
        if (module, name) in _REBUILT:
            return _REBUILT[module, name]
        package = module.partition(".")[0]
        if package == "torch" and name in _STORAGES:
            return _Named(_STORAGES[name])
        if module == "torch" and name in _BYTES:
            return _Named(name)
        if module.startswith("torch.nn.modules."):
            return _Module
        if not self._is_inert(module, name):
            self.foreign.add(f"{module}.{name}")
        return _Module if package in _NETWORKS else _Empty

    def _is_inert(self, module: str, name: str) -> bool:
        package = module.partition(".")[0]
        if module in ("builtins", "__builtin__"):
            return name in _PLAIN
        if package == "torch":
            return f"{module}.{name}" in _PLAIN_OF_TORCH or (module == "torch._utils" and name.startswith("_rebuild_"))
        named = (module, name) in (("_codecs", "encode"), ("collections", "Counter"), ("collections", "deque"))
        return named or package in _ANY_SCRIPT or self._inert(package)

    def persistent_load(self, saved: Any) -> Any:
        """Return the description of a storage, or of a part of one."""
        if not isinstance(saved, tuple) or not saved or saved[0] not in ("storage", b"storage"):
            return _Empty()
        kind, key, _, numel, *view = saved[1:]
        if not isinstance(kind, _Named) or not isinstance(key, str) or not isinstance(numel, int):
            raise pickle.UnpicklingError(f"a storage is described as {saved!r:.80}")
        whole = self.storages.setdefault(key, _Storage(key, kind.dtype, numel))
        if not view or view[0] is None:
            return whole
        _, first, count = view[0]
        return _Storage(key, kind.dtype, int(count), int(first))


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_more: Any) -> Any:
    return _Tensor(storage, offset, shape, stride, storage.dtype) if isinstance(storage, _Storage) else _Empty()


def _tensor_3(storage: Any, offset: Any, shape: Any, stride: Any, *more: Any) -> Any:
    kind = more[2]
    of_numbers = isinstance(storage, _Storage) and isinstance(kind, _Named)
    return _Tensor(storage, offset, shape, stride, kind.dtype) if of_numbers else _Empty()


def _first(value: Any, *_more: Any) -> Any:
    return value


def _called(function: Any, _kind: Any, values: Any, _state: Any) -> Any:
    """Return a tensor without the attributes that were stored with it."""
    return function(*values) if isinstance(function, Callables) else _Empty()


def _size(values: Any = ()) -> Any:
    return values if isinstance(values, tuple) else ()


_REBUILT = {
    ("collections", "OrderedDict"): Callables(Table),
    ("collections", "defaultdict"): Callables(Table),
    ("torch", "Size"): Callables(_size),
    ("torch._utils", "_rebuild_tensor"): Callables(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Callables(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Callables(_tensor_3),
    ("torch._utils", "_rebuild_parameter"): Callables(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): Callables(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): Callables(_called),
}

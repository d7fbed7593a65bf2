"""The pickle reader for weights: it calls nothing that a file names, and its memory is bounded by the file's size.

It is based on the pure-Python unpickler. The one in C allocates room for any number of objects that a file claims.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import Any, ClassVar

from napari_foundseg.models.files.safetensors_files import MOST_OF_NOTHING

__all__ = ["BoundedUnpickler", "Callables", "Table", "check_sizes", "check_total", "named_leaves", "scan"]

#: Most steps of a pickle, not counting the numbers of its tensors. The largest published ones have a tenth of it.
_MOST_STEPS = 1_000_000
#: Most values in containers.
_MOST_PARTS = 300_000
#: How deep containers may be nested.
_DEEPEST = 100
#: Bytes that tensors may need beyond twice the size of their file.
_SLACK = 1 << 20
_PLAIN_KEYS = (str, bytes, int, float, bool, type(None))


class Callables:
    """A function or class that a file may call.

    A file could set attributes of a plain function or class of ours, but not of this object.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *values: Any) -> Any:
        """Call the function or class."""
        return self._call(*values)

    def __setstate__(self, _state: Any) -> None:
        raise pickle.UnpicklingError("it writes where nothing is to be written")


class Table(dict[Any, Any]):
    """Replacement for the dictionaries of `collections`, without their attributes."""

    def __init__(self, values: Any = (), *_more: Any) -> None:
        # Python 2 pickles them with a list of their items.
        pairs = values if isinstance(values, list) else []
        super().__init__((_plain(pair[0]), pair[1]) for pair in pairs)

    def __setstate__(self, _state: Any) -> None: ...


class BoundedUnpickler(pickle._Unpickler):
    """Base class of the readers; `find_class` of a subclass returns a safe replacement for each name."""

    #: Declared for type checkers; the base class sets them.
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement for a name; the base class refuses all names."""
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a file of weights")

    def get_extension(self, code: int) -> None:
        """Refuse an extension code, which stands for a name in a table of this process."""
        raise pickle.UnpicklingError(f"it names the extension {code}")

    def _set_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self.stack[-1][_plain(key)] = value

    def _set_items(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_plain(key)] = value

    def _dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({_plain(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _add_items(self) -> None:
        items = self.pop_mark()
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(_plain(item) for item in items)

    def _frozen_set(self) -> None:
        self.stack.append(frozenset(_plain(item) for item in self.pop_mark()))

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.ADDITEMS[0]] = _add_items
    dispatch[pickle.FROZENSET[0]] = _frozen_set


def _plain(key: Any) -> Any:
    """Return a key if it is a plain value or a flat tuple; refuse all others.

    Hashing nested tuples that share their parts could take forever.
    """
    if isinstance(key, _PLAIN_KEYS) or (isinstance(key, tuple) and all(isinstance(k, _PLAIN_KEYS) for k in key)):
        return key
    raise pickle.UnpicklingError(f"a key is a {type(key).__name__}")


def scan(file: BytesIO | mmap.mmap) -> None:
    """Raise UnpicklingError if the pickle at the position of a file is damaged, or has more steps than weights need.

    The position of the file stays as it was.
    """
    start = file.tell()
    try:
        for number, _ in enumerate(pickletools.genops(file)):  # type: ignore[arg-type] # a file to read from
            if number > _MOST_STEPS:
                raise pickle.UnpicklingError(f"it has more than {_MOST_STEPS} steps")
    except (ValueError, OverflowError) as error:
        raise pickle.UnpicklingError(str(error)) from error
    finally:
        file.seek(start)


def named_leaves(content: Any, kind: type[Any]) -> dict[str, Any]:
    """Return the objects of a type in nested containers, under names joined by dots.

    Raises UnpicklingError if containers are nested too deep, contain themselves, or have too many parts.
    """
    found: dict[str, Any] = {}
    waiting = [("", content, 0)]
    seen = 0
    while waiting:
        prefix, part, depth = waiting.pop()
        seen += 1
        if seen + len(waiting) > _MOST_PARTS or depth > _DEEPEST:
            raise pickle.UnpicklingError(f"its containers have more than {_MOST_PARTS} parts, or nest without bound")
        if isinstance(part, kind):
            found[prefix] = part
            continue
        parts = enumerate(part) if isinstance(part, list | tuple) else part.items() if isinstance(part, dict) else ()
        inner = [(f"{prefix}.{name}" if prefix else str(name), one, depth + 1) for name, one in parts]
        waiting += reversed(inner)
    return found


def check_sizes(name: str, shape: Any) -> tuple[int, ...]:
    """Return a tensor's shape as a tuple.

    Raises UnpicklingError if it is not a shape, or if a tensor without numbers claims a huge dimension.
    """
    if not isinstance(shape, list | tuple) or not all(isinstance(n, int) and 0 <= n < 2**48 for n in shape):
        raise pickle.UnpicklingError(f"the shape of {name} is {shape!r:.80}")
    if len(shape) > 32 or (not prod(shape) and max(shape) > MOST_OF_NOTHING):
        raise pickle.UnpicklingError(f"the shape of {name} is {tuple(shape)!r:.80}")
    return tuple(int(n) for n in shape)


def check_total(needed: int, size: int) -> None:
    """Raise UnpicklingError if tensors need more memory than a file of `size` bytes can fill."""
    if needed > 2 * size + _SLACK:
        raise pickle.UnpicklingError(
            f"its tensors would take {needed / 1e6:.0f} MB, and the file has {size / 1e6:.1f} MB"
        )

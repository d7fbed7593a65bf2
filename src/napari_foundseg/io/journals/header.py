"""The meaning of a journal's records.

The first record is the header as JSON. Each other record is a part of the labels at the start, a step, a note (JSON
that changes values of the header), or the end mark. The end mark is empty: everything before it is saved to a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.history import EditStep
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.io.files.json_file import parse_json
from napari_foundseg.io.journals.process import Writer

__all__ = [
    "END", "Header", "base_records", "first_records", "is_base", "is_step", "note", "step_of", "with_note",
]  # fmt: skip

END = b""
#: A step starts with its length; read as a length, these bytes would mean 1.7 GB.
_NOTE = b"note"
#: The types of the values of a header.
_KINDS = {
    **dict.fromkeys(("image", "layer", "began", "computer", "host", "boot", "namespace", "born"), str),
    **dict.fromkeys(("closed", "ready", "discarded"), bool),
    "shape": list,
    "process": int,
    "place": dict,
}
_BASE = b"base"
#: Most pixels per record of the labels at the start. This bounds the additional memory for labels of any size.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Header:
    """The label image that a journal belongs to.

    Parameters
    ----------
    image : str
        Fingerprint of the image's content; empty for a layer without an image.
    layer : str
        Name of the Labels layer.
    shape : tuple of int
        Shape of the labels.
    source : str or None
        The image's file.
    began : str
        Time of the journal's start, as ISO 8601.
    process : int
        Id of the process that writes the journal.
    computer : str
        Identifies the computer of that process; empty in journals of older versions.
    place : dict
        Scale, units and similar attributes of the layer, by name.
    closed : bool
        Whether the process has closed the journal although the labels are in no file.
    host : str
        The computer's name.
    boot, namespace, born : str
        Identify the start of the computer, the container, and the start of the process; empty if unknown.
    ready : bool
        Whether the labels at the start are complete.
    discarded : bool
        Whether the user discarded the labels.
    """

    image: str
    layer: str
    shape: tuple[int, ...]
    source: str | None
    began: str
    process: int
    computer: str = ""
    place: Mapping[str, Any] = field(default_factory=dict)
    closed: bool = False
    host: str = ""
    boot: str = ""
    namespace: str = ""
    born: str = ""
    ready: bool = True
    discarded: bool = False

    @classmethod
    def now(
        cls,
        image: str,
        layer: str,
        shape: tuple[int, ...],
        source: str | None,
        place: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a header for a journal that this process starts now."""
        began = datetime.now().isoformat(timespec="milliseconds")
        own = Writer.this()
        return cls(image, layer, tuple(shape), source, began, place=place or {}, **own._asdict())

    @classmethod
    def from_json(cls, record: bytes) -> Self:
        """Read a header; raise ValueError if it is none. Values that a later version has added are left out."""
        found = parse_json(record.removeprefix(_NOTE))
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 - handled like other damage
        known = {part.name for part in fields(cls)}
        values = {name: value for name, value in found.items() if name in known}
        shape = values["shape"]
        odd = [name for name, value in values.items() if not isinstance(value, _KINDS.get(name, object))]
        if odd or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError(f"its header has {odd[0] if odd else 'shape'}: {values[odd[0]] if odd else shape!r:.60}")
        return cls(**{**values, "shape": tuple(shape)})

    def to_json(self) -> bytes:
        """Return the header as the first record."""
        return json.dumps(asdict(self)).encode()

    @property
    def stem(self) -> str:
        """The start of the names of all journals of this label image."""
        if self.image:
            return self.image[:16]
        return f"layer_{blake2b(json.dumps([self.layer, self.shape]).encode(), digest_size=5).hexdigest()}"

    @property
    def writer(self) -> Writer:
        """The process that writes the journal."""
        return Writer(self.process, self.computer, self.host, self.boot, self.namespace, self.born)

    @property
    def is_own(self) -> bool:
        """Whether this process writes the journal, or an earlier process with the same id did."""
        return self.writer.is_this()

    def in_use(self, changed: float, now: float) -> bool:
        """Tell whether another process is still writing the journal, which was last written at the time `changed`."""
        return not self.closed and self.writer.is_running(self.began, changed, now)


def note(**values: Any) -> bytes:
    """Return a record that changes values of the header from then on."""
    return _NOTE + json.dumps(values).encode()


def with_note(header: Header, record: bytes) -> Header:
    """Return the header with the values of a note; unchanged for any other record."""
    if not record.startswith(_NOTE):
        return header
    return Header.from_json(json.dumps({**asdict(header), **json.loads(record[len(_NOTE) :])}).encode())


def is_step(record: bytes) -> bool:
    """Tell whether a record after the header is a step."""
    return record != END and not record.startswith((_NOTE, _BASE))


def is_base(record: bytes) -> bool:
    """Tell whether a record is a part of the labels at the start."""
    return record.startswith(_BASE)


def step_of(record: bytes) -> EditStep:
    """Read a step. A part of the labels at the start is read as a step from an empty array."""
    return EditStep.from_bytes(record.removeprefix(_BASE))


def first_records(header: Header) -> list[bytes]:
    """Return the header twice, since the other records are useless without it."""
    record = replace(header, ready=False).to_json()
    return [record, _NOTE + record]


def base_records(labels: NDArray[Any], known: Facts) -> Iterator[bytes]:
    """Make the records of the labels at the start, one small part of the array after the other.

    The array may change in the meantime if each change follows as a step, since steps skip pixels that are already
    changed.
    """
    for box in _blocks(labels.shape):
        values = np.array(labels[box])
        if values.any():
            nothing = np.broadcast_to(np.zeros((), labels.dtype), values.shape)
            part = Difference.between([s.start for s in box], nothing, values)
            assert part is not None
            yield _BASE + EditStep("start", (part,)).to_bytes()
    if known:
        yield _BASE + EditStep("start", (), known_after=known).to_bytes()
    yield note(ready=True)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Divide an array into boxes of few pixels."""
    waiting = [tuple(slice(0, n) for n in shape)]
    while waiting:
        box = waiting.pop()
        sizes = [part.stop - part.start for part in box]
        if int(np.prod(sizes, dtype=np.int64)) <= _BLOCK or max(sizes) <= 1:
            yield box
            continue
        # Divide the first long axis, so that the boxes are contiguous in memory.
        axis = next((i for i, n in enumerate(sizes) if n > 1), 0)
        middle = (box[axis].start + box[axis].stop) // 2
        halves = (slice(middle, box[axis].stop), slice(box[axis].start, middle))
        waiting += [(*box[:axis], half, *box[axis + 1 :]) for half in halves]

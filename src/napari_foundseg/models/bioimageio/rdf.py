"""Reads the description of a package. Versions 0.4 and 0.5 of the format give the same objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.bioimageio.package_files import PackageFiles
from napari_foundseg.models.bioimageio.steps import Step, as_number

__all__ = ["Axis", "Code", "ModelFacts", "Tensor", "Weights", "read_facts"]

#: Kinds of weights that can be run, best first; the first kind that a package has is used.
FORMATS = ("onnx", "torchscript", "pytorch_state_dict")
#: Kinds of weights that packages may have and that cannot be run here.
_OTHERS = ("keras_hdf5", "keras_v3", "tensorflow_saved_model_bundle", "tensorflow_js")
#: Letters of version 0.4 for the axis types of version 0.5.
_LETTERS = {"batch": "b", "channel": "c", "time": "t", "index": "i"}
#: Largest number of values in a description, after YAML references are expanded.
_MOST_VALUES = 200_000


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor: its letter, and the lengths that it may have."""

    letter: str
    """One of ``bcyxzti``."""
    least: int = 1
    step: int = 1
    """Increment by which it can be longer than `least`; 0 if it is fixed."""
    names: tuple[str, ...] = ()
    """Names of channels."""
    offset: float = 0.0
    """Of an output: number of elements by which it is longer than the input's axis, negative if it is shorter."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of the model."""

    name: str
    axes: tuple[Axis, ...]
    kind: str
    """Type of its numbers, such as ``float32``."""
    steps: tuple[Step, ...]
    """Processing steps before or after the network."""
    range: tuple[float | None, float | None]
    """Least and largest value, if they are stated."""
    words: str
    """Its description."""
    values: tuple[str, ...]
    """Names of the classes, if its values are class numbers."""
    test: tuple[str, str | None]
    """File name and hash of its test array; empty if there is none."""

    def axis(self, letter: str) -> Axis | None:
        """Return the axis with a letter; None if there is none."""
        return next((axis for axis in self.axes if axis.letter == letter), None)

    @property
    def letters(self) -> str:
        """Letters of the axes, in order."""
        return "".join(axis.letter for axis in self.axes)


@dataclass(frozen=True)
class Code:
    """Python code that creates a network."""

    called: str
    """Name of the class or function."""
    file: str = ""
    """File of the package that defines it; empty: see `module`."""
    module: str = ""
    """Module of an installed package that defines it."""
    sha256: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Weights:
    """A file of weights, and the code of its network if the format needs it."""

    format: str
    file: str
    sha256: str | None
    code: Code | None = None


@dataclass(frozen=True)
class ModelFacts:
    """The description of a package's model."""

    path: Path
    name: str
    licence: str
    citation: str
    words: str
    """Description and tags."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Weights


def read_facts(path: Path) -> ModelFacts:
    """Read the description of a package.

    Raises CheckpointError if it is damaged, is not a model, has another version, or has no weights that can be run.
    """
    content = _read(path)
    if content.get("type", "model") != "model":
        raise CheckpointError(f"{path} is a package of bioimage.io with a {content['type']!r:.40}, no model.")
    version = str(content.get("format_version", "")).split(".")
    if version[:2] not in (["0", "4"], ["0", "5"]):
        raise CheckpointError(
            f"{path} is described in version {content.get('format_version')!r:.20} of bioimage.io's format; 0.4 and "
            "0.5 are read. Get a version of the package in one of these."
        )
    old = version[1] == "4"
    try:
        return ModelFacts(
            path,
            str(content.get("name") or path.stem)[:200],
            str(content.get("license") or "unknown")[:60],
            _citation(content.get("cite")),
            " ".join([str(content.get("name", "")), str(content.get("description", "")), *_texts(content.get("tags"))]),
            tuple(_tensors(content, "input", old)),
            tuple(_tensors(content, "output", old)),
            _weights(path, content.get("weights"), old),
        )
    except CheckpointError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise CheckpointError(
            f"{path} has an invalid description ({type(error).__name__}: {error!s:.200}). Get the "
            "package again, or have it checked (bioimageio test)."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    text = PackageFiles(path).description()
    try:
        content = _plain(yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise CheckpointError(
            f"{path} has a description that is not YAML: {' '.join(str(error).split())[:200]}. Get the package again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} has an empty description. Get the package again.")
    return content


def _plain(content: Any) -> Any:
    """Return a copy without shared objects; raise ValueError if YAML references make it too large."""
    left = [_MOST_VALUES]

    def copied(value: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise ValueError(f"its references repeat more than {_MOST_VALUES} values")
        if isinstance(value, dict):
            return {str(name): copied(one) for name, one in value.items()}
        return [copied(one) for one in value] if isinstance(value, list) else value

    return copied(content)


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _citation(cite: Any) -> str:
    entries = [one for one in cite if isinstance(one, dict)] if isinstance(cite, list) else []
    words = [str(one.get("text") or one.get("doi") or one.get("url") or "") for one in entries]
    return "; ".join(word for word in words if word)[:500] or "See the package's page on bioimage.io."


def _weights(path: Path, found: Any, old: bool) -> Weights:
    found = {name: entry for name, entry in found.items() if entry} if isinstance(found, dict) else {}
    kind = next((name for name in FORMATS if name in found), None)
    if kind is None:
        named = ", ".join(name for name in found if name in _OTHERS) or "none"
        raise CheckpointError(
            f"{path} has weights for {named}; those that can be run are ONNX, TorchScript, and weights of torch with "
            "their architecture. Choose a version of the model with one of them, or convert it (bioimageio.core)."
        )
    entry = found[kind]
    code = None
    if kind == "pytorch_state_dict":
        code = _old_code(entry) if old else _code(entry["architecture"])
    return Weights(kind, _source(entry["source"]), _hash(entry.get("sha256")), code)


def _code(entry: Mapping[str, Any]) -> Code:
    arguments = dict(entry.get("kwargs") or {})
    if "import_from" in entry:
        return Code(str(entry["callable"]), module=str(entry["import_from"]), arguments=arguments)
    return Code(
        str(entry["callable"]), _source(entry["source"]), sha256=_hash(entry.get("sha256")), arguments=arguments
    )


def _old_code(entry: Mapping[str, Any]) -> Code:
    """Parse ``model.py:UNet`` or ``package.module.UNet``."""
    place, colon, called = str(entry["architecture"]).rpartition(":")
    arguments = dict(entry.get("kwargs") or {})
    if colon:
        return Code(called, place, sha256=_hash(entry.get("architecture_sha256")), arguments=arguments)
    module, _, called = str(entry["architecture"]).rpartition(".")
    return Code(called, module=module, arguments=arguments)


def _tensors(content: Mapping[str, Any], which: str, old: bool) -> list[Tensor]:
    entries = content[f"{which}s"]
    tests = content.get(f"test_{which}s") or []
    made: list[Tensor] = []
    for number, entry in enumerate(entries):
        test = tests[number] if old and number < len(tests) else entry.get("test_tensor")
        made.append(_old_tensor(entry, which, test) if old else _tensor(entry, which, test))
    if not made:
        raise ValueError(f"it has no {which}s")
    return made


def _old_tensor(entry: Mapping[str, Any], which: str, test: Any) -> Tensor:
    letters = str(entry["axes"])
    steps = entry.get("preprocessing" if which == "input" else "postprocessing") or []
    low, high = entry.get("data_range") or (None, None)
    return Tensor(
        str(entry["name"]),
        tuple(_old_axes(letters, entry["shape"])),
        str(entry.get("data_type", "float32")),
        tuple(Step(str(step["name"]), _old_arguments(step.get("kwargs") or {}), letters) for step in steps),
        (_finite(low), _finite(high)),
        str(entry.get("description") or ""),
        (),
        (_source(test), None) if test else ("", None),
    )


def _old_axes(letters: str, shape: Any) -> list[Axis]:
    if isinstance(shape, list):
        return [Axis(letter, int(n), 0) for letter, n in zip(letters, shape, strict=True)]
    if "min" in shape:
        pairs = zip(letters, shape["min"], shape["step"], strict=True)
        return [Axis(letter, int(least), int(step)) for letter, least, step in pairs]
    made = []
    for letter, scale, half in zip(letters, shape["scale"], shape["offset"], strict=True):
        # An axis that only the output has: its scale is missing or 0, and its offset is half of its length.
        made.append(Axis(letter, offset=2 * half) if scale else Axis(letter, int(2 * half), 0))
    return made


def _old_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    named = dict(arguments)
    if isinstance(named.get("axes"), str):
        named["axes"] = list(named["axes"])
    return named


def _tensor(entry: Mapping[str, Any], which: str, test: Any) -> Tensor:
    axes = tuple(_axis(axis) for axis in entry["axes"])
    letters = "".join(axis.letter for axis in axes)
    data = entry.get("data") or {}
    each = data if isinstance(data, list) else [data]
    first = each[0]
    kind = str(first.get("type") or "float32")
    found = entry.get("preprocessing" if which == "input" else "postprocessing") or []
    steps = [Step(str(step["id"]), _arguments(step.get("kwargs") or {}), letters) for step in found]
    # The format requires this, so that steps do not change the data type.
    if not steps or steps[-1].name not in ("ensure_dtype", "binarize"):
        steps.append(Step("ensure_dtype", {"dtype": kind}, letters))
    low, high = first.get("range") or (None, None)
    values = first.get("values")
    named = tuple(values) if isinstance(values, list) and any(isinstance(one, str) for one in values) else ()
    return Tensor(
        str(entry.get("id", which)),
        axes,
        kind,
        tuple(steps),
        (_finite(low), _finite(high)),
        str(entry.get("description") or ""),
        tuple(map(str, named)),
        (_source(test["source"]), _hash(test.get("sha256"))) if test else ("", None),
    )


def _axis(entry: Mapping[str, Any]) -> Axis:
    kind = str(entry["type"])
    letter = _LETTERS.get(kind) or str(entry.get("id", "x"))
    if len(letter) != 1:
        raise ValueError(f"an axis of {kind} is called {letter!r:.40}")
    names = tuple(_texts(entry.get("channel_names")))
    if kind == "channel":
        return Axis(letter, len(names), 0, names)
    size = entry.get("size")
    if size is None:
        # No size means a batch of any size.
        return Axis(letter)
    if isinstance(size, Mapping):
        if "step" in size:
            return Axis(letter, int(size["min"]), int(size["step"]))
        if "min" in size:
            return Axis(letter, int(size["min"]))
        # The length of an axis of another tensor, times the ratio of their scales.
        return Axis(letter, offset=float(size.get("offset") or 0))
    return Axis(letter, int(size), 0)


def _arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    def letter(name: Any) -> str:
        return _LETTERS.get(str(name), str(name))

    named = dict(arguments)
    if isinstance(named.get("axes"), list):
        named["axes"] = [letter(name) for name in named["axes"]]
    if named.get("axis") is not None:
        named["axis"] = letter(named["axis"])
    return named


def _finite(value: Any) -> float | None:
    number = None if value is None else as_number(value)
    return number if number is not None and abs(number) < float("inf") else None


def _source(value: Any) -> str:
    """Return the name of a file. Newer descriptions may have an object with the name and the hash instead."""
    if isinstance(value, Mapping):
        return _source(value["source"])
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is not a file name")
    return value


def _hash(value: Any) -> str | None:
    return None if value is None else str(value)

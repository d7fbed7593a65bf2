"""The preprocessing and postprocessing steps that bioimage.io defines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError

__all__ = ["Step", "applied", "as_number", "check_steps"]

#: Default of `eps`, which is added to denominators.
_EPS = 1e-6
_KINDS = {"float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
          "bool"}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A processing step: its name and arguments. Axes are letters."""

    name: str
    arguments: Mapping[str, Any]
    letters: str
    """Axes of the array, such as ``bcyx``."""


def as_number(value: Any) -> float:
    """Convert a value to a number. YAML reads 1e-06 as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{value!r:.40} is not a number")
    return float(value)


def applied(array: NDArray[Any], steps: Iterable[Step], seen: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return an array after a sequence of steps.

    `seen`: the array that mean, deviation and percentiles are computed from. For an input, pass the picture before all
    steps: bioimageio.core does so, and packages are tested with it. By default each step uses its own input.
    """
    for step in steps:
        array = _STEPS[step.name](array, step, array if seen is None else seen)
    return array


def check_steps(path: Any, which: str, steps: Iterable[Step], shape: tuple[int, ...]) -> None:
    """Raise CheckpointError if a step is unknown, or cannot be applied to an array with this shape.

    `which`: preprocessing or postprocessing.
    """
    array = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    for step in steps:
        if step.name not in _STEPS:
            raise CheckpointError(
                f"{path} wants the {which} {step.name!r:.60}, which is not known here: {', '.join(_STEPS)} are. "
                "Without it results would be wrong."
            )
        if which == "postprocessing" and step.arguments.get("reference_tensor"):
            raise CheckpointError(
                f"{path} wants the {which} {step.name!r:.60} by the values of another array, which is not done here."
            )
        try:
            # A list of numbers that is longer than its axis would enlarge the array; then this raises.
            array = np.broadcast_to(applied(array, [step], array), shape)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            raise CheckpointError(
                f"{path} wants the {which} {step.name!r:.60} with {dict(step.arguments)!r:.120}, which cannot be done "
                f"({type(error).__name__}: {error!s:.100}). Get the package again."
            ) from error


def _axes(step: Step) -> tuple[int, ...]:
    """Return the axes that a statistic is computed over; all axes if the step names none."""
    named = step.arguments.get("axes")
    if named is None:
        return tuple(range(len(step.letters)))
    # Batches here have one picture, so the batch axis may be missing.
    return tuple(step.letters.index(letter) for letter in named if letter != "b" or "b" in step.letters)


def _values(step: Step, name: str, default: float | None = None) -> NDArray[np.float32]:
    """Return an argument as an array that broadcasts: one number, or one for each element of an axis."""
    found = step.arguments.get(name, default)
    if found is None:
        raise KeyError(name)
    if not isinstance(found, list):
        return np.asarray(as_number(found), np.float32)
    along = str(step.arguments.get("axis") or "c")
    shape = [1] * len(step.letters)
    shape[step.letters.index(along)] = len(found)
    return np.asarray([as_number(one) for one in np.ravel(found).tolist()], np.float32).reshape(shape)


def _percentile(array: NDArray[Any], step: Step, name: str, default: float, method: Any = "linear") -> Any:
    share = as_number(step.arguments.get(name, default))
    return np.percentile(array, share, axis=_axes(step), keepdims=True, method=method)


def _scale_range(array: NDArray[Any], step: Step, seen: NDArray[Any]) -> NDArray[Any]:
    low = _percentile(seen, step, "min_percentile", 0)
    high = _percentile(seen, step, "max_percentile", 100)
    return _float((array - low) / (high - low + _eps(step)))


def _zero_mean(array: NDArray[Any], step: Step, seen: NDArray[Any]) -> NDArray[Any]:
    if step.arguments.get("mode") == "fixed":
        return _fixed_zero_mean(array, step, seen)
    axes = _axes(step)
    mean = seen.mean(axes, keepdims=True, dtype=np.float64)
    deviation = seen.std(axes, keepdims=True, dtype=np.float64)
    return _float((array - mean) / (deviation + _eps(step)))


def _fixed_zero_mean(array: NDArray[Any], step: Step, _seen: NDArray[Any]) -> NDArray[Any]:
    return _float((array - _values(step, "mean")) / (_values(step, "std") + _eps(step)))


def _scale_linear(array: NDArray[Any], step: Step, _seen: NDArray[Any]) -> NDArray[Any]:
    return _float(array * _values(step, "gain", 1.0) + _values(step, "offset", 0.0))


def _clip(array: NDArray[Any], step: Step, seen: NDArray[Any]) -> NDArray[Any]:
    low = high = None
    if step.arguments.get("min_percentile") is not None:
        low = _percentile(seen, step, "min_percentile", 0, "inverted_cdf")
    elif step.arguments.get("min") is not None:
        low = as_number(step.arguments["min"])
    if step.arguments.get("max_percentile") is not None:
        high = _percentile(seen, step, "max_percentile", 100, "inverted_cdf")
    elif step.arguments.get("max") is not None:
        high = as_number(step.arguments["max"])
    clipped: NDArray[Any] = np.clip(array, low, high)
    return clipped


def _binarize(array: NDArray[Any], step: Step, _seen: NDArray[Any]) -> NDArray[Any]:
    return array > _values(step, "threshold")


def _sigmoid(array: NDArray[Any], _step: Step, _seen: NDArray[Any]) -> NDArray[Any]:
    from scipy.special import expit

    return _float(expit(array.astype(np.float32)))


def _softmax(array: NDArray[Any], step: Step, _seen: NDArray[Any]) -> NDArray[Any]:
    along = step.letters.index(str(step.arguments.get("axis") or "c"))
    powers = np.exp(array - array.max(along, keepdims=True))
    return _float(powers / powers.sum(along, keepdims=True))


def _ensure_dtype(array: NDArray[Any], step: Step, _seen: NDArray[Any]) -> NDArray[Any]:
    kind = str(step.arguments["dtype"])
    if kind not in _KINDS:
        raise ValueError(f"{kind!r:.40} is none of {', '.join(sorted(_KINDS))}")
    return array.astype(kind)


def _eps(step: Step) -> float:
    return as_number(step.arguments.get("eps", _EPS))


def _float(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array, np.float32)


_STEPS: dict[str, Callable[[NDArray[Any], Step, NDArray[Any]], NDArray[Any]]] = {
    "scale_range": _scale_range,
    "zero_mean_unit_variance": _zero_mean,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean,
    "scale_linear": _scale_linear,
    "clip": _clip,
    "binarize": _binarize,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "ensure_dtype": _ensure_dtype,
}

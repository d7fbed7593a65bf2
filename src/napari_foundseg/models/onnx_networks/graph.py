"""Facts from the graph in an ONNX file. The graph is read, but not run."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError, PackageError
from napari_foundseg.models.family import Package, installed_version

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

__all__ = ["ONNX_PACKAGES", "Graph", "Port", "read_graph"]

#: Packages that read graphs and run them.
ONNX_PACKAGES = (Package("onnx", "1.16"), Package("onnxruntime", "1.18"))
#: Operator domains that onnxruntime supports.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc"}
#: Largest number of elements in one value inside a network: 8 GB of float32.
_MOST_NUMBERS = 2 * 10**9
#: Largest graph, in bytes, whose shapes are inferred, since the inference copies the weights.
_INFERRED = 10**9


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    shape: tuple[int | None, ...]
    """Lengths of its axes; None if the file leaves them open."""
    kind: str
    """Type of its numbers, such as ``float32``."""


@dataclass(frozen=True)
class Graph:
    """The facts about a graph that this package uses."""

    inputs: tuple[Port, ...]
    """The inputs, without weights."""
    outputs: tuple[Port, ...]
    makers: dict[str, str]
    """The operator that makes each output."""
    metadata: dict[str, str]
    """Metadata that the exporting program wrote."""


def read_graph(path: Path, content: bytes | None = None) -> Graph:
    """Read the graph of an ONNX file, or of its `content`.

    Raises CheckpointError if it is damaged, needs too much memory, or needs operators or files that are missing.
    Raises PackageError if the packages that read and run ONNX are missing.
    """
    for package in ONNX_PACKAGES:
        if not installed_version(package.name):
            raise PackageError(
                f"{path} is an ONNX model, which needs {package.name}; it is not installed. pip install "
                "'napari-foundseg[onnx]'"
            )
    import onnx

    try:
        model = onnx.load_from_string(content) if content else onnx.load(path, load_external_data=False)
    except Exception as error:
        raise CheckpointError(f"{path} is a damaged ONNX model ({error!s:.200}); get or export it again.") from error
    _check_files(path, model)
    _check_operators(path, model)
    model = _inferred(path, model)
    weights = {tensor.name for tensor in model.graph.initializer}
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    return Graph(
        tuple(_port(value) for value in model.graph.input if value.name not in weights),
        tuple(_port(value) for value in model.graph.output),
        {value.name: makers.get(value.name, "") for value in model.graph.output},
        {entry.key: entry.value for entry in model.metadata_props},
    )


def _check_files(path: Path, model: ModelProto) -> None:
    """Raise CheckpointError if the weights are in other files than ``NAME.data`` next to it, or if that is missing."""
    wanted = f"{path.name}.data"
    others = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }  # fmt: skip
    if others - {wanted}:
        raise CheckpointError(
            f"{path} keeps its weights in {min(others - {wanted})!r:.80}. Only {wanted} beside it is read: save the "
            "model as one file (onnx.save_model without external data)."
        )
    if others and not path.with_name(wanted).is_file():
        raise CheckpointError(f"{path} keeps its weights in {wanted}, which is not beside it. Copy both files.")


def _check_operators(path: Path, model: ModelProto) -> None:
    foreign = sorted({node.domain for node in model.graph.node} - _DOMAINS)
    if foreign:
        raise CheckpointError(
            f"{path} uses operators of {', '.join(foreign)!s:.100}, which onnxruntime does not have. Export it with "
            "the standard operators of ONNX alone."
        )


def _inferred(path: Path, model: ModelProto) -> ModelProto:
    """Return the graph with the inferred shapes of its values.

    Raises CheckpointError if a value is too large for memory.
    """
    import onnx

    if model.ByteSize() > _INFERRED:
        return model
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise CheckpointError(f"{path} is a damaged ONNX model ({error!s:.200}); get or export it again.") from error
    for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input):
        port = _port(value)
        if prod(length or 1 for length in port.shape) > _MOST_NUMBERS:
            raise CheckpointError(
                f"{path} computes {port.name!r:.60} of {' x '.join(str(n) for n in port.shape)!s:.80} numbers, more "
                "than memory holds. It is damaged, or not a network for images."
            )
    return inferred


def _port(value: ValueInfoProto) -> Port:
    import onnx

    kind: Any = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
    try:
        name = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except (KeyError, TypeError, ValueError):
        name = "unknown"
    return Port(value.name, shape, name)

"""Which input of a graph is the picture, which output the map, and what can be guessed of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.onnx_networks.description import NetworkDescription
from napari_foundseg.models.onnx_networks.graph import Graph, Port

__all__ = ["METADATA", "PictureInput", "guessed", "map_count", "map_output", "picture_input", "stated_facts"]

#: Key of the metadata in which a file may describe itself.
METADATA: Final = "foundseg"
#: Prototypes of masks that a YOLO mixes for each object.
PROTOTYPES: Final = 32

#: Operators after which values are probabilities.
_TO_PROBABILITIES = {"Sigmoid", "Softmax", "HardSigmoid"}
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class PictureInput:
    """The input that takes pictures."""

    name: str
    channels: int
    channels_first: bool
    size: tuple[int, int] | None
    """Rows and columns where the file fixes them."""
    batch: int
    kind: str


def picture_input(path: Path, graph: Graph) -> PictureInput:
    """Return the input of a graph that takes a picture; CheckpointError if it takes something else."""
    if len(graph.inputs) != 1:
        names = ", ".join(port.name for port in graph.inputs)
        raise CheckpointError(
            f"{path} takes {len(graph.inputs)} inputs ({names:.200}); networks that take one picture can be used."
        )
    port = graph.inputs[0]
    shape = port.shape
    if len(shape) == 5:
        raise CheckpointError(f"{path} takes volumes ({_text(shape)}); networks that take flat pictures can be used.")
    if len(shape) != 4:
        raise CheckpointError(
            f"{path} takes {_text(shape)}; a picture is batch x channels x rows x columns, or with the channels last."
        )
    first = shape[1] in _CHANNELS or shape[3] not in _CHANNELS
    channels = shape[1] if first else shape[3]
    if channels not in (None, *_CHANNELS):
        raise CheckpointError(f"{path} takes pictures of {channels} channels; networks of 1 or 3 can be used.")
    rows, columns = shape[2:] if first else shape[1:3]
    size = (rows, columns) if rows and columns else None
    return PictureInput(port.name, channels or 3, first, size, shape[0] or 1, port.kind)


def map_output(path: Path, graph: Graph, name: str = "") -> Port:
    """Return the output of a name, else the first that is a map; CheckpointError if there is none."""
    named = ", ".join(port.name for port in graph.outputs)
    if name:
        for port in graph.outputs:
            if port.name == name:
                return port
        raise CheckpointError(f"{path} has no output {name!r:.60}; its outputs are {named:.300}.")
    for port in graph.outputs:
        # Without a shape in the file, anything may come.
        if len(port.shape) in (0, 3, 4):
            return port
    raise CheckpointError(
        f"{path} returns no map: its outputs are {named:.300}. A map is batch x maps x rows x columns."
    )


def has_prototypes(graph: Graph) -> bool:
    """Tell whether outputs are those of a YOLO with masks: numbers by place, and 32 prototypes."""
    if len(graph.outputs) != 2 or len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        return False
    first, second = (port.shape for port in graph.outputs)
    if (len(first), len(second)) != (3, 4) or second[1] not in (None, PROTOTYPES):
        return False
    # Of older versions the places come before the numbers.
    shaped = (first[1] or 0) > 4 + PROTOTYPES and (first[2] is None or first[2] > (first[1] or 0))
    return shaped or (graph.metadata.get("task") == "segment" and first[1] is None)


def map_count(graph_input: PictureInput, port: Port) -> int | None:
    """Return how many maps an output has, None where the file leaves it open."""
    if len(port.shape) == 3:
        return 1
    if len(port.shape) != 4:
        return None
    return port.shape[1] if graph_input.channels_first else port.shape[3]


def stated_facts(path: Path, graph: Graph) -> dict[str, Any]:
    """Return what a file says of itself, as JSON in the metadata ``foundseg``; CheckpointError if it is not JSON."""
    text = graph.metadata.get(METADATA, "{}")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        facts = error
    if not isinstance(facts, dict):
        raise CheckpointError(
            f"{path} has the metadata {METADATA!r} = {text!r:.80}, which is not a JSON object of facts such as "
            '{"output": "object"}. Correct or remove it.'
        )
    return facts


def guessed(path: Path, graph: Graph, said: Mapping[str, Any]) -> NetworkDescription:
    """Return what is said of a network, and for the rest what its graph suggests."""
    port = map_output(path, graph, str(said.get("output_name", "")))
    count = map_count(picture_input(path, graph), port)
    fits = {"values": "probabilities" if graph.makers.get(port.name) in _TO_PROBABILITIES else "scores"}
    if port.kind.startswith(("int", "uint")):
        fits["output"] = "class numbers"
    elif count == 1:
        fits["output"] = "object"
    return NetworkDescription.parse({**fits, **said})


def _text(shape: tuple[int | None, ...]) -> str:
    return " x ".join("?" if n is None else str(n) for n in shape)

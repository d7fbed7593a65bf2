"""Finds the picture input and the map output of a graph, and guesses facts about them."""

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

#: Key of the metadata with which a file may describe itself.
METADATA: Final = "foundseg"
#: Number of mask prototypes that a YOLO combines for each object.
PROTOTYPES: Final = 32

#: Operators whose results are probabilities.
_TO_PROBABILITIES = {"Sigmoid", "Softmax", "HardSigmoid"}
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class PictureInput:
    """The input that takes pictures."""

    name: str
    channels: int
    channels_first: bool
    size: tuple[int, int] | None
    """Rows and columns, if the file fixes them."""
    batch: int
    kind: str


def picture_input(path: Path, graph: Graph) -> PictureInput:
    """Return the only input of a graph, which takes a picture; raise CheckpointError if it takes anything else."""
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
    """Return the output with a name, or the first one that may be a map; raise CheckpointError if there is none."""
    named = ", ".join(port.name for port in graph.outputs)
    if name:
        for port in graph.outputs:
            if port.name == name:
                return port
        raise CheckpointError(f"{path} has no output {name!r:.60}; its outputs are {named:.300}.")
    for port in graph.outputs:
        # An empty shape means that the file does not state it: the output may be a map.
        if len(port.shape) in (0, 3, 4):
            return port
    raise CheckpointError(
        f"{path} returns no map: its outputs are {named:.300}. A map is batch x maps x rows x columns."
    )


def has_prototypes(graph: Graph) -> bool:
    """Return whether the outputs are those of a YOLO with masks: predictions by position, and 32 prototypes."""
    if len(graph.outputs) != 2 or len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        return False
    first, second = (port.shape for port in graph.outputs)
    if (len(first), len(second)) != (3, 4) or second[1] not in (None, PROTOTYPES):
        return False
    # In exports of older versions the axis of positions comes first.
    shaped = (first[1] or 0) > 4 + PROTOTYPES and (first[2] is None or first[2] > (first[1] or 0))
    return shaped or (graph.metadata.get("task") == "segment" and first[1] is None)


def map_count(graph_input: PictureInput, port: Port) -> int | None:
    """Return the number of maps in an output; None if the file does not state it."""
    if len(port.shape) == 3:
        return 1
    if len(port.shape) != 4:
        return None
    return port.shape[1] if graph_input.channels_first else port.shape[3]


def stated_facts(path: Path, graph: Graph) -> dict[str, Any]:
    """Return the facts in a file's metadata ``foundseg``; raise CheckpointError if they are not a JSON object."""
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
    """Return a description with the stated facts; the graph suggests the others."""
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

"""Networks in ONNX files, such as a laboratory's own U-Net. The user describes input and output at the import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, WeightsView
from napari_foundseg.models.files.known_kinds import onnx_file
from napari_foundseg.models.onnx_networks.described_models import (
    NetworkClasses,
    NetworkFlows,
    NetworkMaps,
    described_fields,
    described_model,
)
from napari_foundseg.models.onnx_networks.description import NetworkDescription, description_of
from napari_foundseg.models.onnx_networks.graph import ONNX_PACKAGES, read_graph
from napari_foundseg.models.onnx_networks.network import note_missing_cuda, open_network, open_session
from napari_foundseg.models.onnx_networks.ports import (
    guessed,
    has_prototypes,
    map_count,
    map_output,
    picture_input,
    stated_facts,
)

__all__ = ["FAMILY", "load", "recognise"]

FAMILY = Family(
    rank=6,
    title="ONNX networks of your own",
    protocols=("SemanticClasses", "InstanceDecoding", "FlowDecoding"),
    verified_against="torch: the forward pass of the network that was exported, equal within 1e-4",
    packages=ONNX_PACKAGES,
    facts=NetworkDescription,
)


def load(row: CatalogRow, path: Path, device: str) -> NetworkClasses | NetworkMaps | NetworkFlows:
    """Load the model of a row; raise CheckpointError if onnxruntime cannot run the file."""
    description = description_of(row)
    assert isinstance(description, NetworkDescription)
    model = described_model(open_network(onnx_file(path) or path, description, device), row)
    note_missing_cuda(model, device)
    return model


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields for an ONNX file, else None; CheckpointError if it does not map one picture to maps."""
    file = onnx_file(found.path)
    if file is None:
        return None
    graph = read_graph(file)
    if has_prototypes(graph):
        # A YOLO is left to the family `yolo_seg`.
        return None
    port = picture_input(file, graph)
    facts = {**stated_facts(file, graph), **found.facts}
    description = guessed(file, graph, facts)
    count = map_count(port, map_output(file, graph, description.output_name))
    fields = described_fields(file, port, count, description, facts)
    open_session(file, "cpu")
    return {**fields, "title": found.path.stem}

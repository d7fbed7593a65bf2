"""Models of bioimage.io: packages with ONNX, TorchScript, or torch weights with Python code for their network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.bioimageio.meaning import map_count, stated, suggested
from napari_foundseg.models.bioimageio.network import digest, map_tensor, open_package, package_input
from napari_foundseg.models.bioimageio.package_files import PackageFiles, is_package
from napari_foundseg.models.bioimageio.rdf import ModelFacts, read_facts
from napari_foundseg.models.bioimageio.runtimes import check_code, check_script
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.onnx_networks.described_models import (
    NetworkClasses,
    NetworkFlows,
    NetworkMaps,
    described_fields,
    described_model,
)
from napari_foundseg.models.onnx_networks.description import PackageDescription, description_of
from napari_foundseg.models.onnx_networks.graph import ONNX_PACKAGES
from napari_foundseg.models.onnx_networks.network import note_missing_cuda

__all__ = ["FAMILY", "load", "recognise"]

_SCRIPT = (
    "Its TorchScript is a program, which torch runs when the model is used: it holds no Python, but PyTorch's authors "
    "advise to run only programs of people whom you trust"
)


def _more_packages(options: Mapping[str, Any]) -> tuple[Package, ...]:
    return ONNX_PACKAGES if options["format"] == "onnx" else ()


FAMILY = Family(
    rank=4,
    title="models of bioimage.io",
    protocols=("SemanticClasses", "InstanceDecoding", "FlowDecoding"),
    verified_against="bioimageio.core 0.11: its pipelines with their pre- and postprocessing, equal within 1e-4",
    more_packages=_more_packages,
    facts=PackageDescription,
)


def load(row: CatalogRow, path: Path, device: str) -> NetworkClasses | NetworkMaps | NetworkFlows:
    """Load the model of a row; raise CheckpointError if the package has changed or cannot be run."""
    description = description_of(row)
    assert isinstance(description, PackageDescription)
    facts = read_facts(path)
    if digest(facts) != row.options["digest"]:
        raise CheckpointError(
            f"{path} has changed since its import: its description, weights or Python are not those that were agreed "
            f"to. Import it again (napari-foundseg models import, --name {row.name})."
        )
    model = described_model(open_package(facts, description, device), row)
    if facts.weights.format == "onnx":
        note_missing_cuda(model, device)
    return model


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields for a package, else None; CheckpointError if it does not map one picture to maps."""
    if not is_package(found.path):
        return None
    facts = read_facts(found.path)
    port = package_input(facts)
    tensor = map_tensor(facts, str(found.facts.get("output_name", "")))
    count = map_count(facts, tensor)
    said = {**stated(facts, tensor, count), **found.facts}
    description = PackageDescription.parse({**suggested(facts, tensor, count, port), **said})
    fields = described_fields(found.path, port, count, description, said)
    _check_weights(facts, description)
    return {
        **fields,
        "title": facts.name,
        "citation": facts.citation,
        "weights_licence": facts.licence,
        "options": {**fields["options"], "format": facts.weights.format, "digest": digest(facts)},
        "assumed": ". ".join(filter(None, (fields["assumed"], _prepared(facts), _what_runs(facts)))),
    }


def _check_weights(facts: ModelFacts, description: PackageDescription) -> None:
    """Raise CheckpointError if weights are missing or damaged. Python code is not run."""
    if facts.weights.format == "onnx":
        open_package(facts, description, "cpu")
    elif facts.weights.format == "torchscript":
        check_script(facts)
    else:
        files, code = PackageFiles(facts.path), facts.weights.code
        assert code is not None
        files.checked(facts.weights.file, facts.weights.sha256)
        if code.file:
            files.checked(code.file, code.sha256)
        check_code(facts, run_code=description.run_code)


def _prepared(facts: ModelFacts) -> str:
    """Return a text about a difference between the input here and the package's description; empty if there is none."""
    low, high = facts.inputs[0].range
    if high is not None and high > 255:
        return (
            f"It was made for grey values of {low or 0:g} to {high:g} and is given 0 to 255, as all models here: its "
            "preprocessing has to make up for that"
        )
    return ""


def _what_runs(facts: ModelFacts) -> str:
    code = facts.weights.code
    if code is not None:
        return f"Its Python ({code.called} of {code.file or code.module}) is run when the model is used, as you allowed"
    return _SCRIPT if facts.weights.format == "torchscript" else ""

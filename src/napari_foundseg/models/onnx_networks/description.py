"""Descriptions of a network's input and output, for facts that its file does not contain.

The form, the command line and the catalogue row are all generated from this one declaration.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from pydantic import Field, field_validator

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.models.catalog import CatalogRow, Expected

__all__ = ["InputValues", "MapDescription", "NetworkDescription", "Output", "PackageDescription", "description_of"]

#: The scale to which grey values of 0 to 255 are converted for a network.
InputValues = Literal["0 to 1", "-1 to 1", "0 to 255", "ImageNet", "mean 0, deviation 1"]
#: Meaning of a network's output.
Output = Literal["classes", "class numbers", "object", "object and boundary", "distances", "flows"]


class MapDescription(Declared):
    """Input and output of a network that takes one picture and returns maps."""

    noun: ClassVar[str] = "fact about a network"

    output: Output = "classes"
    """What the output means. Classes: a map for each class, the highest wins. Class numbers: one map of whole numbers.
    Object: one map, high on objects. Object and boundary: two maps, or three with the background first; touching
    objects are told apart. Distances: foreground, distance to the centre and to the boundary, both 0 deep inside, as
    micro-sam's decoder. Flows: as Cellpose."""
    classes: str = ""
    """Names of the classes in their order, separated by commas, such as: background, nucleus, debris. A first one
    called background is not a class of the result."""
    values: Literal["probabilities", "scores"] = Field("probabilities", title="Values of the output")
    """Probabilities: 0 to 1. Scores: before a sigmoid or softmax, which is then applied (logits)."""
    contrast: Expected = "percentile"
    """How grey values become 0 to 255 before. Percentile: the darkest and brightest 0.5 % are cut. Min to max. As is:
    8-bit colours are not changed, grey images as with percentile. The user may choose limits in a form."""
    size: int = Field(512, ge=32, le=4096, json_schema_extra={"unit": "pixels", "step": 32})
    """Side of the pictures that the network is given, where the file does not fix it: larger images are cut into
    overlapping tiles of this size."""
    output_name: str = ""
    """Which output of the file, where it has several; empty: the first that is a picture."""

    @field_validator("classes", mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, without surrounding spaces."""
        return tuple(name for part in self.classes.split(",") if (name := part.strip()))

    @property
    def options(self) -> dict[str, Any]:
        """The facts that are stored in the row's options. The other facts have their own fields in the row."""
        return self.model_dump(mode="json", exclude={"classes", "contrast"})


class NetworkDescription(MapDescription):
    """Input and output of a network in an ONNX file."""

    noun: ClassVar[str] = "fact about an ONNX network"

    input_values: InputValues = Field("0 to 1", title="Values of the input")
    """What the network was trained on. ImageNet: 0 to 1, then less ImageNet's mean and divided by its deviation, as
    most networks with a pretrained encoder. Mean 0, deviation 1: of each picture."""


class PackageDescription(MapDescription):
    """Input and output of a network in a bioimage.io package. The package itself states the preprocessing."""

    noun: ClassVar[str] = "fact about a model of bioimage.io"

    run_code: bool = Field(False, title="Run its Python")
    """Only of packages that have weights and the Python of their network: whether that may be run, with all rights of
    your account. Run it only if you trust those who wrote it."""


#: Families whose networks have a description, and the class of the description.
_DESCRIPTIONS: Final[dict[str, type[MapDescription]]] = {
    "onnx_network": NetworkDescription,
    "bioimageio": PackageDescription,
}


def description_of(row: CatalogRow) -> MapDescription | None:
    """Return the description of a row's network; None if its family has no descriptions."""
    kind = _DESCRIPTIONS.get(row.family)
    if kind is None:
        return None
    said = {name: value for name, value in row.options.items() if name in kind.model_fields}
    return kind.parse({**said, "classes": row.classes, "contrast": row.expects or kind().contrast})

"""The network of a package, with the axes and values that the package's description states."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.bioimageio.package_files import PackageFiles
from napari_foundseg.models.bioimageio.rdf import Axis, ModelFacts, Tensor
from napari_foundseg.models.bioimageio.runtimes import open_runtime, package_graph
from napari_foundseg.models.bioimageio.steps import applied, check_steps
from napari_foundseg.models.onnx_networks.description import PackageDescription
from napari_foundseg.models.onnx_networks.network import PictureNetwork, as_input
from napari_foundseg.models.onnx_networks.ports import PictureInput

__all__ = ["PackageNetwork", "digest", "map_tensor", "open_package", "package_input"]


class PackageNetwork(PictureNetwork):
    """A network with the preprocessing and postprocessing of its package.

    Parameters
    ----------
    facts : ModelFacts
        The description of the package.
    tensor : Tensor
        The output with the maps.
    more
        Passed to `PictureNetwork` after the path.
    """

    def __init__(self, facts: ModelFacts, tensor: Tensor, *more: Any) -> None:
        super().__init__(facts.path, *more)
        self._picture = facts.inputs[0]
        self._maps = tensor

    def prepared(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return an 8-bit picture (M, N, 3) with the channels and values of the network's input, (M, N, C)."""
        return self.normalised(as_input(rgb, self.input.channels, "0 to 255"))

    def normalised(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the preprocessing of the package to grey values (M, N, C)."""
        letters = self._picture.letters
        array = _arranged(picture.transpose(2, 0, 1), letters)
        return _planes(applied(array, self._picture.steps, array), letters).transpose(1, 2, 0)

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(_whole(self._picture.axis(letter), n) for letter, n in zip("yx", shape, strict=True))

    def _batch(self, planes: NDArray[np.float32]) -> NDArray[Any]:
        return _arranged(planes, self._picture.letters, self.input.batch).astype(self.input.kind)

    def _found(self, output: NDArray[Any]) -> NDArray[Any]:
        letters = self._maps.letters
        if output.ndim != len(letters):
            raise CheckpointError(
                f"{self.path}: {self.output} is of shape {output.shape}, but its description has the axes {letters}."
            )
        return _planes(applied(output, self._maps.steps), letters)


def open_package(facts: ModelFacts, description: PackageDescription, device: str) -> PackageNetwork:
    """Return the network of a package; raise CheckpointError if it cannot be run."""
    port, tensor = package_input(facts), map_tensor(facts, description.output_name)
    output = tensor.name
    if facts.weights.format == "onnx":
        graph = package_graph(facts)
        number = facts.outputs.index(tensor)
        fits = len(graph.inputs) == 1 and len(graph.inputs[0].shape) == len(facts.inputs[0].letters)
        if not fits or number >= len(graph.outputs):
            raise CheckpointError(
                f"The ONNX file of {facts.path} has other inputs or outputs than its description. Get it again."
            )
        own = graph.inputs[0]
        port = PictureInput(own.name, port.channels, port.channels_first, port.size, port.batch, own.kind)
        output = graph.outputs[number].name
    runtime = open_runtime(facts, device, run_code=description.run_code)
    return PackageNetwork(facts, tensor, port, output, description, runtime)


def package_input(facts: ModelFacts) -> PictureInput:
    """Return the only input of a package, which takes a picture; raise CheckpointError if it takes anything else."""
    if len(facts.inputs) != 1:
        names = ", ".join(tensor.name for tensor in facts.inputs)
        raise CheckpointError(
            f"{facts.path} takes {len(facts.inputs)} inputs ({names:.200}); networks that take one picture can be used."
        )
    tensor = facts.inputs[0]
    _check_axes(facts, tensor, "takes")
    channel = tensor.axis("c")
    channels = channel.least if channel else 1
    if channels not in (1, 3):
        raise CheckpointError(f"{facts.path} takes pictures of {channels} channels; networks of 1 or 3 can be used.")
    rows, columns = (tensor.axis(letter) for letter in "yx")
    assert rows is not None
    assert columns is not None
    size = None if rows.step or columns.step else (rows.least, columns.least)
    batch = tensor.axis("b")
    check_steps(facts.path, "preprocessing", tensor.steps, _shape(tensor))
    return PictureInput(tensor.name, channels, True, size, batch.least if batch else 1, _kind(tensor))


def map_tensor(facts: ModelFacts, name: str = "") -> Tensor:
    """Return the output with a name, or the first one that has maps; raise CheckpointError if there is none."""
    named = ", ".join(tensor.name for tensor in facts.outputs)
    found = [one for one in facts.outputs if one.name == name or (not name and {"y", "x"} <= set(one.letters))]
    if not found:
        what = f"no output {name!r:.60}" if name else "no map"
        raise CheckpointError(f"{facts.path} has {what}; its outputs are {named:.300}.")
    tensor = found[0]
    _check_axes(facts, tensor, "returns")
    if any(axis.offset for axis in tensor.axes if axis.letter in "yx"):
        raise CheckpointError(
            f"{facts.path} returns maps that are smaller than the picture: convolutions without padding are not "
            "supported. Choose a model whose maps have the picture's size."
        )
    check_steps(facts.path, "postprocessing", tensor.steps, _shape(tensor))
    return tensor


def digest(facts: ModelFacts) -> str:
    """Return one hash of everything that results depend on: description, weights, and Python."""
    files = PackageFiles(facts.path)
    code = facts.weights.code
    names = [facts.weights.file, *([code.file] if code and code.file else [])]
    hashes = [hashlib.sha256(content).hexdigest() for content in (files.description(), *map(files.read, names))]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _check_axes(facts: ModelFacts, tensor: Tensor, does: str) -> None:
    letters = tensor.letters
    for axis in tensor.axes:
        if axis.letter in "bcyx" or (axis.letter in "zti" and axis.least == 1 and not axis.step):
            continue
        what = {"z": "volumes", "t": "films"}.get(axis.letter, f"arrays with an axis {axis.letter!r}")
        raise CheckpointError(
            f"{facts.path} {does} {what} (axes {letters} of {tensor.name!r:.60}); flat pictures can be."
        )
    if not {"y", "x"} <= set(letters) or len(set(letters)) != len(letters):
        raise CheckpointError(
            f"{facts.path} {does} arrays with the axes {letters!r:.40} ({tensor.name!r:.60}); a picture has y and x."
        )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Return a small example shape with the tensor's number of channels."""
    return tuple(4 if axis.letter in "yx" else axis.least if axis.letter == "c" else 1 for axis in tensor.axes)


def _kind(tensor: Tensor) -> str:
    """Return the data type after the preprocessing steps."""
    last = tensor.steps[-1] if tensor.steps else None
    return str(last.arguments["dtype"]) if last is not None and last.name == "ensure_dtype" else "float32"


def _whole(axis: Axis | None, length: int) -> int:
    """Return the smallest length that an axis allows and that is not smaller than `length`."""
    assert axis is not None
    if not axis.step:
        return axis.least
    return axis.least + max(0, -(-(length - axis.least) // axis.step)) * axis.step


def _arranged(planes: NDArray[Any], letters: str, batch: int = 1) -> NDArray[Any]:
    """Rearrange planes (C, M, N) as an array with the axes `letters`."""
    order = [letter for letter in letters if letter in "cyx"]
    array = planes if "c" in order else planes[0]
    there = "cyx" if "c" in order else "yx"
    array = array.transpose([there.index(letter) for letter in order])
    for at, letter in enumerate(letters):
        if letter not in "cyx":
            array = np.expand_dims(array, at)
    return np.repeat(array, batch, letters.index("b")) if "b" in letters and batch > 1 else array


def _planes(array: NDArray[Any], letters: str) -> NDArray[Any]:
    """Return the planes (C, M, N) of the first batch element of an array with the axes `letters`."""
    array = array[tuple(slice(None) if letter in "cyx" else 0 for letter in letters)]
    order = "".join(letter for letter in letters if letter in "cyx")
    if "c" not in order:
        array, order = array[None], f"c{order}"
    return array.transpose([order.index(letter) for letter in "cyx"])

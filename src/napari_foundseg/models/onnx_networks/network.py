"""Runs a network on pictures of any size. The network is an ONNX file, or anything else that maps arrays to arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.abilities import fallbacks_of
from napari_foundseg.models.onnx_networks.description import InputValues, MapDescription, NetworkDescription
from napari_foundseg.models.onnx_networks.ports import PictureInput, map_output, picture_input

__all__ = [
    "OnnxRuntime",
    "PictureNetwork",
    "Runtime",
    "as_input",
    "note_missing_cuda",
    "open_network",
    "open_session",
    "resized",
]

_IMAGENET = (np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32))
#: Networks without a fixed size may halve a picture up to five times, so its sides are multiples of 2**5.
_MULTIPLE = 32


class Runtime(Protocol):
    """Runs a network on arrays."""

    @property
    def device(self) -> str:
        """The device, with torch's name for it."""

    def run(self, inputs: dict[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
        """Run the network on inputs by name, and return the outputs with the names in `outputs`, in their order."""


class OnnxRuntime:
    """A session of onnxruntime."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @property
    def device(self) -> str:
        """The device, with torch's name for it."""
        return "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"

    def run(self, inputs: dict[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
        """Run the network; raise CheckpointError if it fails, for example at this picture size."""
        try:
            return list(self._session.run(outputs, inputs))
        except MemoryError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"The ONNX network stops at a picture of {next(iter(inputs.values())).shape}: {error!s:.300}. Export "
                "it again for pictures of this size, or with dynamic axes."
            ) from error


def open_session(path: Path, device: str, content: bytes | None = None) -> OnnxRuntime:
    """Open an ONNX file, or its `content`; raise CheckpointError if onnxruntime cannot run it."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    # As many threads as the plugin's other models use, since several models may run in parallel.
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    there = set(onnxruntime.get_available_providers())
    providers = [name for name in wanted if name in there] + ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(content or str(path), options, providers=providers)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be run by onnxruntime {onnxruntime.__version__} ({error!s:.300}). Export it again with "
            "standard operators, opset 17 for example, or update onnxruntime."
        ) from error
    return OnnxRuntime(session)


def note_missing_cuda(model: Any, device: str) -> None:
    """Note for the provenance that a GPU was requested, but onnxruntime cannot use it."""
    if device.startswith("cuda") and model.device == "cpu":
        fallbacks_of(model).note("onnxruntime has no CUDA here: the CPU was used (onnxruntime-gpu has)", lasting=True)


class PictureNetwork:
    """A network that takes one picture and returns maps.

    Parameters
    ----------
    path : Path
        Its file, for messages.
    port : PictureInput
        The input that takes pictures.
    output : str
        Name of the output with the maps.
    description : MapDescription
        Its input and output.
    runtime : Runtime
        The runtime that computes it.
    """

    def __init__(
        self, path: Path, port: PictureInput, output: str, description: MapDescription, runtime: Runtime
    ) -> None:
        self.path = path
        self.input = port
        self.output = output
        self.description = description
        self.runtime = runtime

    @property
    def window(self) -> int:
        """Side of the largest square that is processed at full resolution, in pixels."""
        return min(self.input.size) if self.input.size else self.description.size

    def prepared(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return an 8-bit picture (M, N, 3) with the channels and values of the network's input, (M, N, C)."""
        values = self.description.input_values if isinstance(self.description, NetworkDescription) else "0 to 255"
        return as_input(rgb, self.input.channels, values)

    def normalised(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert grey values (M, N, C) that a task has normalised to the values of the network's input."""
        return picture

    def maps(self, picture: NDArray[np.float32]) -> NDArray[Any]:
        """Return the maps of a picture, (K, M, N), at the picture's resolution.

        `picture`: (M, N, C) from `prepared` or `normalised`. If it is larger than the network's input, it is shrunk.
        """
        rows, columns = picture.shape[:2]
        most = self.input.size or (self.description.size,) * 2
        share = min(1.0, most[0] / rows, most[1] / columns)
        seen = resized(picture.transpose(2, 0, 1), (max(1, round(rows * share)), max(1, round(columns * share))))
        shape = self.input.size or self._whole(seen.shape[1:])
        pad = [(0, 0), *((0, whole - n) for whole, n in zip(shape, seen.shape[1:], strict=True))]
        maps = self._run(np.pad(seen, pad, mode="symmetric"))
        return resized(maps[:, : seen.shape[1], : seen.shape[2]], (rows, columns))

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the smallest size that the network accepts and that is not smaller than `shape`."""
        return tuple(-(-n // _MULTIPLE) * _MULTIPLE for n in shape)

    def _run(self, planes: NDArray[np.float32]) -> NDArray[Any]:
        """Return the maps of padded planes (C, M, N) at the same resolution, (K, M, N)."""
        port = self.input
        found = self.runtime.run({port.name: np.ascontiguousarray(self._batch(planes))}, [self.output])[0]
        maps = self._found(found)
        shape = planes.shape[1:]
        if any(whole % part for whole, part in zip(shape, maps.shape[1:], strict=True)):
            raise CheckpointError(
                f"{self.path} returns maps of {maps.shape[1]} x {maps.shape[2]} for pictures of {shape[0]} x "
                f"{shape[1]}: convolutions without padding are not supported. Export it with padding."
            )
        return resized(maps, (shape[0], shape[1]))

    def _batch(self, planes: NDArray[np.float32]) -> NDArray[Any]:
        """Arrange planes (C, M, N) as the array that the network's input requires."""
        port = self.input
        batch = planes[None] if port.channels_first else planes.transpose(1, 2, 0)[None]
        return np.repeat(batch, port.batch, axis=0).astype(port.kind)

    def _found(self, output: NDArray[Any]) -> NDArray[Any]:
        """Rearrange an output of the network as maps (K, M, N)."""
        found = output[0]
        maps: NDArray[Any] = found[None] if found.ndim == 2 else found
        if maps.ndim != 3:
            raise CheckpointError(
                f"{self.path}: {self.output} is of shape {found.shape}, no map. Say which output is one (output name)."
            )
        return maps.transpose(2, 0, 1) if found.ndim == 3 and not self.input.channels_first else maps


def open_network(path: Path, description: NetworkDescription, device: str) -> PictureNetwork:
    """Return the network of an ONNX file; raise CheckpointError if it cannot be run."""
    from napari_foundseg.models.onnx_networks.graph import read_graph

    graph = read_graph(path)
    output = map_output(path, graph, description.output_name).name
    return PictureNetwork(path, picture_input(path, graph), output, description, open_session(path, device))


def as_input(rgb: NDArray[np.uint8], channels: int, values: InputValues) -> NDArray[np.float32]:
    """Return an 8-bit picture (M, N, 3) as (M, N, channels), scaled to the values that a network was trained on."""
    seen = rgb.astype(np.float32)
    if channels == 1 and values != "ImageNet":
        seen = _grey(seen)
    if values == "0 to 255":
        return seen
    if values == "mean 0, deviation 1":
        seen -= seen.mean((0, 1))
        seen /= np.maximum(seen.std((0, 1)), 1e-6)
        return seen
    seen /= 255
    if values == "-1 to 1":
        return seen * 2 - 1
    if values == "ImageNet":
        seen = (seen - _IMAGENET[0]) / _IMAGENET[1]
        return seen if channels == 3 else seen.mean(axis=-1, keepdims=True)
    return seen


def _grey(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the brightness (ITU-R 601-2), (M, N, 1). If all channels are equal, their values are unchanged."""
    first = seen[..., :1]
    grey: NDArray[np.float32] = first + (seen - first) @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return grey


def resized(planes: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Resize planes (K, M, N).

    Integers are class numbers and take the nearest value. Other values are interpolated linearly, with smoothing if the
    planes shrink.
    """
    from PIL.Image import Resampling, fromarray

    if planes.shape[1:] == shape:
        return planes
    if np.issubdtype(planes.dtype, np.integer) or planes.dtype == bool:
        at = [((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(shape, planes.shape[1:], strict=True)]
        return planes[:, at[0][:, None], at[1]]
    found = [fromarray(np.asarray(plane, np.float32)).resize(shape[::-1], Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in found])

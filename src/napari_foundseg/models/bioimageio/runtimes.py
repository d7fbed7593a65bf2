"""Runs the network of a package: ONNX with onnxruntime, TorchScript and Python code with torch."""

from __future__ import annotations

import io
import sys
import warnings
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError, CodeNotAllowedError, PackageError
from napari_foundseg.models.bioimageio.package_files import PackageFiles
from napari_foundseg.models.bioimageio.rdf import Code, ModelFacts
from napari_foundseg.models.onnx_networks.graph import Graph, read_graph
from napari_foundseg.models.onnx_networks.network import Runtime, open_session

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["check_code", "check_script", "open_runtime", "package_graph"]


def open_runtime(facts: ModelFacts, device: str, *, run_code: bool) -> Runtime:
    """Return the runtime for the network of a package.

    Raises CheckpointError if it cannot be run. Raises CodeNotAllowedError if it needs Python code of the package and
    `run_code` is False.
    """
    files = PackageFiles(facts.path)
    weights = facts.weights
    if weights.format == "onnx":
        content = files.checked(weights.file, weights.sha256)
        return open_session(_place(facts), device, None if facts.path.is_dir() else content)
    outputs = [tensor.name for tensor in facts.outputs]
    if weights.format == "torchscript":
        return _TorchRuntime(_script(facts, files, device), outputs, facts.path, device)
    check_code(facts, run_code=run_code)
    return _TorchRuntime(_network(facts, files).to(device), outputs, facts.path, device)


def package_graph(facts: ModelFacts) -> Graph:
    """Return the graph of a package's ONNX file; raise CheckpointError as `read_graph` does."""
    content = PackageFiles(facts.path).checked(facts.weights.file, facts.weights.sha256)
    return read_graph(_place(facts), None if facts.path.is_dir() else content)


def check_code(facts: ModelFacts, *, run_code: bool) -> None:
    """Raise CodeNotAllowedError if a package needs Python code that the user has not allowed to run."""
    code = facts.weights.code
    if code is None or run_code:
        return
    what = f"{code.file} of the package" if code.file else f"the installed package {code.module.partition('.')[0]}"
    raise CodeNotAllowedError(
        f"The network of {facts.path} is Python ({code.called} in {what}), which may do all that you may do on this "
        "computer: read, change and send files. Nothing of it was run. If you trust those who wrote it, allow it: "
        "--run-code of models import."
    )


def check_script(facts: ModelFacts) -> None:
    """Raise CheckpointError if a file is not TorchScript. The file is not run."""
    content = PackageFiles(facts.path).checked(facts.weights.file, facts.weights.sha256)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{facts.weights.file!r:.100} of {facts.path} is damaged ({error}).") from error
    if not any("/code/" in name for name in names):
        raise CheckpointError(
            f"{facts.weights.file!r:.100} of {facts.path} is not TorchScript, as the package claims. Get it again."
        )


class _TorchRuntime:
    """A torch network on a device."""

    def __init__(self, network: Any, outputs: list[str], path: Path, device: str) -> None:
        self._network = network.eval()
        self._outputs = outputs
        self._path = path
        self._device = device

    @property
    def device(self) -> str:
        """The device, with torch's name for it."""
        return self._device

    def run(self, inputs: dict[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
        """Run the network on inputs in their order, and return the outputs with the names in `outputs`."""
        import torch

        arrays = list(inputs.values())
        try:
            with torch.inference_mode():
                found = self._network(*(torch.from_numpy(array).to(self._device) for array in arrays))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise CheckpointError(
                f"The network of {self._path} stops at a picture of {arrays[0].shape}: {_last_line(error)}"
            ) from error
        several = list(found) if isinstance(found, list | tuple) else [found]
        if len(several) < len(self._outputs) or not all(isinstance(one, torch.Tensor) for one in several):
            raise CheckpointError(
                f"The network of {self._path} returns other outputs than {', '.join(self._outputs)}, which its "
                "description names. Get the package again."
            )
        named = dict(zip(self._outputs, several, strict=False))
        return [np.asarray(named[name].float().cpu().numpy()) for name in outputs]


def _place(facts: ModelFacts) -> Path:
    """Return the path of the weights. For an archive the path does not exist and is only for messages."""
    return facts.path / facts.weights.file


def _script(facts: ModelFacts, files: PackageFiles, device: str) -> Any:
    import torch

    content = files.checked(facts.weights.file, facts.weights.sha256)
    try:
        with warnings.catch_warnings():
            # Torch 2.9 and later warn that TorchScript is deprecated. Only authors of models can change that.
            warnings.simplefilter("ignore")
            return torch.jit.load(io.BytesIO(content), map_location=device)
    except (RuntimeError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{facts.weights.file!r:.100} of {facts.path} cannot be read as TorchScript by torch {torch.__version__} "
            f"({_last_line(error)}). Get the package again, or one with ONNX weights."
        ) from error


def _network(facts: ModelFacts, files: PackageFiles) -> nn.Module:
    """Run the Python code of a package, and load the weights into the network that it creates."""
    from torch import nn

    code = facts.weights.code
    assert code is not None
    make = _callable(facts, files, code)
    try:
        network = make(**code.arguments)
    except Exception as error:
        raise CheckpointError(f"{code.called} of {facts.path} made no network: {_last_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise CheckpointError(f"{code.called} of {facts.path} made a {type(network).__name__}, not a torch.nn.Module.")
    tensors = _tensors(facts, files)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights of {facts.path} are not those of {code.called}: {' '.join(str(error).split())[:300]}"
        ) from error
    return network


def _callable(facts: ModelFacts, files: PackageFiles, code: Code) -> Callable[..., Any]:
    where = code.file or code.module
    try:
        if code.file:
            module = ModuleType(f"bioimageio_{abs(hash((str(facts.path), code.file)))}")
            # Dataclasses look up their module in sys.modules.
            sys.modules[module.__name__] = module
            exec(compile(files.checked(code.file, code.sha256), code.file, "exec"), module.__dict__)
        else:
            module = import_module(code.module)
        found: Callable[..., Any] = getattr(module, code.called)
    except CheckpointError:
        raise
    except ImportError as error:
        raise PackageError(
            f"The Python of {facts.path} ({where}) needs a package that is not installed: {_last_line(error)}. Install "
            "it, or get a version of the model with ONNX or TorchScript weights."
        ) from error
    except Exception as error:
        raise CheckpointError(f"The Python of {facts.path} ({where}) cannot be run: {_last_line(error)}") from error
    return found


def _tensors(facts: ModelFacts, files: PackageFiles) -> dict[str, torch.Tensor]:
    from napari_foundseg.models.files.checkpoints import read_tensors

    content = files.checked(facts.weights.file, facts.weights.sha256)
    if facts.path.is_dir():
        return read_tensors(_place(facts))
    with TemporaryDirectory() as folder:
        file = Path(folder) / Path(facts.weights.file).name
        file.write_bytes(content)
        # The tensors may be mapped from the file, which is deleted at the end of this block.
        return {name: tensor.clone() for name, tensor in read_tensors(file).items()}


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]

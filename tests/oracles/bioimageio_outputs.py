"""Write packages of bioimage.io by its own library, with outputs of its own pipelines: ``tests/data/bioimageio``.

Run apart from the tests, where ``bioimageio.core`` 0.11, pydantic 2.11 (it fails with 2.14), torch, onnx and
onnxruntime are installed:
``python tests/oracles/bioimageio_outputs.py tests/data/bioimageio``. Descriptions of version 0.5 are written by
``bioimageio.spec``, those of 0.4 by hand in the layout that it reads. Test outputs are those of ``bioimageio.core``.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from bioimageio.core import create_prediction_pipeline, load_description
from bioimageio.core.digest_spec import create_sample_for_model
from bioimageio.spec import InvalidDescr, ValidationContext, save_bioimageio_package
from bioimageio.spec.model import v0_5

SOURCE = """
import torch
from torch import nn


class SmallNet(nn.Module):
    def __init__(self, channels: int, maps: int, last: bool = False):
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.second = nn.Conv2d(6, maps, 3, padding=1)
        self.last = last

    def forward(self, picture):
        if self.last:
            picture = picture.permute(0, 3, 1, 2)
        found = self.second(torch.relu(self.first(picture)))
        if self.last:
            found = found.permute(0, 2, 3, 1)
        return found
"""
space: dict[str, Any] = {}
exec(SOURCE, space)
SmallNet = space["SmallNet"]


def write_onnx(net: torch.nn.Module, picture: np.ndarray, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {number: f"axis{number}" for number in range(picture.ndim)}
        torch.onnx.export(
            net, (torch.from_numpy(picture),), str(path), input_names=["in"], output_names=["out"],
            dynamic_axes={"in": axes, "out": axes}, dynamo=False,
        )  # fmt: skip


def picture(shape: tuple[int, ...], kind: str) -> np.ndarray:
    found = np.random.default_rng(3).gamma(2, 400, shape)
    return found.clip(0, 4095).astype(kind) if kind != "uint8" else (found / 16).clip(0, 255).astype(kind)


def axes_of_05(letters: str, names: list[str], size: Any, *, output: bool = False) -> list[Any]:
    made: list[Any] = []
    for letter in letters:
        if letter == "b":
            made.append(v0_5.BatchAxis())
        elif letter == "c":
            made.append(v0_5.ChannelAxis(channel_names=[v0_5.Identifier(name) for name in names]))
        elif output:
            size = v0_5.SizeReference(tensor_id=v0_5.TensorId("raw"), axis_id=v0_5.AxisId(letter))
            made.append(v0_5.SpaceOutputAxis(id=v0_5.AxisId(letter), size=size))
        else:
            made.append(v0_5.SpaceInputAxis(id=v0_5.AxisId(letter), size=size))
    return made


def write_05(folder: Path, target: Path, *, kind: str, net: Any, letters: str, channels: list[str], maps: list[str],
             before: list[Any], after: list[Any], data: str, size: Any, weights: Any) -> None:  # fmt: skip
    shape = tuple({"b": 1, "c": len(channels), "y": 48, "x": 64}[letter] for letter in letters)
    test = picture(shape, data)
    np.save(folder / "in.npy", test)
    np.save(folder / "out.npy", np.zeros((*shape[:-1], len(maps)) if letters[-1] == "c" else (1, len(maps), 48, 64),
                                         np.float32))  # fmt: skip
    (folder / "doc.md").write_text("# A small network\n## Validation\nNone.\n")

    def make() -> v0_5.ModelDescr:
        return v0_5.ModelDescr(
            name=f"small {kind} network", description="A network without a use",
            authors=[v0_5.Author(name="Nobody")], cite=[v0_5.CiteEntry(text="Nobody 2025", doi=v0_5.Doi("10.1000/1"))],
            license=v0_5.LicenseId("CC-BY-4.0"), documentation=v0_5.FileDescr(source=folder / "doc.md"), git_repo="https://example.com/net",
            inputs=[v0_5.InputTensorDescr(
                id=v0_5.TensorId("raw"), axes=axes_of_05(letters, channels, size), preprocessing=before,
                test_tensor=v0_5.FileDescr(source=folder / "in.npy"),
                data=v0_5.IntervalOrRatioDataDescr(type="float32"),
            )],
            outputs=[v0_5.OutputTensorDescr(
                id=v0_5.TensorId("maps"), axes=axes_of_05(letters, maps, size, output=True), postprocessing=after,
                test_tensor=v0_5.FileDescr(source=folder / "out.npy"),
            )],
            weights=weights(folder, net, test),
        )  # fmt: skip

    with ValidationContext(perform_io_checks=False):
        model = make()
        np.save(folder / "out.npy", predicted(model, test))
    with ValidationContext(perform_io_checks=False):
        save_bioimageio_package(make(), output_path=target)


def predicted(model: Any, test: np.ndarray) -> np.ndarray:
    """Return the output of bioimageio.core's own pipeline."""
    assert not isinstance(model, InvalidDescr), model.validation_summary.format()
    sample = create_sample_for_model(model, inputs=test)
    with create_prediction_pipeline(model) as pipeline:
        found = pipeline.predict_sample_without_blocking(sample)
    array = next(iter(found.members.values())).data.to_numpy()
    return np.asarray(array, np.float32)


def onnx_weights(folder: Path, net: Any, test: np.ndarray) -> v0_5.WeightsDescr:
    write_onnx(net, test.astype(np.float32), folder / "weights.onnx")
    return v0_5.WeightsDescr(onnx=v0_5.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=17))


def script_weights(folder: Path, net: Any, test: np.ndarray) -> v0_5.WeightsDescr:
    torch.jit.trace(net, torch.from_numpy(test.astype(np.float32))).save(str(folder / "weights.pt"))
    version = v0_5.Version(torch.__version__.split("+")[0])
    return v0_5.WeightsDescr(
        torchscript=v0_5.TorchscriptWeightsDescr(source=folder / "weights.pt", pytorch_version=version)
    )


def python_weights(folder: Path, net: Any, _test: np.ndarray) -> v0_5.WeightsDescr:
    (folder / "net.py").write_text(SOURCE)
    torch.save(net.state_dict(), folder / "weights.pt")
    code = v0_5.ArchitectureFromFileDescr(
        source=folder / "net.py", callable=v0_5.Identifier("SmallNet"),
        kwargs={"channels": net.first.in_channels, "maps": net.second.out_channels},
    )  # fmt: skip
    version = v0_5.Version(torch.__version__.split("+")[0])
    return v0_5.WeightsDescr(
        pytorch_state_dict=v0_5.PytorchStateDictWeightsDescr(
            source=folder / "weights.pt", architecture=code, pytorch_version=version
        )
    )


def write_04(folder: Path, target: Path) -> None:
    """Write a package in the layout of version 0.4, with its description by hand."""
    net = SmallNet(3, 2).eval()
    test = picture((1, 3, 48, 64), "uint16")
    np.save(folder / "in.npy", test)
    write_onnx(net, test.astype(np.float32), folder / "weights.onnx")
    (folder / "doc.md").write_text("# A small network\n")
    np.save(folder / "out.npy", np.zeros((1, 2, 48, 64), np.float32))
    description = {
        "format_version": "0.4.10", "type": "model", "name": "small old network", "license": "MIT",
        "description": "Foreground and boundary of cells", "tags": ["cells"],
        "authors": [{"name": "Nobody"}], "cite": [{"text": "Nobody 2020", "doi": "10.1000/1"}],
        "documentation": "doc.md", "timestamp": "2024-01-01T00:00:00", "git_repo": "https://example.com/net",
        "test_inputs": ["in.npy"], "test_outputs": ["out.npy"],
        "inputs": [{
            "name": "raw", "axes": "bcyx", "data_type": "float32", "data_range": ["-inf", "inf"],
            "shape": {"min": [1, 3, 16, 16], "step": [0, 0, 16, 16]},
            "preprocessing": [
                {"name": "scale_linear", "kwargs": {"gain": 0.5, "offset": 1.0}},
                {"name": "scale_range",
                 "kwargs": {"mode": "per_sample", "axes": "yx", "min_percentile": 1, "max_percentile": 99.8}},
                {"name": "clip", "kwargs": {"min": -0.5, "max": 1.5}},
                {"name": "zero_mean_unit_variance", "kwargs": {"mode": "fixed", "axes": "yx", "mean": [0.4, 0.5, 0.6],
                                                               "std": [0.2, 0.25, 0.3]}},
            ],
        }],
        "outputs": [{
            "name": "maps", "axes": "bcyx", "data_type": "float32", "data_range": [0, 1], "halo": [0, 0, 4, 4],
            "shape": {"reference_tensor": "raw", "scale": [1, 0, 1, 1], "offset": [0, 1, 0, 0]},
            "postprocessing": [{"name": "sigmoid"}],
        }],
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": 17,
                             "sha256": hashlib.sha256((folder / "weights.onnx").read_bytes()).hexdigest()}},
    }  # fmt: skip
    (folder / "rdf.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    with ValidationContext(perform_io_checks=False):
        np.save(folder / "out.npy", predicted(load_description(folder / "rdf.yaml"), test))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    ids = [v0_5.AxisId("y"), v0_5.AxisId("x")]
    step = v0_5.ParameterizedSize(min=32, step=16)
    for name, more in {
        "onnx": {
            "net": SmallNet(1, 2).eval(), "letters": "bcyx", "channels": ["grey"], "maps": ["foreground", "boundary"],
            "before": [v0_5.ScaleRangeDescr(kwargs=v0_5.ScaleRangeKwargs(
                axes=ids, min_percentile=1, max_percentile=99.8, eps=1e-6))],
            "after": [v0_5.SigmoidDescr()], "data": "uint16", "size": step, "weights": onnx_weights,
        },
        "torchscript": {
            "net": SmallNet(3, 3, last=True).eval(), "letters": "byxc", "channels": ["red", "green", "blue"],
            "maps": ["background", "dim", "bright"],
            "before": [v0_5.ZeroMeanUnitVarianceDescr(kwargs=v0_5.ZeroMeanUnitVarianceKwargs(axes=ids, eps=1e-6))],
            "after": [v0_5.SoftmaxDescr(kwargs=v0_5.SoftmaxKwargs())], "data": "uint8", "size": step,
            "weights": script_weights,
        },
        "python": {
            "net": SmallNet(1, 1).eval(), "letters": "bcyx", "channels": ["grey"], "maps": ["mask"],
            "before": [
                v0_5.FixedZeroMeanUnitVarianceDescr(kwargs=v0_5.FixedZeroMeanUnitVarianceAlongAxisKwargs(
                    axis=v0_5.AxisId("channel"), mean=[100.0], std=[50.0])),
                v0_5.ClipDescr(kwargs=v0_5.ClipKwargs(min=-2.0, max=2.0)),
            ],
            "after": [v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=2.0, offset=0.25))], "data": "uint8",
            "size": step, "weights": python_weights,
        },
    }.items():  # fmt: skip
        place = folder / name
        place.mkdir()
        write_05(place, target / f"{name}.zip", kind=name, **more)  # type: ignore[arg-type]
    (folder / "old").mkdir()
    write_04(folder / "old", target / "old.zip")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

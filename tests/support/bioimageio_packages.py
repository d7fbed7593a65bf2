"""Packages of bioimage.io by hand, in the layout of version 0.5, with a network that tells grey values apart."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

__all__ = ["PYTHON", "PYTHON_WEIGHTS", "Levels", "described", "write_package", "zipped"]

#: The network of a package that has weights and Python. It leaves a file where it runs, by which a test sees it.
PYTHON = """
from pathlib import Path

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, levels=3, mark=""):
        super().__init__()
        self.levels = nn.Parameter(torch.zeros(1, levels, 1, 1))
        if mark:
            Path(mark).touch()

    def forward(self, picture):
        return -((picture.mean(1, keepdim=True) - self.levels) ** 2)
"""
#: What makes it tell three grey values apart.
PYTHON_WEIGHTS = {"levels": torch.tensor([0.0, 0.5, 1.0])[None, :, None, None]}


class Levels(nn.Module):
    """Scores of three grey values in a picture of any axes."""

    def __init__(self, letters: str = "bcyx") -> None:
        super().__init__()
        self.letters = letters
        shape = [3 if letter == "c" else 1 for letter in letters]
        self.levels = nn.Parameter(torch.tensor([0.0, 0.5, 1.0]).reshape(shape))

    def forward(self, picture: Tensor) -> Tensor:
        grey = picture.mean(self.letters.index("c"), keepdim=True)
        return -((grey - self.levels) ** 2)


def described(letters: str = "bcyx", names: tuple[str, ...] = ("background", "dim", "bright")) -> dict[str, Any]:
    """Return a description of version 0.5, whose picture is divided by 255 first."""

    def axes(channels: tuple[str, ...], size: Any) -> list[dict[str, Any]]:
        kinds = {"b": {"type": "batch"}, "c": {"type": "channel", "channel_names": list(channels)}}
        return [kinds.get(letter, {"type": "space", "id": letter, "size": size}) for letter in letters]

    return {
        "format_version": "0.5.3",
        "type": "model",
        "name": "grey levels",
        "description": "",
        "license": "CC0-1.0",
        "inputs": [
            {
                "id": "raw",
                "axes": axes(("grey",), {"min": 16, "step": 16}),
                "data": {"type": "float32"},
                "preprocessing": [{"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0.0}}],
            }
        ],
        "outputs": [{"id": "maps", "axes": axes(names, {"tensor_id": "raw", "axis_id": "y"})}],
        "weights": {},
    }


def write_package(
    folder: Path, description: dict[str, Any], net: nn.Module | None = None, *, kind: str = "torchscript"
) -> Path:
    """Write a folder with a network in TorchScript or ONNX, or with weights and Python where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = "".join(
        {"batch": "b", "channel": "c"}.get(a["type"], a.get("id", "")) for a in description["inputs"][0]["axes"]
    )
    shape = [1 if letter in "bc" else 16 for letter in letters]
    entry: dict[str, Any] = {"source": "net.pt"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if net is None:
            kind = "pytorch_state_dict"
            (folder / "net.py").write_text(PYTHON)
            torch.save(PYTHON_WEIGHTS, folder / "net.pt")
            entry["architecture"] = {"source": "net.py", "callable": "Net"}
        elif kind == "onnx":
            entry["source"] = "net.onnx"
            axes = {number: f"n{number}" for number in range(len(letters))}
            torch.onnx.export(
                net.eval(), (torch.zeros(shape),), str(folder / "net.onnx"), input_names=["in"], output_names=["out"],
                dynamic_axes={"in": axes, "out": axes}, dynamo=False,
            )  # fmt: skip
        else:
            torch.jit.trace(net.eval(), torch.zeros(shape)).save(str(folder / "net.pt"))
    entry["sha256"] = hashlib.sha256((folder / entry["source"]).read_bytes()).hexdigest()
    if not description["weights"]:
        description["weights"] = {kind: entry}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(description))
    return folder


def zipped(folder: Path) -> Path:
    """Return a ZIP archive of a folder, beside it."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path

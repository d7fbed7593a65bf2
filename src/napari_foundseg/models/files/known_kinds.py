"""Descriptions of models that cannot be read as weights, based on the other files in their folder.

Their weights are not read, and nothing in them is run.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from napari_foundseg.models.bioimageio.package_files import is_package
from napari_foundseg.models.files.small_text import read_small_text

__all__ = ["holds_network", "is_onnx", "kind_of_files", "onnx_file"]

#: Fields that may follow the version in an ONNX file, as protobuf writes them.
_AFTER_VERSION = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2)
#: Newest version of ONNX's format that is recognised.
_NEWEST_ONNX = 0x20
#: Prefixes of class names in files that store a whole YOLO network as an object.
_YOLO = ("models.yolo", "models.common", "yolov5", "yolov6")


def kind_of_files(path: Path, error: Exception | None = None) -> str:
    """Return a description that follows the name of a file or folder in a message; empty if its kind is unknown.

    Parameters
    ----------
    path : Path
        The file or folder, or a file in it.
    error : Exception, optional
        Error that reading its weights raised.
    """
    if path.is_file() and _is_exported_program(path):
        return (
            "is a program of torch.export (.pt2), which holds pickles: not read, and nothing of it was run; export the "
            "network as ONNX (torch.onnx.export) and import that"
        )
    names = getattr(error.__cause__, "names", []) if error is not None else []
    if any(name.startswith(_YOLO) for name in names):
        return (
            "is a YOLO network of another kind than YOLOv8, stored as objects, which may hold code: not read, and "
            "nothing of it was run; for nuclei and cells use foundseg-tiny or micro-sam, for photographs Mask R-CNN"
        )
    if "a TorchScript program" in names:
        return (
            "is a TorchScript program, not weights: not supported, and nothing of it was run; get the weights as "
            ".safetensors or .pth, or export the network as ONNX"
        )
    if path.is_dir():
        return _of_folder(path) or _of_several_onnx(path)
    return _of_folder(path.parent) or _of_folder(path.parent.parent)


def is_onnx(head: bytes) -> bool:
    """Return whether first bytes are those of an ONNX model: the format's version, then the first field of a model."""
    return len(head) > 2 and head[0] == 0x08 and 3 <= head[1] <= _NEWEST_ONNX and head[2] in _AFTER_VERSION


def onnx_file(path: Path) -> Path | None:
    """Return the file of an ONNX model, or the only one in a folder; None if there is none.

    Also None for a package of bioimage.io, which describes how its own network is used.
    """
    if path.is_dir():
        if is_package(path):
            return None
        found = sorted(path.glob("*.onnx"))
        return found[0] if len(found) == 1 and not any(path.glob("*.safetensors")) else None
    return path if _is_onnx_file(path) else None


def holds_network(path: Path) -> bool:
    """Return whether a file or folder holds a whole network (ONNX or bioimage.io's), not weights for one of ours."""
    return onnx_file(path) is not None or is_package(path)


def _is_exported_program(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "archive_format" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def _is_onnx_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    pointer = head.startswith(b"version https://git-lfs")
    return is_onnx(head) or (path.suffix.lower() == ".onnx" and bool(head) and not pointer)


def _of_folder(folder: Path) -> str:
    """Return the description of a folder by the files that it holds besides weights; empty if its kind is unknown."""
    if any((folder / "configs" / name).is_file() for name in ("inference.json", "metadata.json", "inference.yaml")):
        title = _facts(folder / "configs" / "metadata.json").get("name")
        named = f" ({title})" if isinstance(title, str) and title else ""
        return (
            f"is a MONAI bundle{named}: not supported yet; for slices of medical images use MedSAM, or a model of the "
            "form Semantic"
        )
    if (folder / "inference_session_class.json").is_file():
        return "is an nnInteractive model: start nninteractive-server with it, and choose nninteractive in Propagate"
    plans = _facts(folder / "plans.json")
    if plans and ("configurations" in plans or "plans_name" in plans):
        interactive = "nninteractive" in f"{folder.name} {plans.get('plans_name', '')}".lower()
        name = "nnInteractive" if interactive else "nnU-Net"
        return f"is an {name} model: not supported yet; for classes choose a model of the form Semantic"
    return ""


def _of_several_onnx(folder: Path) -> str:
    found = sorted(folder.glob("*.onnx"))
    if len(found) < 2 or any(folder.glob("*.safetensors")):
        return ""
    return f"holds {len(found)} ONNX models ({', '.join(one.name for one in found[:3])}…): choose the file of one"


def _facts(path: Path) -> dict[str, Any]:
    """Return the table in a JSON file; empty if there is none."""
    try:
        found = json.loads(read_small_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

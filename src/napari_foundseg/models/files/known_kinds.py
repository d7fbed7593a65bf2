"""What files and folders are that hold a model, but none that is read here: told by their other files.

Nothing of them is read as weights, and nothing runs.
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
#: Newest version of ONNX's format that is told from other files.
_NEWEST_ONNX = 0x20
#: Packages whose networks are stored as objects, and what people call them.
_YOLO = ("models.yolo", "models.common", "yolov5", "yolov6")


def kind_of_files(path: Path, error: Exception | None = None) -> str:
    """Say what a file or folder is, to follow its name; empty if it is none of those that are known.

    Parameters
    ----------
    path : Path
        The file or folder, or a file of it.
    error : Exception, optional
        Why its weights could not be read.
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
    """Tell an ONNX model by its first bytes: the format's version, then the first field of a model."""
    return len(head) > 2 and head[0] == 0x08 and 3 <= head[1] <= _NEWEST_ONNX and head[2] in _AFTER_VERSION


def onnx_file(path: Path) -> Path | None:
    """Return the file of an ONNX model, of a folder its only one; None if there is none.

    Of a package of bioimage.io, too: it says how its network is used.
    """
    if path.is_dir():
        if is_package(path):
            return None
        found = sorted(path.glob("*.onnx"))
        return found[0] if len(found) == 1 and not any(path.glob("*.safetensors")) else None
    return path if _is_onnx_file(path) else None


def holds_network(path: Path) -> bool:
    """Tell whether a file or folder holds a network as a whole, not weights for one of ours: ONNX or bioimage.io's."""
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
    """Say what a folder is by the files that describe it."""
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
    """Return what a JSON file says, empty if it is none."""
    try:
        found = json.loads(read_small_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

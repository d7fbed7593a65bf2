"""YOLOv8-seg and YOLO11-seg from their published ``.pt`` files, and any YOLO with masks from its ONNX export.

Preparation and post-processing follow the description of Ultralytics YOLOv8 (Jocher, Chaurasia, Qiu, 2023). The picture
is resized into a square or rectangle with grey borders. Overlapping boxes of one class are suppressed. Masks are sums
of prototypes, cropped to their boxes. None of the authors' code is used.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.suppression import suppress
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import CLASS_SETS, MOST_CLASSES, numbered_classes
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checked_network import check_network
from napari_foundseg.models.files.checkpoints import read_facts, read_tensors
from napari_foundseg.models.files.known_kinds import onnx_file
from napari_foundseg.models.loaded import class_table
from napari_foundseg.models.onnx_networks.graph import ONNX_PACKAGES, read_graph
from napari_foundseg.models.onnx_networks.network import note_missing_cuda, open_session
from napari_foundseg.models.onnx_networks.ports import PROTOTYPES, has_prototypes, picture_input
from napari_foundseg.models.protocols.classes import PanopticOptions

__all__ = ["FAMILY", "YoloSegModel", "load", "recognise"]


def _more_packages(options: Mapping[str, Any]) -> tuple[Package, ...]:
    return ONNX_PACKAGES if options.get("onnx") else ()


FAMILY = Family(
    rank=5,
    title="YOLOv8-seg, YOLO11-seg, and YOLO with masks in ONNX files",
    protocols=("InstanceMasks",),
    verified_against="ultralytics 8.4: the network's outputs, equal within 1e-3; of its objects nine in ten at IoU 0.9",
    more_packages=_more_packages,
    pickle_names=("ultralytics",),
    expects="as is",
    defaults={"panoptic.instances": {"threshold": 0.25}},
)

#: Side of the training pictures of the published networks, in pixels.
_SIDE = 640
_MULTIPLE = 32
_BORDER = 114
#: Largest IoU of two boxes of one class.
_LARGEST_IOU = 0.7
#: Margin around a box, in pixels, for the resizing of its mask.
_AROUND = 8
#: Versions by the number of their last layer.
_VERSIONS = {22: "YOLOv8", 23: "YOLO11"}
_HEAD = "dfl.conv.weight"
_AGPL = "AGPL-3.0"
_AGPL_MEANS = "whoever passes them on, or serves them over a network, has to do so under the same licence"

#: Takes a batch (1, 3, M, N); returns predictions (1, 4 + classes + 32, n) and prototypes (1, 32, m, n).
Outputs = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class YoloSegModel:
    """A YOLO with masks; implements `InstanceMasks`."""

    def __init__(self, outputs: Outputs, size: tuple[int, int] | None, row: CatalogRow, device: str) -> None:
        self.name = row.name
        self.key = row.key
        self.device = device
        self.window = min(size) if size else _SIDE
        self.classes, self.first = class_table(row.classes, things=True)
        self._outputs = outputs
        self._size = size

    def instances(self, rgb: NDArray[np.uint8], options: PanopticOptions) -> list[Mask]:
        """Return the objects of a picture, the best first; masks may overlap."""
        batch, scale, (top, left) = _letterbox(rgb, self._size)
        predictions, prototypes = (part[0] for part in self._outputs(batch))
        count = len(predictions) - 4 - PROTOTYPES
        if count != len(self.classes) + 1 - self.first:
            raise CheckpointError(
                f"{self.name} returned {count} classes, but {len(self.classes) + 1 - self.first} are named. Import it "
                "again."
            )
        scores, best = predictions[4 : 4 + count].max(0), predictions[4 : 4 + count].argmax(0)
        chosen = np.flatnonzero(scores > options.threshold)
        x, y, width, height = predictions[:4, chosen]
        boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1).astype(np.float32)
        # Each class is shifted to its own area, so that boxes of different classes do not suppress each other.
        apart = boxes + (best[chosen] * np.float32(2 * max(batch.shape)))[:, None]
        masks = []
        stride = batch.shape[-1] / prototypes.shape[-1]
        for i in suppress(apart, scores[chosen], _LARGEST_IOU):
            at = chosen[i]
            logits = np.tensordot(predictions[4 + count :, at], prototypes, 1)
            box = (boxes[i] - (left, top, left, top)) / scale
            mask = _cut_mask(logits, box, rgb.shape[:2], scale / stride, (top / stride, left / stride), options)
            if mask is not None:
                number = int(best[at]) + self.first
                masks.append(replace(mask, predicted_iou=float(scores[at]), class_id=number))
        return masks


def _letterbox(
    rgb: NDArray[np.uint8], size: tuple[int, int] | None
) -> tuple[NDArray[np.float32], float, tuple[int, int]]:
    """Return a picture as a batch with grey borders, its scale, and the numbers of rows and columns before it."""
    from PIL.Image import Resampling, fromarray

    rows, columns = rgb.shape[:2]
    most = size or (_SIDE, _SIDE)
    scale = min(most[0] / rows, most[1] / columns)
    inner = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    seen = np.asarray(fromarray(rgb).resize(inner[::-1], Resampling.BILINEAR)) if inner != (rows, columns) else rgb
    outer = size or tuple(-(-n // _MULTIPLE) * _MULTIPLE for n in inner)
    spare = [whole - n for whole, n in zip(outer, inner, strict=True)]
    # Half of the border on each side; if it is odd, the first half is smaller.
    pads = [(n // 2, n - n // 2) for n in spare]
    padded = np.pad(seen, [*pads, (0, 0)], constant_values=_BORDER)
    batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return batch, scale, (pads[0][0], pads[1][0])


def _cut_mask(
    logits: NDArray[np.float32],
    box: NDArray[np.float32],
    shape: tuple[int, int],
    share: float,
    before: tuple[float, float],
    options: PanopticOptions,
) -> Mask | None:
    """Return the mask of an object in the picture, cropped to its box; None if no pixel is inside.

    `box`: x0, y0, x1, y1 in pixels of the picture. `share`: cells of the logits per pixel of the picture. `before`:
    rows and columns of cells before the picture.
    """
    from PIL.Image import Resampling, fromarray
    from scipy.special import expit

    x0, y0, x1, y1 = (float(n) for n in box)
    first = [max(0, int(np.floor(start))) for start in (y0, x0)]
    last = [min(n, int(np.ceil(end))) for n, end in zip(shape, (y1, x1), strict=True)]
    if any(end <= start for start, end in zip(first, last, strict=True)):
        return None
    # A margin around the box, so that interpolation at its border is correct.
    start = [max(0, n - _AROUND) for n in first]
    stop = [min(n, end + _AROUND) for n, end in zip(shape, last, strict=True)]
    cells = [(a * share + b, z * share + b) for a, z, b in zip(start, stop, before, strict=True)]
    limits = [(max(0.0, a), min(float(n), z)) for (a, z), n in zip(cells, logits.shape, strict=True)]
    part = (limits[1][0], limits[0][0], limits[1][1], limits[0][1])
    size = (stop[1] - start[1], stop[0] - start[0])
    large = np.asarray(fromarray(logits.astype(np.float32)).resize(size, Resampling.BILINEAR, box=part))
    inside = expit(large) > options.mask_threshold
    rows, columns = np.arange(start[0], stop[0]), np.arange(start[1], stop[1])
    inside &= ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))
    return Mask.from_array(inside, (start[0], start[1])) if inside.any() else None


def load(row: CatalogRow, path: Path, device: str) -> YoloSegModel:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    file = onnx_file(path)
    if file is not None:
        graph = read_graph(file)
        port = picture_input(file, graph)
        runtime = open_session(file, device)
        names = [one.name for one in graph.outputs[:2]]

        def of_session(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            predictions, prototypes = runtime.run({port.name: batch.astype(port.kind)}, names)
            return predictions.astype(np.float32), prototypes.astype(np.float32)

        model = YoloSegModel(of_session, port.size, row, runtime.device)
        note_missing_cuda(model, device)
        return model
    import torch

    from napari_foundseg.models.nets.classes.yolo_seg import build_yolo

    tensors = _of_network(read_tensors(path))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    _check(path, shapes)
    network = build_yolo(shapes)
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    network.to(device)

    def outputs(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            predictions, prototypes = network(torch.as_tensor(batch, device=device))
        return predictions.cpu().numpy(), prototypes.cpu().numpy()

    return YoloSegModel(outputs, None, row, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields for a YOLO, else None; CheckpointError if it has no masks or another version."""
    file = onnx_file(found.path)
    if file is not None:
        return _recognise_onnx(file)
    heads = [name for name in found.shapes if name.endswith(".dfl.conv.weight")]
    if not heads:
        return None
    shapes = _of_network(found.shapes)
    number = _head_of(shapes)
    if number is None:
        raise CheckpointError(
            f"{found.path} is a YOLO of another version than v8 and 11, whose stored network is not read. Export it as "
            "ONNX (yolo export format=onnx) and import that."
        )
    version = _VERSIONS[number]
    if not any(name.startswith(f"model.{number}.proto.") for name in shapes):
        raise CheckpointError(f"{found.path} is a {version} that returns no masks; those with -seg do.")
    _check(found.path, shapes)
    count = shapes[f"model.{number}.cv3.0.2.weight"][0]
    return _fields(found.path, count, _stored_names(found.path), f"{version}-seg")


def _recognise_onnx(file: Path) -> dict[str, Any] | None:
    graph = read_graph(file)
    if not has_prototypes(graph):
        return None
    port = picture_input(file, graph)
    names = _names(graph.metadata.get("names", ""))
    rows = graph.outputs[0].shape[1]
    count = rows - 4 - PROTOTYPES if rows else len(names)
    if not count:
        raise CheckpointError(f"{file} is a YOLO that does not say how many classes it has; export it again.")
    return {**_fields(file, count, names), "options": {"onnx": True}, "input": f"2-D, RGB, {port.size or 'any size'}"}


def _fields(path: Path, count: int, names: tuple[str, ...], title: str = "YOLO with masks") -> dict[str, Any]:
    if names and len(names) != count:
        raise CheckpointError(f"{path} names {len(names)} classes, but tells {count} apart: it is damaged.")
    coco = tuple(name for name in CLASS_SETS["COCO"][1:] if name != "N/A")
    guessed = not names
    names = names or (coco if count == len(coco) else numbered_classes(count))
    return {
        "title": title,
        "classes": names,
        "options": {},
        "input": "2-D, RGB",
        "code_licence": "BSD-3-Clause",
        "weights_licence": f"{_AGPL}, if they are Ultralytics' or were trained with its code: {_AGPL_MEANS}",
        "citation": "Jocher, Qiu: Ultralytics YOLO11, 2024."
        if title.startswith("YOLO11")
        else "Jocher, Chaurasia, Qiu: Ultralytics YOLOv8, 2023.",
        "assumed": "The file names no classes; those of COCO were taken, since there are 80"
        if guessed and names == coco
        else "",
    }


def _stored_names(path: Path) -> tuple[str, ...]:
    """Return the class names that are stored with a network; empty if there are none."""
    for key in ("ema", "model"):
        stored = read_facts(path, key)
        names = stored.get("names") if isinstance(stored, dict) else None
        if isinstance(names, dict | list) and names:
            return tuple(str(name) for name in (names.values() if isinstance(names, dict) else names))
    return ()


def _names(text: str) -> tuple[str, ...]:
    """Return the class names in an export's metadata, such as ``{0: 'person', 1: 'bicycle'}``; empty if it has none."""
    try:
        named = ast.literal_eval(text[: MOST_CLASSES * 40]) if text else {}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(named, dict) and all(isinstance(key, int) for key in named):
        return tuple(str(named[key]) for key in sorted(named))
    return ()


def _of_network(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors with the network's own names. They are below ``model``, or below ``ema`` after a training."""
    for prefix in ("ema.", "model.", ""):
        whole = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(f"{prefix}model.")}
        if _head_of(whole) is not None:
            return whole
    return dict(tensors)


def _head_of(names: Mapping[str, Any]) -> int | None:
    """Return the number of the last layer, which identifies the version; None for versions that are not supported."""
    return next((number for number in _VERSIONS if f"model.{number}.{_HEAD}" in names), None)


def _check(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    from napari_foundseg.models.nets.classes.yolo_seg import build_yolo

    check_network(path, build_yolo, shapes, f"{_VERSIONS.get(_head_of(shapes) or 0, 'YOLO')}-seg")

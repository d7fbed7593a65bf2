"""YOLO with masks: the published layout, what ultralytics itself returns, stored networks and ONNX exports."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.classes.yolo_seg import build_yolo
from napari_foundseg.models.protocols.classes import PanopticOptions
from tests.models.families.instances.test_onnx_network import export
from tests.support.command_line import import_by_command
from tests.support.frozen_arrays import read_arrays
from tests.support.small_yolo import CLASSES, picture, shapes, shapes11, weights

pytestmark = pytest.mark.usefixtures("own_cache")
DATA = Path(__file__).parents[3] / "data"
#: Shapes of each version, and what ultralytics makes of it.
VERSIONS = {"YOLOv8": (shapes, DATA / "yolo" / "outputs.npz"), "YOLO11": (shapes11, DATA / "yolo" / "outputs11.npz")}


def network(version: str = "YOLOv8") -> torch.nn.Module:
    of = VERSIONS[version][0]()
    built = build_yolo(of)
    built.load_state_dict({name: torch.as_tensor(value) for name, value in weights(of).items()})
    return built


def export_yolo(path: Path, *, names: str | None = None, size: int = 160) -> Path:
    """Export the small network as ultralytics does, with the names of its classes."""

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, pictures: torch.Tensor) -> Any:
            return self.inner(pictures)

    export(Exported(), path, channels=3, size=size, outputs=("output0", "output1"), dynamic=False)
    model = onnx.load(path)
    # As ultralytics states it.
    shape = model.graph.output[0].type.tensor_type.shape
    for dim, length in zip(shape.dim, (1, 4 + len(CLASSES) + 32, 525), strict=True):
        dim.dim_value = length
    props = {"task": "segment", "names": names or str(dict(enumerate(CLASSES)))}
    helper.set_model_props(model, props)
    onnx.save(model, path)
    return path


def store_object(path: Path, *, ema: bool = False, names: Any = None, version: str = "YOLOv8") -> Path:
    """Store a small network as ultralytics does: as an object of its classes, in half precision."""
    module = types.ModuleType("ultralytics.nn.tasks")
    kind = type("SegmentationModel", (torch.nn.Module,), {"__module__": "ultralytics.nn.tasks"})
    module.SegmentationModel = kind  # type: ignore[attr-defined]
    packages = {"ultralytics": types.ModuleType("ultralytics"), "ultralytics.nn": types.ModuleType("ultralytics.nn")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**packages, "ultralytics.nn.tasks": module}.items():
            patch.setitem(sys.modules, name, value)
        stored: Any = kind()
        for key, value in weights(VERSIONS[version][0]()).items():
            part = stored
            *parents, last = key.split(".")
            for name in parents:
                if name not in part._modules:
                    part.add_module(name, torch.nn.Sequential() if name.isdigit() else kind())
                part = part._modules[name]
            tensor = torch.as_tensor(value)
            if "running" in last or "tracked" in last:
                part.register_buffer(last, tensor)
            else:
                part.register_parameter(last, torch.nn.Parameter(tensor))
        stored.names = names or dict(enumerate(CLASSES))
        stored.half()
        torch.save({"model": None if ema else stored, "ema": stored if ema else None, "epoch": -1}, path)
    return path


def _files(folder: Path) -> list[Path]:
    stored = [store_object(folder / f"{version}.pt", version=version) for version in VERSIONS]
    return [export_yolo(folder / "yolo.onnx"), *stored]


TINY_WEIGHTS = {"yolo_seg": _files}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_network_returns_what_ultralytics_returns(version: str) -> None:
    frozen = read_arrays(VERSIONS[version][1])
    rows, columns = (4 * n for n in frozen["prototypes"].shape[1:])
    seen = torch.as_tensor(picture()[:rows, :columns].transpose(2, 0, 1)[None].copy()).float() / 255
    with torch.inference_mode():
        predictions, prototypes = (part[0].numpy() for part in network(version)(seen))
    assert np.allclose(predictions, frozen["predictions"], atol=1e-3, rtol=1e-4)
    assert np.allclose(prototypes, frozen["prototypes"], atol=1e-4, rtol=1e-4)


def test_objects_are_those_of_ultralytics(tmp_path: Path) -> None:
    frozen = read_arrays(VERSIONS["YOLOv8"][1])
    import_by_command(store_object(tmp_path / "yolo.pt"), "yolo")
    found = load_model("yolo").instances(picture(), PanopticOptions(threshold=0.75))
    count = len(frozen["scores"])
    masks = np.unpackbits(frozen["masks"])[: count * 14_000].reshape(count, 100, 140).astype(bool)
    # Pictures are resized by another library, and weights were stored in half precision.
    matched = 0
    for mask, score, number in zip(masks, frozen["scores"], frozen["classes"], strict=True):
        alike = [
            one for one in found if abs(one.predicted_iou - score) < 0.01 and one.class_id == number + 1
        ]  # fmt: skip
        matched += any(iou(one, Mask.from_array(mask)) > 0.9 for one in alike)
    assert count > 10
    assert matched >= 0.9 * count
    assert abs(len(found) - count) <= 0.1 * count


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_stored_network_is_read_without_running_it(tmp_path: Path, version: str, ema: bool) -> None:
    row = import_model(store_object(tmp_path / "last.pt", ema=ema, version=version), "mine")
    assert row.title == f"{version}-seg"
    assert row.classes == CLASSES
    assert "AGPL-3.0" in row.weights_licence
    assert "passes them on, or serves them over a network" in row.weights_licence
    assert "ultralytics" not in sys.modules


def test_an_export_gives_the_objects_of_the_network_it_came_from(tmp_path: Path) -> None:
    import_model(export_yolo(tmp_path / "yolo.onnx"), "exported")
    import_model(store_object(tmp_path / "yolo.pt"), "stored")
    assert load_model("exported").window == 160
    seen = np.zeros((160, 160, 3), np.uint8)
    seen[:100, :140] = picture()
    exported = load_model("exported").instances(seen, PanopticOptions(threshold=0.75))
    stored = load_model("stored")
    stored._size = (160, 160)
    again = stored.instances(seen, PanopticOptions(threshold=0.75))
    assert len(exported) > 3
    assert abs(len(exported) - len(again)) <= 0.1 * len(again) + 1
    found = fs.panoptic(picture(), model="exported", method="instances", threshold=0.75)
    assert found.labels.any()
    assert {one.name for one in found.classes} == set(CLASSES)


def test_eighty_classes_without_names_are_those_of_coco_and_that_is_said(tmp_path: Path) -> None:
    from napari_foundseg.models.families.classes.yolo_seg import _fields

    fields = _fields(tmp_path / "yolo.pt", 80, ())
    assert fields["classes"][0] == "person"
    assert len(fields["classes"]) == 80
    assert "COCO were taken" in fields["assumed"]


@pytest.mark.parametrize("version", VERSIONS)
def test_other_yolos_are_named(tmp_path: Path, version: str) -> None:
    of = VERSIONS[version][0]()
    head = "model.22" if version == "YOLOv8" else "model.23"
    whole = {name: torch.as_tensor(value) for name, value in weights(of).items()}
    # Poses and rotated boxes have a fourth branch too.
    others = {name: value for name, value in whole.items() if ".proto." not in name}
    torch.save(others, tmp_path / "boxes.pt")
    with pytest.raises(CheckpointError, match=rf"{version} that returns no masks; those with -seg do"):
        import_model(tmp_path / "boxes.pt")
    torch.save({name.replace(head, "model.21"): value for name, value in others.items()}, tmp_path / "v12.pt")
    with pytest.raises(CheckpointError, match=r"another version than v8 and 11.*Export it as ONNX"):
        import_model(tmp_path / "v12.pt")
    del whole[f"{head}.proto.cv3.conv.weight"]
    torch.save(whole, tmp_path / "cut.pt")
    with pytest.raises(CheckpointError, match=rf"{version}-seg, but tensors are missing"):
        import_model(tmp_path / "cut.pt")


def test_an_export_that_names_other_classes_is_named(tmp_path: Path) -> None:
    path = export_yolo(tmp_path / "yolo.onnx", names="{0: 'one'}")
    with pytest.raises(CheckpointError, match=r"names 1 classes, but tells 3 apart"):
        import_model(path)


@pytest.mark.parametrize(("name", "count"), [("yolov8n-seg", 3_409_968), ("yolo11n-seg", 2_876_848)])
def test_the_published_layout_is_met_in_full(name: str, count: int) -> None:
    layout = json.loads((DATA / "layouts" / f"{name}.json").read_text())
    with torch.device("meta"):
        found = build_yolo(layout)
    assert {name: list(value.shape) for name, value in found.state_dict().items()} == layout
    assert sum(value.numel() for value in found.parameters()) == count


def test_a_stack_gets_the_objects_of_its_slices(tmp_path: Path) -> None:
    import_model(store_object(tmp_path / "yolo11n-seg.pt", version="YOLO11"), "eleven")
    flat = fs.panoptic(picture(), model="eleven", method="instances", threshold=0.75)
    stack = fs.panoptic(
        np.stack([picture()] * 2), model="eleven", axes="ZYXC", method="instances", threshold=0.75, link="none"
    )
    assert len(flat) > 3
    assert np.array_equal(stack.labels[0] > 0, flat.labels > 0)

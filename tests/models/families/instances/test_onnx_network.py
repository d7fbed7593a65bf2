"""Networks in ONNX files, exported by torch here: what is guessed of them, what is said, and what they return."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torchvision import models

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError, SettingsError
from napari_foundseg.models.abilities import fallbacks_of
from napari_foundseg.models.families import family_module
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.onnx_networks.description import description_of
from napari_foundseg.models.onnx_networks.network import as_input
from napari_foundseg.models.row_defaults import expected_colour
from napari_foundseg.tasks.task_models import tasks_for

pytestmark = pytest.mark.usefixtures("own_cache")


class SmallUnet(nn.Module):
    """Halves the picture once and enlarges it again, as laboratories' networks do."""

    def __init__(self, channels: int, maps: int, end: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.last = nn.Conv2d(12, maps, 1)
        self.end = end or nn.Identity()

    def forward(self, picture: Tensor) -> Tensor:
        first = torch.relu(self.first(picture))
        deep = nn.functional.interpolate(torch.relu(self.deep(first)), scale_factor=2.0, mode="nearest")
        out: Tensor = self.end(self.last(torch.cat([first, deep], 1)))
        return out


class Levels(nn.Module):
    """Scores of background, dim and bright: the nearest of three grey values wins."""

    def __init__(self, levels: Sequence[float] = (0.0, 0.5, 1.0)) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor(levels)[None, :, None, None])

    def forward(self, picture: Tensor) -> Tensor:
        return -((picture.mean(1, keepdim=True) - self.levels) ** 2)


class Inside(nn.Module):
    """Object and boundary of a picture whose objects are white and their boundaries grey."""

    def forward(self, picture: Tensor) -> Tensor:
        grey = picture.mean(1, keepdim=True)
        return torch.cat([(grey > 0.9).float(), ((grey - 0.5).abs() < 0.2).float()], 1)


def export(
    net: nn.Module,
    path: Path,
    *,
    channels: int = 1,
    size: int = 64,
    dynamic: bool = True,
    outputs: Sequence[str] = ("maps",),
) -> Path:
    """Export a network as an ONNX file."""
    axes = {0: "batch", 2: "rows", 3: "columns"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, channels, size, size),),
            str(path),
            input_names=["picture"],
            output_names=list(outputs),
            dynamic_axes={"picture": axes, "maps": axes} if dynamic else None,
            dynamo=False,
        )
    return path


def write_weights(folder: Path) -> list[Path]:
    torch.manual_seed(0)
    export(Levels(), folder / "levels.onnx")
    export(SmallUnet(3, 2, nn.Sigmoid()), folder / "unet.onnx", channels=3)
    for name, output in (("inside", "object and boundary"), ("centres", "distances"), ("flows", "flows")):
        maps = 2 if name == "inside" else 3
        export(SmallUnet(1, maps, nn.Sigmoid()), folder / f"{name}.onnx")
        describe(folder / f"{name}.onnx", json.dumps({"output": output}))
    return sorted(folder.glob("*.onnx"))


def describe(path: Path, facts: str) -> None:
    """Write what a network is into its file."""
    model = onnx.load(path)
    helper.set_model_props(model, {"foundseg": facts})
    onnx.save(model, path)


TINY_WEIGHTS = {"onnx_network": write_weights}


def blocks() -> Any:
    """Return a picture of a dim and a bright square."""
    picture = np.zeros((90, 110), np.uint8)
    picture[10:40, 10:50] = 128
    picture[50:80, 60:100] = 255
    return picture


def test_classes_come_from_a_network_that_is_described_by_its_graph_alone(tmp_path: Path) -> None:
    row = import_model(export(Levels(), tmp_path / "levels.onnx"), "levels")
    assert tasks_for(row) == ("semantic",)
    assert row.classes == ("background", "class 1", "class 2")
    assert "Values of the output" not in row.assumed
    assert "values of the output: scores" in row.assumed
    assert "--set" in row.assumed
    found = fs.semantic(blocks(), model="levels")
    assert np.array_equal(found.labels, (blocks() > 100).astype(int) + (blocks() > 200))


def test_what_is_said_of_a_network_is_used_and_not_called_assumed(tmp_path: Path) -> None:
    facts = {"classes": "background, dim, bright", "contrast": "as is", "values": "scores", "input_values": "0 to 1"}
    row = import_model(
        export(Levels(), tmp_path / "levels.onnx"), "levels", facts={**facts, "output": "classes"}
    )  # fmt: skip
    assert row.assumed == ""
    assert row.classes == ("background", "dim", "bright")
    description = description_of(row)
    assert description is not None
    assert description.classes == "background, dim, bright"
    assert description.contrast == "as is"
    assert [one.name for one in fs.semantic(blocks(), model="levels").classes] == ["dim", "bright"]


@pytest.mark.parametrize(("channels", "maps"), [(1, 1), (3, 4)])
@pytest.mark.parametrize("dynamic", [True, False])
def test_maps_are_those_of_the_exported_network(tmp_path: Path, channels: int, maps: int, dynamic: bool) -> None:
    torch.manual_seed(1)
    net = SmallUnet(channels, maps, nn.Sigmoid() if maps == 1 else None)
    row = import_model(export(net, tmp_path / "net.onnx", channels=channels, dynamic=dynamic), "net")
    rgb = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    seen = as_input(rgb, channels, "0 to 1")
    with torch.inference_mode():
        wanted = net(torch.as_tensor(seen.transpose(2, 0, 1))[None])[0].numpy()
    model = load_model(row.name)
    assert np.allclose(model.network.maps(seen), wanted, atol=1e-4)
    expected = wanted[0] > 0.5 if maps == 1 else wanted.argmax(0)
    assert (model.semantic(rgb) == expected).mean() > 0.999


def test_pictures_of_any_size_are_seen_by_a_network_of_one_size(tmp_path: Path) -> None:
    import_model(export(Levels(), tmp_path / "levels.onnx", dynamic=False), "levels", facts={"contrast": "as is"})
    limits = fs.Limits(low=0, high=255)
    for shape in ((5, 7), (64, 64), (63, 200), (1, 300)):
        picture = np.zeros(shape, np.uint8)
        picture[:, shape[1] // 2 :] = 255
        found = fs.semantic(fs.Image(picture, "YX", normalisation=limits), model="levels")
        assert np.array_equal(found.labels == 2, picture > 0)
    shrunk = fs.semantic(np.kron(blocks(), np.ones((4, 4), np.uint8)), model="levels", tile=False)
    assert shrunk.labels[260, 320] == 2


def test_channels_last_and_whole_numbers_are_read_from_the_graph(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["picture"], ["numbers"], to=TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "last",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [None, None, None, 1])],
        [helper.make_tensor_value_info("numbers", TensorProto.INT64, [None, None, None, 1])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "last.onnx"
    )
    row = import_model(tmp_path / "last.onnx", "last", facts={"input_values": "0 to 255", "contrast": "as is"})
    assert row.options["output"] == "class numbers"
    picture = np.zeros((40, 50), np.uint8)
    picture[5:20] = 3
    limits = fs.Limits(low=0, high=255)
    found = fs.semantic(fs.Image(picture, "YX", normalisation=limits), model="last")
    assert np.array_equal(found.labels, picture)
    picture[0] = 200
    with pytest.raises(CheckpointError, match=r"class number 200, but 21 classes are named.*classes="):
        fs.semantic(fs.Image(picture, "YX", normalisation=limits), model="last")


def test_touching_objects_are_told_apart_by_their_boundary(tmp_path: Path) -> None:
    picture = np.zeros((64, 64), np.uint8)
    picture[8:40, 8:56] = 128
    picture[10:38, 10:31] = picture[10:38, 33:54] = 255
    row = import_model(
        export(Inside(), tmp_path / "net.onnx"), "net",
        facts={"output": "object and boundary", "values": "probabilities", "contrast": "as is"},
    )  # fmt: skip
    assert tasks_for(row) == ("automatic",)
    found = fs.automatic(picture, model="net", method="decoder")
    assert found.labels.max() == 2
    assert found.labels[20, 20] != found.labels[20, 45]
    assert np.array_equal(found.labels > 0, picture > 0)


def test_a_dye_in_one_colour_is_grey_to_a_network_of_one_channel(tmp_path: Path) -> None:
    grey = import_model(export(Levels(), tmp_path / "grey.onnx"), "grey")
    colour = import_model(export(SmallUnet(3, 3), tmp_path / "colour.onnx", channels=3), "colour")
    assert expected_colour(grey, "grey") == "grey"
    assert expected_colour(colour, "grey") == "RGB"


@pytest.mark.parametrize("values", ["0 to 1", "-1 to 1", "0 to 255", "ImageNet", "mean 0, deviation 1"])
def test_values_of_the_input_are_those_that_were_said(values: Any) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    seen = as_input(rgb, 3, values)
    x = rgb / 255
    expected = {
        "0 to 1": x,
        "-1 to 1": 2 * x - 1,
        "0 to 255": rgb,
        "ImageNet": (x - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225),
        "mean 0, deviation 1": (x - x.mean((0, 1))) / x.std((0, 1)),
    }[values]
    assert np.allclose(seen, expected, atol=1e-4)
    assert as_input(rgb, 1, values).shape == (8, 9, 1)


def _graph(
    inputs: list[list[int | None]], *, domain: str = "", shape: list[int] | None = None, opset: int = 17
) -> onnx.ModelProto:
    made = [helper.make_tensor_value_info(f"in{i}", TensorProto.FLOAT, dims) for i, dims in enumerate(inputs)]
    nodes = [helper.make_node("Relu", ["in0"], ["maps"], domain=domain)]
    initializers = []
    if shape is not None:
        initializers = [helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape)]
        nodes = [
            helper.make_node("ConstantOfShape", ["shape"], ["bomb"]),
            helper.make_node("ReduceMax", ["bomb"], ["most"], keepdims=0),
            helper.make_node("Add", ["in0", "most"], ["maps"]),
        ]
    out = helper.make_tensor_value_info("maps", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", made, [out], initializers)
    sets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=sets, ir_version=9)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_graph([[1, 1, 8, 8, 8]]), "takes volumes"),
        (_graph([[1, 4, 8, 8]]), "pictures of 4 channels"),
        (_graph([[1, 1, 8, 8], [1, 2]]), "takes 2 inputs"),
        (_graph([[1, 8]]), "batch x channels x rows x columns"),
        (_graph([[1, 1, 8, 8]], domain="my.lab"), "operators of my.lab"),
        (_graph([[1, 1, 8, 8]], opset=99), "opset 17 for example"),
        (_graph([[1, 1, 8, 8]], shape=[100_000, 100_000, 10]), "more than memory holds"),
    ],
)
def test_graphs_that_are_no_network_of_pictures_are_named(tmp_path: Path, model: onnx.ModelProto, words: str) -> None:
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(CheckpointError, match=words):
        import_model(tmp_path / "net.onnx")


def test_wrong_facts_damage_and_files_that_are_missing_are_named(tmp_path: Path) -> None:
    path = export(SmallUnet(1, 4), tmp_path / "net.onnx")
    with pytest.raises(CheckpointError, match=r"4 classes apart, but 2 are named"):
        import_model(path, facts={"classes": "background, cell"})
    with pytest.raises(CheckpointError, match=r"returns 4 maps; for 'flows' it would be 3"):
        import_model(path, facts={"output": "flows"})
    with pytest.raises(SettingsError, match=r"output"):
        import_model(path, facts={"output": "cells"})
    with pytest.raises(SettingsError, match=r"colour"):
        import_model(path, facts={"colour": "red"})
    with pytest.raises(CheckpointError, match=r"no output 'mask'; its outputs are maps"):
        import_model(path, facts={"output_name": "mask"})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"damaged ONNX model"):
        import_model(path)
    large = export(SmallUnet(1, 2), tmp_path / "large.onnx")
    onnx.save_model(
        onnx.load(large),
        tmp_path / "apart.onnx",
        save_as_external_data=True,
        location="apart.onnx.data",
        size_threshold=0,
    )
    assert import_model(tmp_path / "apart.onnx", "apart").size_mb >= 0
    (tmp_path / "apart.onnx.data").unlink()
    with pytest.raises(CheckpointError, match=r"keeps its weights in apart.onnx.data, which is not beside it"):
        import_model(tmp_path / "apart.onnx", "again")


def test_weights_apart_that_links_lead_to_run_and_a_place_outside_is_named(tmp_path: Path) -> None:
    """In the hub's own cache both files are links to blobs, which ONNX Runtime takes for an attack since 1.24."""
    whole = onnx.load(export(SmallUnet(1, 2), tmp_path / "large.onnx"))
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save_model(
        whole, tmp_path / "apart.onnx", save_as_external_data=True, location="apart.onnx.data", size_threshold=0
    )
    for name, blob in (("apart.onnx", "a1"), ("apart.onnx.data", "b2")):
        (tmp_path / name).rename(blobs / blob)
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    row = import_model(snapshot / "apart.onnx", "apart")
    picture = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    linked = fs.semantic(picture, model=row.name)
    plain = fs.semantic(picture, model=import_model(tmp_path / "large.onnx", "large").name)
    assert np.array_equal(linked.labels, plain.labels)
    for tensor in whole.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../apart.data")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "net.onnx").write_bytes(whole.SerializeToString())
    with pytest.raises(CheckpointError, match=r"\.\./apart\.data"):
        import_model(tmp_path / "away" / "net.onnx", "away")


def test_a_file_may_describe_itself_and_the_user_has_the_last_word(tmp_path: Path) -> None:
    path = export(Levels(), tmp_path / "net.onnx")
    describe(path, json.dumps({"classes": ["background", "dim", "bright"], "contrast": "min to max"}))
    row = import_model(path, "net", facts={"contrast": "as is"})
    assert row.classes == ("background", "dim", "bright")
    assert row.expects == "as is"
    assert "classes:" not in row.assumed
    describe(path, "[1")
    with pytest.raises(CheckpointError, match=r"metadata 'foundseg' = '\[1', which is not a JSON object"):
        import_model(path, "again")


def test_facts_are_for_families_that_ask_for_them(tmp_path: Path) -> None:
    network = models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    with pytest.raises(SettingsError, match=r"needs no further facts: leave out output"):
        import_model(tmp_path / "net.pth", facts={"output": "object"})


def test_a_gpu_that_onnxruntime_cannot_use_is_noted(tmp_path: Path) -> None:
    path = export(Levels(), tmp_path / "net.onnx")
    row = import_model(path, "net")
    model = family_module("onnx_network").load(row, path, "cuda:0")
    if model.device == "cpu":
        assert any("onnxruntime has no CUDA here" in note for note in fallbacks_of(model).taken())
    assert not fallbacks_of(load_model("net", device="cpu")).taken()

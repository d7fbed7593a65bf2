"""Cellpose-SAM: its published layout, and maps as cellpose 4.2 itself gives them (frozen by tests/oracles)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import ndimage

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import CheckpointError, ModelNotFoundError, SettingsError
from napari_foundseg.core.flows.flow_fields import flows_of_labels
from napari_foundseg.core.image import Image
from napari_foundseg.models import catalog
from napari_foundseg.models.families.instances.cellpose_sam import recognise
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks.automatic import TASK, derive
from napari_foundseg.tasks.automatic_settings import AutomaticInputs, FlowsSettings
from napari_foundseg.tasks.windows.flow_maps import decode_flows, flow_picture
from tests.support.frozen_arrays import read_arrays
from tests.support.small_cellpose import pictures, weights

pytestmark = pytest.mark.usefixtures("own_cache")

_DATA = Path(__file__).parents[3] / "data" / "cellpose"


def _write(path: Path, prefix: str = "") -> Path:
    torch.save({prefix + name: torch.from_numpy(value) for name, value in weights().items()}, path)
    return path


def _tiny(folder: Path) -> list[Path]:
    return [_write(folder / "my_cells")]


TINY_WEIGHTS = {"cellpose_sam": _tiny}


@pytest.mark.parametrize("name", list(pictures()))
def test_maps_equal_cellposes_own(tmp_path: Path, name: str) -> None:
    import_model(_write(tmp_path / "small"), "small")
    case = pictures()[name]
    picture = case["picture"]
    image = Image(picture, axes="YXC", channels=tuple(range(picture.shape[-1])))
    region = (0, 0, picture.shape[0] - 1, picture.shape[1] - 1)
    expected = read_arrays(_DATA / "outputs.npz")[name]
    found = decode_flows(image, (), region, load_model("small"), case["diameter"], lambda: None)
    scale = np.abs(expected).max()
    # Kept as float16; what the network itself gives is compared below.
    assert np.abs(found[:, ::5, ::5].astype(np.float32) - expected).max() <= 1e-3 * scale
    if case["diameter"] is None:
        exact = load_model("small").flow_maps(flow_picture(image, (), region), lambda: None)
        assert np.abs(exact[:, ::5, ::5] - expected).max() <= 1e-4


def test_the_published_layout_is_recognised_whatever_is_put_before_its_names() -> None:
    layout = {name: tuple(shape) for name, shape in json.loads((_DATA / "cellpose_sam.json").read_text()).items()}
    assert len(layout) == 350
    for prefix in ("", "module."):
        fields = recognise(WeightsView(Path("cpsam"), {prefix + name: shape for name, shape in layout.items()}, {}))
        assert fields is not None
        assert fields["title"] == "Cellpose-SAM"
    del layout["encoder.neck.2.weight"]
    with pytest.raises(CheckpointError, match=r"taken for Cellpose-SAM, but"):
        recognise(WeightsView(Path("cpsam"), layout, {}))


def test_published_names_become_their_rows_and_other_names_rows_of_their_own(tmp_path: Path) -> None:
    assert import_model(_write(tmp_path / "my_cells", "module.")).name == "my_cells"
    for name in ("cpsam", "cpsam_v2"):
        row = import_model(_write(tmp_path / name), name)
        assert (row.name, row.family, "CC-BY-NC" in row.weights_licence) == (name, "cellpose_sam", True)
        assert row.key.startswith(f"{name}@")


def test_older_and_other_cellpose_models_are_named(tmp_path: Path) -> None:
    old = {"downsample.down.res_down_0.conv.conv_0.0.weight": torch.zeros(1), "diam_mean": torch.zeros(1)}
    save_file(old, tmp_path / "cyto3.safetensors")
    with pytest.raises(CheckpointError, match="is a Cellpose 3 checkpoint"):
        import_model(tmp_path / "cyto3.safetensors")
    dino = {"W2": torch.zeros(1), "encoder.cls_token": torch.zeros(1), "encoder.storage_tokens": torch.zeros(1)}
    torch.save(dino, tmp_path / "cpdino")
    with pytest.raises(CheckpointError, match="is a Cellpose DINO checkpoint"):
        import_model(tmp_path / "cpdino")
    assert not catalog.user_rows()
    with pytest.raises(ModelNotFoundError, match="Cellpose 3 is not supported yet"):
        catalog.row("cyto3")


def test_grey_values_are_those_of_one_to_three_channels_and_absent_ones_are_zero(tmp_path: Path) -> None:
    import_model(_write(tmp_path / "small"), "small")
    model = load_model("small")
    grey = np.random.default_rng(0).integers(0, 4000, (70, 90)).astype(np.uint16)
    region = (0, 0, 69, 89)
    alone = decode_flows(Image(grey), (), region, model, None, lambda: None)
    zeros = np.zeros_like(grey)
    for channels in (np.stack([grey, zeros], -1), np.stack([grey, zeros + 9, zeros], -1)):
        image = Image(channels, axes="YXC", channels=tuple(range(channels.shape[-1])))
        assert np.array_equal(decode_flows(image, (), region, model, None, lambda: None), alone)
    seen = flow_picture(Image(grey, normalisation=Limits(low=0, high=4000)), (), region)
    assert np.abs(seen[..., 0] - grey / 4000).max() <= 1 / 255
    assert seen.shape == (70, 90, 1)


class _TrueFlows:
    """Stands for a trained model: every bright disc has its flows."""

    name = "cpsam_v2"
    key = "true@0"
    device = "cpu"
    window = 256

    def __init__(self, faint: float = 5.0) -> None:
        self.faint = faint
        self.seen: list[tuple[int, ...]] = []

    def flow_maps(self, picture: NDArray[np.float32], poll: Callable[[], None]) -> NDArray[np.float32]:
        poll()
        self.seen.append(picture.shape)
        labels = ndimage.label(picture[..., 0] > 0.5)[0]
        probability = np.where(labels > 0, self.faint, -5)[None]
        return np.concatenate([5 * flows_of_labels(labels), probability]).astype(np.float32)


def _discs() -> NDArray[np.uint16]:
    y, x = np.mgrid[:150, :180]
    discs = ((40, 40, 15), (40, 72, 15), (110, 120, 30), (20, 150, 8))
    inside = np.any([(y - cy) ** 2 + (x - cx) ** 2 <= r**2 for cy, cx, r in discs], axis=0)
    return np.where(inside, 3000, 100).astype(np.uint16)


def test_every_object_is_found_and_thresholds_act_on_the_kept_maps() -> None:
    picture = _discs()
    found = fs.automatic(picture, model=_TrueFlows(3.0), method="flows")
    assert len(found) == 4
    assert np.array_equal(found.labels > 0, picture > 1000)
    assert found.table["predicted_iou"].between(0.9, 1).all()
    assert len(derive(found, FlowsSettings(min_area=300))) == 3
    assert not len(derive(found, FlowsSettings(probability_threshold=4)))
    assert len(derive(found, FlowsSettings(flow_threshold=0))) == 4


@pytest.mark.parametrize(("diameter", "size"), [(None, (150, 180, 1)), (15.0, (300, 360, 1)), (60.0, (75, 90, 1))])
def test_a_diameter_resizes_what_the_network_sees(diameter: float | None, size: tuple[int, ...]) -> None:
    model = _TrueFlows()
    found = fs.automatic(_discs(), model=model, method="flows", diameter=diameter)
    assert model.seen == [size]
    assert len(found) == 4
    assert found.provenance["size"]["diameter"] == diameter
    assert np.array_equal(derive(found, FlowsSettings(diameter=diameter)).labels, found.labels)


def test_a_diameter_that_was_changed_after_a_run_is_not_taken_for_that_of_the_maps() -> None:
    """The maps are the network's answer at one size: thresholds act on them, a diameter needs a run."""
    model = _TrueFlows()
    found = fs.automatic(_discs(), model=model, method="flows", diameter=15.0)
    again = derive(found, FlowsSettings(diameter=60.0, tile=False, min_area=300))
    assert len(again) == 3
    recorded = again.provenance["settings"]
    assert (recorded["diameter"], recorded["tile"], recorded["min_area"]) == (15.0, True, 300)
    settings = TASK.settings_of_record("flows", {k: v for k, v in recorded.items() if k != "method"})
    run = fs.automatic(_discs(), model=model, **settings.model_dump())
    assert np.array_equal(run.labels, again.labels)


def test_nothing_comes_with_its_reason_and_impossible_diameters_are_named() -> None:
    empty = fs.automatic(np.zeros((60, 70), np.uint8), model=_TrueFlows(), method="flows")
    assert not len(empty)
    assert "cell probability is -5.00 at most" in " ".join(empty.provenance["nothing_found"])
    with pytest.raises(SettingsError, match=r"diameter of 1e\+05 pixels shrinks"):
        fs.automatic(_discs(), model=_TrueFlows(), method="flows", diameter=100_000)


def test_a_part_of_an_image_and_a_stack_give_the_same_objects() -> None:
    picture = _discs()
    inputs = AutomaticInputs(region=(10, 10, 80, 100))
    part = TASK.run(Image(picture), inputs, FlowsSettings(), _TrueFlows())
    assert len(part) == 2
    assert not part.labels[85:].any()
    shrunk = fs.automatic(np.tile(picture, (3, 3)), model=(model := _TrueFlows()), method="flows", tile=False)
    assert max(model.seen[0]) <= 256
    assert len(shrunk) == 36
    stack = np.stack([picture, np.full_like(picture, 100), picture])
    found = fs.automatic(stack, model=_TrueFlows(), method="flows", link="none")
    assert len(found) == 8


def test_an_imported_model_runs_and_is_repeated_from_its_record(tmp_path: Path) -> None:
    import_model(_write(tmp_path / "small"), "small")
    picture = pictures()["grey in tiles"]["picture"][..., 0]
    found = fs.automatic(picture, model="small", flow_threshold=0, min_area=1)
    assert found.provenance["settings"]["method"] == "flows"
    assert fs.replay(found.provenance, picture).table.equals(found.table)

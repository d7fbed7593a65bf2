"""Weights that the catalogue says where to get become one row with it; models that are not supported are named."""

from __future__ import annotations

import json
import pickle
import shutil
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from napari_foundseg.batch.recipe import Step
from napari_foundseg.batch.run_files import files_of_models
from napari_foundseg.core.errors import CheckpointError, ModelNotFoundError
from napari_foundseg.models import catalog, store
from napari_foundseg.models.importing import import_model
from tests.support import mmseg_files
from tests.support.tiny_checkpoints import write

_CLIPSEG = "clipseg-rd64-refined"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "clipseg"
    folder.mkdir()
    return write("CLIPSegForImageSegmentation", folder)


def _names(family: str) -> list[str]:
    return [name for name, row in catalog.catalog().items() if row.family == family]


def test_weights_of_the_published_name_take_its_row(clipseg: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clipseg, tmp_path / _CLIPSEG)
    row = import_model(folder)
    assert row.name == _CLIPSEG
    assert row.weights_licence == "Apache-2.0"
    assert _names("clipseg") == [_CLIPSEG]
    # The next download by a browser.
    again = shutil.copytree(clipseg, tmp_path / f"{_CLIPSEG} (1)")
    shutil.rmtree(folder)
    assert import_model(again).name == _CLIPSEG
    assert _names("clipseg") == [_CLIPSEG]


@pytest.mark.parametrize("name", [None, "mine"])
def test_weights_of_another_name_stand_for_the_published_row(clipseg: Path, name: str | None) -> None:
    row = import_model(clipseg, name)
    assert _names("clipseg") == [row.name] == [name or "clipseg"]
    assert catalog.row(_CLIPSEG) == row
    assert next(iter(files_of_models(_CLIPSEG))) == clipseg
    for named in (row.name, _CLIPSEG):
        step = Step.model_validate(
            {"task": "text", "model": {"name": named}, "inputs": {"concepts": [{"text": "cell"}]}}
        )
        assert step.model.check() == row.sha256


def test_other_rows_of_the_same_network_keep_their_address(tmp_path: Path) -> None:
    before = _names("transformers_segmenters")
    folder = tmp_path / "own"
    folder.mkdir()
    row = import_model(write("Mask2FormerForUniversalSegmentation", folder))
    assert not row.stands_for
    assert _names("transformers_segmenters") == [*before, "own"]


def test_a_published_model_that_is_here_keeps_its_row(clipseg: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub" / "models--CIDAS--clipseg-rd64-refined"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("abc")
    shutil.copytree(clipseg, hub / "snapshots" / "abc")
    import_model(clipseg, "mine")
    assert _names("clipseg") == [_CLIPSEG, "mine"]


def test_weights_that_were_moved_take_their_own_row_again(clipseg: Path, tmp_path: Path) -> None:
    first = shutil.copytree(clipseg, tmp_path / "first")
    import_model(first, "mine")
    second = first.rename(tmp_path / "second")
    assert "no longer at" in store.state(catalog.row("mine"))
    with pytest.raises(CheckpointError, match=r"no longer at .*first.*Import…"):
        store.check_here(catalog.row("mine"))
    assert import_model(second).name == "mine"
    assert _names("clipseg") == ["mine"]


def test_a_file_of_a_folder_stands_for_the_folder(clipseg: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        assert import_model(clipseg / file).file == str(clipseg)


@pytest.mark.parametrize(
    ("tensors", "name"),
    [
        (["detector.geometry_encoder.norm.weight", "detector.backbone.vision_backbone.trunk.pos_embed"], "SAM 3"),
        (["downsample.down.res_down_0.conv.conv_0.0.weight", "diam_mean"], "Cellpose 3"),
    ],
)
def test_checkpoints_of_unsupported_models_are_named(tmp_path: Path, tensors: list[str], name: str) -> None:
    content = {tensor: torch.zeros(1) for tensor in tensors}
    torch.save({"model": content}, tmp_path / "large.pt")
    torch.save(content, tmp_path / "cyto3")
    save_file(content, tmp_path / "model.safetensors")
    for file in ("large.pt", "cyto3", "model.safetensors"):
        with pytest.raises(CheckpointError, match=rf"is a {name} checkpoint: not supported yet; .*(SAM|micro-sam)"):
            import_model(tmp_path / file)
    assert not catalog.user_rows()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("EfficientPS", "EfficientPS's own checkpoint is not supported yet; .*Mask2Former"),
        ("efficienttam_s", "EfficientTAM is not supported yet; .*EdgeTAM"),
        ("hyperdetr", "HyperDETR is not supported yet; Apple ships it inside iOS.*Mask2Former"),
    ],
)
def test_models_that_cannot_be_had_say_what_can_be_used(name: str, words: str) -> None:
    with pytest.raises(ModelNotFoundError, match=words):
        catalog.row(name)


def test_folders_and_names_of_unsupported_models_are_named(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3_tracker"}))
    with pytest.raises(CheckpointError, match="SAM 3 checkpoint: not supported yet"):
        import_model(tmp_path)
    stardist = tmp_path / "2D_versatile_fluo"
    stardist.mkdir()
    (stardist / "config.json").write_text(json.dumps({"n_rays": 32}))
    (stardist / "weights_best.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for path in (stardist, stardist / "weights_best.h5", stardist / "config.json"):
        with pytest.raises(CheckpointError, match="is a StarDist model: not supported yet"):
            import_model(path)
    (stardist / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError):
        import_model(stardist / "weights_best.h5")
    (tmp_path / "FastSAM-x.pt").write_bytes(pickle.dumps(Path))
    with pytest.raises(CheckpointError, match="FastSAM is not supported yet"):
        import_model(tmp_path / "FastSAM-x.pt")
    with pytest.raises(CheckpointError, match=r"SAM 3\.1 is not supported yet; as transformers' folder SAM 3 is"):
        import_model("hf:facebook/sam3.1")
    for name in ("cellpose", "stardist"):
        with pytest.raises(ModelNotFoundError, match="not supported yet"):
            catalog.row(name)


def test_supported_names_are_not_taken_for_others() -> None:
    from napari_foundseg.models.unsupported import unsupported_name

    assert not [name for name in catalog.packaged() if unsupported_name(name)]


def test_sizes_of_rows_are_those_of_their_published_layouts() -> None:
    """Four bytes a number; what lies beside the numbers in a file is less than a hundredth."""
    data = Path(__file__).parents[1] / "data"

    def numbers(path: Path, without: str = "") -> int:
        layout = json.loads(path.read_text("utf-8"))
        return sum(prod(shape) for name, shape in layout.items() if not without or without not in name)

    for name in ("sam2-hiera-tiny", "sam2-hiera-large", "sam2.1-hiera-tiny", "sam2.1-hiera-large", "edgetam"):
        assert catalog.packaged()[name].size_mb == pytest.approx(
            numbers(data / "layouts" / f"{name}.json") * 4e-6, 0.01
        )
    for name, layout in (("glip-tiny-a", "mmdet-glip-tiny-a"), ("glip-tiny", "mmdet-glip-tiny"), ("glip-large",) * 2):
        shapes = mmseg_files.read("../glip/layouts")[layout].values()
        assert catalog.packaged()[name].size_mb == pytest.approx(sum(map(prod, shapes)) * 4e-6, 0.001)
    own = numbers(data / "layouts" / "sam3-tracker.json", "vision_encoder.backbone.")
    whole = numbers(data / "layouts" / "sam3-detector.json") + own
    assert catalog.packaged()["sam3"].size_mb == pytest.approx(whole * 4e-6, 0.01)
    for name in ("cpsam", "cpsam_v2"):
        assert catalog.packaged()[name].size_mb == pytest.approx(
            numbers(data / "cellpose/cellpose_sam.json") * 4e-6, 0.01
        )

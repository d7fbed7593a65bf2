"""What users are told of files and folders of models that cannot run here: what they are, never "damaged"."""

from __future__ import annotations

import json
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from napari_foundseg.core.errors import CheckpointError, ModelNotFoundError
from napari_foundseg.models import catalog, store
from napari_foundseg.models.families import family_module, register_family
from napari_foundseg.models.family import Family
from napari_foundseg.models.importing import import_model
from tests.support.small_sam import small_sam

pytestmark = pytest.mark.usefixtures("own_cache")


def _told(path: Path, family: str | None = None) -> str:
    """Return what a refused import says."""
    with pytest.raises(CheckpointError) as error:
        import_model(path, family=family)
    assert not catalog.user_rows()
    words = str(error.value)
    assert "get it again" not in words.lower()
    return words


def _sam_med3d(path: Path, prefix: str = "model_state_dict") -> Path:
    tensors = {
        "image_encoder.patch_embed.proj.weight": torch.zeros(8, 1, 2, 2, 2),
        "image_encoder.blocks.0.attn.qkv.weight": torch.zeros(24, 8),
        "prompt_encoder.no_mask_embed.weight": torch.zeros(1, 4),
        "mask_decoder.iou_token.weight": torch.zeros(1, 4),
    }
    torch.save({prefix: tensors} if prefix else tensors, path)
    return path


@pytest.mark.parametrize("prefix", ["model_state_dict", ""])
def test_a_sam_for_volumes_is_not_called_a_damaged_sam(tmp_path: Path, prefix: str) -> None:
    assert "is a SAM-Med3D checkpoint: not supported yet" in _told(_sam_med3d(tmp_path / "turbo.pth", prefix))
    # Nor if the user says that it is a SAM.
    assert "SAM-Med3D" in _told(tmp_path / "turbo.pth", family="sam_vit")


@pytest.mark.parametrize("version", [3, 7, 8, 10])
@pytest.mark.parametrize("name", ["net.onnx", "weights.bin"])
def test_onnx_of_any_version_is_named(tmp_path: Path, version: int, name: str) -> None:
    (tmp_path / name).write_bytes(bytes([0x08, version, 0x12, 7]) + b"pytorch" + bytes(200))
    assert "is a damaged ONNX model" in _told(tmp_path / name)


def test_of_a_folder_with_several_onnx_models_one_is_to_be_chosen(tmp_path: Path) -> None:
    for name in ("encoder.onnx", "decoder.onnx"):
        (tmp_path / name).write_bytes(b"\x08\x08\x12\x00")
    assert "holds 2 ONNX models (decoder.onnx, encoder.onnx…): choose the file of one" in _told(tmp_path)


@pytest.mark.parametrize("module", ["models.yolo", "yolov5.models.yolo"])
def test_a_yolo_that_was_stored_as_objects_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:n]), types.ModuleType(".".join(parts[:n])))
    kind = type("SegmentationModel", (), {"__module__": module})
    vars(sys.modules[module])["SegmentationModel"] = kind
    network = kind()
    vars(network)["weight"] = torch.zeros(3)
    torch.save({"model": network, "epoch": -1}, tmp_path / "yolov8n-seg.pt")
    words = _told(tmp_path / "yolov8n-seg.pt")
    assert "is a YOLO network" in words
    assert "nothing of it was run" in words


def _bundle(folder: Path) -> None:
    (folder / "configs").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps({"name": "Spleen CT segmentation"}))
    (folder / "configs" / "inference.json").write_text(json.dumps({"network": "$import os"}))
    (folder / "models").mkdir()
    torch.save({"model.0.conv.weight": torch.zeros(2)}, folder / "models" / "model.pt")


def test_a_monai_bundle_is_named_by_its_folder_and_by_its_file(tmp_path: Path) -> None:
    _bundle(tmp_path)
    for path in (tmp_path, tmp_path / "models" / "model.pt"):
        assert "is a MONAI bundle (Spleen CT segmentation)" in _told(path)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"inference_session_class.json": "{}", "plans.json": '{"plans_name": "x"}'}, "nnInteractive"),
        ({"plans.json": '{"plans_name": "nnInteractivePlans"}', "dataset.json": "{}"}, "nnInteractive"),
        ({"plans.json": '{"plans_name": "nnUNetPlans", "configurations": {}}', "dataset.json": "{}"}, "nnU-Net"),
    ],
)
def test_folders_of_nnunet_and_nninteractive_are_named(tmp_path: Path, files: dict[str, str], name: str) -> None:
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "fold_0").mkdir()
    torch.save({"network_weights": {"a": torch.zeros(1)}}, tmp_path / "fold_0" / "checkpoint_final.pth")
    assert f"is an {name} model" in _told(tmp_path)


def test_a_failing_recogniser_does_not_keep_others_from_being_asked(tmp_path: Path) -> None:
    for mark, error in (("first", KeyError("odd")), ("second", CheckpointError("mine, but damaged"))):
        _family(f"failing_{mark}", 1, _raising(error))
    _family("taking_it", 99, lambda found: {"title": "Taken"} if "only.taken" in found.shapes else None)
    save_file({"only.taken": torch.zeros(2)}, tmp_path / "w.safetensors")
    assert import_model(tmp_path / "w.safetensors").family == "taking_it"
    # Where nobody takes it, the first that found it its own has the word.
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"taken for failing first, but .*odd"):
        import_model(tmp_path / "other.safetensors")


def test_a_family_may_have_its_weights_one_folder_down(tmp_path: Path) -> None:
    _family(
        "bundled", 1, lambda found: {"title": "Bundled"} if (found.path / "bundle.json").is_file() else None,
        weights_below=("parts/*.pt",),
    )  # fmt: skip
    (tmp_path / "bundle.json").write_text("{}")
    (tmp_path / "parts").mkdir()
    torch.save({"a": torch.zeros(1)}, tmp_path / "parts" / "one.pt")
    row = import_model(tmp_path, "bundled")
    assert row.family == "bundled"
    before = store.hash_of(tmp_path)
    assert row.sha256 == before
    torch.save({"a": torch.ones(1)}, tmp_path / "parts" / "one.pt")
    assert store.hash_of(tmp_path) != before


def test_a_program_of_torch_export_is_named_and_onnx_advised(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
        archive.writestr("net/archive_format", "pt2")
        archive.writestr("net/models/model.json", "{}")
    assert "is a program of torch.export (.pt2), which holds pickles: not read" in _told(tmp_path / "net.pt2")


def test_a_folder_is_offered_to_families_before_its_weights_are_read(tmp_path: Path) -> None:
    asked = []
    _family("by_config", 1, lambda found: asked.append(found.config["format"]) or {"title": "Known"})
    (tmp_path / "foundseg.json").write_text('{"format": "known"}')
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Path))
    with pytest.raises(CheckpointError, match="nothing of it was run"):
        import_model(tmp_path, "known")
    assert asked == ["known"]
    assert not catalog.user_rows()


@pytest.mark.parametrize("name", ["sam.pth", "model.safetensors", "net.onnx"])
def test_a_pointer_of_git_lfs_says_how_large_the_file_is(tmp_path: Path, name: str) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 375042383\n"
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=r"pointer of Git LFS.*375\.0 MB"):
        import_model(tmp_path / name)


def _raising(error: Exception) -> Any:
    def recognise(found: Any) -> dict[str, Any] | None:
        if any(name.startswith(("only.", "other")) for name in found.shapes):
            raise error
        return None

    return recognise


@pytest.fixture(autouse=True)
def _families_of_the_test_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_foundseg.models.families._registered", {})


def _family(name: str, rank: int, recognise: Any, **facts: Any) -> None:
    """Register a family whose module has one function."""
    module = types.ModuleType(name)
    vars(module).update(FAMILY=Family(rank=rank, protocols=("Promptable",), verified_against="nothing", **facts))
    vars(module).update(recognise=recognise, load=None)
    sys.modules[name] = module
    register_family(name)
    assert family_module(name) is module


@pytest.mark.parametrize("prefix", ["", "teacher.backbone."])
def test_dinov2_by_its_authors_names_is_not_taken_for_dino(tmp_path: Path, prefix: str) -> None:
    """Its names are those of DINO, with the scales of layers besides; read as DINO its features would be wrong."""
    from napari_foundseg.models.nets.features.vit import VisionTransformer

    net = VisionTransformer(32, 2, 2, 14, 17)
    tensors = {prefix + name: value for name, value in net.state_dict().items()}
    tensors |= {f"{prefix}blocks.{i}.{ls}.gamma": torch.ones(32) for i in (0, 1) for ls in ("ls1", "ls2")}
    torch.save(tensors, tmp_path / "weights.pth")
    words = _told(tmp_path / "weights.pth")
    assert "DINOv2 or DINOv3 (its authors' layout) checkpoint: not supported yet" in words
    assert "hf download facebook/dinov2-base" in words


@pytest.mark.parametrize("name", ["sam3.pt", "sam3.1.pt", "weights.pt"])
def test_sam_3_in_its_authors_layout_and_3_1_are_named(tmp_path: Path, name: str) -> None:
    tensors = {"detector.backbone.vision_backbone.trunk.pos_embed": torch.zeros(1, 4, 8),
               "detector.geometry_encoder.label_embed.weight": torch.zeros(2, 8)}  # fmt: skip
    torch.save({"model": tensors}, tmp_path / name)
    words = _told(tmp_path / name)
    version = "SAM 3.1" if "3.1" in name else "SAM 3"
    assert f"is a {version} checkpoint: not supported yet; as transformers' folder SAM 3 is" in words
    with pytest.raises(ModelNotFoundError, match=r"SAM 3\.1 is not supported yet"):
        catalog.row("sam3.1")


def test_sam_3_1_is_named_whatever_its_tensors_are_called_and_nothing_is_left(tmp_path: Path) -> None:
    torch.save({"model": {"multiplex.head.weight": torch.zeros(2)}}, tmp_path / "sam3.1_multiplex.pt")
    assert "is a SAM 3.1 checkpoint: not supported yet; as transformers' folder SAM 3 is" in _told(
        tmp_path / "sam3.1_multiplex.pt"
    )
    assert not catalog.user_rows()
    # Another model whose name has these characters is none.
    torch.save(small_sam().state_dict(), tmp_path / "sam3.1_multiplex.pt")
    assert import_model(tmp_path / "sam3.1_multiplex.pt").family == "sam_vit"

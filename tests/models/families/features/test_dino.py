"""Files of DINO's training: the teacher is read, and gives the same features as its release."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.features.vit import VisionTransformer
from napari_foundseg.tasks.task_models import tasks_for
from tests.support.command_line import import_by_command

pytestmark = pytest.mark.usefixtures("own_cache")


def _network(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    net = VisionTransformer(64, 2, 1, 8, 1 + 28 * 28)
    return {name: torch.randn_like(value) * 0.1 for name, value in net.state_dict().items()}


def _prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _training(teacher: str, student: str) -> dict[str, Any]:
    """Return a checkpoint as DINO's own training writes it; RS-DINO's RSIB.pth is one."""
    head = {"head.mlp.0.weight": torch.zeros(4, 64), "head.last_layer.weight_g": torch.ones(9, 1)}
    return {
        "student": _prefixed(student, _network(1)) | _prefixed(student[: -len("backbone.")], head),
        "teacher": _prefixed(teacher, _network(0)) | head,
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 300,
        "args": argparse.Namespace(arch="vit_base", patch_size=8),
        "dino_loss": {"center": torch.zeros(1, 9)},
        "fp16_scaler": {"scale": 65536.0},
    }


_PICTURE = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        _training("backbone.", "module.backbone."),
        _training("module.backbone.", "module.backbone."),
        {"teacher": _prefixed("", _network(0))},
        {"state_dict": _prefixed("module.backbone.", _network(0)) | {"head.weight": torch.zeros(2)}},
        _prefixed("backbone.", _network(0)),
        {"model": _network(0)},
    ],
    ids=["training", "parallel", "teacher", "state dict", "backbone", "model"],
)
def test_the_teacher_of_a_training_gives_the_features_of_its_release(tmp_path: Path, content: Any) -> None:
    torch.save(_network(0), tmp_path / "release.pth")
    torch.save(content, tmp_path / "RSIB.pth")
    for path, name in ((tmp_path / "release.pth", "release"), (tmp_path / "RSIB.pth", "training")):
        row = import_model(path, name)
        assert (row.family, row.title) == ("dino", "DINO ViT-64/8")
    expected, found = (load_model(name).features(_PICTURE) for name in ("release", "training"))
    assert np.array_equal(found, expected)


def test_a_student_alone_is_not_taken_for_a_teacher(tmp_path: Path) -> None:
    torch.save({"student": _prefixed("module.backbone.", _network(1))}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no model that is known"):
        import_model(tmp_path / "w.pth")


def test_the_file_of_rs_dino_is_imported_by_the_command_line_and_clustered(tmp_path: Path) -> None:
    torch.save(_training("backbone.", "module.backbone."), tmp_path / "RSIB.pth")
    row = import_by_command(tmp_path / "RSIB.pth", "rs-dino")
    assert "cluster" in tasks_for(row)
    flat = fs.cluster(_PICTURE, model="rs-dino", n_clusters=3)
    assert set(np.unique(flat.labels)) <= {1, 2, 3}
    assert len(np.unique(flat.labels)) > 1
    stack = fs.cluster(np.stack([_PICTURE] * 2), model="rs-dino", axes="ZYXC", n_clusters=3)
    assert stack.labels.shape == (2, 64, 48)
    assert np.array_equal(stack.labels[0], stack.labels[1])

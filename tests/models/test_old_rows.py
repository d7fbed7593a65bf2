"""Rows of the catalogue that version 0.1 wrote: they name tasks, a family by its old name, and fewer protocols."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.models import catalog
from napari_foundseg.models.store import hash_of, weights
from napari_foundseg.tasks.task_models import models_for, tasks_for
from tests.support import tiny_checkpoints

pytestmark = pytest.mark.usefixtures("own_cache")
ROWS = Path(__file__).parents[1] / "data" / "version_0_1" / "models"


def add_row(name: str, replaced: dict[str, str]) -> catalog.CatalogRow:
    """Put a row of version 0.1 into the user's catalogue, with other weights."""
    lines = (ROWS / f"{name}.toml").read_text("utf-8").splitlines()
    lines = [replaced.get(line.partition(" = ")[0], line) for line in lines]
    catalog.models_folder().mkdir(parents=True, exist_ok=True)
    (catalog.models_folder() / f"{name}.toml").write_text("\n".join(lines), "utf-8")
    return catalog.row(name)


def test_an_imported_built_in_model_still_does_its_tasks(picture: np.ndarray) -> None:
    path = weights(catalog.row("foundseg-tiny"))
    row = add_row("my-model", {"file": f"file = {str(path)!r}", "sha256": f'sha256 = "{hash_of(path)}"'})
    assert tasks_for(row) == ("automatic", "prompt", "find_similar", "propagate", "panoptic", "cluster")
    assert row.name in [other.name for other in models_for("panoptic")]
    found = fs.panoptic(picture, model=row.name, method="nuclei")
    assert [entry.name for entry in found.classes] == ["nucleus", "background"]


def test_an_imported_folder_of_transformers_still_runs(tmp_path: Path, picture: np.ndarray) -> None:
    folder = tiny_checkpoints.write("SegformerForSemanticSegmentation", tmp_path / "segformer")
    row = add_row("my-segmenter", {"file": f"file = {str(folder)!r}", "sha256": f'sha256 = "{hash_of(folder)}"'})
    assert row.family == "transformers_segmenters"
    assert tasks_for(row) == ("semantic",)
    assert fs.semantic(picture, model=row.name).labels.shape == picture.shape[:2]
    catalog.save_row(row)
    assert "tasks" not in (catalog.models_folder() / "my-segmenter.toml").read_text("utf-8")
    assert catalog.row("my-segmenter") == row

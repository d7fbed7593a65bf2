"""A model family that is nowhere in the package: registered, imported, and run by the public functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import napari_foundseg as fs
from napari_foundseg.core.errors import PackageError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models import families, family
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.store import state
from napari_foundseg.tasks.task_models import models_for, tasks_for

pytestmark = pytest.mark.usefixtures("own_cache")
MODULE = '''
"""Parts of a picture that are brighter than a threshold, which is all that its weights hold."""

import numpy as np
from scipy import ndimage

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.family import Family, Package
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.protocols.objects import Candidates

FAMILY = Family(
    rank=15,
    protocols=("PointGrid", "Promptable"),
    verified_against="a picture of two squares",
    packages=(Package("scipy", "1.0"),),
    pickle_names=("toy_trainer",),
)


class BrightParts:
    window = 256

    def __init__(self, row, threshold, device):
        self.name = row.name
        self.key = row.key
        self.device = device
        self.threshold = threshold

    def encode(self, rgb):
        return ndimage.label(rgb.mean(axis=-1) > self.threshold)[0]

    def decode(self, embedding, prompts, *, multimask, one_by_one=False):
        score = np.ones(1, np.float32)
        masks = [embedding == embedding[self.place(prompt)] for prompt in prompts]
        return [Candidates(np.where(mask, 5, -5)[None].astype(np.float32), score, score) for mask in masks]

    def grid_masks(self, embedding, points, options, poll):
        poll()
        x, y = (points * embedding.shape[::-1]).astype(int).T
        return [
            Mask.from_array(embedding == part, predicted_iou=1.0, stability_score=1.0)
            for part in np.unique(embedding[y, x])
            if part
        ]

    @staticmethod
    def place(prompt):
        y, x = prompt.points[0] if prompt.points else np.add(prompt.box[:2], prompt.box[2:]) / 2
        return int(y), int(x)


def recognise(found):
    return {"title": "Bright parts"} if set(found.shapes) == {"toy.threshold"} else None


def load(row, path, device):
    return BrightParts(row, float(read_tensors(path)["toy.threshold"]), device)
'''


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file({"toy.threshold": torch.tensor(100.0)}, tmp_path / "bright.safetensors")
    return tmp_path / "bright.safetensors"


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that registers the toy family, with a part of its source changed, under a name of its own."""
    monkeypatch.setattr(families, "_registered", {})
    monkeypatch.syspath_prepend(str(tmp_path))

    def register(name: str, old: str = "", new: str = "") -> None:
        assert old in MODULE
        (tmp_path / f"{name}.py").write_text(MODULE.replace(old, new) if old else MODULE, "utf-8")
        families.register_family(name)

    return register


def squares() -> np.ndarray:
    picture = np.zeros((64, 80), np.uint8)
    picture[5:25, 6:30] = 200
    picture[40:60, 50:70] = 255
    return picture


def test_a_family_of_ones_own_is_imported_and_run(weights: Path, register: Any) -> None:
    register("toy_bright")
    row = import_model(weights, "bright")
    assert (row.family, row.title) == ("toy_bright", "Bright parts")
    assert tasks_for(row) == ("automatic", "prompt", "propagate")
    assert row.name in [other.name for other in models_for("prompt")]
    picture = squares()
    found = fs.prompt(picture, Prompt(points=[(10, 10)]), model="bright")
    assert np.array_equal(found.labels > 0, picture == 200)
    assert found.provenance["versions"]["scipy"]
    both = fs.automatic(picture, model="bright")
    assert len(both) == 2
    assert np.array_equal(both.labels > 0, picture > 0)


def test_a_model_that_lacks_a_part_of_a_protocol_is_refused_by_name(weights: Path, register: Any) -> None:
    register("toy_without_grid", "def grid_masks", "def masks_of_grid")
    with pytest.raises(
        TypeError, match=r"toy_without_grid offers PointGrid for lacking, but BrightParts lacks grid_masks"
    ):
        load_model(import_model(weights, "lacking").name)


def test_a_model_with_a_part_of_an_optional_protocol_is_refused_too(weights: Path, register: Any) -> None:
    register("toy_half_stored", "    window = 256\n", "    window = 256\n    preprocessing = 'toy'\n")
    with pytest.raises(TypeError, match=r"StorableEmbeddings.*lacks packed, stored_as, unpacked"):
        load_model(import_model(weights, "half").name)


def test_a_package_that_is_too_old_is_named(weights: Path, register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    register("toy_newer")
    row = import_model(weights, "newer")
    assert "needs" not in state(row)
    monkeypatch.setattr(family, "installed_version", lambda _: "0.9.1")
    needed = r"Bright parts needs scipy 1.0; 0.9.1 is installed. pip install -U scipy"
    with pytest.raises(PackageError, match=needed):
        load_model("newer")
    with pytest.raises(PackageError, match=needed):
        import_model(weights, "again")
    assert needed in state(row)
    monkeypatch.setattr(family, "installed_version", lambda _: "")
    with pytest.raises(PackageError, match=r"needs scipy 1.0, which is not installed. pip install scipy"):
        load_model("newer")


def test_a_module_that_is_no_family_is_named(register: Any, weights: Path) -> None:
    register("toy_undeclared", "FAMILY =", "OTHER =")
    with pytest.raises(TypeError, match="toy_undeclared is not a model family: it lacks FAMILY"):
        import_model(weights)


def test_what_a_family_says_of_pickles_counts(tmp_path: Path, register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    from napari_foundseg.core.errors import CheckpointError

    options = type("Options", (), {"__module__": "toy_trainer"})
    module = types.ModuleType("toy_trainer")
    module.Options = options  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "toy_trainer", module)
        torch.save({"toy.threshold": torch.tensor(100.0), "options": options()}, tmp_path / "trained.pth")
    with pytest.raises(CheckpointError, match=r"holds code beside weights \(toy_trainer.Options\)"):
        import_model(tmp_path / "trained.pth", "trained")
    register("toy_trained")
    row = import_model(tmp_path / "trained.pth", "trained")
    assert fs.automatic(squares(), model=row.name).labels.max() == 2

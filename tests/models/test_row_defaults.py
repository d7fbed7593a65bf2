"""What a model's row says of grey values and settings holds for new runs, and for them alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from napari_foundseg.batch.recipe import Recipe, Sources, Step, recipe_of
from napari_foundseg.core.contrast import AsIs, MinMax, Percentile
from napari_foundseg.models import catalog
from napari_foundseg.models.families import families
from napari_foundseg.tasks import SIDE_TASKS, TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.task_models import expectation, model_defaults

#: Of micro-sam's own.
MICRO_SAM = {
    "foreground_threshold": 0.5,
    "centre_threshold": 0.5,
    "boundary_threshold": 0.5,
    "seed_smoothing": 1.6,
    "foreground_smoothing": 1.0,
    "min_area": 0,
}


@pytest.fixture
def as_micro_sam() -> Iterator[str]:
    """A row of micro-sam's family, for a model that is none."""
    row = replace(catalog.row("micro-sam-vit-b-lm"), name="micro-oracle")
    catalog.adopt(row)
    yield row.name
    del catalog._adopted[row.name]


class MicroOracle:
    """Reads maps of micro-sam's kind off a picture."""

    device, window, maps_window = "cpu", 1024, 1024

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = f"{name}@0"
        self.seen: list[NDArray[np.uint8]] = []

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.append(rgb)
        return np.moveaxis(rgb, -1, 0) / np.float32(255)


def scene() -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Cells that touch, and their maps: foreground 0.65, distances over each object's largest, with noise."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 200, (30, 2))
    away = np.hypot(*(np.indices((200, 200))[:, None] - centres.T[..., None, None]))
    truth = np.where(away.min(0) < 14, away.argmin(0) + 1, 0)
    maps = np.stack([0.65 * (truth > 0), np.ones(truth.shape), np.ones(truth.shape)]).astype(np.float32)
    for i, part in enumerate(ndimage.find_objects(truth), 1):
        if part is not None:
            inside = truth[part] == i
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            middle = np.reshape(np.unravel_index(depth.argmax(), depth.shape), (2, 1, 1))
            far = np.hypot(*(np.indices(inside.shape) - middle))
            maps[1][part][inside] = (far / max(1, far[inside].max()))[inside]
            maps[2][part][inside] = (1 - depth / depth.max())[inside]
    blurred = np.stack([ndimage.gaussian_filter(part, 1.5) for part in maps]) + rng.normal(0, 0.04, maps.shape)
    return truth, np.moveaxis(np.clip(255 * blurred, 0, 255).astype(np.uint8), 0, -1)


def _ap50(truth: NDArray[Any], found: NDArray[Any]) -> float:
    from napari_foundseg.core.measuring.comparison import match_objects

    return float(match_objects(truth, found).precision[0])


def test_a_micro_sam_runs_with_its_own_thresholds_and_what_is_given_wins(as_micro_sam: str) -> None:
    truth, picture = scene()
    image = fs.Image(picture, normalisation=fs.Limits(low=0, high=255))
    own = fs.automatic(image, model=MicroOracle(as_micro_sam))
    used = own.provenance["settings"]
    assert {name: used[name] for name in MICRO_SAM} == MICRO_SAM
    of_tiny = {name: field.default for name, field in TASKS["automatic"].methods["decoder"].model_fields.items()}
    given = fs.automatic(image, model=MicroOracle(as_micro_sam), **{name: of_tiny[name] for name in MICRO_SAM})
    assert given.provenance["settings"]["min_area"] == 20
    assert _ap50(truth, own.labels) > _ap50(truth, given.labels) + 0.2
    assert _ap50(truth, own.labels) > 0.7


def test_a_recipe_without_settings_keeps_the_defaults_of_before_and_a_new_one_says_all(as_micro_sam: str) -> None:
    step = Step(task="automatic", method="decoder", model={"name": "micro-sam-vit-b-lm"})
    assert step.as_stored().parsed_settings() == TASKS["automatic"].settings_of_record("decoder", {})
    sources = Sources(paths=("a.tif",))
    assert sources.normalisation == Percentile(outliers="kept")
    # Results that were made before the field existed are current.
    digest = Recipe(inputs=sources, steps=(step,)).digest()
    old = step.model_copy(update={"settings": {"foreground_smoothing": 0.0}})
    assert Recipe(inputs=sources, steps=(old,)).digest() == digest
    assert "foreground_smoothing" not in json.dumps(step.parsed_settings().digested())
    settings = TASKS["automatic"].settings("decoder", model_defaults(as_micro_sam, "automatic", "decoder"))
    image = fs.Image(np.zeros((9, 9, 3), np.uint8))
    request = RunRequest("automatic", image, TASKS["automatic"].inputs.parse({}), settings, as_micro_sam)
    made = recipe_of(request, ("a.tif",))
    assert made.steps[0].settings["foreground_smoothing"] == 1.0
    assert made.inputs.normalisation == MinMax()


def test_defaults_of_families_are_settings_that_there_are() -> None:
    for module in families().values():
        for key, values in module.FAMILY.defaults.items():
            task, method = key.split(".")
            table = TASKS if task in TASKS else SIDE_TASKS
            table[task].settings(method, values)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("foundseg-tiny", Percentile()),
        ("micro-sam-vit-b-lm", MinMax()),
        *((name, AsIs()) for name in ("sam-vit-b", "sam-hq-vit-b", "mobile-sam", "medsam", "segformer-b0-ade",
                                      "detr-r50-panoptic", "fcn-resnet50", "clipseg-rd64-refined")),
    ],
)  # fmt: skip
def test_a_row_says_what_its_network_expects(model: str, expected: Any) -> None:
    if model not in catalog.catalog():
        pytest.skip(f"no row {model}")
    assert expectation(model) == expected


def test_a_network_of_photographs_is_given_8_bit_rgb_unchanged_unless_something_is_chosen(as_micro_sam: str) -> None:
    row = replace(catalog.row(as_micro_sam), name="photo-oracle", expects="as is", defaults={})
    catalog.adopt(row)
    photo = np.random.default_rng(0).integers(40, 90, (64, 80, 3)).astype(np.uint8)
    try:
        model = MicroOracle("photo-oracle")
        found = fs.automatic(photo, model=model)
        assert np.array_equal(model.seen[0], photo)
        assert found.provenance["image"]["normalisation"] == {"kind": "as is"}
        model.seen.clear()
        fs.automatic(fs.Image(photo, normalisation=fs.Percentile()), model=model)
        assert model.seen[0].max() == 255
        model.seen.clear()
        fs.automatic(photo[..., 0].astype(np.uint16), model=model)
        assert model.seen[0].max() == 255
    finally:
        del catalog._adopted["photo-oracle"]


def test_min_to_max_is_what_a_micro_sam_is_given(as_micro_sam: str) -> None:
    pixels = np.random.default_rng(0).normal(1000, 100, (64, 80)).clip(300, 3000).astype(np.uint16)
    model = MicroOracle(as_micro_sam)
    fs.automatic(pixels, model=model)
    scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255
    assert np.abs(model.seen[0][..., 0] - scaled).max() <= 1


def test_an_old_row_of_the_users_has_what_its_family_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))
    folder = catalog.models_folder()
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(
        'title = "mine"\nfamily = "micro_sam"\nprotocols = ["InstanceDecoding"]\nfile = "/a"\nsource = "/a"\n'
        'sha256 = "unverified"\nsize_mb = 1.0\nrevision = "1"\ncode_licence = "MIT"\nweights_licence = "MIT"\n'
        'input = "2-D"\ncitation = "-"\n'
    )
    assert expectation("mine") == MinMax()
    assert model_defaults("mine", "automatic", "decoder") == MICRO_SAM

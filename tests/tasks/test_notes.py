"""A result says what was done to the contrast, and why nothing was found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import napari_foundseg as fs
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.tasks.automatic_settings import DecoderSettings
from napari_foundseg.tasks.notes import notes_of, what_was_chosen


def sparse(size: int = 512) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Two nuclei of 529 pixels over an exactly zero background, on less than 0.5 % of the pixels."""
    y, x = np.mgrid[:size, :size]
    rng = np.random.default_rng(0)
    image = np.zeros((size, size), np.uint16)
    for row, column in ((200, 200), (400, 320)):
        away = (y - row) ** 2 + (x - column) ** 2
        inside = away < 169
        image[inside] = 800 - 2 * away[inside] + rng.integers(0, 50, int(inside.sum()))
    return image, image > 0


def test_a_click_on_a_nucleus_over_zero_gives_that_nucleus() -> None:
    image, inside = sparse()
    assert inside.mean() < 0.005
    found = fs.prompt(image, fs.Prompt(points=[(200, 200)]))
    assert 400 < int(found.table["area"][0]) < 700
    assert len(fs.automatic(image)) == 2
    assert "percentiles 0.5 and 99.5 are equal" in " ".join(notes_of(fs.automatic(image).provenance))


def noise(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).normal(100, 5, (256, 256)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "settings", "words"),
    [
        (np.zeros((256, 256), np.uint8), {}, "All pixels have the value 0"),
        (np.full((256, 256), np.nan, np.float32), {}, "No pixel has a finite value"),
        (sparse()[0][100:300, 100:300], {"pred_iou_thresh": 1.0}, "best candidate scored 0."),
        (sparse()[0][100:300, 100:300], {"min_area": 5000}, "The largest candidate has"),
        (noise(), {"foreground_threshold": 1.0}, "The foreground probability is"),
        (sparse()[0][100:300, 100:300], {"diameter": 900.0}, "For the diameter of 900 pixels the image was shrunk"),
        (255 - noise() // 4, {"foreground_threshold": 1.0}, ""),
    ],
)
def test_nothing_found_has_a_reason(image: NDArray[Any], settings: dict[str, Any], words: str) -> None:
    found = fs.automatic(image, **settings)
    assert not len(found)
    assert words in " ".join(notes_of(found.provenance))
    assert notes_of(found.provenance)


def test_a_bright_background_is_named() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(230, 3, (200, 200))
    image[50:60, 50:60] = 20
    found = fs.automatic(fs.Image(image.astype(np.uint8), normalisation=fs.Limits(low=0, high=255)), min_area=5000)
    assert "The background is bright" in " ".join(notes_of(found.provenance))


def test_a_live_threshold_that_leaves_nothing_says_so_and_one_that_leaves_some_does_not() -> None:
    found = fs.automatic(sparse()[0])
    assert not found.provenance.get("nothing_found")
    none = derive(found, DecoderSettings(pred_iou_thresh=1.0))
    assert "minimum confidence is 1" in " ".join(notes_of(none.provenance))
    assert not derive(none, DecoderSettings()).provenance.get("nothing_found")


def test_smoothing_and_uncertain_results_are_said_with_what_would_help() -> None:
    size = {"smoothing": 0.9, "expected_quality": 0.2, "diameter": 31.0, "scale": 1.0, "how": "found"}
    assert "smoothed (Gaussian filter of 0.9 pixels)" in " ".join(what_was_chosen({"size": size}))
    told = " ".join(notes_of({"size": size}))
    assert "Uncertain" in told
    assert "diameter of the objects (found: 31 pixels)" in told
    assert not notes_of({"size": {**size, "expected_quality": 0.7}})
    assert not notes_of({}) + what_was_chosen({"size": {"smoothing": 0.0}})
    y, x = np.mgrid[:200, :200]
    texture = 100 + 60 * np.sin(x / 2.5) * np.cos(y / 3.1) + np.random.default_rng(0).normal(0, 20, x.shape)
    found = fs.automatic(texture.astype(np.float32))
    assert not len(found) or "Uncertain" in " ".join(notes_of(found.provenance))


def test_fallbacks_are_said_once_each_as_sentences() -> None:
    provenance = {"fallbacks": ["out of memory in encoding: unused memory was freed", "no CUDA.", "no CUDA."]}
    assert what_was_chosen(provenance) == ["Out of memory in encoding: unused memory was freed.", "No CUDA."]


def test_the_point_grid_names_its_best_candidate() -> None:
    found = fs.automatic(sparse()[0][100:300, 100:300], method="grid", points_per_side=6, pred_iou_thresh=1.0)
    assert not len(found)
    assert "confidence" in " ".join(notes_of(found.provenance))


def test_command_line_batch_and_report_say_it(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    tifffile.imwrite(images / "black.tif", np.zeros((64, 64), np.uint16))
    tifffile.imwrite(images / "cells.tif", sparse()[0])

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-c", "from napari_foundseg.cli import main; main()", *words]
        return subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)

    one = run("run", "automatic", "images/black.tif", "--out", "one.tif")
    assert one.returncode == 0
    assert "No objects" in one.stderr
    assert "All pixels have the value 0" in one.stderr
    assert not tifffile.imread(tmp_path / "one.tif").any()
    (tmp_path / "recipe.json").write_text(
        json.dumps(
            {
                "format": "foundseg-recipe 1",
                "inputs": {"paths": ["images"]},
                "steps": [{"task": "automatic", "model": {"name": "foundseg-tiny"}}],
            }
        )
    )
    for _ in range(2):
        batch = run("batch", "recipe.json", "--out", "results", "--workers", "1")
        assert batch.returncode == 3
        assert "look at: images/black.tif: All pixels have the value 0" in batch.stderr
        report = json.loads((tmp_path / "results" / "foundseg-report.json").read_text())
        reasons = {item["name"]: item["reason"] for item in report["items"]}
        assert "All pixels have the value 0" in reasons["images/black.tif"]
        assert "percentiles 0.5 and 99.5 are equal" in reasons["images/cells.tif"]
        assert {item["name"]: item["objects"] for item in report["items"]}["images/cells.tif"] == 2

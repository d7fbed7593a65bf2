"""A model is timed on the standard picture, and estimates of runs use what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.io.preferences import Preferences, set_preferences
from napari_foundseg.models.catalog import row
from napari_foundseg.models.choosing.times import (
    DeviceTimes,
    ModelTimes,
    recall_times,
    remember_times,
    seconds_text,
)
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.side_tasks import model_timing
from napari_foundseg.widgets.runs import run_time

ROW = row("foundseg-tiny")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))


def _request(method: str = "decoder") -> RunRequest:
    task = TASKS["automatic"]
    image = Image(np.zeros((500, 1000), np.uint8))
    return RunRequest("automatic", image, task.inputs(), task.settings(method, {}), "foundseg-tiny")


def _times(**speeds: float) -> ModelTimes:
    return ModelTimes(key=ROW.key, auto="cuda", devices={"cuda": DeviceTimes(speeds=speeds), "cpu": DeviceTimes()})


def test_encoding_a_click_and_a_run_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_timing, "timed_runs", lambda _row: [(TASKS["automatic"], "decoder")])
    told: list[tuple[float, str]] = []
    times = model_timing.measure_model("foundseg-tiny", lambda *now: told.append(now), bool, ["cpu"])
    measured = times.devices["cpu"]
    assert measured.encode is not None
    assert measured.click is not None
    assert measured.encode > 0
    assert measured.click > 0
    assert set(measured.runs) == {"automatic.decoder"}
    assert measured.speeds["decoder"] == pytest.approx(measured.runs["automatic.decoder"] / (520 * 696 / 1e6))
    assert [words for _, words in told] == ["cpu: loading", "cpu: encoding", "cpu: Automatic masks, decoder"]
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_a_measurement_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        model_timing.measure_model("foundseg-tiny", lambda *_: None, lambda: True, ["cpu"])


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("foundseg-tiny", ["automatic.decoder", "automatic.grid", "automatic.apg"]),
        ("sam-vit-b", ["automatic.grid"]),
        ("segformer-b0-ade", ["semantic.classes"]),
        ("medsam", []),
        ("clip-vit-base-patch32", []),
    ],
)
def test_a_model_is_timed_in_what_it_can_do(name: str, runs: list[str]) -> None:
    assert [f"{task.name}.{method}" for task, method in model_timing.timed_runs(row(name))] == runs


def test_what_was_measured_is_kept_for_these_weights_only(tmp_path: Path) -> None:
    assert recall_times(ROW) is None
    remember_times("foundseg-tiny", _times(decoder=2.0))
    remember_times("other", _times())
    found = recall_times(ROW)
    assert found == _times(decoder=2.0)
    assert recall_times(replace(ROW, sha256="0" * 64)) is None
    (tmp_path / "cache" / "model_times.json").write_text("{")
    assert recall_times(ROW) is None


def test_estimates_use_what_was_measured_on_the_chosen_device() -> None:
    before = run_time.estimate(_request())
    remember_times("foundseg-tiny", _times(decoder=20.0))
    assert before == pytest.approx(_request().settings.first_speed * 0.5)
    assert run_time.estimate(_request()) == pytest.approx(10.0)
    set_preferences(Preferences(device="cpu"))
    try:
        assert run_time.estimate(_request()) == before, "it was not measured there"
    finally:
        set_preferences(Preferences())


def test_a_run_is_newer_than_the_measurement_and_a_measurement_newer_than_a_run() -> None:
    remember_times("foundseg-tiny", _times(decoder=20.0))
    run_time.learn(_request(), 3.0)
    assert run_time.estimate(_request()) == pytest.approx(3.0)
    run_time.forget("foundseg-tiny")
    assert run_time.estimate(_request()) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0001, "1 ms"), (0.0123, "12 ms"), (3.44, "3.4 s"), (42.0, "42 s"), (240.0, "4 min")]
)
def test_times_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    values: list[Any] = ["[]", '{"foundseg-tiny": 3}', '{"foundseg-tiny": {"key": "x"}}']
    for text in values:
        (folder / "model_times.json").write_text(text)
        assert recall_times(ROW) is None

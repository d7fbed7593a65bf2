from __future__ import annotations

import json

import pytest

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.tasks import SIDE_TASKS, TASKS, find_task
from napari_foundseg.tasks.prompt import PromptInputs


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_setting_has_a_help_text_and_a_default(task) -> None:  # type: ignore[no-untyped-def]
    for method, settings in task.methods.items():
        assert settings().method == method
        assert method in task.protocols
        for name in settings.model_fields:
            assert name == "method" or settings.help_of(name), f"{task.name}.{method}.{name} has no help text"


@pytest.mark.parametrize("task", [*TASKS.values(), *SIDE_TASKS.values()], ids=lambda task: task.name)
def test_no_two_controls_of_a_form_have_the_same_label(task) -> None:  # type: ignore[no-untyped-def]
    for settings in task.methods.values():
        labels = [settings.label_of(name) for name in settings.model_fields if name != "method"]
        assert len(set(labels)) == len(labels)
        assert not [label for label in labels if "_" in label or label[0].islower()]


def test_a_label_is_the_title_or_the_fields_name_in_words() -> None:
    settings = TASKS["automatic"].methods["grid"]
    assert settings.label_of("pred_iou_thresh") == "Minimum confidence"
    assert settings.label_of("max_area") == "Maximum area"
    assert settings.label_of("method") == "Point grid"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"points_per_side": 8}, "points_per_side"),
        ({"min_area": -1}, "min_area = -1"),
        ({"foreground_threshold": "much"}, "foreground_threshold = 'much'"),
    ],
)
def test_a_method_refuses_by_name(values: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        TASKS["automatic"].settings("decoder", values)


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(SettingsError, match="decoder, grid"):
        TASKS["automatic"].settings("magic", {})


def test_inputs_survive_json() -> None:
    prompts = (Prompt(points=[(1, 2.5)], labels=[0]), Prompt(box=(1, 2, 3, 4)))
    dumped = json.loads(json.dumps(PromptInputs(prompts=prompts).model_dump(mode="json")))
    again = PromptInputs.parse(dumped)
    assert [p.to_json() for p in again.prompts] == [p.to_json() for p in prompts]


def test_no_prompt_is_refused() -> None:
    with pytest.raises(SettingsError, match="prompts"):
        PromptInputs.parse({"prompts": ()})


@pytest.mark.parametrize("name", [*TASKS, *SIDE_TASKS])
def test_a_task_is_found_by_its_name(name: str) -> None:
    assert find_task(name).name == name


def test_an_unknown_task_lists_those_there_are() -> None:
    assert "none such" not in TASKS
    with pytest.raises(SettingsError, match="automatic, prompt"):
        find_task("none such")

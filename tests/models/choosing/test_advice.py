"""Which model for an image: what is ranked first, why, and what is said against it."""

from __future__ import annotations

from itertools import product

import pytest

from napari_foundseg.models.catalog import CatalogRow, packaged
from napari_foundseg.models.choosing.advice import (
    FINDS,
    MODALITIES,
    SIZES,
    Advice,
    Answers,
    finds_of,
    recommend_models,
)
from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.tasks.task_models import tasks_for


def _ranked(what: str, size: str, modality: str, here: tuple[str, ...] = ("foundseg-tiny",)) -> list[Advice]:
    return recommend_models(packaged().values(), Answers(what, size, modality), tasks_for, lambda row: row.name in here)


def _row(**values: object) -> CatalogRow:
    return CatalogRow.parse(
        {
            "name": "mine",
            "title": "Mine",
            "family": "sam_vit",
            "sha256": "0",
            "size_mb": 1,
            "revision": "1",
            "input": "",
        }
        | {"code_licence": "MIT", "weights_licence": "unknown", "citation": "", "protocols": ["Promptable"]}
        | values
    )


@pytest.mark.parametrize("row", packaged().values(), ids=lambda row: row.name)
def test_every_row_of_the_package_says_what_it_is_good_for(row: CatalogRow) -> None:
    assert row.good_for.endswith(".")
    assert row.finds
    assert set(row.finds) <= set(FINDS)
    assert row.modalities
    assert set(row.modalities) <= set(MODALITIES)


@pytest.mark.parametrize(
    ("answers", "first", "task"),
    [
        (("nuclei", "medium", "fluorescence"), "foundseg-tiny", "automatic"),
        (("nuclei", "small", "histology"), "foundseg-tiny", "automatic"),
        (("cells", "medium", "light"), "micro-sam-vit-b-lm", "automatic"),
        (("organelles", "medium", "electron"), "micro-sam-vit-b-em", "automatic"),
        (("organs", "large", "medical"), "medsam", "prompt"),
        (("words", "medium", "photograph"), "clipseg-rd64-refined", "text"),
        (("anything", "large", "photograph"), "mobile-sam", "prompt"),
    ],
)
def test_the_model_that_is_made_for_it_comes_first(answers: tuple[str, str, str], first: str, task: str) -> None:
    ranked = _ranked(*answers)
    # Other rows may be made for the same; no other kind of model comes before.
    best = [one for one in ranked if one.score >= ranked[0].score - 1]
    assert first in [one.row.name for one in best], [(one.row.name, one.score) for one in ranked[:5]]
    assert next(one.task for one in best if one.row.name == first) == task


def test_the_reasons_say_what_it_finds_what_it_was_trained_on_and_whether_it_is_here() -> None:
    best = next(one for one in _ranked("nuclei", "small", "fluorescence") if one.row.name == "foundseg-tiny")
    assert best.reasons == (
        "finds nuclei by itself",
        "trained on such images (fluorescence)",
        "decides pixel by pixel, so objects of few pixels are found",
        "on this computer",
    )
    assert not best.cautions


def test_what_speaks_against_a_model_is_said() -> None:
    sam = next(one for one in _ranked("cells", "small", "electron") if one.row.name == "sam-vit-b")
    assert sam.task == "prompt"
    assert "it does not look for whole cells by itself" in sam.reasons[0]
    assert "to download, 375 MB" in sam.reasons
    assert "trained mainly on other images (photographs)" in sam.cautions
    shrinking = next(one for one in _ranked("things", "small", "photograph") if one.row.family == "detr")
    assert any("small objects may be missed" in words for words in shrinking.cautions)
    gated = _row(gated=True, modalities=["photograph"])
    (one,) = recommend_models([gated], Answers("anything", "medium", "photograph"), tasks_for, lambda _: False)
    assert "the licence of its weights is unknown: read it at the source before use" in one.cautions
    assert "its authors ask for your consent before the download" in one.cautions


def test_of_equal_models_the_one_that_is_here_comes_first() -> None:
    first = _ranked("anything", "medium", "photograph", here=("sam-hq-vit-l",))
    assert first[0].row.name == "sam-hq-vit-l"
    sizes = [one.row.size_mb for one in _ranked("anything", "medium", "photograph") if one.score == first[0].score]
    assert sizes == sorted(sizes)


def test_every_answer_has_a_task_that_the_model_can_do() -> None:
    for what, size, modality in product(FINDS, SIZES, MODALITIES):
        ranked = _ranked(what, size, modality)
        assert ranked, what
        assert all(one.task in tasks_for(one.row) for one in ranked)


def test_a_model_of_the_user_is_advised_by_its_protocols() -> None:
    assert finds_of(_row(protocols=["Promptable", "TextMaps"])) == ("anything", "words")
    (one,) = recommend_models([_row()], Answers("nuclei", "medium", "fluorescence"), tasks_for, lambda _: True)
    assert "its row does not say what images it was trained on" in one.cautions


def test_sizes_are_read_at_a_glance() -> None:
    assert [size_text(mb) for mb in (2.5, 41, 375, 2560)] == ["2.5 MB", "41 MB", "375 MB", "2.6 GB"]

"""Rows of the catalogue are texts that anybody may have written: a bad one is named, and the others stay."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_foundseg.cli import app
from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.models.catalog import catalog, damaged_rows, models_folder, row, save_row
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.store import weights

ROW = """
title = "Mine"
family = "{family}"
protocols = ["SemanticClasses"]
file = "{file}"
source = "/there"
sha256 = "0"
size_mb = 1.0
revision = "1"
code_licence = "x"
weights_licence = "x"
input = "2-D"
citation = "x"
"""
UNREADABLE = {
    "no toml": b"title = ",
    "no text": b"\xff\xfe\x00",
    "too deep": b"options = " + b"[" * 50_000,
    "a missing field": b'title = "Mine"',
    "another kind of value": ROW.replace("1.0", '"big"').encode(),
    "too many classes": (ROW + f"classes = {['a'] * 70_000}").encode(),
    "its own name": (ROW + 'name = "other"').encode(),
}


@pytest.fixture(autouse=True)
def _own_catalogue(own_cache: None) -> None:
    models_folder().mkdir(parents=True)
    builtin = row("foundseg-tiny")
    import_model(weights(builtin), name="good")


def listed() -> str:
    found = CliRunner().invoke(app, ["models", "list"], env={"COLUMNS": "300"})
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_row_that_cannot_be_read_is_named_and_the_others_stay(what: str) -> None:
    (models_folder() / "bad.toml").write_bytes(UNREADABLE[what])
    assert {"good", "foundseg-tiny"} <= catalog().keys()
    assert "bad" not in catalog()
    assert str(models_folder() / "bad.toml") in damaged_rows()
    assert "good" in listed()
    assert "bad.toml" in listed(), "said where models are listed"
    with pytest.raises(FoundsegError, match=r"bad\.toml"):
        load_model("bad")


def test_a_link_to_a_row_that_is_not_there_takes_no_other_row_away(tmp_path: Path) -> None:
    (models_folder() / "bad.toml").symlink_to(tmp_path / "disk" / "bad.toml")
    assert "good" in catalog()
    assert "bad.toml" in listed()
    with pytest.raises(FoundsegError, match=r"bad\.toml"):
        load_model("bad")


@pytest.mark.parametrize(
    ("there", "instead", "wanted"),
    [
        ('title = "Mine"', "title = 3", "title: Input should be a valid string"),
        ('protocols = ["SemanticClasses"]', "protocols = [1]", r"protocols\.0: Input should be a valid string"),
        (
            'protocols = ["SemanticClasses"]',
            'protocols = "SemanticClasses"',
            "protocols: Input should be a valid tuple",
        ),
        ("size_mb = 1.0", "size_mb = [1.0]", "size_mb: Input should be a valid number"),
        ("", 'gated = "perhaps"', "gated: Input should be a valid boolean"),
        ("", 'expects = "mean"', "expects: Input should be 'as is', 'min to max' or 'percentile'"),
        ("", 'colours = "blue"', "colours: Input should be 'RGB' or 'grey'"),
        ("", "options = 3", "options: Input should be a valid dictionary"),
        ("", "defaults = {grid = 3}", r"defaults\.grid: Input should be a valid dictionary"),
        ("", "calibration = [1.0, 2.0]", "calibration: "),
        ("", 'classes = "Martians"', "classes: .*'Martians' is not a set of classes"),
        ("", "options = {day = 2020-01-01}", r"options\.day: "),
        ("", "colour = 3", "colour: Extra inputs are not permitted"),
        ('citation = "x"', "", "citation: Field required"),
        ('family = "{family}"', "", "family: "),
    ],
)
def test_what_is_wrong_in_a_row_is_said_by_the_name_of_its_field(there: str, instead: str, wanted: str) -> None:
    text = ROW.replace(there, instead) if there else ROW + instead
    (models_folder() / "bad.toml").write_text(text.replace("{family}", "sam_vit").replace("{file}", "x"))
    assert re.search(wanted, damaged_rows()[str(models_folder() / "bad.toml")])


def test_numbers_and_lists_of_a_row_are_read_as_its_fields_have_them() -> None:
    text = ROW.format(family="segmenters", file="x").replace("1.0", "7")
    (models_folder() / "mine.toml").write_text(
        text + 'tasks = ["semantic"]\nclasses = "VOC"\nsize_weights = [1, 2]\noptions = {sides = [1, {a = true}]}'
    )
    mine = row("mine")
    assert isinstance(mine.size_mb, float)
    assert mine.size_weights == (1.0, 2.0)
    assert mine.classes[1] == "aeroplane"
    assert mine.family == "transformers_segmenters", "as rows of earlier versions are read"
    assert mine.options == {"sides": [1, {"a": True}]}
    save_row(mine)
    assert row("mine") == mine


@pytest.mark.parametrize(
    ("family", "file", "more"),
    [
        ("nothing", "weights.pth", ""),
        ("transformers_segmenters", "weights.pth", ""),
        ("transformers_segmenters", "weights.pth", 'options = {architecture = "Evil"}'),
        ("torchvision_segmenters", "weights.pth", ""),
        ("sam_vit", "a" * 5000, ""),
        ("sam_vit", r"a\u0000b", ""),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_with_the_others_and_named(family: str, file: str, more: str) -> None:
    (models_folder() / "weights.pth").write_bytes(b"something")
    (models_folder() / "bad.toml").write_text(ROW.format(family=family, file=file) + more)
    assert {"bad", "good", "foundseg-tiny"} <= catalog().keys()
    assert "good" in listed()
    with pytest.raises(FoundsegError):
        load_model("bad")
    assert load_model("good").name == "good"


@pytest.mark.parametrize("options", ["shorter = 0", "shorter = -1", "longest = 100000000", 'shorter = "all"'])
def test_sizes_in_a_row_that_cannot_be_are_named(tmp_path: Path, options: str) -> None:
    from napari_foundseg.models.row_options import whole_number

    text = ROW.format(family="detr", file="x") + f"options = {{{options}}}"
    (models_folder() / "bad.toml").write_text(text)
    name = options.partition(" ")[0]
    with pytest.raises(FoundsegError, match=name):
        whole_number(row("bad"), name, 800, least=1)

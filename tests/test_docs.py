"""The Python of the documentation runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_foundseg.batch.recipe import read_recipe
from napari_foundseg.core.normalisation import Percentile
from napari_foundseg.models.catalog import packaged
from napari_foundseg.models.listing import VERIFIED, as_markdown

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text("utf-8"))], ids=lambda p: p.name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCK.findall(page.read_text("utf-8")):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text("utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to files that are not there"


def test_the_recipe_of_the_page_is_a_recipe(tmp_path: Path) -> None:
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "batch.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "recipe.yaml").write_text(block, "utf-8")
    recipe = read_recipe(tmp_path / "recipe.yaml")
    assert recipe.inputs.normalisation == Percentile()
    assert recipe.steps[0].parsed_settings().model_dump()["pred_iou_thresh"] == 0.6


def test_every_model_of_the_catalogue_stands_in_the_table_of_models() -> None:
    written = set((ROOT / "docs" / "models.md").read_text("utf-8").splitlines())
    wanted = as_markdown(packaged().values()).splitlines()
    missing = [line for line in wanted if line not in written]
    assert not missing, "write docs/models.md again: napari-foundseg models list --markdown"
    assert {row.family for row in packaged().values()} <= set(VERIFIED), "say what its results are compared with"

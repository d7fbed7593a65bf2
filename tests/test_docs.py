"""The code of the documentation runs, its links lead somewhere, and it names controls and models that exist."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from skimage.io import imread
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch.recipe import read_recipe
from napari_foundseg.cli import app
from napari_foundseg.core.contrast import Percentile
from napari_foundseg.io.samples import sample
from napari_foundseg.models.catalog import packaged
from napari_foundseg.models.listing import as_markdown
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.task_models import tasks_for

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]
#: The how-tos, whose blocks are files of a small project: test_howtos.py runs them.
HOWTOS = sorted((DOCS / "developer").glob("add-*.md"))
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUN = {"python", "bash", "yaml"}
SHOWN = {"text", "toml", "diff"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    found = BLOCK.finditer(page.read_text("utf-8"))
    return [Block(match["language"], match["text"], match["reason"]) for match in found]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the files that the pages name: an image, labels, strokes, a folder of images, a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    nuclei = imread(sample("nuclei"))
    for name, corner in {"image": 0, "images/a": 0, "images/b": 100, "more/c": 200, "listed/d": 300}.items():
        file = tmp_path / f"{name}.tif"
        file.parent.mkdir(exist_ok=True)
        tifffile.imwrite(file, nuclei[corner : corner + 96, :128])
    (tmp_path / "list.txt").write_text("listed/d.tif\n", "utf-8")
    strokes = np.zeros((96, 128), np.uint8)
    strokes[10:20, 10:20], strokes[60:70, 60:70] = 1, 2
    tifffile.imwrite(tmp_path / "strokes.tif", strokes)
    tifffile.imwrite(tmp_path / "labels.tif", strokes)
    recipe = {
        "format": "foundseg-recipe 1",
        "inputs": {"paths": ["images"]},
        "steps": [{"task": "automatic", "model": {"name": "foundseg-tiny"}}],
        "outputs": {"folder": "results"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    return tmp_path


def run_commands(text: str) -> None:
    """Run the lines of a shell block, each a call of ``napari-foundseg``, in this process."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "napari-foundseg", f"mark this block as not run, with the reason: {line}"
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    wrong = [block.text for block in blocks_of(page) if block.language not in RUN | SHOWN]
    assert not wrong, f"name the language of these blocks: {', '.join(sorted(RUN | SHOWN))}"
    in_fences = BLOCK.sub("", page.read_text("utf-8"))
    indented = re.findall(r"(?:^\n)((?: {4}|\t)(?![-*\d ])[^\n]+\n)", in_fences, re.MULTILINE)
    assert not indented, f"{page.name}: write code in fences, so that it is run"


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p not in HOWTOS and any(b.language in RUN and b.reason is None for b in blocks_of(p))],
    ids=page_id,
)
def test_the_code_of_a_page_runs(page: Path, folder: Path) -> None:
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.reason is not None:
            continue
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
        elif block.language == "bash":
            run_commands(block.text)
        elif block.language == "yaml":
            (folder / "recipe.yaml").write_text(block.text, "utf-8")
            read_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", BLOCK.sub("", page.read_text("utf-8")))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to files that do not exist"


def test_the_recipe_of_the_page_is_read_as_it_says(tmp_path: Path) -> None:
    block = next(b for b in blocks_of(DOCS / "guide" / "recipes.md") if b.language == "yaml")
    (tmp_path / "recipe.yaml").write_text(block.text, "utf-8")
    recipe = read_recipe(tmp_path / "recipe.yaml")
    assert recipe.inputs.normalisation == Percentile()
    assert recipe.steps[0].parsed_settings().model_dump()["pred_iou_thresh"] == 0.6


def test_every_model_of_the_catalogue_stands_in_the_table_of_models() -> None:
    written = set((DOCS / "guide" / "models.md").read_text("utf-8").splitlines())
    wanted = as_markdown(packaged().values(), tasks_for).splitlines()
    missing = [line for line in wanted if line not in written]
    assert not missing, "update docs/guide/models.md with: napari-foundseg models list --markdown"


def test_the_reference_lists_every_public_name() -> None:
    listed = re.findall(r"^::: napari_foundseg\.(\w+)$", (DOCS / "reference" / "python.md").read_text("utf-8"), re.M)
    assert sorted(listed) == sorted(fs.__all__), "docs/reference/python.md: one section for each name of __all__"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=page_id)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:\.?[\w-]+/)+[\w.-]*\.(?:py|toml|csv))`", BLOCK.sub("", page.read_text("utf-8")))
    roots = (ROOT, ROOT / "src" / "napari_foundseg")
    assert not [name for name in named if not any((root / name).exists() for root in roots)]


def test_the_table_of_systems_is_that_of_the_catalogue() -> None:
    written = runpy.run_path(str(DOCS / "systems.py"))["page"]()
    assert (DOCS / "systems.md").read_text("utf-8") == written, "run: python docs/systems.py"
    systems = tomllib.loads((DOCS / "systems.toml").read_text("utf-8"))["system"]
    assert len({system["name"] for system in systems}) == len(systems) == 41
    assert all({"rows", "family", "missing"} & system.keys() for system in systems)


def test_the_map_shows_the_layers_of_the_contracts() -> None:
    drawn = runpy.run_path(str(DOCS / "draw_map.py"))["svg"]()
    assert (DOCS / "developer" / "map.svg").read_text("utf-8") == drawn, "run: python docs/draw_map.py"


def test_the_glossary_is_short_and_sorted() -> None:
    terms = re.findall(r"^\| (?!Word )([^|]+?) \|", (DOCS / "guide" / "glossary.md").read_text("utf-8"), re.M)
    assert 10 < len(terms) <= 25
    assert terms == sorted(terms, key=str.lower)


#: Words in italics that are napari's, or that are not controls.
NOT_OURS = {"File", "Open Sample", "Plugins", "Preferences", "Save Selected Layers", "FoundSeg"}
#: Journals.
NOT_OURS |= {"JOM", "Nature Methods", "Scientific Reports", "SoftwareX"}


def visible_words() -> Iterator[str]:
    """Yield the texts that the window can show: string literals of the widgets, labels of settings, menu entries."""
    package = ROOT / "src" / "napari_foundseg"
    for file in (package / "widgets").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    for task in TASKS.values():
        yield task.title
        for settings in task.methods.values():
            yield from map(settings.label_of, settings.model_fields)
    yield from re.findall(r"(?:title|display_name): (.+)", (package / "napari.yaml").read_text("utf-8"))


@pytest.mark.parametrize("page", sorted((DOCS / "guide").glob("*.md")), ids=page_id)
def test_the_controls_that_a_page_names_exist(page: Path) -> None:
    shown = {re.sub(r" \(.{1,15}\)$", "", word.strip().rstrip("…")).lower() for word in visible_words()}
    text = BLOCK.sub("", page.read_text("utf-8"))
    named = {
        part.strip()
        for words in re.findall(r"(?<![*\w])\*([A-Z][^*\n]+)\*(?!\*)", text)
        for part in words.split("\u203a")
    }
    missing = {name for name in named if name.rstrip("…").lower() not in shown} - NOT_OURS
    assert not {name for name in missing if name.rstrip("…") not in NOT_OURS}


def test_the_docstrings_of_public_names_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["numpydoc_validation"]
    (unchecked,) = settings["exclude_files"]
    modules = {sys.modules[getattr(fs, name).__module__].__file__ for name in fs.__all__}
    files = {str(Path(module).relative_to(ROOT)) for module in modules if module is not None}
    assert not [file for file in files if re.match(unchecked, file)], (
        "pyproject.toml: numpydoc_validation.exclude_files"
    )

"""The how-tos for developers do what they say: their files are added to a copy of the project, whose tests then run.

A block with a title is a file: Python is a new file, a diff changes an existing one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "developer").glob("add-*.md"))
FILE = re.compile(r'^```(?P<language>\w+) title="(?P<path>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^python -m ([\w.]+)$", re.MULTILINE)
TESTS = re.compile(r'^make test ARGS="([^"]+)"$', re.MULTILINE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a copy of the project in which all pages were followed."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for page in PAGES:
        follow(page, folder)
    return folder


def follow(page: Path, folder: Path) -> None:
    """Write the files of a page and run its commands."""
    text = page.read_text("utf-8")
    for block in FILE.finditer(text):
        path = folder / block["path"]
        if block["language"] == "diff":
            change(path, block["text"])
        else:
            assert not path.exists(), f"{page.name}: {block['path']} exists already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"], "utf-8")
    for module in COMMAND.findall(text):
        done = run(folder, "-m", module)
        assert done.returncode == 0, done.stdout + done.stderr


def change(path: Path, diff: str) -> None:
    """Apply a diff whose lines without a sign or with a minus are found once in a file."""
    lines = diff.splitlines()
    old, new = ("\n".join(line[1:] for line in lines if line[:1] in kept) for kept in ("- ", "+ "))
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"these lines are not, or not once, in {path.name}:\n{old}"
    path.write_text(text.replace(old, new), "utf-8")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def outcome(project: Path) -> str:
    """Run the tests that the pages name, all in one process, and return what pytest printed."""
    paths = sorted({path for page in PAGES for path in named_tests(page)})
    # Of the test over all families only that of the page; it takes a while for each.
    chosen = ["-k", "bright_parts or not test_family_protocols"]
    done = run(project, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *paths, *chosen)
    return done.stdout + done.stderr


def named_tests(page: Path) -> list[str]:
    """Return the files of tests in the command that ends a page."""
    (arguments,) = TESTS.findall(page.read_text("utf-8"))
    return [word for word in arguments.split() if word.endswith(".py")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_following_the_page_leads_to_the_end(page: Path, outcome: str) -> None:
    for path in named_tests(page):
        results = re.findall(rf"^(\w+) {re.escape(path)}(?:::|$| )", outcome, re.MULTILINE)
        assert "PASSED" in results, outcome
        assert not {"FAILED", "ERROR"} & set(results), outcome


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_the_page_passes_the_linter(page: Path, project: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("ruff is not installed")
    files = [block["path"] for block in FILE.finditer(page.read_text("utf-8"))]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *command, "--no-cache", *files], cwd=project, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

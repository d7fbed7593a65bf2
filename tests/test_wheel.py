"""The long description of a wheel, as PyPI and the napari hub show it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADDRESS = "https://example.org/someone/napari-foundseg"


def build_metadata(folder: Path, repository: str | None) -> Message:
    """Build a wheel of a copy of the project, with the repository's address filled in, and return its metadata."""
    shutil.copytree(
        ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.safetensors")
    )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    if repository is not None:
        settings = folder / "pyproject.toml"
        text, count = re.subn(
            r'^# Repository = ".*"$', f'Repository = "{repository}"', settings.read_text("utf-8"), flags=re.MULTILINE
        )
        assert count == 1, "pyproject.toml: the line below [project.urls] that the owner fills in"
        settings.write_text(text, "utf-8")
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return message_from_bytes(archive.read(name))


@pytest.mark.skipif(
    not re.search(r'^# Repository = ".*"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE),
    reason="the owner has named the repository",
)
def test_without_an_address_the_links_stay_as_they_are(tmp_path: Path) -> None:
    metadata = build_metadata(tmp_path, None)
    assert metadata.get_payload(decode=True) == (ROOT / "README.md").read_bytes()
    assert metadata.get_all("Project-URL") is None


def test_with_an_address_the_long_description_has_no_relative_link(tmp_path: Path) -> None:
    empty = 'Repository = "' not in re.sub(
        r"^#.*$", "", (ROOT / "pyproject.toml").read_text("utf-8"), flags=re.MULTILINE
    )
    metadata = build_metadata(tmp_path, ADDRESS if empty else None)
    text = metadata.get_payload(decode=True).decode("utf-8")
    targets = re.findall(r"\]\(([^)\s]+)", text)
    assert len(targets) > 10
    assert not [target for target in targets if not target.startswith("https://")]
    assert "docs/images/automatic.png)" in text
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert any(url.startswith("Repository, https://") for url in metadata.get_all("Project-URL"))

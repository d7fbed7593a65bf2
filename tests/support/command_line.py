"""The command line, called in the process of a test."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from napari_foundseg.cli import app
from napari_foundseg.models import catalog

__all__ = ["command", "import_by_command"]


def command(*words: str) -> str:
    """Run a command that succeeds, and return what it says in one line."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def import_by_command(path: Path, name: str) -> catalog.CatalogRow:
    """Import weights by the command line and return their row."""
    command("models", "import", str(path), "--name", name)
    return catalog.row(name)

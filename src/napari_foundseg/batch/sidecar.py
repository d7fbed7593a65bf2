"""`Sidecar`: the JSON file of a result, with its provenance, the hashes of its files, and whether it is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.pixels.slab import Slab
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.files.json_file import read_json

__all__ = ["Sidecar", "SourceFile", "read_sidecar"]


class SourceFile(Declared):
    """The image of a result."""

    name: str
    """Path relative to the recipe's folder."""
    sha256: str
    """Hash of the file."""
    index: tuple[int, ...] | None
    """The slice; null for the whole file."""
    axes: str | None
    """Axes that were given to the run; null: the file's own axes."""
    slab: Slab | None = None
    """The slab of which this slice was the middle; null: the slice alone."""
    inside: str = ""
    """The image in a file that holds several, such as 1; empty: the first or only one."""


class Sidecar(Declared):
    """The record of a result."""

    format: Literal["foundseg-result 1"] = "foundseg-result 1"
    """Format of this file."""
    state: Literal["writing", "done"]
    """While writing, the files may be old, new, or some of each."""
    input: SourceFile
    """The image."""
    recipe: str
    """`Recipe.digest` of the recipe."""
    models: dict[str, str]
    """sha256 of the weights of each model."""
    outputs: dict[str, str]
    """sha256 of each file of the result."""
    previous: dict[str, str]
    """sha256 of files that earlier runs wrote and that may still exist."""
    objects: int
    """Number of objects."""
    steps: tuple[dict[str, JsonValue], ...] = Field(min_length=1)
    """Provenance of each step, as `tasks.provenance.record` makes it."""
    times: dict[str, float]
    """Time in seconds spent on each part."""
    reason: str = ""
    """What to check in the result, such as images of the file that are left out; empty if there is nothing."""

    def is_ours(self, name: str, digest: str) -> bool:
        """Tell whether a file, given its name and hash, is unchanged since a run wrote it."""
        return digest in (self.outputs.get(name), self.previous.get(name))

    def write(self, path: Path) -> None:
        """Write the sidecar atomically."""
        # After a crash of the computer, the previous record, which says *writing*, is as good as this one.
        with atomic_write(path, synced="name" if self.state == "writing" else "content") as file:
            # Not pydantic's own JSON: file names may contain undecodable bytes, which Python escapes.
            # Python is slow at indenting, and a record that says *writing* is soon replaced.
            indent = 1 if self.state == "done" else None
            text = json.dumps(self.model_dump(mode="json"), indent=indent, ensure_ascii=False)
            file.write(text.encode("utf-8", "backslashreplace"))


def read_sidecar(path: Path) -> Sidecar | None:
    """Return a sidecar, or None if there is no such file; raise a ValueError if it is damaged or something else."""
    try:
        return Sidecar.model_validate(read_json(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path.name} is damaged, or is not a {Sidecar.model_fields['format'].default!r}") from error

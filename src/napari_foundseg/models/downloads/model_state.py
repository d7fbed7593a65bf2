"""The state of a model's weights, and whether they can be downloaded or removed. Used by tables, lists and menus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_foundseg.models.catalog import CatalogRow, models_folder, user_rows
from napari_foundseg.models.downloads.places import DOWNLOADS, bytes_here, download_folder, read_plan
from napari_foundseg.models.downloads.size_text import bytes_text, size_text
from napari_foundseg.models.store import addresses, locate, problem_of

__all__ = ["ModelState", "StateKind", "hub_page", "model_state"]

#: Built in: part of the package. Ready: on this computer. Part: an unfinished download. To download, gated: not on
#: this computer; gated models ask for consent. Gone: an imported file was moved or deleted. Missing: the file of a
#: model that is part of the package is lost.
StateKind = Literal["built in", "ready", "part", "to download", "gated", "gone", "missing"]


@dataclass(frozen=True)
class ModelState:
    """The state of a model's weights.

    Parameters
    ----------
    kind : StateKind
        The state.
    words : str
        A short text for a table: ``ready``, ``120 of 375 MB here``, ``to download, 375 MB``, ``needs timm``.
    explanation : str
        Sentences about the place of the weights, missing parts, and the next step for the user.
    path : Path or None
        The file or folder of complete weights; None if there are none.
    part_bytes : int
        Size of an unfinished download.
    total_bytes : int or None
        Size of the complete download; None if it is unknown.
    problem : str
        The missing package and how to install it; empty if none is missing.
    why_no_download : str
        Why the model cannot be downloaded; empty if it can.
    why_no_removal : str
        Why the model cannot be removed; empty if it can.
    removal : str
        A sentence about the files that a removal deletes or keeps.
    deletes : bool
        Whether a removal deletes weights.
    """

    kind: StateKind
    words: str
    explanation: str
    path: Path | None = None
    part_bytes: int = 0
    total_bytes: int | None = None
    problem: str = ""
    why_no_download: str = ""
    why_no_removal: str = ""
    removal: str = ""
    deletes: bool = False

    @property
    def here(self) -> bool:
        """Whether complete weights are on this computer."""
        return self.path is not None


def model_state(row: CatalogRow, *, quick: bool = False) -> ModelState:
    """Return the state of a model. Looks at file names and sizes, but neither reads weights nor uses the network.

    With `quick`, missing packages are not checked for models without weights, since the check imports their families.
    """
    path = locate(row)
    problem = "" if path is None and quick else problem_of(row) if row.source else ""
    size = size_text(row.size_mb)
    if not row.source:
        if path is None:
            words = f"The weights of {row.name} are missing ({row.file}); install napari-foundseg again."
            return ModelState("missing", "missing", words, why_no_download=words, why_no_removal=words)
        if row.on_server:
            problem = problem_of(row)
            words = "It runs on a server of yours, whose address is asked for in the form: nothing is downloaded."
            return ModelState(
                "built in", _short_problem(problem) or "on a server", f"{words} {problem}".strip(), path,
                problem=problem, why_no_download=words, why_no_removal=words,
            )  # fmt: skip
        words = "It comes with napari-foundseg."
        return ModelState(
            "built in", f"built in, {size}", words, path, problem=problem, why_no_download=words, why_no_removal=words
        )
    if path is not None:
        return ModelState(
            "ready",
            _short_problem(problem) or "ready",
            f"On this computer: {path}. {problem}".strip(),
            path,
            problem=problem,
            why_no_download="Its weights are on this computer.",
            why_no_removal=_why_no_removal(row, path),
            removal=_removal(row, path),
            deletes=_is_download(row, path),
        )
    entry = "" if row.name in user_rows() else "None of it is on this computer."
    if not addresses(row):
        words = f"Its weights are no longer at {row.source}: put them back, or import them from where they are now."
        return ModelState("gone", "moved or deleted", words, problem=problem, why_no_download=words,
                          why_no_removal=entry, removal="Only its entry is removed.")  # fmt: skip
    part = bytes_here(row)
    if part:
        plan = read_plan(row)
        total = (plan.size if plan else None) or int(row.size_mb * 1e6) or None
        here = f"{bytes_text(part, total)} here"
        words = f"An unfinished download: {here}. Download continues from there."
        return ModelState("part", f"part: {here}", f"{words} {problem}".strip(), None, part, total, problem,
                          removal=f"The unfinished download is deleted: {download_folder(row)}.",
                          deletes=True)  # fmt: skip
    words = f"Not on this computer: {size} from {addresses(row)[0]}"
    if row.gated:
        words += f". Its authors ask for consent: accept their terms at {hub_page(row)}, and give the hub's token"
    return ModelState(
        "gated" if row.gated else "to download",
        _short_problem(problem) or (f"gated, {size}" if row.gated else f"to download, {size}"),
        f"{words}. {problem}".strip(),
        total_bytes=int(row.size_mb * 1e6) or None,
        problem=problem,
        why_no_removal=entry,
        removal="Only its entry is removed.",
    )


def hub_page(row: CatalogRow) -> str:
    """Return the web page of a model: for the Hugging Face hub, the page of its repository."""
    address = next(iter(addresses(row)), row.source)
    return address.partition("/resolve/")[0] if "://huggingface.co/" in address else address


def _short_problem(problem: str) -> str:
    """Return a text such as ``needs timm``; empty if nothing is missing."""
    return f"needs {problem.partition(' needs ')[2].partition(',')[0].partition(';')[0]}" if problem else ""


def _is_download(row: CatalogRow, path: Path) -> bool:
    """Return whether weights may be deleted: they are in the models' folder and can be downloaded again."""
    return bool(addresses(row)) and path.is_relative_to(models_folder())


def _why_no_removal(row: CatalogRow, path: Path) -> str:
    if row.name in user_rows() or _is_download(row, path):
        return ""
    return f"Its weights are in the cache of the Hugging Face hub ({path}); remove them there: hf cache rm"


def _removal(row: CatalogRow, path: Path) -> str:
    if not _is_download(row, path):
        return f"Only its entry is removed; its weights stay at {path}."
    whole = models_folder() / DOWNLOADS / row.name
    return f"Its weights are deleted: {whole if path.is_relative_to(whole) else path} ({size_text(row.size_mb)})."

"""The state of a model's weights, and what can be done with them: for tables, lists and choices of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_foundseg.models.catalog import CatalogRow, models_folder, user_rows
from napari_foundseg.models.downloads.places import DOWNLOADS, bytes_here, download_folder, read_plan
from napari_foundseg.models.downloads.size_text import bytes_text, size_text
from napari_foundseg.models.store import addresses, locate, problem_of

__all__ = ["ModelState", "StateKind", "hub_page", "model_state"]

#: Built in: comes with the package. Ready: here. Part: an unfinished download is here. To download, gated: not here;
#: gated asks for consent. Gone: a file that was imported is no longer there. Missing: it comes with the package, and
#: its file is lost.
StateKind = Literal["built in", "ready", "part", "to download", "gated", "gone", "missing"]


@dataclass(frozen=True)
class ModelState:
    """The state of a model's weights.

    Parameters
    ----------
    kind : StateKind
        In one word.
    words : str
        In a few words for a table: ``ready``, ``120 of 375 MB here``, ``to download, 375 MB``, ``needs timm``.
    explanation : str
        In sentences: where the weights are, what is missing, what to do.
    path : Path or None
        The file or folder of complete weights; None where there are none.
    part_bytes : int
        Bytes of an unfinished download.
    total_bytes : int or None
        Bytes of the whole, None where that is not known.
    problem : str
        Which package is missing, and how to install it; empty where none is.
    why_no_download : str
        Why it cannot be downloaded; empty where it can.
    why_no_removal : str
        Why it cannot be removed; empty where it can.
    removal : str
        What a removal deletes and what stays, in words.
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
        """Whether complete weights are here."""
        return self.path is not None


def model_state(row: CatalogRow, *, quick: bool = False) -> ModelState:
    """Return the state of a model. It looks at the disk, and neither reads weights nor uses the network.

    `quick`: not to look for packages that are missing to models that are not here, which imports their families.
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
    """Return the web page of a model: that of its repository if it is on the Hugging Face hub."""
    address = next(iter(addresses(row)), row.source)
    return address.partition("/resolve/")[0] if "://huggingface.co/" in address else address


def _short_problem(problem: str) -> str:
    """Return ``needs timm``; empty where nothing is missing."""
    return f"needs {problem.partition(' needs ')[2].partition(',')[0].partition(';')[0]}" if problem else ""


def _is_download(row: CatalogRow, path: Path) -> bool:
    """Tell whether weights are ours to delete: downloaded into the models' folder, so that they can be had again."""
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

"""The plan of a model's download: its files, addresses, sizes and licences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from napari_foundseg.core.errors import DownloadError
from napari_foundseg.models.catalog import UNVERIFIED, CatalogRow
from napari_foundseg.models.downloads.hub import (
    Repository,
    cached_file,
    check_access,
    hub_page,
    read_repository,
    wanted_files,
)
from napari_foundseg.models.downloads.hub_address import hub_parts, is_commit
from napari_foundseg.models.downloads.offline import check_online
from napari_foundseg.models.downloads.places import Plan, PlannedFile, file_name, read_plan, target
from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.models.downloads.web import call_interruptibly
from napari_foundseg.models.store import addresses

__all__ = ["Offer", "make_plan", "offer_of"]

#: PyTorch's file names contain the start of the file's sha256.
_TORCH = re.compile(r"https://(?:download\.pytorch\.org/models/|dl\.fbaipublicfiles\.com/detr/).*-([0-9a-f]{8,})\.pth")


@dataclass(frozen=True)
class Offer:
    """The facts that the user agrees to before a download.

    Parameters
    ----------
    plan : Plan
        The files that would be fetched.
    words : str
        Lines with the size and the licences.
    repositories : tuple of Repository
        The repositories on the hub that were asked.
    cached : mapping of str to Path
        Files that are copied from the hub's own cache instead, by name.
    """

    plan: Plan
    words: str
    repositories: tuple[Repository, ...]
    cached: dict[str, Path]


def offer_of(row: CatalogRow) -> str:
    """Return the catalogue's facts about a download as lines: size, address, licences, consent. Uses no network."""
    lines = [
        f"{row.title}: {size_text(row.size_mb)} from {' and '.join(addresses(row))}",
        f"Licence of the code: {row.code_licence}. Licence of the weights: {row.weights_licence}.",
    ]
    if row.gated:
        page = next(iter(addresses(row)), "")
        lines.append(f"Its authors ask for consent: accept their terms at {page}, and give the hub's token.")
    return "\n".join(lines)


def make_plan(row: CatalogRow, cancelled: Callable[[], bool] = lambda: False) -> Offer:
    """Ask the servers for the files of a download, and return the plan.

    Raises OfflineError, DownloadError, and Cancelled.
    """
    links = addresses(row)
    if not links:
        raise DownloadError(f"{row.name} has no address to download from; import its file.")
    check_online(f"The weights of {row.name}", " and ".join(links), str(target(row)))
    before = read_plan(row)
    version = next((v for v in (before.revision if before else "", row.revision) if is_commit(v)), "")
    repositories: list[Repository] = []
    files: list[PlannedFile] = []
    cached: dict[str, Path] = {}
    for link in (row.source, *row.beside):
        parts = hub_parts(link)
        if parts is None:
            files.append(_plain_file(row, link, before))
            continue
        name, given, file = parts
        found = call_interruptibly(lambda n=name, v=version or given: read_repository(n, v), cancelled)  # type: ignore[misc]
        repositories.append(found)
        wanted = wanted_files(found) if not file else _renamed(row, found, link, file)
        files += [_with_etag(one, before) for one in wanted]
        cached |= {one.name: path for one in wanted if (path := cached_file(name, found.commit, file or one.name))}
    if any(file.name not in cached for file in files):
        for repository in repositories:
            check_access(repository)
    commit = repositories[0].commit if hub_parts(row.source) else ""
    plan = Plan(tuple(files), commit)
    return Offer(plan, _in_words(row, plan, repositories, cached), tuple(repositories), cached)


def _plain_file(row: CatalogRow, link: str, before: Plan | None) -> PlannedFile:
    known = row.sha256 if row.sha256 != UNVERIFIED and not row.beside else ""
    named = _TORCH.fullmatch(link)
    name = file_name(link) if row.beside else target(row).name
    file = PlannedFile(name, link, sha256=known or (named[1] if named else ""))
    there = next((one for one in before.files if one.url == link), None) if before else None
    # The server stated these before an earlier attempt was interrupted.
    return replace(file, size=there.size, etag=there.etag) if there else file


def _renamed(row: CatalogRow, repository: Repository, link: str, file: str) -> tuple[PlannedFile, ...]:
    found = next((one for one in repository.files if one.name == file), None)
    if found is None:
        raise DownloadError(f"{hub_page(repository.name)} has no file {file}; it was moved or deleted.")
    return (replace(found, name=file_name(link) if row.beside else target(row).name),)


def _with_etag(file: PlannedFile, before: Plan | None) -> PlannedFile:
    there = next((one for one in before.files if one.url == file.url), None) if before else None
    return replace(file, etag=there.etag) if there else file


def _in_words(row: CatalogRow, plan: Plan, repositories: list[Repository], cached: dict[str, Path]) -> str:
    size = size_text(plan.size / 1e6 if plan.size else row.size_mb)
    lines = [offer_of(row).replace(f": {size_text(row.size_mb)} from", f": {size} from", 1)]
    for repository in repositories:
        said = repository.licence or "nothing"
        lines.append(f"The page of {repository.name} names as licence: {said}.")
        if repository.gated and not row.gated:
            lines.append(f"Its authors ask for consent: accept their terms at {hub_page(repository.name)}.")
    if cached:
        lines.append(f"{len(cached)} of {len(plan.files)} files are in the hub's cache already, and are copied.")
    return "\n".join(lines)

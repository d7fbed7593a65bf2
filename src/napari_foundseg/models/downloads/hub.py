"""Access to the Hugging Face hub through its own client: files of a repository, versions, and the user's token."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from napari_foundseg.core.errors import DownloadError
from napari_foundseg.models.downloads.offline import check_online
from napari_foundseg.models.downloads.places import PlannedFile, is_inside
from napari_foundseg.models.downloads.web import certificates, timeout, untrusted_text

__all__ = [
    "Repository",
    "cached_file",
    "check_access",
    "endpoint",
    "hub_token",
    "keep_token",
    "read_repository",
    "wanted_files",
]

_HUB = "https://huggingface.co"
#: Files that a transformers folder needs in addition to its weights, and its licence.
_FACTS = ("*.json", "*.txt", "*.model", "*.spm", "*.jinja", "LICEN[CS]E*")
#: Files of training runs and of other libraries.
_NOT_WANTED = ("*.index.json", "trainer_state.json", "optimizer*", "scheduler*", "training_args*", "rng_state*", "tf_*",
               "flax_*", "requirements*.txt")  # fmt: skip
#: Kinds of weights, best first; the first kind that a repository has is used. Safetensors come before pickles.
_WEIGHTS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("*.safetensors",),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
    ("*.bin", "*.pth", "*.pt", "*.ckpt"),
)


@dataclass(frozen=True)
class Repository:
    """One version of a repository.

    Parameters
    ----------
    name : str
        ``owner/name``.
    commit : str
        Its version.
    files : tuple of PlannedFile
        All its files.
    gated : bool
        Whether its authors ask for consent.
    licence : str
        The licence on its card; empty if the card has none.
    """

    name: str
    commit: str
    files: tuple[PlannedFile, ...]
    gated: bool
    licence: str


def endpoint() -> str:
    """Return the address of the hub: HF_ENDPOINT, or the public hub."""
    return (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")


def hub_token() -> str | None:
    """Return the token from the hub's client, which reads HF_TOKEN or its own file; None if there is none."""
    from huggingface_hub import get_token

    token: str | None = get_token()
    return token


def keep_token(token: str) -> str:
    """Check a token and save it with the hub's client; return the account's name. DownloadError if it is not valid."""
    from huggingface_hub import HfApi, login
    from huggingface_hub.errors import HfHubHTTPError

    check_online("The check of a token", endpoint())
    page = f"{endpoint()}/settings/tokens"
    if not re.fullmatch(r"[!-~]+", token):
        what = "has spaces or other characters that no token has" if token else "is empty"
        raise DownloadError(f"The token {what}; copy it again from {page}.")
    with _named("the token", token):
        _use_certificates()
        try:
            name = str(HfApi(endpoint=endpoint()).whoami(token=token).get("name", ""))
            login(token=token, add_to_git_credential=False)
        except (ValueError, HfHubHTTPError) as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
            if status not in (0, 401, 403) or isinstance(error, json.JSONDecodeError):
                raise
            raise DownloadError(f"The hub does not know this token; make one that may read at {page}.") from error
    return name


def read_repository(name: str, version: str = "") -> Repository:
    """Ask the hub for the files and facts of a repository; raise DownloadError if it does not answer."""
    from huggingface_hub import HfApi

    token = hub_token()
    with _named(name, token):
        _use_certificates()
        info = HfApi(endpoint=endpoint(), token=token or False).model_info(
            name, revision=version or None, files_metadata=True, timeout=timeout()
        )
    commit = str(info.sha or version)
    card = info.card_data
    return Repository(
        name,
        commit,
        tuple(
            PlannedFile(
                one.rfilename,
                f"{endpoint()}/{name}/resolve/{quote(commit, safe='')}/{quote(one.rfilename)}",
                one.size,
                sha256=one.lfs.sha256 if one.lfs else "",
                git_sha1=(one.blob_id or "") if not one.lfs else "",
            )
            for one in info.siblings or ()
        ),
        bool(info.gated),
        str(getattr(card, "license", None) or ""),
    )


def wanted_files(repository: Repository) -> tuple[PlannedFile, ...]:
    """Return the files that the model in a repository needs; raise DownloadError if there are no weights."""
    there = {file.name: file for file in repository.files if "/" not in file.name and is_inside(file.name)}
    weights = next((found for kinds in _WEIGHTS if (found := _matching(there, kinds)) and _has_weights(found)), [])
    if not weights:
        raise DownloadError(f"{hub_page(repository.name)} holds no weights at its top; get the file by hand.")
    facts = [name for name in _matching(there, _FACTS) if name not in weights]
    return tuple(there[name] for name in (*facts, *weights))


def cached_file(name: str, commit: str, file: str) -> Path | None:
    """Return the path of a file in the hub's own cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    with suppress(ValueError, OSError):
        found = try_to_load_from_cache(name, file, revision=commit)
        if isinstance(found, str) and Path(found).is_file():
            return Path(found)
    return None


def check_access(repository: Repository, error: DownloadError | None = None) -> None:
    """Raise DownloadError with the page to open if a gated repository would refuse access, or has refused it."""
    if repository.gated and hub_token() is None:
        raise DownloadError(_consent(repository.name))
    if error is not None and repository.gated:
        raise DownloadError(_not_accepted(repository.name)) from error


def hub_page(name: str) -> str:
    """Return the web page of a repository."""
    return f"{endpoint()}/{name}"


def _matching(names: Iterable[str], patterns: tuple[str, ...]) -> list[str]:
    return sorted(
        name
        for name in names
        if any(fnmatch.fnmatchcase(name, one) for one in patterns)
        and (name in patterns or not any(fnmatch.fnmatchcase(name, one) for one in _NOT_WANTED))
    )


def _has_weights(names: list[str]) -> bool:
    return any(PurePosixPath(name).suffix != ".json" for name in names)


def _consent(name: str) -> str:
    page = hub_page(name)
    return (
        f"{name} is gated: its authors ask for your consent. Log in at {page}, accept the terms, make a token at "
        f"{endpoint()}/settings/tokens, and give it (napari-foundseg models login, or the token field)."
    )


def _not_accepted(name: str) -> str:
    return (
        f"{name} is gated, and the account of your token has not been given access: open {hub_page(name)} with that "
        "account, accept the terms, and wait until the authors have agreed; then download again."
    )


@contextmanager
def _named(name: str, token: str | None) -> Iterator[None]:
    """Replace errors of the hub's client with a DownloadError that tells the user how to go on."""
    try:
        yield
    except DownloadError:
        raise
    except Exception as error:
        raise DownloadError(_fault(error, name, token)) from error


def _fault(error: Exception, name: str, token: str | None) -> str:
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError):
        return _not_accepted(name) if token else _consent(name)
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has lost the version that was recorded here; remove the model, then download it again."
    if status == 401 and token and "redentials" in str(error):
        return "The hub does not know the token that is kept here; give another: napari-foundseg models login"
    if isinstance(error, RepositoryNotFoundError):
        seen_by = "your token" if token else "everybody"
        return f"{hub_page(name)} is not a repository that {seen_by} may see: it was moved, deleted or made private."
    if status is not None and (status == 429 or status >= 500):
        return f"{endpoint()} has a fault or is busy (HTTP {status}); try again later."
    if status is not None:
        return f"{endpoint()} refuses (HTTP {status}); open this address in a browser to see why."
    if isinstance(error, HFValidationError):
        return f"{name!r} is not the name of a repository, such as owner/name: {error!s:.200}"
    if isinstance(error, json.JSONDecodeError | TypeError | KeyError | AttributeError):
        return (
            f"{endpoint()} sends something other than the hub's facts about {name}: a network may ask for a login "
            "first, or HF_ENDPOINT names another server. Open the address in a browser; then try again."
        )
    if "timed out" in str(error).lower() or "timeout" in type(error).__name__.lower():
        seconds = f"{timeout():g} seconds"
        return f"{endpoint()} sent nothing for {seconds}; try again later, or set FOUNDSEG_TIMEOUT to more seconds."
    if "certificate" in str(error).lower():
        return untrusted_text(f"{endpoint()} is not trusted")
    why = f"{str(error) or type(error).__name__:.200}"
    return f"{endpoint()} cannot be reached ({why}); check the connection or the proxy."


def _use_certificates() -> None:
    """Make the hub's client trust `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE`; it reads the other variables itself."""
    context = certificates()
    if not (os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")):
        return
    # The client's versions before 1.0 use requests, which reads these variables.
    with suppress(ImportError):
        from huggingface_hub import get_session, set_client_factory

        session = get_session()
        kind, hooks = type(session), session.event_hooks
        set_client_factory(lambda: kind(event_hooks=hooks, follow_redirects=True, timeout=None, verify=context))

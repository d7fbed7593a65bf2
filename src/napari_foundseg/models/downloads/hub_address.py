"""Addresses and versions of the Hugging Face hub."""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["hub_parts", "is_commit"]

_FILE = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/(?:resolve|blob)/([^/]+)/(.+)")


def hub_parts(source: str) -> tuple[str, str, str] | None:
    """Return repository, version and file of a source on the hub; None for other sources.

    For the source of a whole folder, version and file are empty.
    """
    if source.startswith("hf:"):
        return source[3:], "", ""
    found = _FILE.fullmatch(re.split("[?#]", source)[0])
    return (found[1], found[2], unquote(found[3])) if found else None


def is_commit(version: str) -> bool:
    """Return whether a version is a commit, which never changes, and not a branch or tag."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", version))

"""Provenance of tracks in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["tracking_in_words"]


def tracking_in_words(record: Mapping[str, Any]) -> list[str]:
    """Return sentences about the tracks in a record."""
    if not record:
        return []
    if "why_not" in record:
        return [str(record["why_not"])]
    if not record["tracks"]:
        return ["Tracks: no frame has an object."]
    counted = [
        _counted(record["tracks"], "track"),
        _counted(record["divisions"], "division"),
        _counted(record["gaps"], "gap", " bridged"),
    ]
    how = "found from the film" if record["movement_found"] else "as set"
    reach = f"up to {record['max_movement']:.3g} pixels from one frame to the next ({how})"
    words = [f"Tracks: {', '.join(counted)}. Objects were looked for {reach}."]
    if record["frames"] == 1:
        words.append("There is one frame: each object is a track of its own.")
    elif record["longest"] == 1:
        words.append(
            "No object goes on in a next frame: each is a track of one frame. A larger maximum movement may link them."
        )
    return words


def _counted(n: int, what: str, behind: str = "") -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}{behind if n else ''}"

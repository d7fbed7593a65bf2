"""Parts of a result as they travel with the progress of a run, whose messages hold plain values only."""

from __future__ import annotations

import pickle
from typing import Any

__all__ = ["packed", "unpacked"]


def packed(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what can be shown as plain values: its parts as bytes."""
    return {**shown, "parts": pickle.dumps(shown["parts"])} if "parts" in shown else shown


def unpacked(shown: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what `packed` was given; it comes from a worker that is trusted with pickles as its results are."""
    if not shown or "parts" not in shown:
        return shown
    return {**shown, "parts": pickle.loads(shown["parts"])}

"""Partial results that travel with the progress of a run, whose messages hold plain values only."""

from __future__ import annotations

import pickle
from typing import Any

__all__ = ["packed", "unpacked"]


def packed(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a partial result with its parts pickled to bytes."""
    return {**shown, "parts": pickle.dumps(shown["parts"])} if "parts" in shown else shown


def unpacked(shown: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a partial result with its parts unpickled; the worker is trusted with pickles, as for its results."""
    if not shown or "parts" not in shown:
        return shown
    return {**shown, "parts": pickle.loads(shown["parts"])}

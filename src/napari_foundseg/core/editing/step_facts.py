"""Changes of the facts about objects that an edit step causes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.edited_objects import edited_facts
from napari_foundseg.core.editing.object_facts import Facts

__all__ = ["changed_facts", "edited_ids"]


def edited_ids(parts: Sequence[Difference]) -> set[int]:
    """Return the ids of the objects that lose or gain pixels."""
    return {label for part in parts for label in part.ids if label > 0}


def changed_facts(
    labels: NDArray[Any],
    axes: str,
    columns: Collection[str],
    parts: Sequence[Difference],
    turned: Collection[int],
    size: Callable[[int], int],
    before: Facts,
    known: Facts,
) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the facts before and after a step, of the objects whose facts the step changes.

    Ids are reused, so the facts about an object are removed with it. Those of an edited object are measured again.

    Parameters
    ----------
    labels : ndarray of int
        The label image after the step.
    axes : str
        A letter for each of its axes.
    columns : collection of str
        The columns of the table of facts; only these are measured.
    parts : sequence of Difference
        The pixels that the step changes.
    turned : collection of int
        The objects that appear or disappear with the step.
    size : callable
        Returns the number of pixels of an object after the step.
    before : mapping of int to mapping of str
        The former facts about all these objects.
    known : mapping of int to mapping of str
        The facts that the step itself sets.
    """
    given = {i: _without_empty(known.get(i, {})) for i in {*turned, *known}}
    there = [label for label in sorted(edited_ids(parts)) if size(label)]
    boxes = [part.box for part in parts]
    now = given | edited_facts(labels, axes, columns, before, given, there, boxes, size)
    after = {i: facts for i, facts in now.items() if facts != before.get(i, {})}
    return {i: dict(before.get(i, {})) for i in after}, after


def _without_empty(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts without empty values."""
    return {name: value for name, value in facts.items() if value not in ("", None) and value == value}

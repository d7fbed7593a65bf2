"""The catalogue as a table for readers, including the reference that each family's results were compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.downloads.places import file_name
from napari_foundseg.models.families import family_module

__all__ = ["as_markdown"]

#: Protocols of models with a fixed set of classes.
_CLASSED = {"CentreOffsets", "InstanceMasks", "PanopticSegments", "SemanticClasses"}


def as_markdown(rows: Iterable[CatalogRow], tasks_for: Callable[[CatalogRow], Iterable[str]]) -> str:
    """Return rows of the catalogue as a Markdown table; `tasks_for` returns the tasks of a row."""
    head = ["Name", "Model", "Tasks", "Size (MB)", "Licence of code", "Licence of weights", "Classes", "Source"]
    lines = [[*head, "Verified against"], ["---"] * (len(head) + 1)]
    for row in rows:
        classes = str(len(row.classes)) if row.classes else "in the file" if _CLASSED & set(row.protocols) else ""
        source = row.source or ("on a server of yours" if row.on_server else "in the package")
        if source.startswith("hf:"):
            source = f"[{source[3:]}](https://huggingface.co/{source[3:]})"
        elif source.startswith("http"):
            source = ", ".join(f"[{file_name(link)}]({link})" for link in (source, *row.beside))
        cells = [
            row.name,
            row.title,
            ", ".join(tasks_for(row)),
            f"{row.size_mb:g}",
            row.code_licence,
            row.weights_licence,
        ]
        lines.append([*cells, classes, source, family_module(row.family).FAMILY.verified_against])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

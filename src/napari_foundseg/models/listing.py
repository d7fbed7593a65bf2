"""The catalogue as a table for people, with what each family's results were compared with."""

from __future__ import annotations

from collections.abc import Iterable

from napari_foundseg.models.catalog import CatalogRow

__all__ = ["VERIFIED", "as_markdown"]

#: What tests compare a family's results with, weights in the published layout being random unless it says otherwise.
VERIFIED = {
    "tiny": "annotated images that it was not trained on (its own weights)",
    "segmenters": "transformers: its forward pass and post-processing, equal",
    "detr": "transformers: its forward pass and post-processing on the same weights under its own names, equal",
    "torchvision_segmenters": "torchvision: its forward pass, equal",
    "panoptic_deeplab": "a composition in plain torch after detectron2's source, equal within 5e-4 of a map's spread "
    "(neither library nor published weights were at hand)",
    "clipseg": "transformers: its forward pass, equal within 2e-5",
    "clip": "transformers: its logits, equal within 1e-4",
    "sam_vit": "segment-anything: encoder, decoder and generator, equal within 1e-4",
    "mobile_sam": "timm: its encoder, equal within 1e-4; the rest as SAM",
    "medsam": "the authors' recipe on segment-anything, equal within 1e-4",
    "sam_hq": "the authors' decoder written out, and transformers with a slip mended, equal within 1e-4",
    "micro_sam": "torch-em's decoder written out, equal within 1e-4; the rest as SAM",
}
#: Protocols of models with classes of their own.
_CLASSED = {"CentreOffsets", "InstanceMasks", "PanopticSegments", "SemanticClasses"}


def as_markdown(rows: Iterable[CatalogRow]) -> str:
    """Write rows of the catalogue as a Markdown table.

    Parameters
    ----------
    rows : iterable of CatalogRow
        The models.

    Returns
    -------
    str
        A line a model.
    """
    head = ["Name", "Model", "Tasks", "Size (MB)", "Licence of code", "Licence of weights", "Classes", "Source"]
    lines = [[*head, "Verified against"], ["---"] * (len(head) + 1)]
    for row in rows:
        classes = str(len(row.classes)) if row.classes else "in the file" if _CLASSED & set(row.protocols) else ""
        source = row.source or "in the package"
        if source.startswith("hf:"):
            source = f"[{source[3:]}](https://huggingface.co/{source[3:]})"
        elif source.startswith("http"):
            source = ", ".join(f"[{link.rpartition('/')[2]}]({link})" for link in (source, *row.beside))
        cells = [row.name, row.title, ", ".join(row.tasks), f"{row.size_mb:g}", row.code_licence, row.weights_licence]
        lines.append([*cells, classes, source, VERIFIED.get(row.family, "nothing yet")])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

"""LoRA adapters of PEFT for SAM: a folder with an adapter, whose base is another model of the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow, catalog
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checkpoints import read_shapes, read_tensors
from napari_foundseg.models.files.folder_files import read_json
from napari_foundseg.models.sam.lora import ADAPTER_CONFIG, check_adapter, is_lora_of_sam, lora_settings, merged
from napari_foundseg.models.sam.prompted_masks import SAM_PROTOCOLS
from napari_foundseg.models.sam.sam_checkpoint import load_sam, sam_tensors
from napari_foundseg.models.sam.sam_model import SamModel
from napari_foundseg.models.store import locate, row_with_hash, weights

__all__ = ["FAMILY", "load", "recognise"]

FAMILY = Family(
    rank=15,
    title="LoRA adapter for SAM",
    protocols=SAM_PROTOCOLS,
    verified_against="PEFT 0.21: its forward pass on the same base, equal within 1e-5; rest as SAM",
    packages=(Package("segment-anything"),),
    expects="as is",
    colours="grey",
)

#: Families of SAMs that an adapter can be merged into.
_BASES = ("sam_vit", "micro_sam", "medsam")
#: SAM's repositories for transformers, and the names of the same weights in the catalogue.
_SAME = {
    "facebook/sam-vit-base": "sam-vit-b",
    "facebook/sam-vit-large": "sam-vit-l",
    "facebook/sam-vit-huge": "sam-vit-h",
}


def load(row: CatalogRow, path: Path, device: str) -> SamModel:
    """Load a base with its adapter; CheckpointError if the base is missing or another one, or they do not match."""
    name = str(row.options.get("base"))
    found = catalog().get(name)
    if found is None:
        raise CheckpointError(
            f"{row.name} is an adapter for {name}, which is no longer in the catalogue. Import {name} again."
        )
    base, base_path = _base_here(path, found)
    if base.sha256 != row.options.get("base_sha256"):
        raise CheckpointError(
            f"{row.name} was imported for {name} with sha256 {row.options.get('base_sha256')!s:.12}…, but {name} has "
            f"{base.sha256[:12]}… now. Import the adapter again, or the weights of {name} that it was for."
        )
    settings = {"r": row.options["r"], "alpha": row.options["alpha"], "rslora": row.options["rslora"],
                "alphas": row.options["alphas"], "ranks": row.options["ranks"]}  # fmt: skip
    tensors = merged(path, read_tensors(path), sam_tensors(read_tensors(base_path))[0], settings, name)
    sam = load_sam(base_path, tensors).to(device)
    return _model_class(base)(sam, row.name, row.key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields for an adapter, else None; CheckpointError if it cannot be used."""
    folder = found.path if found.path.is_dir() else found.path.parent
    if not (folder / ADAPTER_CONFIG).is_file():
        if is_lora_of_sam(found.shapes) and not sam_tensors(found.shapes)[0]:
            raise CheckpointError(
                f"{found.path} is a LoRA adapter without its {ADAPTER_CONFIG}, which says how strong it is and for "
                "which model. Put both into one folder and import that."
            )
        return None
    if not found.path.is_dir() or (folder / "config.json").is_file():
        # Complete weights that have an adapter next to them.
        return None
    settings = lora_settings(folder)
    named = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not is_lora_of_sam(found.shapes):
        raise CheckpointError(
            f"{folder} is an adapter for {named or 'a model that it does not name'}: not supported yet; adapters for "
            "SAM (its encoder and decoder) can be imported."
        )
    row, assumed = _base_row(folder, named)
    base, base_path = _base_here(folder, row)
    check_adapter(folder, found.shapes, sam_tensors(read_shapes(base_path))[0], settings, base.name)
    if base.family == "micro_sam":
        assumed = f"{assumed} Prompts and the point grid only: the base's instance decoder is left out.".strip()
    return {
        "title": f"{folder.name} on {base.title}",
        "input": base.input,
        "code_licence": base.code_licence,
        "citation": f"{base.citation} Hu et al., LoRA, ICLR 2022.",
        "assumed": assumed,
        "protocols": tuple(name for name in base.protocols if name in SAM_PROTOCOLS),
        "options": {"base": base.name, "base_sha256": base.sha256, **settings},
    }


def _model_class(base: CatalogRow) -> type[SamModel]:
    if base.family != "medsam":
        return SamModel
    from napari_foundseg.models.families.promptable.medsam import MedSamModel

    return MedSamModel


def _base_row(folder: Path, named: Any) -> tuple[CatalogRow, str]:
    """Return the row of the model that an adapter is for, and a text about assumptions."""
    rows = {name: row for name, row in catalog().items() if row.family in _BASES}
    if not named:
        raise CheckpointError(
            f"{folder} is a LoRA adapter that does not name its base. Write the name of the model that it was "
            f"trained on as base_model_name_or_path into its {ADAPTER_CONFIG}: {', '.join(rows)}."
        )
    text = str(named).rstrip("/\\").replace("\\", "/")
    same = _SAME.get(text)
    for row in rows.values():
        places = {row.name, row.source.removeprefix("hf:"), row.stands_for, row.file, str(locate(row) or "")} - {""}
        if text in places or (same is not None and same in places):
            return row, ""
    # The text may be a path on the computer where the adapter was trained.
    last = text.rpartition("/")[2]
    for row in rows.values():
        whole = {row.name, row.stands_for, row.source.rpartition("/")[2], row.file.rpartition("/")[2]} - {""}
        if "/" in text and last in whole:
            return row, f"Its base is {row.name}, by the name of {named}."
    raise CheckpointError(
        f"{folder} is a LoRA adapter for {named}, which is not a SAM of the catalogue. Import that first, or write "
        f"the name of one of these as base_model_name_or_path into its {ADAPTER_CONFIG}: {', '.join(rows)}."
    )


def _base_here(path: Path, row: CatalogRow) -> tuple[CatalogRow, Path]:
    """Return the row of a base with the hash of its weights, and their path; CheckpointError if they are missing."""
    if locate(row) is None:
        raise CheckpointError(
            f"{path} is an adapter, and {row.name}, which it is for, is not on this computer. Download {row.name} "
            f"first (napari-foundseg models download {row.name}), or import its weights."
        )
    place = weights(row)
    return row_with_hash(catalog().get(row.name, row)), place

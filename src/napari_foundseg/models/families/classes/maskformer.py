"""Mask2Former and MaskFormer from their authors' own files (detectron2's ``.pkl`` and ``.pth``), for transformers.

A file has only tensors. The sizes of the network follow from their shapes. Class names and the size of pictures come
from the user, or else from the published file with the same number of classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import CLASS_SETS, STUFF_SETS, numbered_classes
from napari_foundseg.models.families.classes.transformers_segmenters import UNIVERSAL, Segmenter
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checked_network import without_prefix
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.files.transformers_folder import network_of
from napari_foundseg.models.row_options import LARGEST_SIDE, whole_number

__all__ = ["FAMILY", "MaskFormerFacts", "load", "recognise"]


class MaskFormerFacts(Declared):
    """Facts that a file of Mask2Former or MaskFormer does not contain."""

    noun: ClassVar[str] = "fact about Mask2Former or MaskFormer"

    classes: str = ""
    """Names of the classes in their order, separated by commas, or the name of a data set such as COCO panoptic."""
    shorter: int = Field(0, ge=0, le=LARGEST_SIDE, json_schema_extra={"unit": "pixels"})
    """Side that the shorter side of a picture is resized to. 0: as published."""
    longest: int = Field(0, ge=0, le=LARGEST_SIDE, json_schema_extra={"unit": "pixels"})
    """Maximum length of the longer side. 0: as published."""


FAMILY = Family(
    rank=49,
    title="Mask2Former and MaskFormer (their authors' files)",
    protocols=UNIVERSAL,
    verified_against="transformers: the forward pass and post-processing of the network that was written, equal",
    packages=(Package("transformers"),),
    expects="as is",
    facts=MaskFormerFacts,
)


class _Published(NamedTuple):
    """The data set and picture size of the published files with a certain number of classes."""

    data_set: str
    shorter: int
    longest: int


_PUBLISHED = {
    19: _Published("Cityscapes", 1024, 2048),
    65: _Published("Mapillary Vistas", 2048, 2048),
    80: _Published("COCO objects", 800, 1333),
    100: _Published("ADE20K objects", 640, 2560),
    133: _Published("COCO panoptic", 800, 1333),
    150: _Published("ADE20K", 512, 2048),
    171: _Published("COCO-Stuff", 640, 2560),
}
#: For other numbers of classes: detectron2's default sizes.
_OTHERWISE = _Published("", 800, 1333)
#: For ADE20K's 150 classes: wide Swins, and networks with an encoder, were trained on larger pictures.
_LARGER = (640, 2560)
_WIDE = 128
_PREDICTOR = "sem_seg_head.predictor."
_MARK = f"{_PREDICTOR}class_embed.weight"
_BASELINE = "sem_seg_head.predictor.weight"
#: Mean and deviation of RGB for files that do not contain them.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
#: Sides of pictures are rounded up to multiples of this.
_MULTIPLE = 32


def load(row: CatalogRow, path: Path, device: str) -> Segmenter:
    """Load the model of a row; CheckpointError if the file has another layout, or other classes than the row."""
    from transformers import Mask2FormerImageProcessor, MaskFormerImageProcessor

    from napari_foundseg.models.nets.classes.maskformer.names import is_mask2former, without_old_names

    tensors = without_old_names(without_prefix(read_tensors(path), _MARK))
    kind, config, renamed = _described(path, tensors)
    if len(row.classes) != config.num_labels:
        raise CheckpointError(
            f"{path} tells {config.num_labels} classes apart, and its row names {len(row.classes)}. Import it again."
        )
    mean, std = (
        [float(part) / 255 for part in tensors[name].flatten()] if name in tensors else [part / 255 for part in own]
        for name, own in (("pixel_mean", _MEAN), ("pixel_std", _STD))
    )
    processor = (Mask2FormerImageProcessor if is_mask2former(tensors) else MaskFormerImageProcessor)(
        size={
            "shortest_edge": whole_number(row, "shorter", _OTHERWISE.shorter, least=_MULTIPLE),
            "longest_edge": whole_number(row, "longest", _OTHERWISE.longest, least=_MULTIPLE),
        },
        size_divisor=_MULTIPLE,
        image_mean=mean,
        image_std=std,
    )
    return Segmenter(network_of(path, kind, config, renamed).to(device), processor, row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family, else None; CheckpointError if it cannot be run."""
    shapes = without_prefix(found.shapes, _MARK)
    if f"{_PREDICTOR}query_embed.weight" not in shapes:
        baseline = without_prefix(found.shapes, _BASELINE)
        if "sem_seg_head.mask_features.weight" in baseline or "sem_seg_head.pixel_decoder.layer_1.weight" in baseline:
            raise CheckpointError(
                f"{found.path} is the per-pixel baseline that MaskFormer was compared with, which is not supported. "
                "Get a file of MaskFormer or Mask2Former itself."
            )
        return None
    from napari_foundseg.models.nets.classes.maskformer.names import (
        has_encoder,
        is_mask2former,
        without_old_names,
    )

    shapes = without_old_names(shapes)
    _check(found.path, shapes)
    count = shapes[_MARK][0] - 1
    facts = MaskFormerFacts.parse(found.facts)
    published = _PUBLISHED.get(count, _OTHERWISE)
    patches = shapes.get("backbone.patch_embed.proj.weight")
    if count == len(CLASS_SETS["ADE20K"]) and (has_encoder(shapes) or (patches and patches[0] >= _WIDE)):
        published = published._replace(shorter=_LARGER[0], longest=_LARGER[1])
    data_set = facts.classes if facts.classes in CLASS_SETS else "" if facts.classes else published.data_set
    second = is_mask2former(shapes)
    return {
        "title": f"{'Mask2Former' if second else 'MaskFormer'} {_backbone(shapes)}".strip(),
        "classes": _classes(found.path, facts, data_set, count),
        "options": {
            "shorter": facts.shorter or published.shorter,
            "longest": max(facts.longest or published.longest, facts.shorter),
            **({"stuff": list(STUFF_SETS[data_set])} if data_set in STUFF_SETS else {}),
        },
        "input": "2-D, any dtype, grey or RGB",
        "code_licence": "Apache-2.0",
        "weights_licence": "CC-BY-NC-4.0, if they are the authors'",
        "citation": "Cheng et al., CVPR 2022 (arXiv 2112.01527)"
        if second
        else "Cheng, Schwing, Kirillov, NeurIPS 2021 (arXiv 2107.06278)",
        "assumed": _assumed(facts, published, count),
    }


def _classes(path: Path, facts: MaskFormerFacts, data_set: str, count: int) -> tuple[str, ...]:
    """Return the class names; raise CheckpointError if the user's names have another number."""
    if data_set:
        names = CLASS_SETS[data_set]
    else:
        names = tuple(name for part in facts.classes.split(",") if (name := part.strip())) or numbered_classes(count)
    if len(names) != count:
        raise CheckpointError(
            f"{path} tells {count} classes apart, but {len(names)} are named ({facts.classes:.100}). Name all, or a "
            f"data set with as many: {', '.join(name for name, own in CLASS_SETS.items() if len(own) == count)}."
        )
    return names


def _assumed(facts: MaskFormerFacts, published: _Published, count: int) -> str:
    """Return a text with the assumed facts; empty if the user stated all of them."""
    taken = []
    if not facts.classes:
        names = f"are those of {published.data_set}" if published.data_set else "have numbers"
        taken.append(f"its {count} classes {names} (classes)")
    if not (facts.shorter and facts.longest):
        taken.append(
            f"pictures are resized to {facts.shorter or published.shorter} pixels at the shorter side (shorter), "
            f"and to {max(facts.longest or published.longest, facts.shorter)} at most (longest)"
        )
    if not taken:
        return ""
    return (
        f"The file does not say all of it, so it was assumed: {'; '.join(taken)}. Change it with "
        "--set of models import, such as --set classes='COCO panoptic'"
    )


def _backbone(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the name of a backbone for titles; empty if it has none of the published sizes."""
    blocks = [
        len({name.split(".")[place] for name in shapes if name.startswith(f"backbone.{stage}.")})
        for stage, place in (*((f"layers.{i}.blocks", 4) for i in range(4)), *((f"res{i}", 2) for i in range(2, 6)))
    ]
    if patches := shapes.get("backbone.patch_embed.proj.weight"):
        small = {6: "Swin-T", 18: "Swin-S"}.get(blocks[2], "")
        return {96: small, 128: "Swin-B", 192: "Swin-L"}.get(patches[0], "")
    stem = "c" if "backbone.stem.conv2.weight" in shapes else ""
    return {16: f"R50{stem}", 33: f"R101{stem}"}.get(sum(blocks[4:]), "")


def _check(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    import torch

    _described(path, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def _described(path: Path, tensors: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Return transformers' class, configuration and tensors of a network; CheckpointError if they do not match."""
    from napari_foundseg.models.nets.classes.maskformer.names import by_new_names
    from napari_foundseg.models.nets.classes.maskformer.sizes import config_of, kind_of

    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    try:
        return kind_of(shapes), config_of(shapes), by_new_names(tensors)
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is taken for Mask2Former or MaskFormer, but tensors are missing, unknown or of odd shapes "
            f"({str(error).strip(chr(39)):.200}). It is incomplete, or of a kind that was never published; get it "
            "again."
        ) from error

"""Networks of OpenMMLab's mmsegmentation from its files (``.pth``), identified by the layout of their tensors.

FCN, PSPNet, DeepLabV3 and V3+, Semantic FPN, UPerNet, SegFormer, SETR and U-Net. Tensors do not state the dilations and
the size of pictures. The files contain a configuration with these facts, which is read as text. If it is missing, those
of the published networks are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import CLASS_SETS, MOST_CLASSES
from napari_foundseg.models.family import Family, WeightsView
from napari_foundseg.models.files.checked_network import check_network, without_counts
from napari_foundseg.models.files.checkpoints import read_facts, read_tensors
from napari_foundseg.models.files.openmmlab_config import read_config_text, setting
from napari_foundseg.models.pixel_classes import PixelClasses, Preparation, named_or_numbered
from napari_foundseg.models.row_options import LARGEST_SIDE

if TYPE_CHECKING:
    from napari_foundseg.models.nets.classes.openmmlab.facts import Facts

__all__ = ["FAMILY", "load", "recognise"]

FAMILY = Family(
    rank=48,
    title="FCN, PSPNet, DeepLabV3, DeepLabV3+, Semantic FPN, UPerNet, SegFormer, SETR, U-Net (of OpenMMLab)",
    protocols=("SemanticClasses",),
    verified_against="mmsegmentation 1.2.2: its networks' forward passes, equal within 1e-4 of the scores' spread",
    pickle_names=("addict", "mmcv", "mmengine", "mmseg"),
    expects="as is",
)

_LAST = "decode_head.conv_seg.weight"
#: Heads of OpenMMLab's networks for other tasks.
_OTHER_TASKS = ("bbox_head.", "roi_head.", "rpn_head.", "panoptic_head.", "keypoint_head.", "mask_head.", "head.")
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
#: mmsegmentation's threshold for two classes that share one score.
_THRESHOLD = 0.3
#: Heads whose published ResNets have dilations in place of strides.
_DILATED = {"fcn", "pspnet", "deeplabv3", "deeplabv3plus"}
#: Largest training crop of the published networks that take whole pictures.
_WINDOW = 1024
_DATA_SETS = {"ade20k": "ADE20K", "cityscapes": "Cityscapes", "voc12": "VOC"}


def load(row: CatalogRow, path: Path, device: str) -> PixelClasses:
    """Load the model of a row; raise CheckpointError if the file has other tensors."""
    from napari_foundseg.models.nets.classes.openmmlab.network import EncoderDecoder

    tensors = _stripped(read_tensors(path))
    meta = _meta(path)
    config = _config(meta)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    facts = _checked(path, shapes, config)
    network = EncoderDecoder(shapes, facts)
    # The network computes the index of positions in windows itself; the one in the file is not needed.
    own = {name: value.float() for name, value in without_counts(tensors).items() if not name.endswith("_index")}
    network.load_state_dict(own, strict=False)
    count = shapes[_LAST][0]
    names = _names(path, meta, count)
    row = replace(row, classes=named_or_numbered(names, count))
    wanted = float(_number(setting(config, "decode_head", "threshold"), _THRESHOLD))
    threshold = math.log(wanted / (1 - wanted)) if count == 1 and 0 < wanted < 1 else 0.0
    network = network.to(device).eval().requires_grad_(False)
    return PixelClasses(network, row, _preparation(path, shapes, config), threshold=threshold)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family; else None."""
    shapes = _stripped(found.shapes)
    if _LAST not in shapes:
        _refuse_other_tasks(found.path, shapes)
        return None
    from napari_foundseg.models.nets.classes.openmmlab.heads import HEADS

    meta = _meta(found.path)
    config = _config(meta)
    _checked(found.path, shapes, config)
    head, backbone = _kinds(found.path, shapes)
    count = shapes[_LAST][0]
    if count > MOST_CLASSES:
        raise CheckpointError(f"{found.path} has {count} classes; at most {MOST_CLASSES} are supported. It is damaged.")
    names = _names(found.path, meta, count)
    said = [] if names else ["It does not name its classes: they have numbers, and class 0 is taken for background"]
    if any(name.startswith("auxiliary_head.") for name in _prefixless(found.shapes)):
        said.append("Its auxiliary heads, which serve training, are left out")
    if not config:
        said.append("It carries no configuration: what tensors do not say is that of the published networks")
    options: dict[str, Any] = {"head": head, "backbone": backbone}
    palette = _palette(meta, count)
    if _named_palette(meta) and (missing := palette.count("")):
        said.append(f"Its palette has no colour for {missing} of {count} classes: they get others")
    return {
        "title": f"{HEADS[head][0]} {_backbone_title(backbone, shapes)}",
        "classes": named_or_numbered(names, count),
        "options": options | ({"palette": palette} if any(palette) else {}),
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB",
        "assumed": ". ".join(said),
    }


def _checked(path: Path, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> Facts:
    """Return the facts of a file's network; raise CheckpointError if it cannot be built or has other tensors."""
    from napari_foundseg.models.nets.classes.openmmlab.heads import HEADS
    from napari_foundseg.models.nets.classes.openmmlab.network import EncoderDecoder

    head, backbone = _kinds(path, shapes)
    facts = _facts(path, head, backbone, config)
    check_network(path, lambda own: EncoderDecoder(own, facts), shapes, f"{HEADS[head][0]} of OpenMMLab")
    return facts


def _kinds(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str]:
    """Return the names of head and backbone; raise CheckpointError if one is not supported."""
    from napari_foundseg.models.nets.classes.openmmlab.heads import head_of
    from napari_foundseg.models.nets.classes.openmmlab.network import backbone_of
    from napari_foundseg.models.nets.classes.openmmlab.parts import Shapes

    own = Shapes(shapes)
    head = head_of(own.within("decode_head"))
    backbone = backbone_of(own.within("backbone"))
    for what, known, part in (("a head", head, "decode_head"), ("a backbone", backbone, "backbone")):
        if not known:
            names = ", ".join(list(own.within(part))[:3]) or "none"
            raise CheckpointError(
                f"{path} is a network of OpenMMLab with {what} that is not read ({part}: {names}…). What is read: "
                f"{FAMILY.title}, on ResNet, U-Net, ViT, MiT or Swin."
            )
    return head, backbone


def _facts(path: Path, head: str, backbone: str, config: Mapping[str, Any]) -> Facts:
    """Return facts that tensors do not state, from the configuration, the file's name, or the published networks."""
    from napari_foundseg.models.nets.classes.openmmlab.facts import Facts

    name = path.name.lower()
    dilated = head in _DILATED and "d32" not in name
    half = "d16" in name
    dilations = ((1, 1, 1, 2) if half else (1, 1, 2, 4)) if dilated else (1, 1, 1, 1)
    strides = ((1, 2, 2, 1) if half else (1, 2, 1, 1)) if dilated else (1, 2, 2, 2)
    own, above = setting(config, "backbone", default={}), setting(config, "decode_head", default={})
    vit = backbone == "vit"
    return Facts(
        strides=_numbers(own.get("strides"), strides),
        dilations=_numbers(own.get("dilations"), dilations),
        contract_dilation=bool(own.get("contract_dilation", True)),
        multi_grid=_numbers(own.get("multi_grid"), (1, 2, 4) if "mg124" in name else ()),
        rates=_numbers(above.get("dilations"), (1, 6, 12, 18) if half and backbone == "resnet" else (1, 12, 24, 36)),
        pools=_numbers(above.get("pool_scales"), (1, 2, 3, 6)),
        head_dilation=int(_number(above.get("dilation"), 6 if "-d6" in name else 1)),
        heads=int(_number(own.get("num_heads"), 0)) if vit else 0,
        taken=_numbers(own.get("out_indices"), ()) if vit else (),
        class_token=own.get("with_cls_token") if vit else None,
        up_scale=int(_number(above.get("up_scale"), 0)),
        align_corners=bool(above.get("align_corners", "769x769" in name)),
    )


def _preparation(path: Path, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> Preparation:
    """Return how pictures are prepared: normalisation, size and padding."""
    values = setting(config, "data_preprocessor", default={}) or setting(config, "img_norm_cfg", default={})
    mean, std = (_numbers(values.get(part), own, float) for part, own in (("mean", _MEAN), ("std", _STD)))
    if len(mean) != len(std) or len(mean) not in (1, 3) or min(std) <= 0:
        mean, std = _MEAN, _STD
    fixed = "backbone.pos_embed" in shapes
    side = _WINDOW
    if fixed:
        side = math.isqrt(shapes["backbone.pos_embed"][1] - 1) * shapes["backbone.patch_embed.projection.weight"][-1]
    test = setting(config, "test_cfg", default={})
    if test.get("mode") == "slide":
        crops = test.get("crop_size")
        side = max(_numbers(crops if isinstance(crops, list) else [crops], (side,)))
    elif not config and not fixed:
        side = _side_in_name(path, shapes)
    multiple = 1
    if "backbone.decoder.0.upsample.interp_upsample.1.conv.weight" in shapes:
        multiple = 2 ** sum(re.fullmatch(r"backbone\.decoder\.\d+\.upsample.*conv\.weight", name) is not None
                            for name in shapes)  # fmt: skip
    elif fixed:
        multiple = shapes["backbone.patch_embed.projection.weight"][-1]
    return Preparation(
        mean=tuple(one / 255 for one in mean),
        std=tuple(one / 255 for one in std),
        window=min(max(side, 32), LARGEST_SIDE),
        multiple=multiple,
        least=32,
    )


def _side_in_name(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the side of the crops in a file's name, such as 64 for ``drive-64x64``.

    It holds for U-Nets, and for crops of 769 pixels. Other networks take whole pictures.
    """
    sides = re.search(r"(\d{2,4})x(\d{2,4})", path.name)
    crops = sides is not None and ("769" in sides[0] or any(name.startswith("backbone.decoder.") for name in shapes))
    return max(int(sides[1]), int(sides[2])) if sides is not None and crops else _WINDOW


def _names(path: Path, meta: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return the class names, empty if the file has none; raise CheckpointError if their number is wrong."""
    named = setting(meta, "dataset_meta", "classes") or meta.get("CLASSES") or setting(meta, "dataset_meta", "CLASSES")
    if not named:
        known = [own for word, own in _DATA_SETS.items() if word in path.name.lower()]
        return next((CLASS_SETS[own] for own in known if len(CLASS_SETS[own]) == count), ())
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise CheckpointError(f"{path} has classes that are not a list of names: {named!r:.80}. Get it again.")
    if count == 1 and len(named) == 2:
        # The only score is that of the second class; the first is the background.
        return tuple(named[1:])
    if len(named) != count:
        raise CheckpointError(
            f"{path} names {len(named)} classes, and its head tells {count} apart: they disagree. Get it again, or "
            "save it with the names of its own data set."
        )
    return tuple(named)


def _palette(meta: Mapping[str, Any], count: int) -> list[str]:
    """Return colours by class number, as ``#rrggbb``; empty texts for missing or invalid colours."""
    named = _named_palette(meta)
    colours = named if isinstance(named, list) else []
    shift = 1 if count == 1 and len(colours) == 2 else 0
    return [_colour(colours[i]) if i < len(colours) else "" for i in range(shift, count + shift)]


def _named_palette(meta: Mapping[str, Any]) -> Any:
    return setting(meta, "dataset_meta", "palette") or meta.get("PALETTE") or setting(meta, "dataset_meta", "PALETTE")


def _colour(value: Any) -> str:
    right = isinstance(value, list) and len(value) == 3 and all(type(n) is int and 0 <= n <= 255 for n in value)
    return "#{:02x}{:02x}{:02x}".format(*value) if right else ""


def _meta(path: Path) -> dict[str, Any]:
    meta = read_facts(path, "meta")
    return meta if isinstance(meta, dict) else {}


def _config(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the network, with its test settings and normalisation; empty if there are none."""
    whole = read_config_text(meta.get("cfg") or meta.get("config"))
    model = whole.get("model")
    if not isinstance(model, dict):
        return {}
    other = {name: whole[name] for name in ("img_norm_cfg", "data_preprocessor", "test_cfg") if name in whole}
    tables = {name: value for name, value in (other | model).items() if value is not None}
    return {name: value[0] if isinstance(value, list) and value else value for name, value in tables.items()}


def _refuse_other_tasks(path: Path, shapes: Mapping[str, Any]) -> None:
    """Raise CheckpointError for networks of OpenMMLab that predict boxes or key points."""
    backbone = any(name.startswith("backbone.") for name in shapes)
    heads = sorted({one for one in _OTHER_TASKS if any(name.startswith(one) for name in shapes)})
    if path.is_file() and backbone and heads and {"mmcv_version", "mmengine_version"} & _meta(path).keys():
        raise CheckpointError(
            f"{path} is a network of OpenMMLab for another task ({heads[0].rstrip('.')}); those of mmsegmentation, "
            "which give each pixel a class, are read."
        )


def _prefixless(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors without the prefix that they have in a file."""
    prefixes = [one for one in ("state_dict.module.", "state_dict.", "module.") if f"{one}{_LAST}" in tensors]
    if not prefixes:
        inside = any(name.startswith("state_dict.") for name in tensors)
        return {k.removeprefix("state_dict."): v for k, v in tensors.items()} if inside else dict(tensors)
    return {name.removeprefix(prefixes[0]): own for name, own in tensors.items() if name.startswith(prefixes[0])}


def _stripped(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of the network, without those used only in training."""
    left_out = ("auxiliary_head.", "data_preprocessor.")
    return {name: own for name, own in _prefixless(tensors).items() if not name.startswith(left_out)}


def _numbers(value: Any, default: tuple[Any, ...], kind: type = int) -> tuple[Any, ...]:
    """Return a list of numbers as a tuple; `default` if the value is anything else."""
    right = isinstance(value, list) and value and all(isinstance(n, int | float) for n in value)
    return tuple(kind(n) for n in value) if right else default


def _number(value: Any, default: float) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def _backbone_title(backbone: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the usual name of a backbone, such as ``ResNet-50``."""
    if backbone != "resnet":
        return {"unet": "U-Net", "vit": "ViT", "mit": "MiT", "swin": "Swin"}[backbone]
    convs = sum(re.fullmatch(r"backbone\.layer\d+\.\d+\.conv\d+\.weight", name) is not None for name in shapes)
    return f"ResNet-{convs + 2}"

"""CLIPSeg's decoder as its authors publish it (``rd64-uni-refined.pth``), and the CLIP that it takes features from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.files.checkpoints import read_shapes, read_tensors
from napari_foundseg.models.files.clip_here import clip_folders
from napari_foundseg.models.files.folder_files import read_json
from napari_foundseg.models.files.safetensors_files import is_safetensors
from napari_foundseg.models.files.transformers_folder import config_and_tensors, network_of, tokenizer
from napari_foundseg.models.store import hash_of, locate

__all__ = ["clip_for", "decoder_network", "decoder_size", "is_decoder", "own_names", "tokens_for"]

Shapes = Mapping[str, tuple[int, ...]]
_MARKS = {"film_mul.weight", "film_add.weight", "reduces.0.weight", "blocks.0.self_attn.in_proj_weight"}
#: Parts of the authors' names, and transformers' names for them.
_NAMES = {"trans_conv": "transposed_convolution", "linear1": "mlp.fc1", "linear2": "mlp.fc2", "norm1": "layer_norm1",
          "norm2": "layer_norm2", "blocks": "layers"}  # fmt: skip
#: Settings of the published decoders, which shapes do not show.
_LAYERS_TAKEN = [3, 6, 9]
_HEADS = 4
_WIDTH_OF_HEAD = 64


def own_names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decoder's tensors under the authors' names, without the prefix that training adds."""
    plain = {name.removeprefix("module."): value for name, value in tensors.items()}
    # `reduce` is left over from the authors' experiments and is not used.
    return {name: value for name, value in plain.items() if not name.startswith(("reduce.", "clip_model.", "model."))}


def is_decoder(names: Mapping[str, Any]) -> bool:
    """Return whether tensors are those of CLIPSeg's decoder, by their names."""
    return {name.removeprefix("module.") for name in names} >= _MARKS


def decoder_size(shapes: Shapes) -> tuple[int, int, int]:
    """Return the widths of the features and of the text embeddings that a decoder takes, and the side of a patch."""
    if "trans_conv.weight" in shapes:
        patch = shapes["trans_conv.weight"][-1]
    else:
        patch = shapes["trans_conv.2.weight"][-1] * shapes["trans_conv.4.weight"][-1]
    return shapes["reduces.0.weight"][1], shapes["film_mul.weight"][1], patch


def clip_for(path: Path, shapes: Shapes, said: str) -> dict[str, str]:
    """Return the options of a row that name the CLIP of a decoder.

    `said` is the user's choice: the name of a model, or the path of a folder or file. If it is empty, the first CLIP
    that fits is taken. Raises CheckpointError if no CLIP is available, or the chosen one does not fit.
    """
    wanted = decoder_size(shapes)
    if said:
        row = catalog().get(said)
        place = locate(row) if row is not None else _folder_of(Path(said).expanduser().absolute())
        if place is None or not place.exists():
            raise CheckpointError(
                f"{said!r:.200} is neither the name of a CLIP model that is here nor a folder or file. Choose one with "
                "--set clip=… of models import."
            )
        if (found := _size_of(place)) != wanted:
            raise CheckpointError(f"{path} {_works_on(wanted)}; {place} has {_words(found)}. Choose another.")
        return {"base": said if row is not None else "", "clip": str(place), "base_sha256": hash_of(place)}
    for row, place in clip_folders():
        if _size_of(place) == wanted:
            return {"base": row.name, "clip": str(place), "base_sha256": hash_of(place)}
    raise CheckpointError(
        f"{path} is CLIPSeg's decoder alone, as its authors publish it; it {_works_on(wanted)}, which is not in it "
        "and not here. Get that CLIP (hf download openai/clip-vit-base-patch16), import "
        "hf:openai/clip-vit-base-patch16 and then this file; or say where it is: --set clip=FOLDER. The whole model is "
        "hf:CIDAS/clipseg-rd64-refined."
    )


def decoder_network(path: Path, options: Mapping[str, Any]) -> Any:
    """Return transformers' CLIPSeg with the weights of a decoder and of its CLIP.

    Raises CheckpointError if one of them is missing, or they do not fit.
    """
    from transformers import CLIPSegConfig

    place = _clip_of(path, options)
    parts, tensors = _clip_parts(place)
    own = own_names(read_tensors(path))
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    try:
        config = CLIPSegConfig(
            **parts,
            extract_layers=_LAYERS_TAKEN[: len({name.split(".")[1] for name in own if name.startswith("reduces.")})],
            conditional_layer=0,
            reduce_dim=shapes["film_mul.weight"][0],
            decoder_num_attention_heads=_HEADS,
            decoder_intermediate_size=shapes["blocks.0.linear1.weight"][0],
            use_complex_transposed_convolution="trans_conv.2.weight" in shapes,
        )
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{path} is taken for CLIPSeg's decoder, but lacks {error}. Get it again.") from error
    whole = {f"clip.{name}": value for name, value in tensors.items() if not name.endswith("position_ids")}
    return network_of(path, "CLIPSegForImageSegmentation", config, whole | _renamed(own))


def tokens_for(path: Path, options: Mapping[str, Any]) -> Any:
    """Return the tokenizer of a decoder's CLIP.

    If that CLIP has no tokenizer, return the one of another CLIP that is installed: all of them split texts alike.
    """
    place = _clip_of(path, options)
    folder = place if place.is_dir() else place.parent
    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return tokenizer(folder)
    other = next((found for _, found in clip_folders()), None)
    if other is None:
        raise CheckpointError(
            f"{place} has no tokenizer (tokenizer.json, or vocab.json and merges.txt), which splits texts. Put it "
            "beside, or get a CLIP model in Models: all of them split texts alike."
        )
    return tokenizer(other)


def _clip_of(path: Path, options: Mapping[str, Any]) -> Path:
    row = catalog().get(str(options.get("base")))
    place = (locate(row) if row is not None else None) or Path(str(options.get("clip")))
    if not place.exists():
        raise CheckpointError(f"{path} works on the CLIP of {place}, which is not there. Import {path.name} again.")
    if hash_of(place) != options.get("base_sha256"):
        raise CheckpointError(f"{path} was imported for other weights than {place} has now. Import {path.name} again.")
    return place


def _folder_of(place: Path) -> Path:
    """Return the folder of a file if that is a folder of transformers; else the path itself."""
    return place.parent if place.is_file() and (place.parent / "config.json").is_file() else place


def _size_of(place: Path) -> tuple[int, int, int] | None:
    """Return a CLIP's width of features, width of text embeddings and side of patches; None if it is not a CLIP."""
    if place.is_dir():
        content = read_json(place / "config.json") if (place / "config.json").is_file() else {}
        if not isinstance(content, dict) or content.get("model_type") != "clip":
            return None
    shapes = read_shapes(place)
    try:
        kernel = shapes["vision_model.embeddings.patch_embedding.weight"]
        return kernel[0], shapes["text_projection.weight"][0], kernel[-1]
    except (KeyError, IndexError):
        return None


def _clip_parts(place: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the settings of a CLIP's two networks, and its tensors."""
    if place.is_dir():
        config, tensors = config_and_tensors(place)
        return {
            "text_config": config.text_config.to_dict(),
            "vision_config": config.vision_config.to_dict(),
            "projection_dim": config.projection_dim,
        }, tensors
    if not is_safetensors(place):
        raise CheckpointError(f"{place} is neither a transformers folder nor a .safetensors file of CLIP. Choose one.")
    tensors = read_tensors(place)
    try:
        return _from_shapes({name: tuple(value.shape) for name, value in tensors.items()}), tensors
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f"{place} is not a CLIP in the layout of transformers: it lacks {error}.") from error


def _from_shapes(shapes: Shapes) -> dict[str, Any]:
    words, width = shapes["text_model.embeddings.token_embedding.weight"]
    wide, _, _, patch = shapes["vision_model.embeddings.patch_embedding.weight"]
    places = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1
    parts = {
        kind: {
            "hidden_size": own,
            "num_hidden_layers": len(
                {n.split(".")[3] for n in shapes if n.startswith(f"{kind}_model.encoder.layers.")}
            ),
            "num_attention_heads": max(1, own // _WIDTH_OF_HEAD),
            "intermediate_size": shapes[f"{kind}_model.encoder.layers.0.mlp.fc1.weight"][0],
        }
        for kind, own in (("text", width), ("vision", wide))
    }
    text = {
        "vocab_size": words,
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
    }
    # With 2, transformers takes the token with the largest number as the end of a text.
    return {
        "text_config": {**parts["text"], **text, "eos_token_id": 2},
        "vision_config": {**parts["vision"], "patch_size": patch, "image_size": math.isqrt(places) * patch},
        "projection_dim": shapes["text_projection.weight"][0],
    }


def _renamed(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decoder's tensors under transformers' names; joint projections are split into q, k and v."""
    found: dict[str, Any] = {}
    for name, value in own.items():
        new = "decoder." + ".".join(_NAMES.get(part, part) for part in name.split("."))
        if "in_proj_" in new:
            place, _, kind = new.partition("in_proj_")
            found |= {f"{place}{one}_proj.{kind}": part for one, part in zip("qkv", value.chunk(3), strict=True)}
        else:
            found[new] = value
    return found


def _works_on(size: tuple[int, int, int]) -> str:
    return f"works on the features of a CLIP with {_words(size)}"


def _words(size: tuple[int, int, int] | None) -> str:
    if size is None:
        return "no CLIP in the layout of transformers"
    name = " (ViT-B/16)" if size == (768, 512, 16) else ""
    return f"features {size[0]} wide, texts {size[1]} wide and patches of {size[2]} pixels{name}"

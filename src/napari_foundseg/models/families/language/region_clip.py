"""RegionCLIP: a score for how well a text describes a part of a picture (Zhong et al., CVPR 2022), from its files.

A file has the network for pictures, and CLIP's network for texts. It does not have CLIP's tokenizer, so the one of a
CLIP model on this computer is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.files.checked_network import check_network, without_counts
from napari_foundseg.models.files.checkpoints import check, read_tensors
from napari_foundseg.models.files.clip_here import clip_folders
from napari_foundseg.models.files.network_bounds import network_outline

__all__ = ["FAMILY", "RegionClip", "load", "recognise"]

FAMILY = Family(
    rank=38,
    title="RegionCLIP",
    protocols=("RegionText",),
    verified_against="open_clip 3.3: its ResNet and text encoder, equal within 1e-4; cosines by a plain loop, equal",
    packages=(Package("torchvision"), Package("transformers")),
    expects="as is",
)

_WHAT = "RegionCLIP"
#: The published inverse temperature.
_SCALE = 100.0
#: Length in pixels that the shorter side is resized to, and the largest length of the longer side.
_SHORTER, _LONGER = 800, 1333
_MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)
_STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)
#: Number of boxes in a batch.
_BATCH = 64
#: Prefixes of tensor names in CLIP's text encoder, and in transformers.
_TEXT_NAMES = (
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("ln_final.", "text_model.final_layer_norm."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
)
_BLOCK_NAMES = ((".ln_1.", ".layer_norm1."), (".ln_2.", ".layer_norm2."), (".attn.out_proj.", ".self_attn.out_proj."),
                (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."))  # fmt: skip


class RegionClip:
    """Embeds parts of a picture and texts; implements `RegionText`."""

    window = _LONGER
    scale = _SCALE

    def __init__(self, network: Any, texts: Any, tokenizer: Any, row: CatalogRow, device: str) -> None:
        self.network = network
        self.texts = texts
        self.tokenizer = tokenizer
        self.name = row.name
        self.key = row.key
        self.device = device

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as rows of length 1, (K, D)."""
        import torch

        with torch.inference_mode():
            tokens = self.tokenizer(
                list(texts), padding="longest", truncation=True,
                max_length=self.texts.config.max_position_embeddings, return_tensors="pt",
            ).to(self.device)  # fmt: skip
            return _unit(self.texts(**tokens).text_embeds.float().cpu().numpy())

    def embed_regions(
        self, rgb: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]]
    ) -> NDArray[np.float32]:
        """Embed parts of a picture as rows of length 1, (K, D). The picture is encoded once."""
        import torch

        seen, scale = _seen(rgb)
        found = []
        with torch.inference_mode():
            picture = torch.as_tensor(seen.transpose(2, 0, 1)[None].copy(), device=self.device)
            features = self.network.encode(picture)
            for first in range(0, len(boxes), _BATCH):
                corners = np.array(boxes[first : first + _BATCH], np.float32)
                # The last pixel is inside the box, so the box's edge is one pixel further.
                corners[:, 2:] += 1
                corners = corners[:, [1, 0, 3, 2]] * np.array((scale[1], scale[0]) * 2, np.float32)
                parts = torch.as_tensor(corners, device=self.device)
                found.append(self.network.embed(features, parts).float().cpu().numpy())
        return _unit(np.concatenate(found)) if found else np.empty((0, 1), np.float32)


def load(row: CatalogRow, path: Path, device: str) -> RegionClip:
    """Load the model of a row; CheckpointError if the file has another layout, or no CLIP is on this computer."""
    from napari_foundseg.models.nets.features.clip_resnet import build_clip_resnet

    tensors = read_tensors(path)
    pictures, words = _of_pictures(tensors), _of_texts(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in pictures.items()}
    _check(path, shapes)
    network = build_clip_resnet(shapes)
    network.load_state_dict(pictures, strict=False)
    folder = _clip_folder()
    tokenizer = transformers_folder.tokenizer(folder)
    texts = _text_network(path, words)
    transformers_folder.check_tokens(folder, tokenizer, texts.config.vocab_size)
    return RegionClip(network.to(device), texts.to(device), tokenizer, row, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if parts are missing."""
    pictures = _of_pictures(found.shapes)
    if "attnpool.positional_embedding" not in pictures or "layer4.0.conv1.weight" not in pictures:
        return None
    _check(found.path, pictures)
    if "token_embedding.weight" not in _of_texts(found.shapes):
        raise CheckpointError(
            f"{found.path} holds {_WHAT}'s network for pictures without that for texts (lang_encoder): its words "
            "cannot be compared. Import one of the files pretrained or finetuned, which hold both."
        )
    return {
        "title": f"{_WHAT} ({'RN50x4' if pictures['conv3.weight'][0] == 80 else 'RN50'})",
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB; objects in a Labels layer",
        "citation": "Zhong et al., RegionCLIP: Region-based Language-Image Pretraining, CVPR 2022.",
    }


def _seen(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return a picture resized and normalised for the network, (M, N, 3), and the factors of its rows and columns."""
    from PIL.Image import Resampling, fromarray

    rows, columns = rgb.shape[:2]
    share = min(_SHORTER / min(rows, columns), _LONGER / max(rows, columns))
    size = (max(1, round(columns * share)), max(1, round(rows * share)))
    seen = np.asarray(fromarray(rgb).resize(size, Resampling.BILINEAR), np.float32) / 255
    normalised: NDArray[np.float32] = ((seen - _MEAN) / _STD).astype(np.float32)
    return normalised, (float(size[1] / rows), float(size[0] / columns))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def _below(tensors: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the tensors with the prefix ``name.`` or ``model.name.``, which some trainers write."""
    for prefix in (f"model.{name}.", f"{name}."):
        if found := {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}:
            return found
    return {}


def _of_pictures(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return without_counts(_below(tensors, "backbone"))


def _of_texts(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return _below(tensors, "lang_encoder")


def _check(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    from napari_foundseg.models.nets.features.clip_resnet import build_clip_resnet

    check_network(path, build_clip_resnet, shapes, _WHAT)


def _clip_folder() -> Path:
    """Return the folder of a CLIP model on this computer; raise CheckpointError if there is none."""
    for _, path in clip_folders():
        return path
    raise CheckpointError(
        f"{_WHAT} splits texts into tokens as CLIP does, whose tokenizer its file does not hold: get a CLIP model too, "
        "such as clip-vit-base-patch32, in Models."
    )


def _text_network(path: Path, tensors: Mapping[str, Any]) -> Any:
    """Return CLIP's network for texts from tensors with OpenAI's names."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    renamed = _renamed(tensors)
    shapes = {name: tuple(value.shape) for name, value in renamed.items()}
    try:
        words, width = shapes["text_model.embeddings.token_embedding.weight"]
        layers = {name.split(".")[3] for name in shapes if name.startswith("text_model.encoder.layers.")}
        config = CLIPTextConfig(
            vocab_size=words,
            hidden_size=width,
            intermediate_size=shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
            num_hidden_layers=len(layers),
            num_attention_heads=max(1, width // 64),
            max_position_embeddings=shapes["text_model.embeddings.position_embedding.weight"][0],
            projection_dim=shapes["text_projection.weight"][0],
            # With 2, transformers takes the token with the largest number as the end of the text.
            eos_token_id=2,
        )
        expected = network_outline(path, lambda: CLIPTextModelWithProjection(config), shapes).state_dict()
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is taken for {_WHAT}, but its text encoder lacks tensors or has odd shapes ({error!s:.200}). Get "
            "it again."
        ) from error
    wanted = {name: tuple(value.shape) for name, value in expected.items() if "position_ids" not in name}
    check(path, wanted, shapes, f"{_WHAT}'s text encoder")
    network = CLIPTextModelWithProjection(config).eval()
    network.load_state_dict(renamed, strict=False)
    return network


def _renamed(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the tensors of CLIP's text encoder as in transformers."""
    found: dict[str, Any] = {}
    for name, value in tensors.items():
        if name == "positional_embedding":
            found["text_model.embeddings.position_embedding.weight"] = value
        elif name == "text_projection":
            found["text_projection.weight"] = value.T.contiguous()
        elif ".attn.in_proj_" in name:
            place = _new_name(name.partition(".attn.")[0] + ".")
            kind = name.rpartition("_")[2]
            for part, one in zip("qkv", value.chunk(3), strict=True):
                found[f"{place}self_attn.{part}_proj.{kind}"] = one
        elif name not in ("logit_scale", "attn_mask"):
            found[_new_name(name)] = value
    return found


def _new_name(name: str) -> str:
    for old, new in _TEXT_NAMES:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    for old, new in _BLOCK_NAMES:
        name = name.replace(old, new)
    return name

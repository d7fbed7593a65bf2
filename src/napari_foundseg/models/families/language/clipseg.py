"""CLIPSeg (Lüddecke and Ecker, CVPR 2022): heat maps for a text, or for the content of another picture.

Its weights are a folder of transformers; or the authors' file, which has only the decoder and needs a CLIP model on
this computer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import clipseg_decoder, transformers_folder
from napari_foundseg.models.loaded import LoadedWords

if TYPE_CHECKING:
    import torch


__all__ = ["FAMILY", "ClipSegFacts", "ClipSegModel", "load", "recognise"]


class ClipSegFacts(Declared):
    """Facts that the authors' file of CLIPSeg does not contain."""

    noun: ClassVar[str] = "fact about CLIPSeg"

    clip: str = ""
    """Name of a CLIP ViT-B/16 in the catalogue, or the path of its folder or file. Empty: the first that is
    installed."""


FAMILY = Family(
    rank=40,
    title="CLIPSeg",
    protocols=("TextMaps",),
    verified_against="transformers: its forward pass, equal within 2e-5",
    packages=(Package("transformers"),),
    expects="as is",
    facts=ClipSegFacts,
)

_ARCHITECTURE = "CLIPSegForImageSegmentation"
#: Side in pixels, mean and deviation of the training pictures of the authors' decoders.
_SIDE = 352
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Number of prompts that are decoded in a batch.
_BATCH = 8
#: Largest number of texts and pictures whose embeddings are kept.
_KEPT = 512


class ClipSegModel(LoadedWords):
    """CLIPSeg with its processors; implements `TextMaps`."""

    def __init__(self, network: Any, images: Any, tokenizer: Any, row: CatalogRow) -> None:
        super().__init__(network, images, tokenizer, row)
        self._conditions: OrderedDict[Any, torch.Tensor] = OrderedDict()

    @property
    def window(self) -> int:
        """Side of the network's square input in pixels."""
        return transformers_folder.window_of(self.images, 352)

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a text, including start and end."""
        return int(self.network.config.text_config.max_position_embeddings)

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a text."""
        return len(self.tokenizer(text)["input_ids"])

    def text_maps(self, rgb: NDArray[np.uint8], prompts: Sequence[str | NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return a heat map for each prompt, (K, M, N). Logits are resized to the picture before the sigmoid."""
        import torch
        from torch.nn import functional

        out = np.empty((len(prompts), *rgb.shape[:2]), np.float32)
        with torch.inference_mode():
            conditions = torch.stack([self._condition(prompt) for prompt in prompts])
            layers = self._activations(rgb)
            for first in range(0, len(prompts), _BATCH):
                part = conditions[first : first + _BATCH]
                repeated = [layer.expand(len(part), -1, -1) for layer in layers]
                logits = self.network.decoder(repeated, part).logits.reshape(len(part), 1, self.window, self.window)
                if logits.shape[-2:] != rgb.shape[:2]:
                    logits = functional.interpolate(logits, rgb.shape[:2], mode="bilinear", align_corners=False)
                out[first : first + len(part)] = logits[:, 0].sigmoid().float().cpu().numpy()
        return out

    def _activations(self, rgb: NDArray[np.uint8]) -> list[torch.Tensor]:
        """Encode the picture once for all prompts."""
        pixels = self._pixels(rgb)
        encoded = self.network.clip.vision_model(pixels, output_hidden_states=True, interpolate_pos_encoding=True)
        return [encoded.hidden_states[i + 1] for i in self.network.extract_layers]

    def _condition(self, prompt: str | NDArray[np.uint8]) -> torch.Tensor:
        key = prompt if isinstance(prompt, str) else (prompt.shape, prompt.tobytes())
        if key not in self._conditions:
            if isinstance(prompt, str):
                tokens = self.tokenizer([prompt], return_tensors="pt").to(self.device)
                found = transformers_folder.pooled(self.network.clip.get_text_features(**tokens))
            else:
                found = transformers_folder.pooled(self.network.clip.get_image_features(self._pixels(prompt)))
            self._conditions[key] = found[0]
            while len(self._conditions) > _KEPT:
                self._conditions.popitem(last=False)
        self._conditions.move_to_end(key)
        return self._conditions[key]

    def _pixels(self, rgb: NDArray[np.uint8]) -> torch.Tensor:
        inputs = self.images(images=[rgb], return_tensors="pt", input_data_format="channels_last")
        pixels: torch.Tensor = inputs["pixel_values"].to(self.device)
        return pixels


def load(row: CatalogRow, path: Path, device: str) -> ClipSegModel:
    """Load the model of a row; raise CheckpointError if the folder lacks a file or its files do not match."""
    if "clip" in row.options:
        from transformers import ViTImageProcessor

        images = ViTImageProcessor(
            size={"height": _SIDE, "width": _SIDE}, image_mean=list(_MEAN), image_std=list(_STD)
        )  # fmt: skip
        tokenizer = clipseg_decoder.tokens_for(path, row.options)
        network = clipseg_decoder.decoder_network(path, row.options).to(device)
    else:
        images = transformers_folder.image_processor(path)
        tokenizer = transformers_folder.tokenizer(path)
        network = transformers_folder.network(path, _ARCHITECTURE, device)
    transformers_folder.check_tokens(path, tokenizer, network.config.text_config.vocab_size)
    return ClipSegModel(network, images, tokenizer, row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if a decoder lacks its CLIP."""
    if transformers_folder.architecture_of(found.config) == _ARCHITECTURE:
        if found.facts:
            raise SettingsError(f"{found.path} holds its CLIP: leave out {', '.join(found.facts)}.")
        return {
            "title": "CLIPSeg",
            "options": {"architecture": _ARCHITECTURE},
            "code_licence": "Apache-2.0",
            "input": "2-D, any dtype, grey or RGB",
        }
    if found.config or not clipseg_decoder.is_decoder(found.shapes):
        return None
    shapes = clipseg_decoder.own_names(found.shapes)
    said = ClipSegFacts.parse(found.facts).clip
    clip = clipseg_decoder.clip_for(found.path, shapes, said)
    refined = " refined" if "trans_conv.2.weight" in shapes else ""
    return {
        "title": f"CLIPSeg rd{shapes['reduces.0.weight'][0]}{refined}",
        "options": {"architecture": _ARCHITECTURE, **clip},
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB",
        "citation": "Lüddecke and Ecker, CVPR 2022 (arXiv 2112.10003)",
        "assumed": ""
        if said
        else f"The file is the decoder alone; it works on the CLIP of {clip['base']}. Choose another with --set clip=… "
        "of models import",
    }

"""GLIP (Li et al., CVPR 2022): boxes for phrases, from its authors' files and those of mmdetection.

BERT reads all phrases as one text, "a cell. debris". Each position of the picture has a probability for each token; the
probability of a phrase is the mean over its tokens. Neither kind of file contains the words of BERT's vocabulary, which
is a text file next to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError, PromptError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.bert_vocabulary import find_vocabulary, read_vocabulary
from napari_foundseg.models.files.checked_network import check_network
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.files.glip_layout import own_shapes, own_tensors
from napari_foundseg.models.loaded import Loaded, check_known, grounded_boxes, grouped, joined_boxes, pad_thin
from napari_foundseg.models.protocols.words import GroundedBoxes

__all__ = ["FAMILY", "GlipModel", "load", "recognise"]

FAMILY = Family(
    rank=39,
    title="GLIP",
    protocols=("Grounded",),
    verified_against=(
        "mmdetection 3.3: logits of tokens, boxes, scores and phrases of its GLIP, equal within 1e-4; its authors' and "
        "its layouts, every name and shape"
    ),
    packages=(Package("torchvision"), Package("transformers")),
    pickle_names=("addict", "maskrcnn_benchmark", "mmcv", "mmdet", "mmengine", "yacs"),
    expects="as is",
    # The threshold of its authors' demonstration.
    defaults={"text.boxes": {"threshold": 0.5}},
)

_WHAT = "GLIP"
#: Length in pixels that the shorter side is resized to, and the largest length of the longer side.
_SHORTER, _LONGER = 800, 1333
_MULTIPLE = 32
#: Mean and deviation of blue, green and red, 0 to 255.
_MEAN = np.array((103.53, 116.28, 123.675), np.float32)
_STD = np.array((57.375, 57.12, 58.395), np.float32)
#: Largest number of tokens in a text, including start and end.
_TOKENS = 256
_BETWEEN = ". "
_WORDS = "words.embeddings.word_embeddings.weight"


class GlipModel(Loaded):
    """GLIP with BERT's tokenizer; implements `Grounded`."""

    window = _LONGER

    def __init__(self, network: Any, tokenizer: Any, row: CatalogRow) -> None:
        super().__init__(network, row)
        self.tokenizer = tokenizer

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a phrase, including start and end."""
        return min(_TOKENS, int(self.network.words.config.max_position_embeddings))

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes for a picture and one group of phrases."""
        from napari_foundseg.models.nets.language.glip_boxes import MOST_BOXES

        return MOST_BOXES

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a phrase, including start and end."""
        return len(self.tokenizer.encode(_plain(text)).ids)

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Return boxes for phrases; near-duplicate boxes of a phrase are merged into one."""
        import torch

        from napari_foundseg.models.nets.language.glip_boxes import boxes_of_phrases

        seen, shape, scale = _seen(pad_thin(rgb))
        parts: list[GroundedBoxes] = []
        texts = [(first, *self._tokens(group)) for first, group in grouped(phrases, self._fits)]
        with torch.inference_mode():
            levels = self.network.encode(torch.as_tensor(seen, device=self.device))
            for first, tokens, spans in texts:
                found = self.network(levels, self.network.read(torch.as_tensor(tokens, device=self.device)))
                arrays = (one.float().cpu().numpy() for one in boxes_of_phrases(found, spans, shape, scale))
                corners, scores, owners = arrays
                kept = scores > threshold
                parts.append(grounded_boxes(corners[kept], scores[kept], first + owners[kept], rgb.shape))
        return joined_boxes(parts)

    def _fits(self, phrases: Sequence[str]) -> bool:
        return len(self._tokens(phrases)[0]) <= self.longest_text

    def _tokens(self, phrases: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Return the tokens of phrases as one text, and the positions of each phrase's tokens.

        Raises PromptError if a phrase has no known token.
        """
        plain = [_plain(phrase) for phrase in phrases]
        read = self.tokenizer.encode(_BETWEEN.join(plain))
        unknown = self.tokenizer.token_to_id("[UNK]")
        spans = []
        start = 0
        for phrase, own in zip(phrases, plain, strict=True):
            end = start + len(own)
            # The start and end tokens have empty ranges.
            span = [i for i, (left, right) in enumerate(read.offsets) if start <= left < right <= end]
            check_known(self.name, phrase, [read.ids[i] for i in span], unknown)
            spans.append(span)
            start = end + len(_BETWEEN)
        return list(read.ids), spans


def load(row: CatalogRow, path: Path, device: str) -> GlipModel:
    """Load the model of a row; CheckpointError if the file has another layout, or the vocabulary is missing."""
    from tokenizers import BertWordPieceTokenizer

    from napari_foundseg.models.nets.language.glip import Glip

    tensors = own_tensors(read_tensors(path))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    _check(path, shapes)
    words = read_vocabulary(_vocabulary(path), shapes[_WORDS][0], _WHAT)
    network = Glip(shapes)
    # The network computes the index of positions in windows itself; the one in the file is not needed.
    network.load_state_dict({k: v for k, v in tensors.items() if not k.endswith("position_index")}, strict=False)
    network = network.to(device).eval().requires_grad_(False)
    return GlipModel(network, BertWordPieceTokenizer(words, lowercase=True), row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if a part is missing."""
    shapes = own_shapes(found.shapes)
    if not shapes:
        return None
    _check(found.path, shapes)
    vocabulary = _vocabulary(found.path)
    read_vocabulary(vocabulary, shapes[_WORDS][0], _WHAT)
    said = [f"It reads words by {vocabulary}, which stays there"]
    if any(name.endswith(".cls_logits.weight") for name in found.shapes):
        said.append("Its scores of classes without words, which served training, are left out")
    return {
        "title": _title(shapes),
        "code_licence": "MIT",
        "input": "2-D, any dtype, grey or RGB",
        "citation": "Li et al., Grounded Language-Image Pre-training, CVPR 2022.",
        "assumed": ". ".join(said),
    }


def _check(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    from napari_foundseg.models.nets.language.glip import Glip

    if not shapes:
        raise CheckpointError(f"{path} holds no tensors of {_WHAT}: it was replaced. Import it again.")
    check_network(path, Glip, shapes, _WHAT)


def _vocabulary(path: Path) -> Path:
    return find_vocabulary(path, _WHAT)


def _title(shapes: dict[str, tuple[int, ...]]) -> str:
    width = shapes["picture.patch_embed.norm.weight"][0]
    fused = "head.dyhead_tower.0.b_attn.gamma_v" in shapes
    size = {96: "T", 192: "L"}.get(width, "")
    named = f"{_WHAT}-{size}" if size else _WHAT
    return named if fused else f"{named} (A, without fusion)"


def _plain(phrase: str) -> str:
    """Return a phrase without characters that end phrases, and with single spaces; raise PromptError if it is empty."""
    plain = " ".join(phrase.replace("_", " ").split()).strip(" .?")
    if not plain:
        raise PromptError(f"{phrase!r} has no words: say what to find, such as nucleus.")
    return plain


def _seen(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[int, int], tuple[float, float]]:
    """Return a picture as the network's input, (1, 3, M, N), its shape without padding, and its scale (x, y)."""
    from PIL.Image import Resampling, fromarray

    rows, columns = rgb.shape[:2]
    share = min(_SHORTER / min(rows, columns), _LONGER / max(rows, columns))
    shape = (max(1, int(rows * share)), max(1, int(columns * share)))
    resized = np.asarray(fromarray(rgb).resize(shape[::-1], Resampling.BILINEAR), np.float32)
    normalised = (resized[..., ::-1] - _MEAN) / _STD
    padded = np.pad(normalised, [*((0, -n % _MULTIPLE) for n in shape), (0, 0)])
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None]), shape, (shape[1] / columns, shape[0] / rows)

"""Grounding DINO (Liu et al., ECCV 2024) and MM-Grounding-DINO (Zhao et al., 2024): boxes for phrases.

The phrases are one text, "a cell. debris.", and each box has a probability for each token. transformers makes labels
from all tokens above a threshold, which can join words of several phrases. Here a box belongs to the phrase with the
most probable token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import PromptError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.loaded import (
    LoadedWords,
    check_known,
    grounded_boxes,
    grouped,
    joined_boxes,
    pad_thin,
    words_row,
)
from napari_foundseg.models.protocols.words import GroundedBoxes

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILY", "GroundingDinoModel", "load", "phrases_of_boxes", "recognise"]

FAMILY = Family(
    rank=43,
    title="Grounding DINO",
    protocols=("Grounded",),
    verified_against="transformers: its forward pass, and boxes and scores of its post-processing, equal within 1e-5",
    packages=(Package("transformers"),),
    expects="as is",
)

_TITLES = {
    "GroundingDinoForObjectDetection": "Grounding DINO",
    "MMGroundingDinoForObjectDetection": "MM-Grounding-DINO",
}
#: Character at the end of each phrase. The networks treat the words between two of them separately from others.
_END = "."


class GroundingDinoModel(LoadedWords):
    """Grounding DINO with its image processor and tokenizer; implements `Grounded`."""

    @property
    def window(self) -> int:
        """Longest side of the network's input in pixels."""
        return transformers_folder.window_of(self.images, 1333)

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a phrase, including start and end."""
        return int(self.network.config.max_text_len)

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes for a picture and one group of phrases."""
        return int(self.network.config.num_queries)

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a phrase, including its final full stop and the text's start and end."""
        return len(self._tokens([text])["input_ids"])

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Return boxes for phrases, with the scores of transformers' post-processing."""
        import torch

        seen = pad_thin(rgb)
        pixels = self.images(images=[seen], return_tensors="pt", input_data_format="channels_last").to(self.device)
        parts: list[GroundedBoxes] = []
        with torch.inference_mode():
            for first, group in grouped(phrases, self._fits):
                tokens = self._tokens(group)
                spans = self._spans(tokens["input_ids"])
                for phrase, span in zip(group, spans, strict=True):
                    own = [tokens["input_ids"][i] for i in span]
                    check_known(self.name, phrase, own, self.tokenizer.unk_token_id)
                found = self.network(**pixels, **_batch(tokens, self.device))
                probabilities = found.logits[0].sigmoid().float().cpu().numpy()
                scores, owners = phrases_of_boxes(probabilities, spans)
                kept = scores > threshold
                centres = found.pred_boxes[0].float().cpu().numpy()[kept]
                corners = np.concatenate([centres[:, :2] - centres[:, 2:] / 2, centres[:, :2] + centres[:, 2:] / 2], 1)
                sides = np.tile(seen.shape[1::-1], 2)
                parts.append(grounded_boxes(corners * sides, scores[kept], first + owners[kept], rgb.shape))
        return joined_boxes(parts)

    def _tokens(self, phrases: Sequence[str]) -> Any:
        """Return the tokens of phrases as one text."""
        return self.tokenizer(" ".join(f"{_plain(phrase)}{_END}" for phrase in phrases), return_token_type_ids=True)

    def _fits(self, phrases: Sequence[str]) -> bool:
        return len(self._tokens(phrases)["input_ids"]) <= self.longest_text

    def _spans(self, tokens: Sequence[int]) -> list[range]:
        """Return the positions of each phrase's tokens."""
        end = self.tokenizer.convert_tokens_to_ids(_END)
        ends = [place for place, token in enumerate(tokens) if token == end]
        # The first token is the start of the text.
        return [range(before + 1, place) for before, place in zip([0, *ends], ends, strict=False)]


def phrases_of_boxes(
    probabilities: NDArray[np.float32], spans: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the score and the phrase of each box.

    Parameters
    ----------
    probabilities : (K, T) ndarray of float32
        Probability, for each box and token, that the token describes the box.
    spans : sequence of sequence of int
        Positions of the tokens of each phrase.

    Returns
    -------
    scores : (K,) ndarray of float32
        The largest probability of each box over all tokens, as in transformers.
    phrases : (K,) ndarray of int64
        The phrase with the most probable token; the first one if several are equal.
    """
    own = np.stack([probabilities[:, list(span)].max(axis=1) for span in spans], axis=1)
    return probabilities.max(axis=1), own.argmax(axis=1)


def load(row: CatalogRow, path: Path, device: str) -> GroundingDinoModel:
    """Load the model of a row; raise CheckpointError if the folder lacks a file or its files do not match."""
    return GroundingDinoModel.from_folder(row, path, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a folder is of this family; else None."""
    return words_row(found.config, _TITLES)


def _plain(phrase: str) -> str:
    """Return a phrase as in the networks' training: lower case, without the characters that end phrases."""
    plain = " ".join(phrase.lower().replace(_END, " ").replace("?", " ").split())
    if not plain:
        raise PromptError(f"{phrase!r} has no words: say what to find, such as nucleus.")
    return plain


def _batch(tokens: Any, device: str) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.as_tensor([values], device=device) for name, values in tokens.items()}

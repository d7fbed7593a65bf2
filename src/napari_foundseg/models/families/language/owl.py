"""OWLv2 (Minderer et al., NeurIPS 2023) and OWL-ViT (ECCV 2022): boxes of what phrases, or objects elsewhere, show.

Each patch of the picture has a box and a class vector, which is compared with those of the queries. The vector of an
example is that of a patch whose box is on the object, so that it has been seen in its surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.loaded import LoadedWords, grounded_boxes, pad_thin, words_row
from napari_foundseg.models.protocols.words import GroundedBoxes

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILY", "OwlModel", "load", "recognise"]

FAMILY = Family(
    rank=44,
    title="OWLv2",
    protocols=("Grounded", "ExampleBoxes"),
    verified_against="transformers: its forward pass and its post-processing, equal within 1e-5",
    packages=(Package("transformers"),),
    expects="as is",
    defaults={"text.boxes": {"threshold": 0.1}},
)

_TITLES = {"Owlv2ForObjectDetection": "OWLv2", "OwlViTForObjectDetection": "OWL-ViT"}
#: How a phrase is put to the network; the second one where it has an article or a number already.
_PROMPTS = ("a photo of a {}", "a photo of {}")
_DETERMINERS = ("a", "an", "the", "some", "many", "several", "one", "two", "three", "four", "five", "six", "seven")
#: Share of the best IoU from which a patch's box is on the object too, as transformers has it.
_ON_OBJECT = 0.8
#: How often a picture may be longer than the window before it is shrunk in two steps.
_FAR = 4


class OwlModel(LoadedWords):
    """OWLv2 or OWL-ViT with its image processor and tokenizer; implements `Grounded` and `ExampleBoxes`."""

    def __init__(self, network: Any, images: Any, tokenizer: Any, row: CatalogRow) -> None:
        super().__init__(network, images, tokenizer, row)
        #: Whether pictures are made square by padding, so that boxes are shares of the longer side.
        self._padded = hasattr(network, "objectness_head")

    @property
    def window(self) -> int:
        """Side in pixels of the square that the network sees."""
        return transformers_folder.window_of(self.images, 960)

    @property
    def longest_text(self) -> int:
        """Tokens that a phrase may have, those of "a photo of a" included."""
        return int(self.network.config.text_config.max_position_embeddings)

    @property
    def most_boxes(self) -> int:
        """How many boxes it can return for a picture: one a patch."""
        vision = self.network.config.vision_config
        return int((vision.image_size // vision.patch_size) ** 2)

    def token_count(self, text: str) -> int:
        """Return how many tokens a phrase has as it is put to the network."""
        return len(self.tokenizer(_as_prompt(text))["input_ids"])

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Return boxes of phrases; each belongs to the phrase of the highest score."""
        import torch

        tokens = self.tokenizer(
            [_as_prompt(phrase) for phrase in phrases],
            padding="max_length",
            max_length=self.longest_text,
            return_tensors="pt",
        ).to(self.device)
        seen = pad_thin(rgb)
        with torch.inference_mode():
            found = self.network(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=self._pixels(seen)
            )
        return self._kept(found.logits[0], found.pred_boxes[0], threshold, seen.shape, rgb.shape)

    def example_vector(self, rgb: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.float32]:
        """Return the class vector of the patch whose box is on an object."""
        import torch
        from torchvision.ops import box_iou, generalized_box_iou

        seen = pad_thin(rgb)
        y0, x0, y1, x1 = box
        drawn = torch.tensor([[x0, y0, x1 + 1, y1 + 1]], device=self.device)
        with torch.inference_mode():
            features, boxes = self._patches(seen)
            vectors = self.network.class_predictor(features)[1][0]
            corners = self._corners(boxes[0], seen.shape)
            overlaps = box_iou(drawn, corners)[0]
            if not overlaps.any():
                # The nearest one then.
                overlaps = generalized_box_iou(drawn, corners)[0]
                near = (overlaps == overlaps.max()).nonzero()[:, 0]
            else:
                near = (overlaps >= _ON_OBJECT * overlaps.max()).nonzero()[:, 0]
            if self._padded:
                chosen = near[self.network.objectness_predictor(features)[0, near].argmax()]
            else:
                # The one that is least like the rest of the picture.
                chosen = near[(vectors[near] @ vectors.mean(0)).argmin()]
            found: NDArray[np.float32] = vectors[chosen].float().cpu().numpy()
        return found

    def boxes_like(self, rgb: NDArray[np.uint8], vectors: NDArray[np.float32], threshold: float) -> GroundedBoxes:
        """Return boxes of what looks like examples."""
        import torch

        seen = pad_thin(rgb)
        queries = torch.as_tensor(vectors, device=self.device)[None]
        with torch.inference_mode():
            features, boxes = self._patches(seen)
            logits = self.network.class_predictor(features, queries)[0]
        return self._kept(logits[0], boxes[0], threshold, seen.shape, rgb.shape)

    def _patches(self, rgb: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features of a picture's patches, (1, K, D), and their boxes, (1, K, 4)."""
        grid = self.network.image_embedder(pixel_values=self._pixels(rgb))[0]
        features = grid.flatten(1, 2)
        return features, self.network.box_predictor(features, grid)

    def _pixels(self, rgb: NDArray[np.uint8]) -> torch.Tensor:
        inputs = self.images(images=[_shrunk(rgb, self.window)], return_tensors="pt", input_data_format="channels_last")
        pixels: torch.Tensor = inputs["pixel_values"].to(self.device)
        return pixels

    def _corners(self, boxes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Return boxes, centre and size as shares, as corners (x0, y0, x1, y1) in pixels of the picture."""
        from torchvision.ops import box_convert

        height, width = (max(shape[:2]),) * 2 if self._padded else shape[:2]
        corners: torch.Tensor = box_convert(boxes, "cxcywh", "xyxy")
        return corners * corners.new_tensor([width, height, width, height])

    def _kept(
        self,
        logits: torch.Tensor,
        boxes: torch.Tensor,
        threshold: float,
        seen: tuple[int, ...],
        shape: tuple[int, ...],
    ) -> GroundedBoxes:
        """Return the boxes above a threshold; `seen`: shape of the picture with its padding."""
        best = logits.sigmoid().max(dim=-1)
        kept = best.values > threshold
        corners = self._corners(boxes[kept], seen)
        return grounded_boxes(
            corners.float().cpu().numpy(),
            best.values[kept].float().cpu().numpy(),
            best.indices[kept].cpu().numpy(),
            shape,
        )


def load(row: CatalogRow, path: Path, device: str) -> OwlModel:
    """Return the model of a row; CheckpointError if the folder lacks a file or its files disagree."""
    return OwlModel.from_folder(row, path, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return fields of the row if a folder is of this family."""
    return words_row(found.config, _TITLES)


def _shrunk(rgb: NDArray[np.uint8], window: int) -> NDArray[np.uint8]:
    """Return a picture that is far larger than the network's window at twice the window's size.

    The processor of OWLv2 smooths it in floats at its full size as a square, which would take minutes.
    """
    from PIL.Image import Resampling, fromarray

    longest = max(rgb.shape[:2])
    if longest <= _FAR * window:
        return rgb
    rows, columns = (max(1, round(n * 2 * window / longest)) for n in rgb.shape[:2])
    return np.array(fromarray(rgb).resize((columns, rows), Resampling.BOX))


def _as_prompt(phrase: str) -> str:
    first = phrase.split(" ", 1)[0].lower()
    return _PROMPTS[first in _DETERMINERS or first.isdecimal()].format(phrase)

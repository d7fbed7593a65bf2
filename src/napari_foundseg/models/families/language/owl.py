"""OWLv2 (Minderer et al., NeurIPS 2023) and OWL-ViT (ECCV 2022): boxes for phrases, or for objects in other pictures.

Each patch of the picture has a box and a class vector, which is compared with the vectors of the queries. The vector of
an example object comes from a patch whose box is on the object, so it includes the object's surroundings.
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
#: Texts that a phrase is inserted into; the second is for phrases with an article or a number.
_PROMPTS = ("a photo of a {}", "a photo of {}")
_DETERMINERS = ("a", "an", "the", "some", "many", "several", "one", "two", "three", "four", "five", "six", "seven")
#: Boxes with at least this fraction of the best IoU also count as on the object, as in transformers.
_ON_OBJECT = 0.8
#: Pictures that are more than this many times longer than the window are shrunk in two steps.
_FAR = 4


class OwlModel(LoadedWords):
    """OWLv2 or OWL-ViT with its image processor and tokenizer; implements `Grounded` and `ExampleBoxes`."""

    def __init__(self, network: Any, images: Any, tokenizer: Any, row: CatalogRow) -> None:
        super().__init__(network, images, tokenizer, row)
        #: Whether pictures are padded to squares, so that boxes are fractions of the longer side.
        self._padded = hasattr(network, "objectness_head")

    @property
    def window(self) -> int:
        """Side of the network's square input in pixels."""
        return transformers_folder.window_of(self.images, 960)

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a phrase, including those of "a photo of a"."""
        return int(self.network.config.text_config.max_position_embeddings)

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes for a picture: one for each patch."""
        vision = self.network.config.vision_config
        return int((vision.image_size // vision.patch_size) ** 2)

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a phrase, including those of "a photo of a"."""
        return len(self.tokenizer(_as_prompt(text))["input_ids"])

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Return boxes for phrases; each belongs to the phrase with the highest score."""
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
        """Return the class vector of a patch whose box is on an object, (D,)."""
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
                # No box overlaps the object, so the nearest one is used.
                overlaps = generalized_box_iou(drawn, corners)[0]
                near = (overlaps == overlaps.max()).nonzero()[:, 0]
            else:
                near = (overlaps >= _ON_OBJECT * overlaps.max()).nonzero()[:, 0]
            if self._padded:
                chosen = near[self.network.objectness_predictor(features)[0, near].argmax()]
            else:
                # The patch that differs most from the rest of the picture.
                chosen = near[(vectors[near] @ vectors.mean(0)).argmin()]
            found: NDArray[np.float32] = vectors[chosen].float().cpu().numpy()
        return found

    def boxes_like(self, rgb: NDArray[np.uint8], vectors: NDArray[np.float32], threshold: float) -> GroundedBoxes:
        """Return boxes of objects that look like the examples."""
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
        """Convert boxes, centre and size as fractions, to corners (x0, y0, x1, y1) in pixels of the picture."""
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
        """Return the boxes above a threshold. `seen`: shape of the picture with its padding."""
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
    """Load the model of a row; raise CheckpointError if the folder lacks a file or its files do not match."""
    return OwlModel.from_folder(row, path, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a folder is of this family; else None."""
    return words_row(found.config, _TITLES)


def _shrunk(rgb: NDArray[np.uint8], window: int) -> NDArray[np.uint8]:
    """Shrink a picture to twice the network's window if it is far larger than the window.

    The processor of OWLv2 would smooth it as a square of floats at its full size, which takes minutes.
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

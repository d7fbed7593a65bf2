"""SAM-HQ from transformers' folders and the authors' files, against both of their computations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.utils.transforms import ResizeLongestSide
from torch import nn

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.nets.sam.tiny_vit import TinyViT
from tests.support.small_sam import SMALL, randomised

pytestmark = pytest.mark.usefixtures("own_cache")


def hub_model() -> Any:
    vision = transformers.SamHQVisionConfig(
        hidden_size=32, output_channels=16, num_hidden_layers=2, num_attention_heads=4, image_size=128,
        global_attn_indexes=[1], window_size=3, mlp_dim=64, num_pos_feats=8,
    )  # fmt: skip
    prompts = transformers.SamHQPromptEncoderConfig(hidden_size=16, image_size=128, mask_input_channels=16)
    decoder = transformers.SamHQMaskDecoderConfig(hidden_size=16, mlp_dim=24, iou_head_hidden_dim=20, vit_dim=32)
    config = transformers.SamHQConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    return randomised(transformers.SamHQModel(config).eval(), 1)


def _hub_folder(folder: Path) -> list[Path]:
    hub_model().save_pretrained(folder / "hq")
    return [folder / "hq"]


TINY_WEIGHTS = {"sam_hq": _hub_folder}


class AuthorsDecoder(nn.Module):
    """What SAM-HQ's authors add to SAM's mask decoder, by their names."""

    def __init__(self, width: int, vit: int) -> None:
        super().__init__()
        small, fine = width // 4, width // 8
        self.hf_token = nn.Embedding(1, width)
        self.hf_mlp = MLP(width, width, fine, 3)
        self.compress_vit_feat = self._doubled_twice(vit, width, fine)
        self.embedding_encoder = self._doubled_twice(width, small, fine)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(fine, small, 3, padding=1), LayerNorm2d(small), nn.GELU(), nn.Conv2d(small, fine, 3, padding=1)
        )

    @staticmethod
    def _doubled_twice(inside: int, between: int, outside: int) -> nn.Sequential:
        up = (nn.ConvTranspose2d(inside, between, 2, 2), nn.ConvTranspose2d(between, outside, 2, 2))
        return nn.Sequential(up[0], LayerNorm2d(between), nn.GELU(), up[1])

    def forward(
        self, sam: Sam, features: torch.Tensor, early: torch.Tensor, sparse: torch.Tensor, several: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode one prompt as the paper describes it: one more token, whose mask is added to SAM's own."""
        decoder = sam.mask_decoder
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, self.hf_token.weight])[None]
        places = features + sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        queries, out = decoder.transformer(
            places, sam.prompt_encoder.get_dense_pe(), torch.cat([tokens, sparse], dim=1)
        )
        up = decoder.output_upscaling(out.transpose(1, 2).reshape(places.shape))
        fine = self.embedding_maskfeature(up) + self.embedding_encoder(features) + self.compress_vit_feat(early)
        filters = [mlp(queries[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
        masks = torch.einsum("bkc,bchw->bkhw", torch.stack(filters, dim=1), up)
        more = torch.einsum("bc,bchw->bhw", self.hf_mlp(queries[:, 5]), fine)[:, None]
        iou = decoder.iou_prediction_head(queries[:, 0])
        best = 1 + int(iou[0, 1:].argmax()) if several else 0
        return masks[:, [best]] + more, iou[:, [best]]


def mended(hub: Any) -> Any:
    """Let transformers' decoder enlarge what its transformer returns.

    It enlarges what it has handed to the transformer instead, rows and columns exchanged (5.24); its predicted IoU,
    and all before, are right.
    """
    transformer = hub.mask_decoder.transformer
    forward = transformer.forward

    def told(point_embeddings: torch.Tensor, image_embeddings: torch.Tensor, **others: Any) -> Any:
        queries, places = forward(point_embeddings, image_embeddings, **others)[:2]
        image_embeddings.copy_(places[0].transpose(1, 2).reshape(image_embeddings.shape).transpose(2, 3))
        return queries, places

    transformer.forward = told
    return hub


@pytest.mark.parametrize("several", [True, False])
def test_a_folder_of_transformers_is_its_model_but_for_its_slip(
    tmp_path: Path, picture: np.ndarray, several: bool
) -> None:
    hub = hub_model()
    hub.save_pretrained(tmp_path / "hq")
    row = import_model(tmp_path / "hq")
    assert row.family == "sam_hq"
    model = fs.load_model(row.name)
    rgb = np.ascontiguousarray(picture[:90, :128])
    with torch.inference_mode():
        expected = mended(hub)(
            pixel_values=model.sam.preprocess(torch.as_tensor(rgb).movedim(-1, 0)[None]),
            input_points=torch.tensor([[[[60.0, 40.0]]]]),
            input_labels=torch.tensor([[[1]]]),
            multimask_output=several,
        )
        whole = model.sam.postprocess_masks(expected.pred_masks[0], (90, 128), (90, 128))[0]
    found = model.decode(model.encode(rgb), [Prompt(points=[(40, 60)])], multimask=several)[0]
    # transformers sorts its masks by predicted IoU.
    order = np.argsort(-found.predicted_iou)
    assert_allclose(found.predicted_iou[order], expected.iou_scores[0, 0], atol=1e-4)
    assert_allclose(found.logits[order], whole, atol=1e-4)
    assert fs.automatic(rgb, model=row.name, method="grid", points_per_side=2).labels.shape == (90, 128)


@pytest.mark.parametrize("several", [True, False])
def test_a_file_of_the_authors_is_their_network(tmp_path: Path, sam: Sam, picture: np.ndarray, several: bool) -> None:
    """Weights in the published layout; what is expected is computed by SAM's own modules and `AuthorsDecoder`.

    Of three masks the authors give the best.
    """
    more = randomised(AuthorsDecoder(SMALL["prompt"], SMALL["width"]).eval(), 2)
    state = sam.state_dict() | {f"mask_decoder.{name}": value for name, value in more.state_dict().items()}
    torch.save(state, tmp_path / "hq_small.pth")
    row = import_model(tmp_path / "hq_small.pth")
    assert (row.family, row.options["encoder"]) == ("sam_hq", "ViT of width 32 and depth 2")
    model = fs.load_model(row.name)
    rgb = np.ascontiguousarray(picture[:90, :128])
    early: list[torch.Tensor] = []
    sam.image_encoder.blocks[1].register_forward_hook(lambda _module, _inside, out: early.append(out))
    with torch.inference_mode():
        features = sam.image_encoder(sam.preprocess(torch.as_tensor(rgb).movedim(-1, 0)[None]))
        points = torch.tensor([[[60.0, 40.0]]]), torch.tensor([[1]])
        sparse, _ = sam.prompt_encoder(points=points, boxes=None, masks=None)
        low, iou = more(sam, features, early[0].permute(0, 3, 1, 2), sparse, several)
        expected = sam.postprocess_masks(low, (90, 128), (90, 128))[0]
    found = model.decode(model.encode(rgb), [Prompt(points=[(40, 60)])], multimask=several)[0]
    assert len(found.logits) == (3 if several else 1)
    best = [int(found.predicted_iou.argmax())]
    assert expected.std() > 0.05
    assert_allclose(found.logits[best], expected, atol=1e-4 * float(expected.std()))
    assert_allclose(found.predicted_iou[best], iou[0], atol=1e-4)


def test_a_file_that_is_not_whole_or_has_another_encoder_is_named(tmp_path: Path, sam: Sam) -> None:
    more = AuthorsDecoder(SMALL["prompt"], SMALL["width"])
    state = sam.state_dict() | {f"mask_decoder.{name}": value for name, value in more.state_dict().items()}
    torch.save({k: v for k, v in state.items() if "maskfeature.3" not in k}, tmp_path / "lacking.pth")
    with pytest.raises(CheckpointError, match=r"SAM-HQ with ViT.*lacks 2 of .*embedding_maskfeature\.3"):
        import_model(tmp_path / "lacking.pth")


def test_light_hq_sam_is_the_authors_network(tmp_path: Path) -> None:
    """TinyViT as the encoder; the authors' decoder gets what its second stage returned."""
    parts = {"transformer": TwoWayTransformer(2, 256, 8, 32), "iou_head_depth": 3, "iou_head_hidden_dim": 20}
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), 16)
    sam = Sam(TinyViT(), prompts, MaskDecoder(transformer_dim=256, **parts), [123.675, 116.28, 103.53], [58.4, 57, 57])
    sam = randomised(sam.eval(), 3)
    more = randomised(AuthorsDecoder(256, 160).eval(), 2)
    state = sam.state_dict() | {f"mask_decoder.{name}": value for name, value in more.state_dict().items()}
    torch.save(state, tmp_path / "light.pth")
    row = import_model(tmp_path / "light.pth")
    assert (row.family, row.title, row.options) == ("sam_hq", "Light HQ-SAM", {"encoder": "TinyViT"})
    model = fs.load_model(row.name)
    rgb = np.random.default_rng(0).integers(0, 255, (90, 128, 3)).astype(np.uint8)
    features, early = model.sam.image_encoder._vit.with_early(torch.zeros(1, 3, 1024, 1024))
    assert early.shape == (1, 64, 64, 160)
    seen: list[torch.Tensor] = []
    sam.image_encoder.layers[1].register_forward_hook(lambda _module, _inside, out: seen.append(out))
    embedding = model.encode(rgb)
    found = model.decode(embedding, [Prompt(points=[(40, 60)])], multimask=False)[0]
    with torch.inference_mode():
        resized = model.sam.preprocess(torch.as_tensor(ResizeLongestSide(1024).apply_image(rgb)).movedim(-1, 0)[None])
        features = sam.image_encoder(resized)
        points = torch.tensor([[[60.0, 40.0]]]) * 8, torch.tensor([[1]])
        sparse, _ = sam.prompt_encoder(points=points, boxes=None, masks=None)
        low, iou = more(sam, features, seen[0], sparse, False)
        expected = sam.postprocess_masks(low, (720, 1024), (90, 128))[0]
    spread = float(expected.abs().max())
    assert_allclose(found.logits / spread, expected / spread, atol=1e-4)
    assert_allclose(found.predicted_iou, iou[0], rtol=1e-3, atol=1e-3)

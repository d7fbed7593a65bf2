"""Every SAM 1 checkpoint in its published layout, with tiny or random weights, against the references' own code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import save_file
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError, PromptError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models import catalog
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.nets.sam.sam_build import build_sam
from napari_foundseg.models.nets.sam.tiny_vit import TinyViT
from napari_foundseg.models.nets.sam.unetr import Unetr
from napari_foundseg.models.protocols.objects import GridOptions
from napari_foundseg.models.store import state, weights
from tests.support.small_sam import SMALL, randomised, small_sam

pytestmark = pytest.mark.usefixtures("own_cache")
LAYOUTS = Path(__file__).parents[1] / "data" / "layouts"


def _small(folder: Path, name: str) -> list[Path]:
    torch.save(small_sam().state_dict(), folder / name)
    return [folder / name]


def _micro_sam(folder: Path) -> list[Path]:
    decoder = randomised(Unetr(transposed=False, width=SMALL["prompt"]).eval())
    content = {"model_state": small_sam().state_dict(), "decoder_state": decoder.state_dict()}
    torch.save(content, folder / "vit_small_lm.pt")
    return [folder / "vit_small_lm.pt"]


def _mobile_sam(folder: Path) -> list[Path]:
    layout = {k: tuple(v) for k, v in json.loads((LAYOUTS / "mobile-sam.json").read_text()).items()}
    torch.save(randomised(build_sam(layout)).state_dict(), folder / "mobile_sam.pt")
    return [folder / "mobile_sam.pt"]


TINY_WEIGHTS = {
    "tiny": lambda folder: [Path(shutil.copy(weights(catalog.row("foundseg-tiny")), folder / "tiny.safetensors"))],
    "sam_vit": lambda folder: _small(folder, "small.pth"),
    "medsam": lambda folder: _small(folder, "medsam_small.pth"),
    "micro_sam": _micro_sam,
    "mobile_sam": _mobile_sam,
}


def expected_by_the_reference(sam: Sam, picture: np.ndarray, prompt: Prompt, several: bool) -> tuple[Any, Any]:
    predictor = SamPredictor(sam)
    predictor.set_image(picture)
    points = np.array(prompt.points)[:, ::-1] if prompt.points else None
    labels = np.array(prompt.labels) if prompt.points else None
    box = None if prompt.box is None else np.array(prompt.box, float)[[1, 0, 3, 2]]
    logits, iou, _ = predictor.predict(points, labels, box, multimask_output=several, return_logits=True)
    return logits, iou


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(points=[(40, 60)]),
        Prompt(points=[(40, 60), (5, 5)], labels=[1, 0]),
        Prompt(box=(30, 40, 59, 89)),
        Prompt(points=[(40, 60)], box=(30, 40, 59, 89)),
    ],
    ids=["click", "clicks", "box", "click in a box"],
)
def test_the_fast_network_decodes_what_the_reference_decodes(
    tmp_path: Path, sam: Sam, picture: np.ndarray, prompt: Prompt, several: bool
) -> None:
    """Encoder, decoder and preprocessing; the tolerance of 1e-4 is 1/10000 of the logits' spread."""
    torch.save(sam.state_dict(), tmp_path / "small.pth")
    model = fs.load_model(import_model(tmp_path / "small.pth").name)
    assert type(model.sam.image_encoder).__name__ == "FastViT"
    encoded = model.encode(picture)
    logits, iou = expected_by_the_reference(sam, picture, prompt, several)
    assert logits.std() > 0.05
    # Many at once are decoded in another order than one alone.
    for found in (
        *model.decode(encoded, [prompt], multimask=several),
        model.decode(encoded, [prompt] * 5, multimask=several)[-1],
    ):
        assert_allclose(found.logits, logits, atol=1e-4 * logits.std())
        assert_allclose(found.predicted_iou, iou, atol=1e-4)


def test_half_precision_decodes_nearly_the_same(tmp_path: Path, sam: Sam, picture: np.ndarray) -> None:
    """Fast mode's decoder: bfloat16 has three digits, of which the network's sums leave about two."""
    torch.save(sam.state_dict(), tmp_path / "small.pth")
    model = fs.load_model(import_model(tmp_path / "small.pth").name)
    features = model.encode(picture).features
    points = (torch.as_tensor(np.random.default_rng(0).uniform(0, 128, (6, 1, 2))), torch.ones(6, 1))
    with torch.inference_mode():
        (expected, iou, _), (found, found_iou, _) = (
            fast.decode(fast.picture(features), points, None, slice(1, None))
            for fast in (model._fast, model._fast_decoder(torch.bfloat16))
        )
    assert found.dtype == found_iou.dtype == torch.float32
    assert float((found - expected).abs().mean()) < 0.03 * float(expected.std())
    assert_allclose(found, expected, atol=0.3 * float(expected.std()))
    assert_allclose(found_iou, iou, atol=0.03 * float(iou.abs().max()))


@pytest.mark.parametrize("exact", [True, False])
def test_points_of_which_nothing_is_wanted_give_nothing(
    tmp_path: Path, sam: Sam, picture: np.ndarray, exact: bool
) -> None:
    torch.save(sam.state_dict(), tmp_path / "small.pth")
    model = fs.load_model(import_model(tmp_path / "small.pth").name)
    encoded, points = model.encode(picture), np.random.default_rng(0).random((9, 2))
    assert model.grid_masks(encoded, points, GridOptions(9, 1e9, 0.0, 1.0, exact), lambda: None) == []


def test_the_published_names_of_every_size_are_recognised(tmp_path: Path) -> None:
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        names = {kind: sam_model_registry[kind]() for kind in ("vit_b", "vit_l", "vit_h")}
    assert len(names["vit_b"].state_dict()) == 314
    from napari_foundseg.models.families.promptable.sam_vit import recognise
    from napari_foundseg.models.family import WeightsView

    for kind, network in names.items():
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        fields = recognise(WeightsView(tmp_path / "w.pth", shapes, {}))
        assert fields is not None
        assert fields["options"] == {"encoder": f"ViT-{kind[-1].upper()}"}
        assert catalog.row(f"sam-{kind.replace('_', '-')}").options == fields["options"]


def test_a_folder_of_transformers_is_the_same_model(tmp_path: Path, sam: Sam, picture: np.ndarray) -> None:
    import transformers

    vision = transformers.SamVisionConfig(
        hidden_size=32, output_channels=16, num_hidden_layers=2, num_attention_heads=4, image_size=128,
        global_attn_indexes=[1], window_size=3, mlp_dim=64, num_pos_feats=8,
    )  # fmt: skip
    prompts = transformers.SamPromptEncoderConfig(hidden_size=16, image_size=128, mask_input_channels=16)
    decoder = transformers.SamMaskDecoderConfig(hidden_size=16, mlp_dim=24, iou_head_hidden_dim=20)
    hub = transformers.SamModel(
        transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    ).eval()
    randomised(hub, 1)
    hub.save_pretrained(tmp_path / "hub")
    row = import_model(tmp_path / "hub")
    assert row.family == "sam_vit"
    model = fs.load_model(row.name)
    prepared = torch.as_tensor(np.ascontiguousarray(picture[:90, :128])).movedim(-1, 0)[None].float()
    with torch.inference_mode():
        pixels = model.sam.preprocess(prepared)
        expected = hub(
            pixel_values=pixels, input_points=torch.tensor([[[[60.0, 40.0]]]]), input_labels=torch.tensor([[[1]]])
        )
        encoded = model.encode(np.ascontiguousarray(picture[:90, :128]))
        coordinates = torch.tensor([[[60.0, 40.0]]])
        logits, iou = model._low_resolution(encoded, coordinates, torch.tensor([[1]]), None, None, several=True)
    assert_allclose(logits[0], expected.pred_masks[0, 0], atol=1e-4)
    assert_allclose(iou[0], expected.iou_scores[0, 0], atol=1e-4)


def test_medsam_stretches_and_interpolates_probabilities(tmp_path: Path, sam: Sam, picture: np.ndarray) -> None:
    """Against the authors' recipe on `segment_anything`: resize to the square, 0 to 1, one box, sigmoid, resize."""
    from skimage.transform import resize
    from torch.nn import functional

    torch.save(sam.state_dict(), tmp_path / "medsam_small.pth")
    row = import_model(tmp_path / "medsam_small.pth")
    assert (row.family, row.protocols) == ("medsam", ("Promptable",))
    model = fs.load_model(row.name)
    box = (30, 40, 59, 89)
    found = model.decode(model.encode(picture), [Prompt(box=box)], multimask=True)[0]
    square = resize(picture, (128, 128), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    normal = (square - square.min()) / np.clip(square.max() - square.min(), 1e-8, None)
    height, width = picture.shape[:2]
    corners = torch.tensor([[40 / width, 30 / height, 89 / width, 59 / height]]) * 128
    with torch.no_grad():
        features = sam.image_encoder(torch.as_tensor(normal).float().movedim(-1, 0)[None])
        sparse, dense = sam.prompt_encoder(points=None, boxes=corners, masks=None)
        low, _ = sam.mask_decoder(features, sam.prompt_encoder.get_dense_pe(), sparse, dense, False)
        probability = functional.interpolate(low.sigmoid(), (height, width), mode="bilinear", align_corners=False)
    assert found.logits.shape == (1, height, width)
    assert_allclose(1 / (1 + np.exp(-found.logits)), probability[0], atol=1e-4)
    with pytest.raises(PromptError, match="boxes only"):
        model.decode(model.encode(picture), [Prompt(points=[(3, 3)])], multimask=False)


def test_what_is_called_medsam_may_be_said(tmp_path: Path, sam: Sam) -> None:
    torch.save(sam.state_dict(), tmp_path / "weights.pth")
    assert import_model(tmp_path / "weights.pth", "a").family == "sam_vit"
    assert import_model(tmp_path / "weights.pth", "b", "medsam").family == "medsam"


def test_mobilesams_encoder_is_timms(tmp_path: Path) -> None:
    import timm

    layout = {k: tuple(v) for k, v in json.loads((LAYOUTS / "mobile-sam.json").read_text()).items()}
    network = build_sam(layout)
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == layout
    reference = timm.create_model("tiny_vit_5m_224", num_classes=1000).eval()
    own: TinyViT = randomised(TinyViT().eval())
    renamed = {}
    for name, value in own.state_dict().items():
        new = name.replace(".c.weight", ".conv.weight")
        new = new.replace("patch_embed.seq.0.", "patch_embed.conv1.").replace(
            "patch_embed.seq.2.", "patch_embed.conv2."
        )
        if new.startswith("layers."):
            number, rest = new.split(".", 2)[1:]
            new = f"stages.{int(number) + 1}.{rest}" if rest.startswith("downsample") else f"stages.{number}.{rest}"
        if not new.startswith(("neck", "norm_head", "head")):
            renamed[new] = value
    missing, unexpected = reference.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert all(name.startswith("head") for name in missing)
    reference.stages[-1].downsample.conv2.conv.stride = (1, 1)
    x = torch.randn(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = own.neck(reference.forward_features(x))
        found = own(x)
    assert found.shape == (1, 256, 12, 12)
    assert_allclose(found, expected, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("variant", ["interpolating", "transposed"])
def test_micro_sams_decoder_has_the_published_layout(variant: str) -> None:
    layout = json.loads((LAYOUTS / "micro-sam-decoder_state.json").read_text())[variant]
    decoder = Unetr(transposed=variant == "transposed")
    assert {k: list(v.shape) for k, v in decoder.state_dict().items()} == layout


def test_a_micro_sam_checkpoint_prompts_and_decodes(tmp_path: Path, sam: Sam, picture: np.ndarray) -> None:
    decoder = randomised(Unetr(transposed=False, width=SMALL["prompt"]).eval())
    content = {"model_state": sam.state_dict(), "decoder_state": decoder.state_dict(), "optimizer_state": {"lr": 1e-5}}
    torch.save(content, tmp_path / "vit_small_lm.pt")
    row = import_model(tmp_path / "vit_small_lm.pt")
    assert row.family == "micro_sam"
    assert "InstanceDecoding" in row.protocols
    model = fs.load_model(row.name)
    maps = model.instance_maps(picture)
    assert maps.shape == (3, 90, 130)
    with torch.inference_mode():
        features = model.encode(picture).features
        expected = torch.sigmoid(written_out(features, decoder))
        expected = sam.postprocess_masks(expected, (89, 128), (90, 130))[0]
    # Sums of float32 in another order, in eight layers, differ by a few 1e-4 between processors.
    assert_allclose(maps, expected, atol=1e-3)
    assert fs.automatic(picture, model=row.name).labels.shape == (90, 130)
    assert fs.prompt(picture, Prompt(box=(30, 40, 59, 89)), model=row.name).labels.shape == (90, 130)
    # Without a decoder it is a plain SAM.
    torch.save({"model_state": sam.state_dict()}, tmp_path / "vit_small.pt")
    assert import_model(tmp_path / "vit_small.pt").family == "sam_vit"


def written_out(z12: torch.Tensor, d: Any) -> torch.Tensor:
    """Return torch-em's forward pass, in its order: interpolation before the convolution, channels cropped."""
    from torch.nn import functional

    def sampled(x: torch.Tensor, sampler: Any) -> torch.Tensor:
        return sampler.conv(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))

    def up(x: torch.Tensor, block: Any) -> torch.Tensor:
        for part in block.block[1:]:
            x = part(sampled(x, block.block[0]) if part is block.block[1] else x)
        return x

    z9 = up(z12, d.deconv1)
    z6 = up(z9, d.deconv2)
    z3 = up(z6, d.deconv3)
    z0 = up(z3, d.deconv4)
    x = d.base(z12)
    for block, sampler, other in zip(d.decoder.blocks, d.decoder.samplers, (z9, z6, z3), strict=True):
        x = sampled(x, sampler)
        more = (other.shape[1] - x.shape[1]) // 2
        x = block(torch.cat([x, other[:, more : more + x.shape[1]]], 1))
    x = torch.cat([sampled(x, d.deconv_out), z0], 1)
    return d.out_conv(d.decoder_head(x))


def test_micro_sams_published_files_are_one_model(tmp_path: Path, sam: Sam, picture: np.ndarray) -> None:
    """The bioimage.io files are a SAM and its decoder in one folder; micro-sam's cache has them without a suffix."""
    decoder = randomised(Unetr(transposed=True, width=SMALL["prompt"]).eval())
    for folder, stem, suffix in (("diplomatic-bug", "vit_s", ".pt"), ("models", "vit_s_lm", "")):
        (tmp_path / folder).mkdir()
        torch.save(sam.state_dict(), tmp_path / folder / f"{stem}{suffix}")
        torch.save(decoder.state_dict(), tmp_path / folder / f"{stem}_decoder{suffix}")
    maps = []
    for path in (tmp_path / "diplomatic-bug", tmp_path / "models" / "vit_s_lm"):
        row = import_model(path)
        assert (row.family, row.size_mb > 0) == ("micro_sam", True)
        maps.append(fs.load_model(row.name).instance_maps(picture))
    assert_allclose(maps[0], maps[1])
    with pytest.raises(CheckpointError, match=r"instance decoder alone.*beside"):
        import_model(tmp_path / "models" / "vit_s_lm_decoder")
    (tmp_path / "diplomatic-bug" / "vit_s_decoder.pt").unlink()
    assert import_model(tmp_path / "diplomatic-bug" / "vit_s.pt").family == "sam_vit"


def test_the_catalogue_says_which_files_make_a_micro_sam() -> None:
    row = catalog.row("micro-sam-vit-b-lm")
    assert "vit_b.pt and https://" in state(row)
    with pytest.raises(CheckpointError, match=r"vit_b\.pt and .*vit_b_decoder\.pt, into one folder called vit_b_lm,"):
        fs.load_model(row.name)


def test_a_checkpoint_that_is_not_whole_is_named(tmp_path: Path, sam: Sam) -> None:
    state = sam.state_dict()
    cases: dict[str, tuple[dict[str, torch.Tensor], str]] = {
        "lacking": ({k: v for k, v in state.items() if "iou_token" not in k}, r"lacks 1 of .*iou_token"),
        "shape": (state | {"mask_decoder.iou_token.weight": torch.ones(1, 9)}, r"another shape 1 of .*iou_token"),
        "more": (state | {"image_encoder.extra.weight": torch.ones(3)}, r"besides 1 of .*extra"),
        "half": ({k: v for k, v in state.items() if "neck" not in k}, "missing or of odd shapes"),
    }
    for name, (content, words) in cases.items():
        save_file({k: v.contiguous() for k, v in content.items()}, tmp_path / f"{name}.safetensors")
        with pytest.raises(CheckpointError, match=words):
            import_model(tmp_path / f"{name}.safetensors")
    assert not catalog.user_rows()


def test_a_renamed_file_is_named_for_what_it_holds(tmp_path: Path, sam: Sam) -> None:
    torch.save(sam.state_dict(), tmp_path / "sam_vit_h_4b8939.pth")
    with pytest.raises(CheckpointError, match=r"name of SAM ViT-H, but holds SAM ViT of width 32"):
        import_model(tmp_path / "sam_vit_h_4b8939.pth")


def test_a_model_that_is_not_here_says_where_to_get_it() -> None:
    with pytest.raises(CheckpointError, match=r"dl\.fbaipublicfiles\.com.*models import"):
        fs.load_model("sam-vit-b")

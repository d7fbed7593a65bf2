"""CLIPSeg's decoder in its authors' layout, with a CLIP that is here, equals transformers' of the same weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import save_file
from skimage.io import imread
from torch import Tensor, nn
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.cli import app
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.io.samples import sample
from napari_foundseg.models.catalog import row as row_of
from napari_foundseg.models.files.clipseg_decoder import decoder_size
from napari_foundseg.models.importing import import_model, remove_model
from napari_foundseg.models.loading import forget_model, load_model
from tests.support import tiny_checkpoints

pytestmark = pytest.mark.usefixtures("own_cache")
LAYERS = 10


def clip_parts(patch: int = 16) -> dict[str, Any]:
    parts = tiny_checkpoints._clip_parts()
    sizes = {"num_hidden_layers": LAYERS, "hidden_size": 64, "num_attention_heads": 1, "patch_size": patch}
    return {
        "text_config": {**parts["text_config"], "hidden_size": 64, "num_attention_heads": 1},
        "vision_config": {**parts["vision_config"], **sizes},
        "projection_dim": 32,
    }


def whole(refined: bool) -> nn.Module:
    torch.manual_seed(7)
    config = tf.CLIPSegConfig(
        **clip_parts(), reduce_dim=16, decoder_intermediate_size=24, use_complex_transposed_convolution=refined
    )
    network = tf.CLIPSegForImageSegmentation(config).eval()
    with torch.no_grad():
        for name, part in network.named_parameters():
            if name.startswith("decoder.") and part.ndim > 1:
                part.normal_(0, 0.4)
    return network


def clip_folder(network: nn.Module, folder: Path, patch: int = 16) -> Path:
    """Write the CLIP of a CLIPSeg as a folder of transformers."""
    tiny_checkpoints._save(tf.CLIPModel(tf.CLIPConfig(**clip_parts(patch))), folder)
    if patch == 16:
        # What is saved has weights of its own.
        network.clip.load_state_dict(tf.CLIPModel.from_pretrained(folder).state_dict())
    tiny_checkpoints.clip_tokenizer(folder)
    tf.CLIPImageProcessor(size={"shortest_edge": 64}).save_pretrained(folder)
    return folder


def decoder_file(network: nn.Module, path: Path, prefix: str = "") -> Path:
    """Write the decoder by its authors' names: transformers' own converter (version 4.40), the other way round."""
    found: dict[str, Tensor] = {}
    state = {name.removeprefix("decoder."): value for name, value in network.state_dict().items() if "decoder" in name}
    for name, value in state.items():
        if "_proj" in name and "out_proj" not in name:
            continue
        new = name.replace("transposed_convolution", "trans_conv").replace("layers.", "blocks.")
        for old, theirs in (("mlp.fc1", "linear1"), ("mlp.fc2", "linear2"), ("layer_norm", "norm")):
            new = new.replace(old, theirs)
        found[new] = value
    for i in range(3):
        for kind in ("weight", "bias"):
            parts = [state[f"layers.{i}.self_attn.{one}_proj.{kind}"] for one in "qkv"]
            found[f"blocks.{i}.self_attn.in_proj_{kind}"] = torch.cat(parts)
    # A layer of other experiments, which the published files hold too.
    found |= {"reduce.weight": torch.zeros(16, 64), "reduce.bias": torch.zeros(16)}
    torch.save({f"{prefix}{name}": value for name, value in found.items()}, path)
    return path


def picture() -> np.ndarray:
    return np.ascontiguousarray(imread(sample("tissue"))[:90, :120, :3])


def same_maps(network: nn.Module, folder: Path, name: str) -> None:
    processor = tf.ViTImageProcessor(
        size={"height": 352, "width": 352}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    tokens = tf.AutoTokenizer.from_pretrained(folder)(["nucleus", "a cell"], padding=True, return_tensors="pt")
    pixels = processor(images=[picture()] * 2, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        logits = network(**tokens, pixel_values=pixels, interpolate_pos_encoding=True).logits
        maps = nn.functional.interpolate(logits[:, None], picture().shape[:2], mode="bilinear", align_corners=False)
    found = load_model(name).text_maps(picture(), ["nucleus", "a cell"])
    assert maps.std() > 0.1, "a map of one value would prove nothing"
    np.testing.assert_allclose(found, maps[:, 0].sigmoid().numpy(), atol=2e-5)


@pytest.mark.parametrize("refined", [False, True])
def test_a_decoder_and_a_folder_of_clip_give_what_the_library_gives(tmp_path: Path, refined: bool) -> None:
    network = whole(refined)
    folder = clip_folder(network, tmp_path / "clip-b16")
    path = decoder_file(network, tmp_path / "rd64-uni.pth")
    with pytest.raises(CheckpointError, match=r"decoder alone.*hf:openai/clip-vit-base-patch16"):
        import_model(path)
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["models", "import", str(folder)])
    assert done.exit_code == 0, done.output
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["models", "import", str(path), "--name", "words"])
    assert done.exit_code == 0, done.output
    assert "it works on the CLIP of clip-b16" in " ".join(done.output.split())
    row = row_of("words")
    assert row.title == f"CLIPSeg rd16{' refined' if refined else ''}"
    same_maps(network, folder, "words")
    flat = fs.text(picture(), ["nucleus"], model="words", threshold=0.5)
    stack = fs.text(np.stack([picture()] * 2), ["nucleus"], model="words", axes="ZYXC", threshold=0.5)
    assert np.array_equal(stack.labels[0], flat.labels)


def test_a_folder_or_a_file_of_clip_can_be_named(tmp_path: Path) -> None:
    network = whole(refined=True)
    folder = clip_folder(network, tmp_path / "clip-b16")
    path = decoder_file(network, tmp_path / "rd64-uni-refined.pth", prefix="module.")
    import_model(path, "by-folder", facts={"clip": str(folder)})
    same_maps(network, folder, "by-folder")
    assert row_of("by-folder").assumed == ""
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / "model.safetensors", alone / "clip.safetensors")
    import_model(path, "by-file", facts={"clip": str(alone / "clip.safetensors")})
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_model("by-file")
    import_model(folder, "clip-here")
    same_maps(network, folder, "by-file")
    assert row_of("by-file").key != row_of("by-folder").key, "other files of CLIP are another model"
    import_model(folder, "again")
    import_model(path, "by-name", facts={"clip": "again"})
    same_maps(network, folder, "by-name")
    remove_model("again")
    forget_model("by-name")
    same_maps(network, folder, "by-name")


def test_a_clip_that_does_not_fit_or_has_changed_is_named(tmp_path: Path) -> None:
    network = whole(refined=False)
    path = decoder_file(network, tmp_path / "rd64-uni.pth")
    coarse = clip_folder(network, tmp_path / "clip-b32", patch=32)
    with pytest.raises(CheckpointError, match=r"patches of 16 pixels; .*clip-b32 has .*patches of 32 pixels"):
        import_model(path, facts={"clip": str(coarse)})
    import_model(coarse, "coarse")
    with pytest.raises(CheckpointError, match="not here"):
        import_model(path)
    with pytest.raises(CheckpointError, match="neither the name of a CLIP model"):
        import_model(path, facts={"clip": "nowhere"})
    folder = clip_folder(network, tmp_path / "clip-b16")
    name = import_model(path, facts={"clip": str(folder)}).name
    save_file({"other": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="other weights"):
        load_model(name)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="is not there"):
        load_model(name)


def test_an_incomplete_decoder_is_named(tmp_path: Path) -> None:
    network = whole(refined=False)
    folder = clip_folder(network, tmp_path / "clip-b16")
    tensors = torch.load(decoder_file(network, tmp_path / "whole.pth"))
    del tensors["blocks.1.linear2.weight"]
    torch.save(tensors, tmp_path / "cut.pth")
    name = import_model(tmp_path / "cut.pth", facts={"clip": str(folder)}).name
    with pytest.raises(CheckpointError, match="lack 1 of the tensors"):
        load_model(name)


def test_the_published_decoder_works_on_a_vit_b16() -> None:
    with torch.device("meta"):
        config = tf.CLIPSegConfig(vision_config={"patch_size": 16}, use_complex_transposed_convolution=True)
        decoder = tf.CLIPSegForImageSegmentation(config).decoder
    shapes = {
        name.replace("transposed_convolution", "trans_conv"): tuple(v.shape) for name, v in decoder.state_dict().items()
    }
    assert decoder_size(shapes) == (768, 512, 16)

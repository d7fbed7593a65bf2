"""CLIPSeg, CLIP and SigLIP in their published layouts equal the library's own results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from skimage.io import imread

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import CheckpointError, PromptError
from napari_foundseg.io.samples import sample
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import forget_model, load_model
from napari_foundseg.tasks.windows.heat_maps import blended_maps
from tests.support import tiny_checkpoints


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))


TINY_WEIGHTS = {
    "clipseg": lambda folder: [tiny_checkpoints.write("CLIPSegForImageSegmentation", folder / "clipseg-small")],
    "clip": lambda folder: [
        tiny_checkpoints.write(architecture, folder / architecture) for architecture in ("CLIPModel", "SiglipModel")
    ],
}


def tissue() -> np.ndarray:
    return np.ascontiguousarray(imread(sample("tissue"))[:64, :64, :3])


def test_clipseg_gives_what_the_library_gives_for_texts_and_pictures(tmp_path: Path) -> None:
    folder = tiny_checkpoints.write("CLIPSegForImageSegmentation", tmp_path / "clipseg-small")
    name = import_model(folder).name
    model = load_model(name)
    assert (model.window, model.longest_text) == (64, 77)
    rgb, example = tissue(), np.ascontiguousarray(tissue()[10:50, 5:60])
    texts = ["nucleus", "a much longer text 🔬", "细胞"]
    processor = transformers.CLIPSegProcessor(
        transformers.AutoImageProcessor.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    )
    network = transformers.CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        asked = processor(text=texts, images=[rgb] * 3, padding=True, return_tensors="pt")
        by_text = network(**asked).logits.sigmoid().numpy()
        shown = processor(images=[rgb], visual_prompt=[example], return_tensors="pt")
        by_picture = network(**shown).logits.sigmoid().reshape(64, 64).numpy()
    found = model.text_maps(rgb, [*texts, example])
    assert by_text.std() > 0.01, "a map of one value would prove nothing"
    np.testing.assert_allclose(found[:3], by_text, atol=2e-5)
    np.testing.assert_allclose(found[3], by_picture, atol=2e-5)
    larger = np.kron(rgb, np.ones((2, 3, 1), np.uint8))
    logits = torch.logit(torch.as_tensor(model.text_maps(larger, texts)))
    assert logits.shape == (3, 128, 192)
    result = fs.text(rgb, texts, model=name, threshold=0.5)
    assert [row.name for row in result.classes] == texts
    assert fs.text(np.stack([rgb, rgb]), texts, model=name, axes="ZYXC").labels.shape == (2, 64, 64)
    with pytest.raises(PromptError, match=r"tokens; clipseg-small takes 77"):
        fs.text(rgb, ["w" * 90], model=name)
    assert np.array_equal(fs.replay(result.provenance, rgb).labels, result.labels)


def test_windows_of_a_network_are_blended_without_seams(tmp_path: Path) -> None:
    model = load_model(import_model(tiny_checkpoints.write("CLIPSegForImageSegmentation", tmp_path / "clipseg")).name)

    def fine(pixels: np.ndarray) -> np.ndarray:
        """Return what the windows of 64 pixels have drawn: the mean of both scales without that of the whole."""
        region = (0, 0, pixels.shape[0] - 1, pixels.shape[1] - 1)
        image = fs.Image(pixels, normalisation=Limits(low=0, high=255))
        both, whole = (
            blended_maps(image, (), region, model, ["cell"], lambda: None, lambda _: None, most_scales=n)[0]
            for n in (2, 1)
        )
        return 2 * both.astype(float) - whole

    grey = fine(np.full((128, 192), 128, np.uint8))
    assert np.ptp(model.text_maps(np.full((64, 64, 3), 128, np.uint8), ["cell"])) > 0.01, "it knows places in a window"
    assert np.ptp(grey) <= 1e-3

    tolerance = 3e-3  # of half precision, thrice
    texture = np.kron(np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8), np.ones((8, 8), np.uint8))
    one, other = fine(texture), fine(texture[32:, 32:])
    assert one[64:, 64:].std() > 0.1
    assert one[64:, 64:] == pytest.approx(other[32:, 32:], abs=tolerance)


@pytest.mark.parametrize("architecture", ["CLIPModel", "SiglipModel"])
def test_clip_and_siglip_compare_as_the_library_does(tmp_path: Path, architecture: str) -> None:
    folder = tiny_checkpoints.write(architecture, tmp_path / "model")
    row = import_model(folder, name=architecture.lower())
    model = load_model(row.name)
    rgb = tissue()
    pictures, texts = [rgb, rgb[:30, :50], 255 - rgb], ["a cell", "debris"]
    images = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = getattr(transformers, architecture).from_pretrained(folder).eval()
    padding = "longest" if architecture == "CLIPModel" else "max_length"
    with torch.inference_mode():
        tokens = tokenizer(
            texts, padding=padding, max_length=network.config.text_config.max_position_embeddings, return_tensors="pt"
        )
        expected = network(**tokens, **images(images=pictures, return_tensors="pt")).logits_per_image.numpy()
    found = model.embed_pictures(pictures) @ model.embed_texts(texts).T * model.scale
    bias = float(getattr(network, "logit_bias", torch.zeros(1)).detach())
    np.testing.assert_allclose(found + bias, expected, atol=1e-4)
    labels = np.zeros((64, 64), np.uint16)
    labels[5:20, 5:30], labels[40:60, 30:50] = 1, 2
    result = fs.name_masks(rgb, labels, texts, model=row.name)
    assert result.table["class_name"].isin([*texts, "background"]).all()
    again = fs.replay(result.provenance, rgb)
    assert again.table.equals(result.table)


def test_a_model_without_text_and_missing_weights_are_named(tmp_path: Path) -> None:
    from napari_foundseg.core.errors import ModelNotFoundError

    with pytest.raises(ModelNotFoundError, match="TextMaps"):
        fs.text(tissue(), ["cell"], model="foundseg-tiny", method="heat maps")
    with pytest.raises(CheckpointError, match=r"(?s)CIDAS/clipseg-rd64-refined.*models import"):
        fs.text(tissue(), ["cell"])
    folder = tiny_checkpoints.write("CLIPSegForImageSegmentation", tmp_path / "clipseg-small")
    name = import_model(folder).name
    # Other tests have loaded the same weights.
    forget_model(name)
    for file in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"lacks tokenizer\.json"):
        fs.text(tissue(), ["cell"], model=name)

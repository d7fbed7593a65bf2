"""TopoLoRA-SAM from the layout of its trainer: equal to its layers written out, with the published numbers."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.families.classes.topolora import recognise
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from tests.support.small_sam import randomised, small_sam

pytestmark = pytest.mark.usefixtures("own_cache")

LAYOUT = Path(__file__).parents[3] / "data" / "layouts" / "topolora-sam-vit-b.json"


class _Low(nn.Module):
    """A linear layer with a low-rank term beside it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.lora_A = nn.Parameter(torch.randn(8, linear.in_features) * 0.1)
        self.lora_B = nn.Parameter(torch.randn(linear.out_features, 8) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + 2.0 * (x @ self.lora_A.T @ self.lora_B.T)


class _Trained(nn.Module):
    """The network as its trainer has it: low-rank terms beside the layers of the encoder, and the adapter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sam = small_sam()
        for block in self.sam.image_encoder.blocks:
            block.mlp.lin1, block.mlp.lin2 = _Low(block.mlp.lin1), _Low(block.mlp.lin2)
        width = self.sam.image_encoder.neck[0].out_channels
        self.adapter = nn.ModuleDict(
            {
                "dw": nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                "pw1": nn.Conv2d(width, width, 1, bias=False),
                "norm": nn.BatchNorm2d(width),
                "pw2": nn.Conv2d(width, width, 1, bias=False),
            }
        )
        randomised(self.adapter, 1)
        self.eval()

    def forward(self, rgb: np.ndarray) -> Tensor:
        x = torch.as_tensor(rgb).movedim(-1, 0)[None].float()
        side = self.sam.image_encoder.img_size
        x = functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
        seen = self.sam.image_encoder((x - self.sam.pixel_mean) / self.sam.pixel_std)
        part = self.adapter
        seen = seen + part["pw2"](functional.gelu(part["norm"](part["pw1"](part["dw"](seen)))))
        sparse, dense = self.sam.prompt_encoder(points=None, boxes=None, masks=None)
        low, _ = self.sam.mask_decoder(seen, self.sam.prompt_encoder.get_dense_pe(), sparse, dense, False)
        return functional.interpolate(low, rgb.shape[:2], mode="bilinear")[0, 0]


def _saved(path: Path, network: nn.Module | None = None) -> Path:
    state = (network or _Trained()).state_dict()
    torch.save({"state_dict": {f"net.{name}": value for name, value in state.items()}, "epoch": 3}, path)
    return path


TINY_WEIGHTS = {"topolora": lambda folder: [_saved(folder / "topolora.ckpt")]}


@pytest.mark.parametrize("shape", [(90, 140), (64, 50)])
def test_it_equals_its_layers_written_out(tmp_path: Path, shape: tuple[int, int]) -> None:
    network = _Trained()
    row = import_model(_saved(tmp_path / "vessels.ckpt", network))
    assert (row.family, row.classes) == ("topolora", ("background", "foreground"))
    assert "alpha 16, rank 8" in row.assumed
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    model = load_model(row.name)
    with torch.inference_mode():
        expected = network(rgb)
        found = model.network(torch.as_tensor(rgb).movedim(-1, 0)[None].float())
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    assert 0 < float((expected > 0).float().mean()) < 1
    assert np.array_equal(model.semantic(rgb), (found > 0).numpy())
    done = fs.semantic(fs.Image(rgb, axes="YXC"), model=row.name)
    assert done.labels.shape == shape
    assert [entry.name for entry in done.classes] == ["foreground"]


def test_the_published_layout_has_the_published_numbers() -> None:
    layout = {f"state_dict.net.{k}": tuple(v) for k, v in json.loads(LAYOUT.read_text("utf-8")).items()}
    fields = recognise(WeightsView(Path("topolora.ckpt"), layout, {}))
    assert fields is not None
    assert fields["title"] == "TopoLoRA-SAM ViT-B"
    trained = (".lora_A", ".lora_B", "mask_decoder.", "net.adapter.")
    counted = {k: prod(v) for k, v in layout.items() if "running" not in k and "num_batches" not in k}
    trainable = sum(n for name, n in counted.items() if any(part in name for part in trained))
    assert trainable == 4_929_508
    assert round(100 * trainable / sum(counted.values()), 2) == 5.21


def test_no_low_rank_terms_are_the_base_bit_for_bit(tmp_path: Path) -> None:
    network = _Trained()
    for block in network.sam.image_encoder.blocks:
        nn.init.zeros_(block.mlp.lin1.lora_B)
        nn.init.zeros_(block.mlp.lin2.lora_B)
    model = load_model(import_model(_saved(tmp_path / "zero.ckpt", network)).name)
    base = small_sam().state_dict()
    assert all(torch.equal(value, base[name]) for name, value in model.network.sam.state_dict().items())


def test_other_ranks_and_halves_are_named(tmp_path: Path) -> None:
    network = _Trained()
    layer = network.sam.image_encoder.blocks[0].mlp.lin1
    layer.lora_A, layer.lora_B = (nn.Parameter(x) for x in (layer.lora_A[:4].detach(), layer.lora_B[:, :4].detach()))
    with pytest.raises(CheckpointError, match="LoRA layers of rank 4"):
        import_model(_saved(tmp_path / "four.ckpt", network))
    del layer.lora_B
    with pytest.raises(CheckpointError, match=r"blocks\.0\.mlp\.lin1 has the shapes"):
        import_model(_saved(tmp_path / "half.ckpt", network))


def test_low_rank_terms_without_the_adapter_are_named(tmp_path: Path) -> None:
    network = _Trained()
    del network.adapter
    with pytest.raises(CheckpointError, match="without the adapter that TopoLoRA-SAM has"):
        import_model(_saved(tmp_path / "none.ckpt", network))

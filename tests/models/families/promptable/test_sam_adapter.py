"""LoRA adapters for SAM: merged weights against PEFT's forward pass, and adapters that cannot be used."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from napari_foundseg.cli import app
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.catalog import base_of, row, save_row, user_rows
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.nets.sam.sam_build import build_sam
from tests.support.small_sam import randomised, small_shapes

pytestmark = pytest.mark.usefixtures("own_cache")
#: Written by tests/oracles/lora_outputs.py.
FROZEN = Path(__file__).parents[3] / "data" / "lora"


def base_file(folder: Path, seed: int = 0, name: str = "small-sam") -> Path:
    path = folder / f"{name}.pth"
    torch.save(randomised(build_sam(small_shapes()), seed).state_dict(), path)
    return path


def adapter_folder(folder: Path, **settings: Any) -> Path:
    """Copy the frozen adapter, with other settings."""
    copy = folder / "adapter"
    shutil.copytree(FROZEN, copy)
    file = copy / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | settings), "utf-8")
    return copy


def change_tensors(folder: Path, change: Any) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name: value.contiguous() for name, value in change(load_file(file)).items()}, file)


def _with_base(folder: Path) -> list[Path]:
    import_model(base_file(folder))
    return [adapter_folder(folder)]


TINY_WEIGHTS = {"sam_adapter": _with_base}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return _with_base(tmp_path)[0]


def features(model: Any) -> np.ndarray:
    with np.load(FROZEN / "outputs.npz") as stored, torch.inference_mode():
        return model.sam.image_encoder(torch.from_numpy(stored["picture"]) / 255).numpy()


def test_merged_weights_give_what_peft_gives(adapter: Path) -> None:
    imported = import_model(adapter)
    assert imported.title.startswith("adapter on SAM")
    assert imported.options["base"] == "small-sam"
    model = load_model(imported.name)
    with np.load(FROZEN / "outputs.npz") as stored:
        assert_allclose(features(model), stored["features"], atol=1e-5)
    assert np.abs(features(model) - features(load_model("small-sam"))).max() > 0.01


def test_the_terms_of_its_base_are_shown_beside_its_own(adapter: Path) -> None:
    row = import_model(adapter)
    base = base_of(row)
    assert base is not None
    save_row(replace(base, weights_licence="CC-BY-NC-4.0"))
    done = CliRunner().invoke(app, ["models", "show", row.name])
    assert "weights licence  unknown" in done.output
    assert "base licences    code unknown; weights CC-BY-NC-4.0" in done.output


def test_its_file_in_a_dialog_is_its_folder(adapter: Path) -> None:
    assert import_model(adapter / "adapter_model.safetensors").file == str(adapter)


@pytest.mark.parametrize("rslora", [True, False])
def test_the_merged_weight_is_w_plus_s_b_a(adapter: Path, rslora: bool) -> None:
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text("utf-8"))
    config |= {"use_rslora": rslora, "rank_pattern": {"lin1": 2}, "alpha_pattern": {}, "lora_alpha": 6}
    file.write_text(json.dumps(config), "utf-8")
    own = load_model(import_model(adapter).name).sam.state_dict()
    before = load_model("small-sam").sam.state_dict()
    tensors = load_file(adapter / "adapter_model.safetensors")
    for layer, rank in (("attn.qkv", 4), ("mlp.lin1", 2)):
        module = f"image_encoder.blocks.0.{layer}"
        a, b = (tensors[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
        scale = 6 / (rank**0.5 if rslora else rank)
        assert_allclose(own[f"{module}.weight"], before[f"{module}.weight"] + scale * b @ a, atol=1e-5)


def test_an_adapter_that_was_not_trained_is_the_base(adapter: Path, picture: np.ndarray) -> None:
    change_tensors(adapter, lambda all_: {n: v * 0 if "lora_B" in n else v for n, v in all_.items()})
    model, base = load_model(import_model(adapter).name), load_model("small-sam")
    for name, value in base.sam.state_dict().items():
        assert torch.equal(value, model.sam.state_dict()[name]), name
    box = [Prompt(box=(5, 6, 60, 70))]
    ours, theirs = (one.decode(one.encode(picture), box, multimask=False)[0] for one in (model, base))
    assert np.array_equal(ours.predicted_iou, theirs.predicted_iou)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model.model.image_encoder.blocks.", "base_model.model.vision_encoder.layers."),
        ("base_model.model.image_encoder.", "base_model.model.sam.image_encoder."),
        ("base_model.model.", ""),
        ("base_model.model.image_encoder.", "base_model.model."),
        (".weight", ".default.weight"),
    ],
)
def test_names_of_others_are_the_same_modules(tmp_path: Path, old: str, new: str) -> None:
    import_model(base_file(tmp_path))
    adapter = adapter_folder(tmp_path, alpha_pattern={"mlp.lin1": 3})

    def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept = {name: value for name, value in tensors.items() if ".blocks." in name}
        return {name.replace(old, new): value for name, value in kept.items()}

    change_tensors(adapter, lambda tensors: {name: value for name, value in tensors.items() if ".blocks." in name})
    expected = features(load_model(import_model(adapter, name="as-saved").name))
    change_tensors(adapter, renamed)
    assert np.array_equal(features(load_model(import_model(adapter, name="renamed").name)), expected)


def test_modules_that_were_trained_whole_replace_the_bases(adapter: Path) -> None:
    token = torch.full((4, 16), 0.25)
    change_tensors(adapter, lambda all_: all_ | {"base_model.model.mask_decoder.mask_tokens.weight": token})
    assert torch.equal(load_model(import_model(adapter).name).sam.mask_decoder.mask_tokens.weight, token)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"peft_type": "IA3"}, "another kind, IA3"),
        ({"bias": "all"}, "trained with biases"),
        ({"init_lora_weights": "pissa"}, "changed base"),
        ({"r": 0}, "rank r: 0"),
        ({"r": 8}, "has rank 4 at .*says 8"),
        ({"lora_alpha": "much"}, "lora_alpha: 'much'"),
        ({"lora_alpha": 10**400}, "lora_alpha: 1000"),
        ({"alpha_pattern": {"lin1": 1e300}}, "lin1: 1e"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "by the pattern"),
        ({"base_model_name_or_path": None}, "does not name its base.*small-sam"),
        ({"base_model_name_or_path": "owner/other"}, "not a SAM of the catalogue.*small-sam"),
        ({"base_model_name_or_path": "facebook/sam-vit-base"}, "Download sam-vit-b first"),
    ],
)
def test_an_adapter_that_cannot_be_used_says_why(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    import_model(base_file(tmp_path))
    with pytest.raises(CheckpointError, match=message):
        import_model(adapter_folder(tmp_path, **settings))


def _wider(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(4, 48) if name.endswith("qkv.lora_A.weight") else v for name, v in tensors.items()}


def _half(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if not name.endswith("0.attn.qkv.lora_B.weight")}


def _deeper(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("blocks.1", "blocks.7"): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_wider, "another base than small-sam: .*48.*small-sam has .*32"),
        (_deeper, "another base than small-sam: .*blocks.7.* is not in it"),
        (_half, "incomplete: image_encoder.blocks.0.attn.qkv has lora_A alone"),
        (lambda all_: {f"model.{n}".replace("image_encoder.blocks", "h"): v for n, v in all_.items() if "blocks" in n},
         "an adapter for small-sam: not supported yet"),
        (lambda all_: all_ | {"base_model.model.image_encoder.blocks.0.attn.qkv.lora_magnitude_vector": torch.ones(96)},
         "a tensor besides LoRA's A and B"),
    ],
)  # fmt: skip
def test_an_adapter_of_another_base_is_named(adapter: Path, change: Any, message: str) -> None:
    right = shutil.copytree(adapter, adapter.with_name("right"))
    before = set(user_rows())
    change_tensors(adapter, change)
    with pytest.raises(CheckpointError, match=message):
        import_model(adapter)
    assert set(user_rows()) == before, "nothing is left of it"
    assert load_model(import_model(right).name)


def test_an_adapter_without_its_configuration_is_named(adapter: Path) -> None:
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"without its adapter_config\.json"):
        import_model(adapter / "adapter_model.safetensors")


def test_its_key_holds_the_base_and_the_strength(adapter: Path, tmp_path: Path) -> None:
    first = import_model(adapter)
    (adapter / "adapter_config.json").write_text(
        (adapter / "adapter_config.json").read_text("utf-8").replace('"lora_alpha": 6', '"lora_alpha": 60'), "utf-8"
    )
    before = load_model(first.name)
    assert before.key == first.key
    stronger = import_model(adapter)
    assert (stronger.name, stronger.sha256) == (first.name, first.sha256)
    assert stronger.key != first.key
    assert np.abs(features(load_model(stronger.name)) - features(before)).max() > 0.01
    # The base becomes another one under its name.
    base = tmp_path / "small-sam.pth"
    base.unlink()
    import_model(base_file(tmp_path, seed=3), name="small-sam")
    again = import_model(adapter)
    assert again.key not in (stronger.key, first.key)


def test_a_base_that_is_gone_or_another_is_named(adapter: Path, tmp_path: Path) -> None:
    imported = import_model(adapter)
    base = tmp_path / "small-sam.pth"
    kept = base.rename(tmp_path / "kept.pth")
    with pytest.raises(CheckpointError, match=r"small-sam, which it is for, is not on this computer\. Download"):
        load_model(imported.name)
    import_model(base_file(tmp_path, seed=3), name="small-sam")
    with pytest.raises(CheckpointError, match="Import the adapter again"):
        load_model(imported.name)
    shutil.copy(kept, base)
    import_model(base, name="small-sam")
    assert load_model(imported.name).key == row(imported.name).key

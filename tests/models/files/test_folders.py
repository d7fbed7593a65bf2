"""Folders of transformers from anybody: nothing that they bring along is run, and what disagrees is named."""

from __future__ import annotations

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from napari_foundseg.api import semantic
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models import loading
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from tests.support import ROOT, tiny_checkpoints

SEGFORMER = "SegformerForSemanticSegmentation"
RGB = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", OrderedDict())
    # Whoever asks on the terminal is told yes.
    monkeypatch.setattr("builtins.input", lambda *_: "y")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a good folder once."""
    made: dict[str, Path] = {}

    def write(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = tiny_checkpoints.write(architecture, tmp_path_factory.mktemp("good") / "model")
        return made[architecture]

    return write


@pytest.fixture
def folder(tmp_path: Path, written: Callable[[str], Path]) -> Path:
    return Path(shutil.copytree(written(SEGFORMER), tmp_path / "model"))


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def poison(folder: Path) -> Path:
    """Write modules that leave a mark if anything of them is run; return the mark."""
    mark = folder.parent / "owned"
    for name in ("evil", "modeling_evil", "__init__", "kernel"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    return mark


POISONED = {
    "a network": ("config.json", {"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}),
    "a network of no known kind": ("config.json", {"auto_map": {"AutoConfig": "evil.Evil"}, "model_type": "evil"}),
    "a part of a network": ("config.json", {"backbone_config": {"auto_map": {"AutoConfig": "evil.Evil"}}}),
    "an image processor": ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.Evil"}}),
    "a processor": ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Evil"}}),
    "a tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}),
    "a pipeline": ("config.json", {"custom_pipelines": {"evil": {"impl": "evil.Evil"}}}),
    "a kernel": ("config.json", {"attn_implementation": "evil/kernel"}),
    "a kernel, in the other spelling": ("config.json", {"_attn_implementation": "evil/kernel@main:run"}),
    "a kernel of a part": ("config.json", {"attn_implementation": {"": "sdpa", "vision_config": "evil/kernel"}}),
    "a kernel of experts": ("config.json", {"experts_implementation": "evil/kernel"}),
    "kernels": ("config.json", {"use_kernels": True}),
    "a table of kernels": ("config.json", {"kernel_config": {"RMSNorm": "evil/kernel"}}),
    "packed numbers": ("config.json", {"quantization_config": {"quant_method": "evil"}}),
}


@pytest.mark.parametrize("what", POISONED)
def test_a_folder_that_names_code_is_refused_and_nothing_is_run(folder: Path, what: str) -> None:
    row = import_model(folder)
    mark = poison(folder)
    file, values = POISONED[what]
    change(folder / file, **values)
    with pytest.raises(CheckpointError, match=rf"{file} (names|says)"):
        import_model(folder, name="again")
    # One that has changed since its import is no better.
    with pytest.raises(CheckpointError, match=rf"{file} (names|says)"):
        load_model(row.name)
    assert not mark.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"backbone": "./evil", "use_timm_backbone": False},
        {"backbone": "evil/place", "use_timm_backbone": False},
        {"backbone": "hf-hub:evil/place", "use_timm_backbone": True},
        {"backbone_kwargs": {"checkpoint_path": "evil.pth"}},
        {"backbone_config": {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/place"}},
        {"backbone_config": {"model_type": "timm_wrapper", "model_args": {"features_only": True, "file": "evil.pth"}}},
        {"pretrained_cfg": {"file": "evil.pth"}},
    ],
)
def test_a_folder_that_names_another_place_is_refused(folder: Path, values: dict[str, Any]) -> None:
    row = import_model(folder)
    change(folder / "config.json", **values)
    with pytest.raises(CheckpointError, match="another place"):
        load_model(row.name)


def test_what_lies_beside_the_weights_is_not_opened(folder: Path, written: Callable[[str], Path]) -> None:
    expected = semantic(RGB, model=import_model(written(SEGFORMER), name="good").name).labels

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"echo owned > '{folder.parent / 'owned'}'",)

    torch.save({"a": Runs()}, folder / "pytorch_model.bin")
    torch.save({"a": Runs()}, folder / "adapter_model.bin")
    change(folder / "adapter_config.json", base_model_name_or_path=str(folder.parent / "elsewhere"), peft_type="LORA")
    change(folder / "model.safetensors.index.json", weight_map={"a": "../elsewhere.safetensors"})
    change(folder / "config.json", _attn_implementation="flash_attention_2", use_pretrained_backbone=True)
    mark = poison(folder)
    assert np.array_equal(semantic(RGB, model=import_model(folder).name).labels, expected)
    assert not mark.exists()


def test_a_pickle_instead_of_safe_weights_is_read_without_running_it(
    folder: Path, written: Callable[[str], Path]
) -> None:
    from safetensors.torch import load_file

    expected = semantic(RGB, model=import_model(written(SEGFORMER), name="good").name).labels
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    assert np.array_equal(semantic(RGB, model=import_model(folder).name).labels, expected)

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"echo owned > '{folder.parent / 'owned'}'",)

    torch.save(tensors | {"a": Runs()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="Nothing was run"):
        import_model(folder, name="again")
    assert not (folder.parent / "owned").exists()


def test_there_is_one_call_of_transformers_own_readers() -> None:
    calls = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "src").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if ".from_pretrained(" in line or "torch.load(" in line or "pickle.load(" in line
    ]
    assert len(calls) == 1, calls
    assert "trust_remote_code=False" in calls[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("architecture", [SEGFORMER, "Mask2FormerForUniversalSegmentation"])
def test_a_folder_of_half_precision_runs_as_the_same_numbers_in_full(
    tmp_path: Path, written: Callable[[str], Path], architecture: str, dtype: torch.dtype
) -> None:
    half = Path(shutil.copytree(written(architecture), tmp_path / "half"))
    network = getattr(transformers, architecture).from_pretrained(half).to(dtype)
    network.save_pretrained(half)
    assert json.loads((half / "config.json").read_text())["dtype"] == str(dtype).partition(".")[2]
    full = Path(shutil.copytree(half, tmp_path / "full"))
    network.float().save_pretrained(full)
    found = [semantic(RGB, model=import_model(path, name=path.name).name).labels for path in (half, full)]
    assert np.array_equal(*found)
    assert found[0].any()


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("preprocessor_config.json", {"size": {"height": 0, "width": 0}}, "size: height 0"),
        ("preprocessor_config.json", {"size": {"height": -5, "width": 64}}, "size: height -5"),
        ("preprocessor_config.json", {"size": {"height": 10**6, "width": 10**6}}, "size: height 1000000"),
        ("preprocessor_config.json", {"size": "large"}, "image processor"),
        ("preprocessor_config.json", {"image_processor_type": "EvilProcessor"}, "image processor"),
        ("config.json", {"num_labels": 50_000_000, "id2label": None}, "num_labels"),
        ("config.json", {"id2label": {"0": "a", "90000000": "b"}}, "id2label"),
        ("config.json", {"depths": "many"}, "config.json|network"),
        ("config.json", {"depths": [0, 0, 0, 0]}, "smaller network"),
        ("config.json", {"depths": [1, 1, 1, 3]}, "lack"),
        ("config.json", {"num_attention_heads": [0, 0, 0, 0]}, "network"),
        ("config.json", {"model_type": "nothing"}, "nothing"),
    ],
)
def test_settings_that_cannot_be_are_named(folder: Path, file: str, values: dict[str, Any], words: str) -> None:
    row = import_model(folder)
    change(folder / file, **values)
    with pytest.raises(CheckpointError, match=words):
        load_model(row.name)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{", "\udcff", '{"a": ' * 200 + "1" + "}" * 200])
def test_json_that_is_none_is_named(folder: Path, file: str, text: str) -> None:
    row = import_model(folder)
    (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError):
        load_model(row.name)
    if file == "config.json":
        with pytest.raises(CheckpointError):
            import_model(folder, name="again")


@pytest.mark.parametrize(
    "text", ["{}", "[" * 100_000, '{"version": "1.0", "model": {"type": "BPE", "vocab": 5}}', "\0"]
)
def test_a_tokenizer_that_is_none_is_named(tmp_path: Path, written: Callable[[str], Path], text: str) -> None:
    folder = Path(shutil.copytree(written("CLIPModel"), tmp_path / "clip"))
    row = import_model(folder)
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_model(row.name)


def test_a_tokenizer_of_another_network_is_named(tmp_path: Path, written: Callable[[str], Path]) -> None:
    folder = Path(shutil.copytree(written("CLIPModel"), tmp_path / "clip"))
    row = import_model(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {word: number + 10_000 for word, number in vocabulary.items()}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="disagree"):
        load_model(row.name)

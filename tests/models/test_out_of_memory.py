"""Out of memory: which steps are taken, in which order, and that each is written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import napari_foundseg as fs
from napari_foundseg.core.image import Image
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.out_of_memory import Fallbacks, is_out_of_memory, with_fallbacks
from napari_foundseg.models.sam.sam_model import SamModel
from napari_foundseg.tasks.windows import embeddings


def test_the_steps_are_freeing_halving_and_the_cpu() -> None:
    tried: list[tuple[str, int]] = []
    device = ["cuda"]

    def run(batch: int) -> str:
        tried.append((device[0], batch))
        if device[0] == "cuda" or len(tried) < 6:
            raise torch.OutOfMemoryError("fake")
        return "done"

    def to_cpu() -> bool:
        moved, device[0] = device[0] != "cpu", "cpu"
        return moved

    fallbacks = Fallbacks()
    assert with_fallbacks(run, 4, "encoding", fallbacks, to_cpu) == "done"
    assert tried == [("cuda", 4), ("cuda", 4), ("cuda", 2), ("cuda", 1), ("cpu", 1), ("cpu", 1)]
    notes = fallbacks.taken()
    assert [word in " ".join(notes) for word in ("freed", "2 at once", "1 at once", "CPU")] == [True] * 4
    # What lasts is told of again, what a run did by itself is not.
    assert [("CPU" in note) for note in fallbacks.taken()] == [True]


def test_what_is_no_lack_of_memory_is_raised_at_once() -> None:
    def run(_batch: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        with_fallbacks(run, 4, "encoding", Fallbacks(), lambda: True)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))


def test_where_even_the_cpu_has_none_the_last_error_comes_through() -> None:
    def run(_batch: int) -> None:
        raise torch.OutOfMemoryError("fake")

    with pytest.raises(torch.OutOfMemoryError):
        with_fallbacks(run, 2, "encoding", Fallbacks(), lambda: False)


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 60, (180, 230), dtype=np.uint8)
    picture[50:90, 60:110] += 150
    return picture


class Scarce:
    """Lets a method fail a number of times."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str, times: int, at: Any = lambda *_: True) -> None:
        self.left, original = times, getattr(owner, name)

        def scarce(*args: Any, **options: Any) -> Any:
            if self.left and at(*args):
                self.left -= 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return original(*args, **options)

        patch.setattr(owner, name, scarce)


@pytest.mark.parametrize("method", ["grid", "decoder"])
def test_an_automatic_run_goes_on_with_less_and_says_so(
    picture: np.ndarray, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fs.load_model("foundseg-tiny")
    options = {"method": method, **({"points_per_side": 6} if method == "grid" else {})}
    expected = fs.automatic(picture, model=model, **options)
    if method == "grid":
        Scarce(monkeypatch, SamModel, "_masks_at", 3)
    else:
        # Windows of more than half the size do not fit.
        Scarce(monkeypatch, type(model), "instance_maps", 99, lambda _model, rgb: max(rgb.shape[:2]) > 200)
    found = fs.automatic(picture, model=model, **options)
    notes = " ".join(found.provenance["fallbacks"])
    assert "freed" in notes
    assert ("16 at once" if method == "grid" else "half the size") in notes
    assert len(found) == len(expected)
    assert ((found.labels > 0) != (expected.labels > 0)).mean() < 0.01
    assert "out of memory" not in " ".join(fs.automatic(picture[:60, :60], model=model).provenance["fallbacks"])


def test_encoding_and_prompting_go_on_and_say_so(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fs.load_model("foundseg-tiny")
    monkeypatch.setattr(embeddings, "_kept", type(embeddings._kept)())
    monkeypatch.setenv("FOUNDSEG_CACHE_GB", "0")
    Scarce(monkeypatch, SamModel, "_encoded", 1)
    Scarce(monkeypatch, SamModel, "_decode_alike", 2)
    found = fs.prompt(Image(picture), Prompt(points=[(70, 80)]), model=model)
    notes = " ".join(found.provenance["fallbacks"])
    assert "memory in encoding" in notes
    assert "8 at once" in notes
    assert found.labels[70, 80] == 1

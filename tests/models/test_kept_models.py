"""How many loaded models are kept: as many as fit into memory, each device for itself."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from napari_foundseg.models import loading
from napari_foundseg.models.catalog import row
from napari_foundseg.models.kept_models import Key, device_memory, make_room, model_bytes

pytestmark = pytest.mark.usefixtures("own_cache")
_MEGABYTE = 1_000_000


def _model(name: str, megabytes: int = 1) -> Any:
    return SimpleNamespace(name=name, network=torch.nn.Linear(megabytes * _MEGABYTE // 4, 1, bias=False))


def _key(number: int, device: str = "cpu") -> Key:
    return (str(number), "hash", device)


def _add(loaded: OrderedDict[Key, Any], number: int, total: int, *, free: int | None = None, megabytes: int = 1,
         device: str = "cpu") -> None:  # fmt: skip
    """Load one more model on a computer of so many megabytes."""
    memory = (total * _MEGABYTE, (total if free is None else free) * _MEGABYTE)
    make_room(loaded, device, megabytes * _MEGABYTE, lambda _device: memory)
    loaded[_key(number, device)] = _model(str(number), megabytes)


def test_small_models_are_all_kept() -> None:
    loaded: OrderedDict[Key, Any] = OrderedDict()
    for number in range(8):
        _add(loaded, number, total=100)
    assert [key[0] for key in loaded] == list("01234567")


def test_the_least_recently_used_goes_when_memory_is_full() -> None:
    loaded: OrderedDict[Key, Any] = OrderedDict()
    for number in range(4):
        _add(loaded, number, total=10)  # of which models may fill 4
    loaded.move_to_end(_key(0))
    _add(loaded, 4, total=10)
    assert [key[0] for key in loaded] == ["2", "3", "0", "4"]


def test_the_memory_of_other_programs_is_not_taken() -> None:
    loaded: OrderedDict[Key, Any] = OrderedDict()
    _add(loaded, 0, total=1000)
    _add(loaded, 1, total=1000, free=1, megabytes=2)
    assert [key[0] for key in loaded] == ["1"]


def test_the_latest_model_is_kept_however_large_it_is() -> None:
    loaded: OrderedDict[Key, Any] = OrderedDict()
    for number in range(2):
        _add(loaded, number, total=1, megabytes=2)
    assert [key[0] for key in loaded] == ["1"]


def test_each_device_has_a_limit_of_its_own() -> None:
    loaded: OrderedDict[Key, Any] = OrderedDict()
    for number, device in enumerate(("cpu", "cuda:0", "cpu", "cuda:0")):
        _add(loaded, number, total=5, device=device)  # of which models may fill 2
    assert len(loaded) == 4


def test_all_networks_of_a_model_count_once() -> None:
    network = torch.nn.Linear(100, 10, bias=False)
    model = SimpleNamespace(parts={"encoder": network, "again": network}, inner=SimpleNamespace(head=network), name="a")
    assert model_bytes(model) == 4000
    assert model_bytes(SimpleNamespace(name="none")) == 0


def test_this_computer_has_memory_and_some_of_it_is_free() -> None:
    total, free = device_memory("cpu")
    assert total >= free > 0


def test_a_loaded_model_is_used_again_and_can_be_let_go() -> None:
    first = loading.load_model("foundseg-tiny", device="cpu")
    assert model_bytes(first) >= 1e6 * row("foundseg-tiny").size_mb
    assert loading.load_model("foundseg-tiny", device="cpu") is first
    assert loading.forget_model("foundseg-tiny")
    assert not loading.forget_model("foundseg-tiny")
    assert loading.load_model("foundseg-tiny", device="cpu") is not first


def test_where_memory_runs_out_the_others_go_and_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loading._loaded[_key(0)] = _model("0")
    load = loading._load

    def full(*args: Any) -> Any:
        if len(loading._loaded):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return load(*args)

    monkeypatch.setattr(loading, "_load", full)
    assert loading.load_model("foundseg-tiny", device="cpu").name == "foundseg-tiny"
    assert _key(0) not in loading._loaded

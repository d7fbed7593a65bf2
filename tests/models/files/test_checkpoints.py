from __future__ import annotations

import argparse
import codecs
import collections
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.files.checkpoints import read_config, read_shapes, read_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


class Poison:
    """Runs a command wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"echo owned > '{self.path}'",)


def test_every_kind_of_file_gives_the_same_tensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    torch.save(TENSORS, tmp_path / "w.pth")
    torch.save(TENSORS, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "w.pth", "old.pt"):
        found = read_tensors(tmp_path / name)
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in TENSORS.items())
        assert read_shapes(tmp_path / name) == {"a.weight": (2, 3), "a.bias": (2,)}


def test_a_folder_is_read_whole_and_its_safe_files_before_its_pickles(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "model-00002-of-00002.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    assert read_shapes(tmp_path) == {"a": (1,), "b": (2,)}
    assert read_config(tmp_path) == {"model_type": "sam"}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_of_arrays_gives_tensors(tmp_path: Path, protocol: int) -> None:
    """As detectron2 publishes weights; protocol 2 writes bytes as text."""
    by_columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": by_columns,
        "c": np.array(7, np.int64),
        "d": np.arange(3, dtype=">f4"),
        "e": np.float32(2),
    }
    content = {"model": collections.OrderedDict(arrays), "__author__": "somebody", "iterations": [1, 2]}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_tensors(tmp_path / "w.pkl")
    assert found.keys() == {f"model.{name}" for name in arrays}
    for name, array in arrays.items():
        assert np.array_equal(found[f"model.{name}"].numpy(), array)
    assert read_shapes(tmp_path / "w.pkl")["model.c"] == ()


class Called:
    """Has a function called wherever it is unpickled."""

    def __init__(self, function: object, *values: object) -> None:
        self.parts = (function, values)

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


@pytest.mark.parametrize(
    "content",
    [
        np.array([{}], object),
        np.array(["text"]),
        Called(np.ndarray, (3,)),
        Called(np.frombuffer, b"1234", np.uint8),
        Called(codecs.encode, "text", "rot13"),
        argparse.Namespace(x=1),
    ],
)
def test_whatever_else_a_pickle_of_arrays_holds_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": np.zeros(2), "x": [content]}))
    with pytest.raises(CheckpointError, match=r"may hold code; nothing of it was run"):
        read_tensors(tmp_path / "w.pkl")


def test_options_of_a_training_package_are_left_empty(tmp_path: Path) -> None:
    content = {
        "state_dict": collections.OrderedDict(TENSORS),
        "hyper_parameters": argparse.Namespace(data=Path("there"), rate=1.0),
        "decoder_state": {"base": {"weight": torch.zeros(1)}},
    }
    torch.save(content, tmp_path / "w.ckpt")
    found = read_tensors(tmp_path / "w.ckpt")
    assert found.keys() == {"state_dict.a.weight", "state_dict.a.bias", "decoder_state.base.weight"}
    assert torch.equal(found["state_dict.a.weight"], TENSORS["a.weight"])


@pytest.mark.parametrize("where", ["beside", "instead", "nested", "old", "bare"])
def test_poison_is_named_and_nothing_of_it_runs(tmp_path: Path, where: str) -> None:
    path, mark = tmp_path / "w.pth", tmp_path / "owned"
    poison = Poison(mark)
    content = {
        "instead": poison,
        "nested": {"state_dict": TENSORS, "more": [argparse.Namespace(x=poison)]},
    }.get(where, TENSORS | {"x": poison})
    if where == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=where != "old")
    with pytest.raises(CheckpointError, match=r"nothing of it was run|Nothing was run"):
        read_tensors(path)
    with pytest.raises(CheckpointError):
        read_shapes(path)
    assert not mark.exists()


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("w.pth", cut, "cut short"),
        ("w.safetensors", cut, "cut short"),
        ("w.safetensors", lambda data: data[:9] + b"\xff" * 20 + data[29:], "damaged"),
        ("w.pth", lambda _: b"", "empty"),
        ("w.pth", lambda _: b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        ("w.safetensors", lambda _: b"  <html>404</html>", "web page"),
        ("w.pth", lambda _: b'{"error": "gated"}', "JSON"),
        ("w.safetensors", lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        ("w.pth", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(100), "picture"),
        (
            "w.pth",
            lambda _: b"\xc3\x28" * 500,
            r"not a known kind of weights file.*expected a file that torch\.save wrote.*got one that begins with c3 28",
        ),
        ("w.pth", lambda _: b"\x80\x02" + b"\xff" * 500, "damaged"),
    ],
)
def test_a_damaged_or_wrong_file_is_named_for_what_it_is(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes], words: str
) -> None:
    path = tmp_path / name
    good = {"a": torch.zeros(1000)}
    save_file(good, path) if name.endswith("s") else torch.save(good, path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    for read in (read_tensors, read_shapes):
        with pytest.raises(CheckpointError, match=words):
            read(path)
    # Trying again with the right file works.
    path.write_bytes(whole)
    assert read_shapes(path) == {"a": (1000,)}


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_tensors(tmp_path)

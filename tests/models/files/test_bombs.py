"""Small files that describe much: they are refused before memory is taken for what they describe."""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.files.checkpoints import read_shapes, read_tensors
from tests.support import child_environment, tiny_checkpoints
from tests.support.small_sam import small_sam

_NOTHING = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
#: What a child may need beyond what it has once torch is imported: the files here have a few MB at most.
_MORE_BYTES = 1 << 30
_CHILD = """
import json, resource, sys, time
import torch, transformers, segment_anything
from pathlib import Path
from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.models.families import families, family_module
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.importing import import_model, view_weights
families()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {more}, used + {more}))
row = dict(revision="", code_licence="", weights_licence="", input="", citation="", sha256="0", size_mb=1, title="bomb")
for path, family, options in json.loads(sys.stdin.read()):
    def load():
        known = CatalogRow(name="bomb", family=family, options=options, protocols=(), **row)
        return family_module(family).load(known, Path(path), "cpu")
    for what, step in (("read", lambda: import_model(path)), ("load", load)):
        began = time.monotonic()
        try:
            step()
            outcome = "accepted"
        except FoundsegError as error:
            outcome = type(error).__name__
        except BaseException as error:
            outcome = f"unnamed {{type(error).__name__}}: {{error}}"
        print(json.dumps([Path(path).name, what, outcome, time.monotonic() - began]), flush=True)
"""


class Calls:
    """Has a function called wherever it is unpickled."""

    def __init__(self, function: object, *values: object) -> None:
        self.parts = (function, values)

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


def test_a_pickle_that_asks_for_memory_gets_none(tmp_path: Path) -> None:
    """Lists of ranges, bytes by their number, and texts repeated."""
    for number, call in enumerate(
        [
            Calls(list, range(10**9)),
            Calls(bytearray, 10**11),
            Calls(bytes, 10**11),
            Calls(set, range(10**9)),
            Calls(tuple, range(10**9)),
            Calls(torch.Size, range(10**9)),
        ]
    ):
        path = tmp_path / f"{number}.pth"
        torch.save({"a": torch.ones(2), "x": call, "options": argparse.Namespace(y=call)}, path)
        assert read_shapes(path) == {"a": (2,)}


def test_a_place_in_the_memo_that_is_far_away_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    assert read_shapes(path) == {}


def _expanded(path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(500_000_000)}, path)


def _views(path: Path) -> None:
    whole = torch.ones(1000, 250)
    torch.save({f"a{i}": whole[:] for i in range(2000)}, path)


def _compressed(path: Path) -> None:
    torch.save({"a": torch.zeros(10_000_000)}, path.with_suffix(".tmp"))
    with (
        zipfile.ZipFile(path.with_suffix(".tmp")) as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))


def _shared_lists(path: Path) -> None:
    content: list[object] = [torch.ones(1)]
    for _ in range(30):
        content = [content, content, content]
    torch.save({"a": content}, path)


def _own_list(path: Path) -> None:
    content: list[object] = []
    content.append(content)
    torch.save({"a": content}, path)


def _deep_list(path: Path) -> None:
    data = b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)


def _shared_keys(path: Path) -> None:
    """Tuples that share their parts, as the key of a dictionary: their hash takes two to the power of their depth."""
    data = b"\x80\x02}()" + b"2\x86" * 60 + b"K\x01s."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)


def _old_claim(path: Path) -> None:
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    at = data.rindex((3).to_bytes(8, "little"))
    path.write_bytes(data[:at] + (10**10).to_bytes(8, "little") + data[at + 8 :])


def _many_steps(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"](" * 4_000_000 + b".")


def _shared_arrays(path: Path) -> None:
    array = np.ones(250_000, np.float32)
    path.write_bytes(pickle.dumps({f"a{i}": array for i in range(2000)}, protocol=2))


def _nothing(path: Path) -> None:
    torch.save({"a": torch.empty(0, 10**9)}, path)


@pytest.mark.parametrize(
    "write",
    [_expanded, _views, _compressed, _shared_lists, _own_list, _deep_list, _shared_keys, _old_claim,
     _many_steps, _shared_arrays, _nothing],
)  # fmt: skip
def test_a_pickle_that_describes_more_than_it_holds_is_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "w.pth"
    write(path)
    for read in (read_shapes, read_tensors):
        with pytest.raises(CheckpointError, match=r"w\.pth"):
            read(path)


@pytest.mark.parametrize(
    "header",
    [
        '{"a": {"dtype": "F32", "shape": [0, 1000000000], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        '{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": {"dtype": "U8", "shape": [4], '  # noqa: ISC004
        '"data_offsets": [0, 4]}}',
        '{"a": [1]}',
        '{"__metadata__": {"format": 1}}',
        '{"__metadata__": [1]}',
        pytest.param(json.dumps({f"a{i}": _NOTHING for i in range(110_000)}), id="110,000 tensors"),
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_a_header_of_safetensors_that_is_none_is_named(tmp_path: Path, header: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    for read in (read_shapes, read_tensors):
        with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged"):
            read(path)


def _folder(folder: Path, architecture: str, **changes: object) -> Path:
    tiny_checkpoints.write(architecture, folder)
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        inner = config
        *outer, last = key.split("__")
        for name in outer:
            inner = inner[name]
        inner[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by Linux's limits")
def test_networks_larger_than_their_weights_are_refused_before_they_are_made(tmp_path: Path) -> None:
    segformer, mask2former = "SegformerForSemanticSegmentation", "Mask2FormerForUniversalSegmentation"
    bombs: list[tuple[str, str, dict[str, object]]] = []
    for number, (architecture, changes) in enumerate(
        [
            (segformer, {"num_labels": 50_000_000, "id2label": None}),
            (segformer, {"depths": [1_000_000, 1, 1, 1]}),
            (segformer, {"hidden_sizes": [1_000_000, 10, 10, 10]}),
            (segformer, {"num_encoder_blocks": 10**9}),
            (segformer, {"decoder_hidden_size": 10**9}),
            (mask2former, {"backbone_config__depths": [10**6, 1, 1, 1]}),
            (mask2former, {"num_queries": 10**9}),
            (mask2former, {"backbone_config__embed_dim": 1 << 20}),
            (mask2former, {"decoder_layers": 10**6}),
        ]
    ):
        folder = _folder(tmp_path / f"folder-{number}", architecture, **changes)
        bombs.append((str(folder), "transformers_segmenters", {"architecture": architecture}))
    clip = _folder(tmp_path / "clip", "CLIPModel", text_config__max_position_embeddings=10**9)
    bombs.append((str(clip), "clip", {"architecture": "CLIPModel"}))
    sizes: dict[str, tuple[int, ...]] = {
        "image_encoder.pos_embed": (1, 400_000, 1, 1),
        "mask_decoder.mask_tokens.weight": (400_000, 1),
        "prompt_encoder.mask_downscaling.3.weight": (400_000, 1, 1, 1),
        "image_encoder.neck.2.weight": (400_000, 1, 1, 1),
    }
    weights = small_sam().state_dict()
    for number, (name, shape) in enumerate(sizes.items()):
        path = tmp_path / f"sam-{number}.safetensors"
        save_file(weights | {name: torch.zeros(shape)}, path)
        bombs.append((str(path), "sam_vit", {}))
    dino = {"cls_token": (1, 1, 8), "pos_embed": (1, 5, 8), "patch_embed.proj.weight": (8, 3, 8, 8),
            "blocks.1000000000.attn.qkv.weight": (24, 8), "blocks.0.attn.qkv.weight": (24, 8),
            "norm.weight": (8,)}  # fmt: skip
    save_file({name: torch.zeros(shape) for name, shape in dino.items()}, tmp_path / "dino.safetensors")
    head = {"net.cluster1.0.weight": (1, 400_000, 1, 1), "net.cluster2.0.weight": (1, 1, 1, 1),
            "net.cluster2.2.weight": (1, 1, 1, 1), "cluster_probe.clusters": (400_000, 1)}  # fmt: skip
    save_file({f"state_dict.{n}": torch.zeros(s) for n, s in head.items()}, tmp_path / "stego.safetensors")
    code = _CHILD.format(more=_MORE_BYTES)
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([*bombs, (str(tmp_path / "dino.safetensors"), "dino", {}),
                          (str(tmp_path / "stego.safetensors"), "stego", {})]),
        text=True, capture_output=True, check=False, timeout=100,
        env=child_environment(FOUNDSEG_CACHE=str(tmp_path / "cache"), OMP_NUM_THREADS="1"),
    )  # fmt: skip
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(lines) == 2 * (len(bombs) + 2), found.stderr[-3000:]
    loads = [(name, what, outcome) for name, what, outcome, _ in lines if what == "load"]
    assert [one for one in loads if one[2] != "CheckpointError"] == []
    reads = [(name, outcome) for name, what, outcome, _ in lines if what == "read"]
    # What a folder's network needs is only known when it is loaded.
    assert {outcome for _, outcome in reads} <= {"CheckpointError", "accepted"}
    assert all(outcome == "CheckpointError" for name, outcome in reads if name.startswith("sam"))
    assert max(seconds for *_, seconds in lines) < 10

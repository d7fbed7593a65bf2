"""OME-Zarr whose chunks are damaged, missing, larger than they claim, or would execute something."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats import content, ome_zarr_writer
from napari_foundseg.io.formats.integrity import zarr_metadata
from napari_foundseg.io.formats.table import images_inside
from napari_foundseg.io.readers import read_image, read_labels
from napari_foundseg.io.writers import write_labels
from tests.support.mutations import mutations

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 60000, (40, 48), np.uint16)
LABELS = np.zeros((40, 48), np.uint16)
LABELS[3:9, 5:12] = 7


def store(path: Path, version: int = 3, pixels: np.ndarray[Any, Any] = PIXELS, **options: Any) -> Path:
    """Write an image as another program does, of chunks of 16 by 16."""
    axes = [{"name": name, "type": "space"} for name in "zyx"[-pixels.ndim :]]
    scale = [{"type": "scale", "scale": [1.0] * pixels.ndim}]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group = zarr.create_group(path, zarr_format=version)
    if version == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    else:
        group.attrs.update({"multiscales": [multiscale | {"version": "0.4"}]})
    chunks = options.pop("chunks", (*[1] * (pixels.ndim - 2), 16, 16))
    array = group.create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=chunks, **options)
    array[...] = pixels
    return path


def change(path: Path, **values: Any) -> None:
    """Change the metadata of the array."""
    file = next(path / "0" / name for name in ("zarr.json", ".zarray") if (path / "0" / name).exists())
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("version", "options"),
    [
        (3, {"compressors": None}),
        (3, {"compressors": [ZstdCodec(), Crc32cCodec()]}),
        (3, {"compressors": [Crc32cCodec(), ZstdCodec()]}),
        (3, {"compressors": GzipCodec()}),
        (3, {"compressors": BloscCodec()}),
        (3, {"shards": (32, 32), "compressors": ZstdCodec()}),
        (2, {"compressors": numcodecs.Blosc()}),
        (2, {"compressors": numcodecs.Zlib(), "filters": [numcodecs.Delta("<u2")]}),
        (2, {"compressors": numcodecs.LZ4()}),
        (2, {"compressors": numcodecs.BZ2()}),
        (2, {"compressors": numcodecs.LZMA()}),
        (2, {"compressors": numcodecs.Zstd(), "filters": [numcodecs.AsType("<u4", "<u2")]}),
        (2, {"compressors": numcodecs.GZip()}),
    ],
)
def test_plain_codecs_are_read(tmp_path: Path, version: int, options: dict[str, Any]) -> None:
    image = read_image(store(tmp_path / "a.zarr", version, **options))
    assert np.array_equal(image.raw(), PIXELS)
    assert np.array_equal(image.raw((), (3, 20, 30, 40)), PIXELS[3:31, 20:41])
    assert image.notes == ()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("reader", [read_image, read_labels])
@pytest.mark.parametrize("place", ["filter", "compressor", "object"])
def test_a_pickle_is_not_opened_in_format_2(tmp_path: Path, reader: Any, place: str) -> None:
    path = store(tmp_path / "a.zarr", 2)
    codec = {"id": "pickle", "protocol": 5}
    if place == "compressor":
        change(path, compressor=codec, filters=None)
    else:
        change(
            path, compressor=None, filters=[codec], **({"dtype": "|O", "fill_value": None} if place == "object" else {})
        )
    for chunk in path.glob("0/[0-9]*"):
        chunk.write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    with pytest.raises(BadImageError, match="codec 'pickle', which may execute"):
        np.asarray(reader(path).levels[0])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["numcodecs.pickle", "pickle", "vlen-bytes", "numcodecs.json2", "some.plugin"])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_codec_that_is_not_plain_is_refused_in_format_3(tmp_path: Path, name: str, sharded: bool) -> None:
    path = store(tmp_path / "a.zarr", shards=(32, 32) if sharded else None)
    codecs = json.loads((path / "0" / "zarr.json").read_text())["codecs"]
    (codecs[0]["configuration"]["codecs"] if sharded else codecs).append({"name": name, "configuration": {}})
    change(path, codecs=codecs)
    with pytest.raises(BadImageError, match=f"codec {name!r}, which may execute"):
        read_image(path)


def test_consolidated_metadata_do_not_hide_a_codec(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", 2, compressors=numcodecs.Zlib())
    zarr.consolidate_metadata(path, zarr_format=2)
    text = (path / ".zmetadata").read_text()
    assert '"zlib"' in text
    (path / ".zmetadata").write_text(text.replace('"zlib"', '"bz2"'))
    assert np.array_equal(read_image(path).raw(), PIXELS)


@pytest.mark.parametrize("value", [{"dtype": "|S4"}, {"dtype": [["a", "<u2"]]}])
def test_values_that_are_no_numbers_are_named(tmp_path: Path, value: dict[str, Any]) -> None:
    path = store(tmp_path / "a.zarr", 2)
    change(path, **value)
    with pytest.raises(BadImageError, match="no numbers"):
        read_image(path)


@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        (GzipCodec(), gzip.compress(bytes(50_000_000))),
        (ZstdCodec(), bytes(numcodecs.Zstd().encode(bytes(50_000_000)))),
        (ZstdCodec(), struct.pack("<IBQ", 0xFD2FB528, 0xE0, 6 << 30) + bytes(20)),
        (BloscCodec(), bytes(numcodecs.Blosc("zstd").encode(bytes(50_000_000)))),
        (BloscCodec(), struct.pack("<BBBBIII", 2, 1, 1, 2, 6 << 28, 1 << 20, 16)),
    ],
)
def test_a_chunk_is_not_unpacked_beyond_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Any, bomb: bytes
) -> None:
    import tracemalloc

    path = store(tmp_path / "a.zarr", compressors=codec)
    (path / "0/c/1/1").write_bytes(bomb)
    image = read_image(path)
    tracemalloc.start()
    with pytest.raises(BadImageError, match=r"a\.zarr"):
        image.raw()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_that_never_end_or_fill_the_memory_are_refused(tmp_path: Path, version: int) -> None:
    path = store(tmp_path / "a.zarr", version)
    changed = {"chunks": [1 << 20, 1 << 20]}
    if version == 3:
        changed = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": changed["chunks"]}}}
    change(path, **changed)
    with pytest.raises(BadImageError, match=r"1048576 by 1048576 pixels are 2\.2 TB"):
        read_image(path)
    shutil.rmtree(path)
    path = store(tmp_path / "a.zarr", version, chunks=(1, 1))
    change(path, shape=[20_000, 20_000])
    with pytest.raises(BadImageError, match="400000000 chunks; save it with larger chunks"):
        read_image(path)


def test_a_chunk_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", compressors=None)
    with (path / "0/c/0/0").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadImageError, match=r"chunk c/0/0 is 1\.1 TB"):
        read_image(path)


def test_labels_of_ours_have_every_chunk_and_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr_writer, "CHUNK", 16)
    path = tmp_path / "a.ome.zarr"
    write_labels(path, LABELS)
    chunks = sorted(file for file in path.glob("*/c/*/*"))
    assert len(chunks) == 9 + 4 + 1
    array = zarr.open_group(path, mode="r")["0"]
    assert np.array_equal(array[...], LABELS)
    assert isinstance(array.metadata.codecs[-1], Crc32cCodec)
    for chunk in chunks:
        good = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(BadImageError, match=r"1 of the \d chunks of its level \d are missing, such as c/"):
            read_labels(path)
        if chunk.parts[-4] == "0":
            flipped = bytearray(good)
            flipped[len(good) // 2] ^= 1
            chunk.write_bytes(flipped)
            with pytest.raises(BadImageError, match="checksum"):
                read_labels(path)
        chunk.write_bytes(good)
    assert np.array_equal(read_labels(path).data, LABELS)


def test_damaged_labels_of_ours_are_never_read_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr_writer, "CHUNK", 32)
    path = tmp_path / "a.ome.zarr"
    write_labels(path, LABELS, "YX", {"Y": 0.5, "X": 0.5})
    files = ["zarr.json", "0/zarr.json", "0/c/0/0", "0/c/1/1"]
    for name in files:
        good = (path / name).read_bytes()
        refused = 0
        for damaged in mutations(good, 40):
            (path / name).write_bytes(damaged)
            try:
                found = read_labels(path).data
            except BadImageError:
                refused += 1
                continue
            assert np.array_equal(found, LABELS), (name, damaged)
        assert refused >= (38 if "c/" in name else 12)
        (path / name).write_bytes(good)


def test_chunks_that_another_program_left_out_are_named(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    (path / "0/c/1/1").unlink()
    image = read_image(path)
    assert image.notes == ("1 of its 9 chunks are not on the disk and are read as its fill value.",)
    assert not image.raw()[16:32, 16:32].any()
    assert read_labels(path).notes == image.notes


def test_labels_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", pixels=LABELS, compressors=ZstdCodec(level=3))
    assert np.array_equal(read_labels(path).data, LABELS)


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
def test_metadata_without_end_are_a_named_error(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / "a.zarr")
    (path / name).write_text('{"attributes":' * 100_000)
    with pytest.raises(BadImageError):
        read_image(path)


def test_a_large_and_empty_chunk_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "a.zarr", pixels=np.ones((2000, 2000), np.uint16), chunks=(2000, 2000))
    assert read_image(path).raw().all()
    monkeypatch.setattr(content, "_LARGE_PART", 1 << 20)
    with pytest.raises(BadImageError, match="in one piece"):
        read_image(path).raw()
    monkeypatch.setattr(zarr_metadata, "_MOST_NAMED", 0)
    assert read_image(path).notes == ()


@pytest.mark.parametrize("wells", [5, 1.5, True, "x", [None, 5, {"path": 1}], {"path": "A"}])
def test_a_plate_whose_wells_are_no_list_is_no_unnamed_error(tmp_path: Path, wells: Any) -> None:
    zarr.create_group(tmp_path / "p.zarr", zarr_format=2, attributes={"plate": {"wells": wells}})
    images_inside(tmp_path / "p.zarr")
    with pytest.raises(BadImageError):
        read_image(tmp_path / "p.zarr")


@pytest.mark.parametrize(
    "attributes",
    [
        {"plate": {"wells": [{"path": "."}, {"path": "A/.."}, {"path": "./."}]}},
        {"plate": {"wells": [{"path": "A"}, {"path": "../p.zarr"}]}},
        {"plate": {"wells": [{"path": "A"}] * 50_000}},
        {"bioformats2raw.layout": 3},
    ],
)
def test_a_group_that_names_itself_is_not_looked_through_for_ever(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = tmp_path / "p.zarr"
    zarr.create_group(path, zarr_format=2, attributes=attributes)
    zarr.create_group(path / "A", zarr_format=2, attributes={"plate": {"wells": [{"path": "."}, {"path": ".."}]}})
    series = [".", "A/..", "./", *map(str, range(3))] * 1000
    zarr.create_group(path / "OME", zarr_format=2, attributes={"series": series})
    assert len(images_inside(path)) <= 3
    with pytest.raises(BadImageError):
        read_image(path)


@pytest.mark.parametrize("count", [0, 100_000])
@pytest.mark.parametrize("key", ["multiscales", "datasets"])
def test_levels_and_images_without_end_are_named(tmp_path: Path, key: str, count: int) -> None:
    path = store(tmp_path / "a.zarr", version=2)
    known = json.loads((path / ".zattrs").read_text())
    if key == "multiscales":
        known[key] *= count
    else:
        known["multiscales"][0][key] *= count
    (path / ".zattrs").write_text(json.dumps(known))
    with pytest.raises(BadImageError, match=f"names {count}"):
        read_image(path)

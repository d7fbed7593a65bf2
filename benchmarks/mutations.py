"""Damaged copies of good images: is one read with other pixels, with more than twice the memory, or without end?

    python benchmarks/mutations.py [--count N] [--seed N] [FORMAT ...]

Bits are flipped, bytes replaced and ends cut, by a fixed seed, anywhere in a file or in any file of a folder. Each copy
is read in a child process whose address space is limited. Formats with checksums may give an error or the same pixels
and nothing else; of the others, the number that nobody can notice is printed. tests/io/formats/test_damaged_*.py hold
the same, quickly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.mutations import mutations

SECONDS = 20
SIDE = 512
#: Formats in which every pixel has a checksum.
CHECKED = (
    "png",
    "png 16 bits",
    "png colour",
    "tiff zlib",
    "tiff zlib tiles",
    "tiff lzma",
    "labels.ome.zarr",
)


def pixels() -> np.ndarray[Any, Any]:
    """Return something with edges, a gradient and noise."""
    noise = np.random.default_rng(0).integers(0, 30, (SIDE, SIDE))
    rows, columns = np.indices((SIDE, SIDE))
    return (noise + rows // 4 + 60 * ((rows // 64 + columns // 64) % 2)).astype(np.uint8)


def good_files(folder: Path) -> dict[str, Path]:
    """Write one good image of each format."""
    import PIL.Image
    import tifffile

    from napari_foundseg.io.writers import write_labels

    grey = pixels()
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    found: dict[str, Path] = {}

    def place(name: str, ending: str) -> Path:
        found[name] = folder / f"{len(found)}{ending}"
        return found[name]

    PIL.Image.fromarray(grey).save(place("png", ".png"))
    PIL.Image.fromarray(grey.astype(np.uint16) * 200).save(place("png 16 bits", ".png"))
    PIL.Image.fromarray(colour).save(place("png colour", ".png"))
    PIL.Image.fromarray(colour).save(place("jpeg", ".jpg"))
    PIL.Image.fromarray(colour).save(place("jpeg progressive", ".jpg"), progressive=True)
    for compression in (None, "lzw", "zlib", "lzma", "packbits", "jpeg", "jpeg2000", "webp", "jpegxl"):
        rgb = compression in ("jpeg", "webp")
        tifffile.imwrite(
            place(f"tiff {compression or 'uncompressed'}", ".tif"),
            colour if rgb else grey,
            photometric="rgb" if rgb else "minisblack",
            compression=compression,
        )
    tifffile.imwrite(place("tiff zlib tiles", ".tif"), grey, compression="zlib", tile=(128, 128), predictor=True)
    stack = np.stack([grey, grey + 1])
    tifffile.imwrite(place("tiff zlib OME", ".ome.tif"), stack, compression="zlib", photometric="minisblack", ome=True)
    write_labels(place("labels.ome.zarr", ".ome.zarr"), (grey // 50 + (grey > 99) * 7).astype(np.uint16))
    return found


def damage(good: Path, copy: Path, count: int, seed: int) -> Any:
    """Write one damaged copy after the other, and yield; of a folder one file of it is damaged."""
    if good.is_file():
        for content in mutations(good.read_bytes(), count, seed):
            copy.write_bytes(content)
            yield
        return
    import shutil

    shutil.copytree(good, copy)
    files = sorted(file.relative_to(good) for file in good.rglob("*") if file.is_file())
    chance = random.Random(seed)
    for number in range(count):
        name = chance.choice(files)
        for content in mutations((good / name).read_bytes(), 1, seed + number):
            (copy / name).write_bytes(content)
            yield
        (copy / name).write_bytes((good / name).read_bytes())


def read_in_child() -> None:
    """Read every path of the standard input, and write what came of it."""
    from napari_foundseg.core.errors import FoundsegError
    from napari_foundseg.io.readers import read_image

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    limit = 4 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")
        signal.alarm(SECONDS)
        digest = ""
        try:
            image = read_image(line.strip())
            array = np.ascontiguousarray(image.levels[0])
            digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()
            outcome = "read"
        except FoundsegError:
            outcome = "named error"
        except BaseException as error:  # noqa: BLE001 - counted
            outcome = f"unnamed {type(error).__name__}"
        signal.alarm(0)
        peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
        print(json.dumps({"outcome": outcome, "digest": digest, "peak": peak}), flush=True)


class Child:
    """A child that reads images, and is started again where it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> dict[str, Any]:
        """Return the outcome, a digest of the pixels and the peak of the memory in kilobytes."""
        if self._process is None or self._process.poll() is not None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen([sys.executable, __file__, "--child"], text=True, **pipes)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            ended = self._process.wait()
            hung = ended == -signal.SIGALRM
            return {"outcome": "hang" if hung else f"ended with {ended}", "digest": "", "peak": 0}
        return dict(json.loads(answer))

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        read_in_child()
        return 0
    failed = False
    print(f"{'format':20} {'named':>6} {'same':>6} {'other':>6} {'bad':>4}  largest memory of the good file's")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, good in good_files(folder).items():
            if options.formats and kind not in options.formats:
                continue
            child = Child()
            child.read(good)
            reference = child.read(good)
            assert reference["outcome"] == "read", (kind, reference)
            copy = folder / f"copy{''.join(good.suffixes)}"
            outcomes: Counter[str] = Counter()
            largest = 0.0
            for _ in damage(good, copy, options.count, options.seed):
                found = child.read(copy)
                largest = max(largest, found["peak"] / reference["peak"])
                if found["outcome"] == "read":
                    found["outcome"] = "same" if found["digest"] == reference["digest"] else "other"
                outcomes[found["outcome"]] += 1
            child.close()
            if copy.is_file():
                copy.unlink()
            bad = {key: n for key, n in outcomes.items() if key not in ("named error", "same", "other")}
            failed |= bool(bad) or largest > 2 or (kind in CHECKED and bool(outcomes["other"]))
            numbers = f"{outcomes['named error']:6} {outcomes['same']:6} {outcomes['other']:6} {sum(bad.values()):4}"
            print(f"{kind:20} {numbers}  {largest:.2f}  {bad or ''}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

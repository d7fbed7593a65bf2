from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.io import imread

import napari_foundseg as fs
from napari_foundseg.core.object_table import TABLE_COLUMNS
from napari_foundseg.io.samples import sample

TRUTH = Path(__file__).parent / "data" / "nuclei-truth.png"


@pytest.fixture(scope="module")
def found() -> fs.Segmentation:
    return fs.automatic(sample("nuclei"))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_automatic_finds_the_nuclei_of_the_sample(found: fs.Segmentation) -> None:
    truth = imread(TRUTH)
    good = 0
    for i in range(1, truth.max() + 1):
        ids, counts = np.unique(found.labels[truth == i], return_counts=True)
        best = ids[np.argmax(np.where(ids > 0, counts, 0))]
        good += best > 0 and iou(found.labels == best, truth == i) > 0.5
    assert good >= 0.75 * truth.max()
    assert len(found) <= 1.2 * truth.max()


def test_the_table_describes_the_labels(found: fs.Segmentation) -> None:
    assert list(found.table.columns) == list(TABLE_COLUMNS)
    assert found.labels.dtype == np.uint16
    for row in found.table.head(5).itertuples():
        y, x = (found.labels == row.label).nonzero()
        assert (row.y0, row.x0, row.y1, row.x1, row.area) == (y.min(), x.min(), y.max(), x.max(), len(y))
        assert 0 <= row.predicted_iou <= 1
        assert 0 <= row.stability_score <= 1


def test_provenance_is_json_and_replays(found: fs.Segmentation) -> None:
    known = json.loads(json.dumps(found.provenance))
    assert known["model"]["key"].startswith("foundseg-tiny@")
    again = fs.automatic(known["image"]["source"], model=known["model"]["name"], **known["settings"])
    assert np.array_equal(again.labels, found.labels)
    assert again.provenance["image"]["fingerprint"] == known["image"]["fingerprint"]


def test_boxes_find_the_nuclei_of_the_sample_and_clicks_lie_in_theirs() -> None:
    truth = imread(TRUTH)
    parts = [(i, part) for i, part in enumerate(ndimage.find_objects(truth), 1) if (truth == i).sum() > 300]
    prompts, deepest = [], []
    for i, (rows, columns) in parts:
        y, x = np.unravel_index(ndimage.distance_transform_edt(truth == i).argmax(), truth.shape)
        deepest.append((y, x))
        prompts += [
            fs.Prompt(points=[(y, x)]),
            fs.Prompt(box=(rows.start, columns.start, rows.stop - 1, columns.stop - 1)),
        ]
    seg = fs.prompt(sample("nuclei"), prompts)
    best = {mask.label: mask for mask in reversed(seg.masks or ())}
    fits, hits = [], []
    for k, (i, _) in enumerate(parts):
        whole = np.zeros((2, *truth.shape), bool)
        for part, mask in zip(whole, (best[2 * k + 1], best[2 * k + 2]), strict=True):
            part[mask.box[0] : mask.box[2] + 1, mask.box[1] : mask.box[3] + 1] = mask.crop
        hits.append(whole[0][deepest[k]])
        fits.append(iou(whole[1], truth == i))
    assert np.mean(fits) > 0.7
    assert np.mean(hits) > 0.9


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "bool": lambda a: a > a.mean(),
    "int8": lambda a: (a.astype(int) - 128).astype(np.int8),
    "uint64": lambda a: a.astype(np.uint64) * 2**40,
    "float16": lambda a: a.astype(np.float16),
    "float64 with NaN and infinities": lambda a: np.where(
        a == a.max(), np.nan, np.where(a == a.min(), np.inf, a * 1e30)
    ),
    "big-endian": lambda a: a.astype(">u2"),
    "Fortran order": lambda a: np.asfortranarray(a),
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 2, 1)[::2, ::2],
    "RGB": lambda a: np.stack([a] * 3, -1),
    "RGBA": lambda a: np.stack([a, a, a, np.full_like(a, 255)], -1),
    "one slice of three": lambda a: np.stack([a, a, a]),
    "4-D": lambda a: a[None, None],
    "5-D": lambda a: a[None, None, None],
    "list of lists": lambda a: a[:40, :40].tolist(),
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_every_kind_of_array_works(make: Callable[[np.ndarray], Any]) -> None:
    image = make(imread(sample("nuclei"))[:120, :140])
    shape = np.shape(image)
    seg = fs.automatic(image)
    assert seg.labels.shape == (shape[:-1] if shape[-1] in (3, 4) else shape)
    center = (*(0 for _ in shape[2:] if seg.labels.ndim > 2), 20, 20)[-seg.labels.ndim :]
    assert fs.prompt(image, fs.Prompt(points=[center])).labels.shape == seg.labels.shape


@pytest.mark.parametrize(
    "value", [np.zeros((1, 1)), np.full((30, 30), 7), np.full((30, 30), np.nan), np.zeros((1, 90))]
)
def test_an_image_of_nothing_has_no_object(value: np.ndarray) -> None:
    assert len(fs.automatic(value)) == 0


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((0, 5)), fs.BadImageError),
        (np.zeros(5), fs.AxesError),
        (np.zeros((2, 2, 2, 2, 9, 9)), fs.AxesError),
        (np.zeros((9, 9), complex), fs.DTypeError),
        (np.full((9, 9), None), fs.DTypeError),
        ("/nowhere/image.tif", fs.BadImageError),
    ],
)
def test_what_is_no_image_is_refused_by_name(image: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        fs.automatic(image)
    assert isinstance(caught.value, fs.FoundsegError)
    assert not isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fs.Prompt(),
        lambda: fs.Prompt(points=[(1, 2)], labels=[1, 0]),
        lambda: fs.Prompt(points=[(1, np.nan)]),
        lambda: fs.Prompt(box=(1, 2, 3)),
        lambda: fs.prompt(np.zeros((20, 20)), fs.Prompt(points=[(20, 5)])),
        lambda: fs.prompt(np.zeros((20, 20)), fs.Prompt(points=[(1, 5, 5)])),
        lambda: fs.prompt(np.zeros((3, 20, 20)), fs.Prompt(points=[(5, 5)])),
        lambda: fs.prompt(np.zeros((20, 20)), fs.Prompt(box=(30, 30, 40, 40))),
    ],
)
def test_a_prompt_that_means_nothing_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(fs.PromptError):
        make()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: fs.automatic(a, model="sam-9000"), "foundseg-tiny"),
        (lambda a: fs.automatic(a, method="magic"), "decoder, grid"),
        (lambda a: fs.automatic(a, points_per_side=9), "points_per_side"),
        (lambda a: fs.automatic(a, axes="YXC"), "3 axes"),
        (lambda a: fs.automatic(a, axes="YY"), "at most once"),
        (lambda a: fs.prompt(a, []), "prompts"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Callable[[np.ndarray], Any], words: str) -> None:
    with pytest.raises(fs.FoundsegError, match=words):
        call(np.zeros((20, 20)))


def test_the_persons_array_is_not_altered() -> None:
    image = imread(sample("nuclei"))[:100, :100].copy()
    before = image.copy()
    image.flags.writeable = False
    fs.automatic(image)
    assert np.array_equal(image, before)


def test_importing_the_package_imports_neither_torch_nor_napari() -> None:
    code = (
        "import sys, napari_foundseg, napari_foundseg.cli, napari_foundseg.tasks; napari_foundseg.Image; "
        "print([m for m in ('torch', 'napari', 'qtpy', 'distributed') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="segment"):
        fs.segment  # noqa: B018
    assert set(fs.__all__) <= set(dir(fs))

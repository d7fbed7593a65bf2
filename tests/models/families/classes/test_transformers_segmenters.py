"""Each class of transformers: a folder as published is imported, run, and equals the library's own result."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from packaging.version import Version
from skimage.io import imread

from napari_foundseg.api import panoptic, semantic
from napari_foundseg.batch.replay import replay
from napari_foundseg.core.errors import CheckpointError, FoundsegError
from napari_foundseg.io.samples import sample
from napari_foundseg.models import loading
from napari_foundseg.models.families.classes.transformers_segmenters import ARCHITECTURES
from napari_foundseg.models.files.transformers_folder import class_names
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loaded import class_table
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.protocols.classes import PanopticOptions
from tests.support import tiny_checkpoints

OPTIONS = {"threshold": 0.2, "mask_threshold": 0.4, "overlap_mask_area_threshold": 0.6}
#: With these nothing that a model proposes is dropped.
EVERYTHING = {"threshold": 0.01, "mask_threshold": 0.0, "overlap_mask_area_threshold": 0.0}


def is_supported(architecture: str) -> bool:
    """Tell whether the installed transformers is new enough for an architecture."""
    since = ARCHITECTURES[architecture].since
    return Version(transformers.__version__) >= Version(since or "0")


#: One class of transformers for each combination of protocols.
_EXAMPLES = (
    "Mask2FormerForUniversalSegmentation",
    "SegformerForSemanticSegmentation",
    "RfDetrForInstanceSegmentation",
)
TINY_WEIGHTS = {
    "transformers_segmenters": lambda folder: [
        tiny_checkpoints.write(name, folder / name) for name in _EXAMPLES if is_supported(name)
    ]
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    # Equal weights under one name with another config.json are no case of the product.
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


def tissue() -> NDArray[np.uint8]:
    """Return a dim photograph: models see it as it is, as the library's own call does."""
    return np.ascontiguousarray(imread(sample("tissue"))[:60, :64, :3]) // 2 + 40


def by_the_library(folder: Path, architecture: str, rgb: NDArray[np.uint8], kind: str, **options: Any) -> Any:
    """Run the library as its documentation says."""
    network = getattr(transformers, architecture).from_pretrained(folder).eval()
    if architecture.startswith("OneFormer"):
        images = transformers.AutoImageProcessor.from_pretrained(folder, class_info_file=None)
        images.class_info_file = ""
        images.metadata = {"thing_ids": list(tiny_checkpoints.NAMES)}
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        processor = transformers.OneFormerProcessor(images, tokenizer)
        inputs = processor(images=rgb, task_inputs=[kind], return_tensors="pt")
    else:
        images = transformers.AutoImageProcessor.from_pretrained(folder)
        inputs = images(images=rgb, return_tensors="pt")
    with torch.inference_mode():
        process = getattr(images, f"post_process_{kind}_segmentation")
        return process(network(**inputs), target_sizes=[rgb.shape[:2]], **options)[0]


@pytest.mark.parametrize("architecture", tiny_checkpoints.FOLDERS)
def test_a_published_folder_gives_what_the_library_gives(tmp_path: Path, architecture: str) -> None:
    if not is_supported(architecture):
        pytest.skip(f"{architecture} needs transformers {ARCHITECTURES[architecture].since}")
    folder = tiny_checkpoints.write(architecture, tmp_path / "model")
    row = import_model(folder)
    assert row.classes == tuple(tiny_checkpoints.NAMES.values())
    rgb = tissue()
    if "SemanticClasses" in row.protocols:
        expected = by_the_library(folder, architecture, rgb, "semantic").numpy() + 1
        found = semantic(rgb, model=row.name)
        assert np.array_equal(found.labels, expected)
        assert np.array_equal(replay(found.provenance, rgb).labels, expected)
        assert [entry.name for entry in found.classes] == list(row.classes)
        stack = semantic(np.stack([rgb, rgb[::-1]]), model=row.name, axes="ZYXC")
        assert np.array_equal(stack.labels[0], expected)
    if "PanopticSegments" in row.protocols:
        same_segments(folder, row.name, architecture, rgb, OPTIONS)
        assert same_segments(folder, row.name, architecture, rgb, EVERYTHING) > 0
    if "InstanceMasks" in row.protocols:
        same_instances(folder, row.name, architecture, rgb, OPTIONS)
        assert same_instances(folder, row.name, architecture, rgb, EVERYTHING) > 0


def same_segments(
    folder: Path, name: str, architecture: str, rgb: NDArray[np.uint8], thresholds: dict[str, float]
) -> int:
    """Compare panoptic results, and return how many segments there are."""
    options: dict[str, Any] = dict(thresholds)
    options["stuff_classes" if architecture.startswith("Eomt") else "label_ids_to_fuse"] = (
        [] if "Eomt" in architecture else set()
    )
    expected = by_the_library(folder, architecture, rgb, "panoptic", **options)
    segments = expected["segmentation"].numpy()
    found = panoptic(rgb, model=name, method="segments", **thresholds)
    infos = [info for info in expected["segments_info"] if (segments == info["id"]).any()]
    assert len(found) == len(infos)
    for label, info in enumerate(infos, 1):
        assert np.array_equal(found.labels == label, segments == info["id"])
        assert found.table["class"][label - 1] == info["label_id"] + 1
        assert found.table["predicted_iou"][label - 1] == pytest.approx(info["score"], abs=1e-6)
    stack = panoptic(np.stack([rgb, rgb]), model=name, method="segments", axes="ZYXC", link=True, **thresholds)
    assert len(stack) == len(found), "the same in both slices is one object"
    return len(infos)


def same_instances(
    folder: Path, name: str, architecture: str, rgb: NDArray[np.uint8], thresholds: dict[str, float]
) -> int:
    """Compare instances, and return how many there are."""
    options: dict[str, Any] = dict(thresholds)
    if architecture.startswith("Eomt"):
        options = {"threshold": thresholds["threshold"]}
    if architecture.startswith("RfDetr"):
        share = max(thresholds["mask_threshold"], 1e-6)
        options = {"threshold": thresholds["threshold"], "mask_threshold": float(np.log(share / (1 - share)))}
    expected = by_the_library(folder, architecture, rgb, "instance", **options)
    segments = expected["segmentation"].numpy()
    masks = load_model(name).instances(rgb, PanopticOptions(**thresholds))
    infos = [info for info in expected["segments_info"] if (segments == info["id"]).any()]
    assert len(masks) == len(infos)
    for mask, info in zip(masks, infos, strict=True):
        whole = np.zeros(rgb.shape[:2], bool)
        y0, x0, y1, x1 = mask.box
        whole[y0 : y1 + 1, x0 : x1 + 1] = mask.crop
        assert np.array_equal(whole, segments == info["id"])
        assert (mask.class_id, mask.predicted_iou) == (info["label_id"] + 1, pytest.approx(info["score"], abs=1e-6))
    found = panoptic(rgb, model=name, method="instances", **thresholds)
    assert np.array_equal(found.labels > 0, np.isin(segments, [info["id"] for info in infos]))
    planes = np.stack([rgb, rgb, rgb[::-1]])
    stack = panoptic(planes, model=name, method="instances", axes="ZYXC", link="none", **thresholds)
    assert np.array_equal(stack.labels[1] > 0, found.labels > 0)
    own, other = stack.labels[0][found.labels > 0], stack.labels[1][found.labels > 0]
    assert not np.isin(own, other).any(), "unlinked, each slice has objects of its own"
    linked = panoptic(planes[:2], model=name, method="instances", axes="ZYXC", link=True, **thresholds)
    assert linked.table["class"].tolist() == found.table["class"].tolist(), "the same in both slices is one object"
    assert np.array_equal(linked.labels[0], linked.labels[1])
    return len(infos)


def test_every_architecture_exists_in_the_library() -> None:
    assert [name for name in ARCHITECTURES if is_supported(name) and not hasattr(transformers, name)] == []


def test_a_large_picture_is_seen_in_windows_and_a_small_one_at_once(tmp_path: Path) -> None:
    folder = tiny_checkpoints.write("SegformerForSemanticSegmentation", tmp_path / "model")
    model = load_model(import_model(folder).name)
    seen: list[tuple[int, ...]] = []
    own = model.semantic
    model.semantic = lambda rgb: (seen.append(rgb.shape[:2]), own(rgb))[1]
    try:
        picture = np.ascontiguousarray(imread(sample("tissue"))[:100, :150, :3])
        semantic(picture, model=model)
        assert len(seen) > 4
        assert max(max(shape) for shape in seen) == model.window
        seen.clear()
        semantic(picture, model=model, tile=False)
        assert seen == [(100, 150)]
    finally:
        del model.semantic


def changed_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoints.write("SegformerForSemanticSegmentation", tmp_path / "model")


def test_a_gap_in_the_names_is_filled(folder: Path) -> None:
    changed_config(folder, id2label={"0": "cell", "3": "tissue"}, label2id={"cell": 0, "tissue": 3})
    row = import_model(folder)
    assert row.classes == ("cell", "class 1", "class 2", "tissue")
    assert [entry.name for entry in semantic(tissue(), model=row.name).classes] == list(row.classes)


def test_config_and_weights_that_disagree_are_named(folder: Path) -> None:
    changed_config(folder, id2label={str(i): f"n{i}" for i in range(9)}, label2id={f"n{i}": i for i in range(9)})
    row = import_model(folder)
    with pytest.raises(CheckpointError, match=r"disagree.*9 classes"):
        semantic(tissue(), model=row.name)


def test_a_missing_processor_file_is_named(folder: Path) -> None:
    row = import_model(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks preprocessor_config\.json"):
        semantic(tissue(), model=row.name)


def test_a_folder_of_another_family_is_named(folder: Path) -> None:
    changed_config(folder, architectures=["BertModel"], model_type="bert")
    with pytest.raises(CheckpointError, match=r"a bert model.*of transformers"):
        import_model(folder)


def test_missing_tensors_are_named(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop("decode_head.classifier.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    row = import_model(folder)
    with pytest.raises(CheckpointError, match=r"lack 1 of the tensors.*decode_head\.classifier\.weight"):
        semantic(tissue(), model=row.name)


def test_names_that_are_no_table_are_refused(folder: Path) -> None:
    changed_config(folder, id2label={"a": "cell"})
    with pytest.raises(FoundsegError, match="id2label"):
        import_model(folder)


def test_background_has_no_class_and_known_stuff_is_stuff() -> None:
    table, first = class_table(("background", "cell"), things=True)
    assert (table.ids, first) == ((1,), 0)
    names = ("road", "vegetation", "terrain", "car")
    table, first = class_table(names, things=True)
    assert first == 1
    assert table.things == (4,)
    assert class_table(names, things=False)[0].things == ()
    assert class_table(names, things=True, stuff=("car",))[0].things == (1, 2, 3)
    assert class_names({"id2label": {"1": "b"}}) == ("class 0", "b")
    assert class_names({}) == ("class 0", "class 1")

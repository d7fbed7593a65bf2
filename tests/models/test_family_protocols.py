"""Every model family does what the protocols that it claims ask for.

Each family's test module writes small weights in the published layout: ``TINY_WEIGHTS`` maps the family's name to a
function that takes an empty folder and returns the files or folders it has written.
"""

from __future__ import annotations

import importlib.util
import inspect
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.abilities import members_of, protocol_named
from napari_foundseg.models.catalog import packaged
from napari_foundseg.models.families import family_module, family_names
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.protocols.classes import Grouping, PanopticOptions
from napari_foundseg.models.protocols.frames import FramePrompt
from napari_foundseg.models.protocols.objects import OPTIONAL, GridOptions
from napari_foundseg.models.protocols.words import ConceptQuery
from napari_foundseg.tasks.task_models import tasks_for
from tests.support import tiny_checkpoints

pytestmark = pytest.mark.usefixtures("own_cache")
Picture = np.ndarray[Any, np.dtype[np.uint8]]


@cache
def tiny_weights() -> dict[str, Callable[[Path], list[Path]]]:
    """Return what the test modules of families declare."""
    found: dict[str, Callable[[Path], list[Path]]] = {}
    for file in sorted(Path(__file__).parent.rglob("test_*.py")):
        if file != Path(__file__) and "\nTINY_WEIGHTS" in file.read_text("utf-8"):
            spec = importlib.util.spec_from_file_location(f"tiny_weights_of_{file.stem}", file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found |= module.TINY_WEIGHTS
    return found


def encoded(model: Any, rgb: Picture) -> Any:
    """Return the embedding of a picture, which takes a second of some models."""
    if id(model) not in _encoded:
        _encoded.clear()
        _encoded[id(model)] = model.encode(rgb)
    return _encoded[id(model)]


_encoded: dict[int, Any] = {}


def encoder(model: Any, rgb: Picture, _: Path) -> None:
    assert encoded(model, rgb).nbytes > 0


def promptable(model: Any, rgb: Picture, folder: Path) -> None:
    encoder(model, rgb, folder)
    drawn = np.zeros(rgb.shape[:2], bool)
    drawn[8:20, 5:25] = True
    boxes = [Prompt(box=(5, 6, 30, 40)), Prompt(box=(8, 2, 20, 25))]
    points = Prompt(points=[(12.4, 10.6), (30.0, 3.0)], labels=[1, 0])
    for prompts in (boxes, [points], [Prompt(mask=drawn)]):
        try:
            found = model.decode(encoded(model, rgb), prompts, multimask=False)
        except PromptError:
            # A family may refuse points and masks by name, as MedSAM does.
            assert prompts is not boxes
            continue
        assert len(found) == len(prompts)
        for candidates in found:
            count = len(candidates.logits)
            assert candidates.logits.shape == (count, *rgb.shape[:2])
            assert candidates.predicted_iou.shape == candidates.stability_score.shape == (count,)
            assert {candidates.logits.dtype, candidates.predicted_iou.dtype, candidates.stability_score.dtype} == {
                np.dtype(np.float32)
            }


def point_grid(model: Any, rgb: Picture, _: Path) -> None:
    polled = []
    options = GridOptions(4, pred_iou_thresh=-1e9, stability_score_thresh=0.0, stability_score_offset=0.0)
    masks = model.grid_masks(
        encoded(model, rgb), np.random.default_rng(0).random((6, 2)), options, lambda: polled.append(1)
    )
    assert polled
    assert masks
    for mask in masks:
        y0, x0, y1, x1 = mask.box
        assert 0 <= y0 <= y1 < rgb.shape[0]
        assert 0 <= x0 <= x1 < rgb.shape[1]


def instance_decoding(model: Any, rgb: Picture, _: Path) -> None:
    assert model.maps_window % 32 == 0
    maps = model.instance_maps(rgb)
    assert (maps.shape, maps.dtype) == ((3, *rgb.shape[:2]), np.float32)
    assert 0 <= maps.min() <= maps.max() <= 1


def flow_decoding(model: Any, rgb: Picture, _: Path) -> None:
    asked: list[None] = []
    for channels in (1, 2, 3):
        maps = model.flow_maps(rgb[..., :channels].astype(np.float32) / 255, lambda: asked.append(None))
        assert (maps.shape, maps.dtype) == ((3, *rgb.shape[:2]), np.float32)
        assert np.isfinite(maps).all()
    assert asked


def feature_extractor(model: Any, rgb: Picture, _: Path) -> None:
    stride = model.feature_stride
    assert model.features_window % stride == 0
    assert 0 <= model.feature_offset < stride
    assert model.feature_margin >= 0
    found = model.features(rgb)
    assert found.dtype == np.float16
    assert found.shape[1:] == tuple(-(-side // stride) for side in rgb.shape[:2])


def clustering(model: Any, rgb: Picture, folder: Path) -> None:
    feature_extractor(model, rgb, folder)
    dim = len(model.features(rgb))
    assert model.sample.shape[1] == dim
    assert model.clusters.centres.shape[1] == dim
    assert model.linear is None or isinstance(model.linear, Clusters)


def savable_clustering(model: Any, _rgb: Picture, folder: Path) -> None:
    changed = Clusters.of(model.clusters.centres[::-1].copy())
    model.save_as(folder / "changed", clusters=changed)
    again = load_model(import_model(folder / "changed").name)
    np.testing.assert_array_equal(again.clusters.centres, changed.centres)


def ids_known(model: Any, ids: Any) -> bool:
    return set(np.unique(ids).tolist()) <= {0, *model.classes.ids}


def semantic_classes(model: Any, rgb: Picture, _: Path) -> None:
    found = model.semantic(rgb)
    assert (found.shape, found.dtype) == (rgb.shape[:2], np.uint16)
    assert ids_known(model, found)


def view_classes(model: Any, rgb: Picture, _: Path) -> None:
    view = model.view(rgb)
    assert view.name
    assert 0 <= view.score <= 1
    assert set(view.classes) <= set(model.classes.ids)
    found = model.semantic_in(rgb, view)
    assert (found.shape, found.dtype) == (rgb.shape[:2], np.uint16)
    assert set(np.unique(found).tolist()) <= {0, *view.classes}


def panoptic_segments(model: Any, rgb: Picture, _: Path) -> None:
    found = model.panoptic(rgb, PanopticOptions(threshold=0.0))
    assert found.labels.shape == found.semantic.shape == rgb.shape[:2]
    assert found.labels.max() <= len(found.classes) == len(found.scores)
    assert ids_known(model, found.semantic)


def instance_masks(model: Any, rgb: Picture, _: Path) -> None:
    masks = model.instances(rgb, PanopticOptions(threshold=0.0))
    assert all(mask.class_id in model.classes.ids and 0 <= mask.predicted_iou <= 1 for mask in masks)


def centre_offsets(model: Any, rgb: Picture, _: Path) -> None:
    assert isinstance(model.grouping, Grouping)
    maps = model.centre_maps(rgb)
    assert maps.semantic.shape == maps.centres.shape == rgb.shape[:2]
    assert maps.offsets.shape == (2, *rgb.shape[:2])
    assert ids_known(model, maps.semantic)


def text_maps(model: Any, rgb: Picture, _: Path) -> None:
    maps = model.text_maps(rgb, ["cell", np.ascontiguousarray(rgb[:20, :24])])
    assert (maps.shape, maps.dtype) == ((2, *rgb.shape[:2]), np.float32)
    assert 0 <= maps.min() <= maps.max() <= 1
    assert 2 <= model.token_count("cell") < model.token_count("a large cell") <= model.longest_text


def concept_masks(model: Any, rgb: Picture, _: Path) -> None:
    queries = [ConceptQuery("cell"), ConceptQuery(boxes=((4, 5, 20, 30),), signs=(1,))]
    answers = model.concept_masks(rgb, queries, 0.0)
    assert len(answers) == len(queries)
    for masks in answers:
        assert len(masks) <= model.most_objects
        scores = [mask.predicted_iou for mask in masks]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert all(m.box[2] < rgb.shape[0] and m.box[3] < rgb.shape[1] for m in masks)
    assert 2 <= model.token_count("cell") < model.token_count("a large cell") <= model.longest_text


def boxes_inside(found: Any, rgb: Picture, count: int) -> None:
    assert len(found.boxes) == len(found.scores) == len(found.phrases)
    assert found.boxes.shape[1:] == (4,)
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert set(found.phrases) <= set(range(count))
    y0, x0, y1, x1 = found.boxes.T
    assert ((y0 >= 0) & (y0 <= y1) & (y1 <= rgb.shape[0] - 1)).all()
    assert ((x0 >= 0) & (x0 <= x1) & (x1 <= rgb.shape[1] - 1)).all()


def grounded(model: Any, rgb: Picture, _: Path) -> None:
    boxes_inside(model.ground(rgb, ["cell", "a large vessel"], 0.0), rgb, 2)
    assert not len(model.ground(rgb, ["cell"], 1.0).boxes)
    assert 2 <= model.token_count("cell") < model.token_count("a large cell") <= model.longest_text
    assert model.most_boxes > 0


def example_boxes(model: Any, rgb: Picture, _: Path) -> None:
    vectors = np.stack([model.example_vector(rgb, (0, 0, rgb.shape[0] - 1, rgb.shape[1] - 1)) for _ in range(2)])
    assert (vectors.ndim, vectors.dtype) == (2, np.float32)
    boxes_inside(model.boxes_like(rgb, vectors, 0.0), rgb, 2)


def text_image(model: Any, rgb: Picture, _: Path) -> None:
    texts, pictures = model.embed_texts(["cell", "vessel"]), model.embed_pictures([rgb, rgb[:20]])
    assert texts.shape == pictures.shape
    np.testing.assert_allclose(np.linalg.norm([*texts, *pictures], axis=1), 1, atol=1e-5)
    assert model.scale > 0


def region_text(model: Any, rgb: Picture, _: Path) -> None:
    texts, regions = model.embed_texts(["cell", "vessel"]), model.embed_regions(rgb, [(2, 3, 20, 30), (0, 0, 9, 9)])
    assert texts.shape == regions.shape
    np.testing.assert_allclose(np.linalg.norm([*texts, *regions], axis=1), 1, atol=1e-5)
    assert model.scale > 0


def storable_embeddings(model: Any, rgb: Picture, folder: Path) -> None:
    assert model.preprocessing
    data = model.packed(encoded(model, rgb))
    assert isinstance(data, bytes)
    assert model.packed(model.unpacked(data)) == data
    prompt = [Prompt(box=(5, 6, 30, 40))]
    found, kept = (model.decode(e, prompt, multimask=False)[0] for e in (encoded(model, rgb), model.unpacked(data)))
    tolerance = 1e-5 if model.stored_as == "float32" else 0.05
    np.testing.assert_allclose(kept.logits, found.logits, atol=tolerance * float(found.logits.std()))


def embedding_maps(model: Any, rgb: Picture, _: Path) -> None:
    found = encoded(model, rgb)
    if model.maps_window > model.window:
        # Only a picture as large as the window has the same maps.
        rgb = np.resize(rgb, (model.window, model.window, 3))
        found = model.encode(rgb)
    np.testing.assert_allclose(model.maps_of(found), model.instance_maps(rgb), atol=1e-5)


def memory_rescue(model: Any, _rgb: Picture, _: Path) -> None:
    assert model.to_cpu() is False, "it is on the CPU already"
    model.fallbacks.note("a note of this test")
    assert model.fallbacks.taken() == ["a note of this test"]
    assert model.fallbacks.taken() == []


def propagating(model: Any, rgb: Picture, _: Path) -> None:
    frames = [rgb, rgb[::-1].copy(), rgb, rgb]
    shown = [FramePrompt(1, 3, Prompt(box=(5, 6, 30, 40))), FramePrompt(2, 1, Prompt(points=[(12, 10)]))]
    found = list(model.propagate(frames, shown, 0, 2, lambda: None))
    assert sorted(masks.frame for masks in found) == [0, 1, 2]
    for masks in found:
        assert sorted(masks.object_ids.tolist()) == [1, 3]
        assert (masks.logits.shape, masks.logits.dtype) == ((2, *rgb.shape[:2]), np.float32)
        assert masks.presence.shape == (2,)
        assert ((masks.presence >= 0) & (masks.presence <= 1)).all()


#: A small call of each protocol, which checks shapes, dtypes and ranges.
CALLS: dict[str, Callable[[Any, Picture, Path], None]] = {
    "CentreOffsets": centre_offsets,
    "Clustering": clustering,
    "EmbeddingMaps": embedding_maps,
    "ExampleBoxes": example_boxes,
    "FeatureExtractor": feature_extractor,
    "FlowDecoding": flow_decoding,
    "Grounded": grounded,
    "InstanceDecoding": instance_decoding,
    "InstanceMasks": instance_masks,
    "MemoryRescue": memory_rescue,
    "NucleusDecoding": instance_decoding,
    "PanopticSegments": panoptic_segments,
    "PointGrid": point_grid,
    "Promptable": promptable,
    "Propagating": propagating,
    "SavableClustering": savable_clustering,
    "SemanticClasses": semantic_classes,
    "StorableEmbeddings": storable_embeddings,
    "RegionText": region_text,
    "TextImage": text_image,
    "TextMaps": text_maps,
    "ConceptMasks": concept_masks,
    "ViewClasses": view_classes,
}


def check_signatures(model: Any, protocol: type) -> None:
    """Check that each method takes the arguments of the protocol's, by the same names; others need a default."""
    for name in members_of(protocol):
        declared = inspect.getattr_static(protocol, name)
        if not inspect.isfunction(declared):
            continue
        wanted = list(inspect.signature(declared).parameters.values())[1:]
        own = inspect.signature(getattr(model, name)).parameters
        assert [p.name for p in wanted] == list(own)[: len(wanted)], f"{type(model).__name__}.{name}"
        for parameter in wanted:
            assert own[parameter.name].kind == parameter.kind
            assert parameter.default is inspect.Parameter.empty or own[parameter.name].default == parameter.default
        assert all(p.default is not inspect.Parameter.empty for p in list(own.values())[len(wanted) :])


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever connects, in any thread, fails; that nothing has tried is checked."""
    tried: list[Any] = []

    def refuse(_self: Any, address: Any) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert not tried


#: They have no weights here; their own tests have a server.
ON_SERVERS = {"nninteractive"}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("family", [name for name in family_names() if name not in ON_SERVERS])
def test_the_models_of_a_family_do_what_their_protocols_say(family: str, tmp_path: Path, picture: Picture) -> None:
    declared = family_module(family).FAMILY
    assert family in tiny_weights(), "its test module declares no TINY_WEIGHTS; see the top of this file"
    assert declared.verified_against
    rgb = np.ascontiguousarray(picture[:60, :70])
    offered: set[str] = set()
    for path in tiny_weights()[family](tmp_path):
        row = import_model(path)
        assert row.family == family, "another family takes its file for its own: see rank"
        assert tasks_for(row), "no task can use it"
        model = load_model(row.name)
        assert (model.name, model.key, model.device) == (row.name, row.key, "cpu")
        assert model.window > 0
        _encoded.clear()
        optional = [protocol.__name__ for protocol in OPTIONAL if isinstance(model, protocol)]
        for name in (*row.protocols, *optional):
            protocol = protocol_named(name)
            assert protocol is not None, f"there is no protocol {name}"
            check_signatures(model, protocol)
            CALLS[name](model, rgb, tmp_path)
        offered |= set(row.protocols)
    assert offered == set(declared.protocols), "its tiny weights show every protocol that it claims, and no other"


@pytest.mark.usefixtures("no_network")
def test_a_folder_with_a_pickle_and_a_slow_tokenizer_alone_loads_without_the_network(tmp_path: Path) -> None:
    """Of such folders transformers looks on the hub for a safetensors twin and for facts of the tokenizer."""
    folder = tiny_checkpoints.write("CLIPModel", tmp_path / "clip")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer.json").unlink(missing_ok=True)
    assert (folder / "vocab.json").exists()
    model = load_model(import_model(folder).name)
    assert model.embed_texts(["a cell"]).shape[0] == 1


def test_the_rows_of_the_package_claim_what_their_families_offer() -> None:
    for row in packaged().values():
        assert set(row.protocols) <= set(family_module(row.family).FAMILY.protocols), row.name
        assert tasks_for(row), row.name


def test_the_table_of_families_needs_no_torch_and_one_family_no_other() -> None:
    code = """
import sys
from napari_foundseg.models.families import families, family_module, family_names
assert "clip" in family_names()
inside = lambda: {m.rpartition(".")[2] for m in sys.modules if m.startswith("napari_foundseg.models.families.")}
assert not inside() & set(family_names()), inside()
family_module("clip")
assert inside() & set(family_names()) == {"clip"}, inside()
ranks = [module.FAMILY.rank for module in families().values()]
assert ranks == sorted(ranks)
heavy = {"torch", "torchvision", "transformers", "segment_anything", "skimage"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def thin_promptable(model: Any, rgb: Picture, _: Path) -> None:
    height, width = rgb.shape[:2]
    own = np.zeros((height, width), bool)
    own[: height // 2 + 1, : width // 2 + 1] = True
    embedding = model.encode(rgb)
    for prompt in (
        Prompt(box=(0, 0, height // 2, width // 2)),
        Prompt(points=[(height // 2, width // 2)]),
        Prompt(mask=own),
    ):
        try:
            found = model.decode(embedding, [prompt], multimask=False)[0].logits
        except PromptError:
            assert prompt.box is None
            continue
        assert found.shape[1:] == (height, width)
        assert np.isfinite(found).all()


def thin_features(model: Any, rgb: Picture, folder: Path) -> None:
    side = model.features_window
    feature_extractor(model, rgb[:side, :side], folder)


def thin_words(model: Any, rgb: Picture, _: Path) -> None:
    assert model.text_maps(rgb, ["cell", rgb]).shape == (2, *rgb.shape[:2])


def thin_pictures(model: Any, rgb: Picture, _: Path) -> None:
    assert len(model.embed_pictures([rgb, rgb])) == 2


#: Calls that differ from `CALLS` for pictures of few pixels.
THIN = {
    "Promptable": thin_promptable,
    "FeatureExtractor": thin_features,
    "Clustering": thin_features,
    "TextMaps": thin_words,
    "ConceptMasks": concept_masks,
    "Grounded": grounded,
    "ExampleBoxes": example_boxes,
    "TextImage": thin_pictures,
    "CentreOffsets": centre_offsets,
    "FlowDecoding": flow_decoding,
    "InstanceDecoding": instance_decoding,
    "NucleusDecoding": instance_decoding,
    "PanopticSegments": panoptic_segments,
    "SemanticClasses": semantic_classes,
}


@pytest.mark.parametrize("family", [name for name in family_names() if name not in {"mobile_sam", *ON_SERVERS}])
def test_a_side_of_few_pixels_is_a_picture_too(family: str, tmp_path: Path) -> None:
    """Wherever a network resizes, the shorter side is one pixel at least, and the longer one fits into the memory."""
    for path in tiny_weights()[family](tmp_path):
        row = import_model(path)
        model: Any = load_model(row.name)
        if getattr(model, "resize", 0) == 520:
            # As many pixels would be seen as the published weights see, which takes seconds.
            model.resize = 40
        for shape in ((1, 1), (5, 3000), (300, 2)):
            rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
            for name in set(row.protocols) & set(THIN):
                THIN[name](model, rgb, tmp_path)

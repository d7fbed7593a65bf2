"""SAM 2, SAM 2.1, MedSAM2 and EdgeTAM on pictures: published layouts, the authors' numbers, and transformers'."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg import cli
from napari_foundseg.core.errors import CheckpointError, PackageError, PromptError
from napari_foundseg.core.masks import paint
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models import family as family_facts
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.families import family_module
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.protocols.objects import GridOptions
from napari_foundseg.models.sam import sam2_layout
from napari_foundseg.models.sam.sam2_layout import HIERAS, Hiera, origins, own_tensors
from napari_foundseg.models.sam.sam2_model import stretched
from tests.support.frozen_arrays import read_arrays
from tests.support.small_sam2 import (
    BLOCKS,
    GLOBAL,
    HEADS,
    WIDTH,
    WINDOW,
    WINDOWS,
    filled,
    layout,
    picture,
    small_layout,
    small_network,
)

pytestmark = pytest.mark.usefixtures("own_cache")
AUTHORS = Path(__file__).parents[3] / "data" / "sam2"
FAMILIES = {"sam2": "sam2_video", "medsam2": "sam2_video", "edgetam": "edgetam_video"}


_made = cache(small_network)


def _folder(folder: Path, family: str, kind: str = "") -> Path:
    _made(kind or FAMILIES[family]).save_pretrained(folder / family)
    return folder / family


TINY_WEIGHTS = {
    family: (lambda folder, family=family: [_folder(folder, family)]) for family in ("sam2", "medsam2", "edgetam")
}


@pytest.fixture
def small_hiera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HIERAS, (WIDTH, BLOCKS), Hiera("small test", HEADS, GLOBAL, WINDOWS))


@pytest.fixture
def published(tmp_path: Path, small_hiera: None) -> Path:
    """A file of the published layout, with the small Hiera."""
    torch.save({"model": filled(small_layout())}, tmp_path / "MedSAM2_small.pt")
    return tmp_path / "MedSAM2_small.pt"


def _model_of(path: Path) -> Any:
    """Load a published file for the window of the frozen numbers."""
    from napari_foundseg.models.catalog import save_row

    row = import_model(path)
    save_row(replace(row, options=row.options | {"window": WINDOW}))
    return fs.load_model(row.name)


@pytest.mark.parametrize(
    ("name", "family", "title"),
    [
        ("sam2.1-hiera-tiny", "sam2", "SAM 2.1 tiny"),
        ("sam2.1-hiera-large", "sam2", "SAM 2.1 large"),
        ("sam2-hiera-tiny", "sam2", "SAM 2.0 tiny"),
        ("sam2-hiera-large", "sam2", "SAM 2.0 large"),
        ("edgetam", "edgetam", "EdgeTAM"),
    ],
)
def test_published_layouts_have_every_tensor_and_no_other(name: str, family: str, title: str) -> None:
    """Full size, on the meta device: the recogniser compares names and shapes with transformers' network."""
    for other in ("medsam2", "sam2", "edgetam"):
        fields = family_module(other).recognise(WeightsView(Path("/x/weights.pt"), layout(name), {}))
        assert (fields or {}).get("title") == (title if other == family else None)


@pytest.mark.parametrize("prefix", ["", "module.", "model.module."])
def test_names_begin_as_trainers_write_them(prefix: str) -> None:
    shapes = {prefix + key.removeprefix("model."): shape for key, shape in layout("sam2.1-hiera-tiny").items()}
    others = {"optimizer.state.0.exp_avg": (3,), "epoch": ()} if prefix.startswith("model.") else {}
    assert family_module("sam2").recognise(WeightsView(Path("/x/weights.pt"), shapes | others, {}))


@pytest.mark.parametrize(
    ("name", "lost"),
    [("sam2.1-hiera-tiny", "mask_downsample.weight"), ("sam2-hiera-tiny", "no_mem_embed"),
     ("edgetam", "memory_attention.norm.bias")],
)  # fmt: skip
def test_a_file_that_lacks_a_tensor_or_has_another_shape_is_named(name: str, lost: str) -> None:
    family = "edgetam" if name == "edgetam" else "sam2"
    whole = layout(name)
    less = {key: shape for key, shape in whole.items() if key != f"model.{lost}"}
    odd = whole | {f"model.{lost}": (3, 1)}
    for shapes, words in ((less, "lacks 1 of"), (odd, "with another shape")):
        with pytest.raises(CheckpointError, match=words):
            family_module(family).recognise(WeightsView(Path("/x/weights.pt"), shapes, {}))


def test_a_2_1_without_its_occlusion_parameter_is_incomplete_and_no_2_0() -> None:
    shapes = {k: v for k, v in layout("sam2.1-hiera-tiny").items() if k != "model.no_obj_embed_spatial"}
    with pytest.raises(CheckpointError, match=r"SAM 2\.1.*lacks 1 of.*occlusion"):
        family_module("sam2").recognise(WeightsView(Path("/x/weights.pt"), shapes, {}))


def test_others_with_parts_of_these_names_are_not_claimed() -> None:
    whole = layout("sam2.1-hiera-tiny")
    trunk = {key: shape for key, shape in whole.items() if ".trunk." in key}
    unext = {key.replace("model.image_encoder.trunk.", "sam."): shape for key, shape in trunk.items()}
    decoder = {key: shape for key, shape in whole.items() if "sam_mask_decoder" in key}
    for shapes in (trunk, unext, decoder, {"image_encoder.patch_embed.proj.weight": (768, 3, 16, 16)}, {}):
        for family in ("medsam2", "sam2", "edgetam"):
            assert family_module(family).recognise(WeightsView(Path("/x/sam2/medsam2.pt"), shapes, {})) is None


def test_an_encoder_of_no_published_size_is_named() -> None:
    shapes = {k: v for k, v in layout("sam2.1-hiera-tiny").items() if ".trunk.blocks.11." not in k}
    with pytest.raises(CheckpointError, match=r"width 96 with \(1, 2, 7, 1\) blocks.*tiny, small, base\+, large"):
        family_module("sam2").recognise(WeightsView(Path("/x/weights.pt"), shapes, {}))


@pytest.mark.parametrize(
    ("size", "width", "blocks", "background"), [("small", 96, (1, 2, 11, 2), 7), ("base+", 112, (2, 3, 16, 3), 14)]
)
def test_the_sizes_in_between_are_told_by_their_blocks(
    size: str, width: int, blocks: tuple[int, ...], background: int
) -> None:
    view = WeightsView(Path("/x/w.pt"), small_layout(width, blocks, background), {})
    fields = family_module("sam2").recognise(view)
    assert fields is not None
    assert fields["options"] == {"encoder": size, "version": "2.1"}


def test_pictures_give_the_numbers_of_the_authors_package(published: Path) -> None:
    """Frozen by `tests/oracles/sam2_outputs.py`: points, a box, both, a mask; three masks and one."""
    model = _model_of(published)
    authors = read_arrays(AUTHORS / "pictures.npz")
    rgb = picture(60, 90)
    assert_allclose(stretched(rgb, WINDOW)[:, :, ::8, ::8], authors["input"], atol=1e-5)
    embedding = model.encode(rgb)
    given: dict[str, dict[str, Any]] = {
        "point": {"points": [(30, 30)], "labels": [1]},
        "points": {"points": [(30, 30), (10, 70)], "labels": [1, 0]},
        "box": {"box": (18, 18, 42, 42)},
        "both": {"box": (18, 18, 42, 42), "points": [(40, 25)], "labels": [0]},
    }
    for name, parts in given.items():
        for several in (True, False):
            (found,) = model.decode(embedding, [Prompt(**parts)], multimask=several)
            low = torch.from_numpy(authors[f"{name} {several} logits"])[None]
            large = torch.nn.functional.interpolate(low, (60, 90), mode="bilinear", align_corners=False)[0]
            assert_allclose(found.logits, large, atol=1e-4)
            assert_allclose(found.predicted_iou, authors[f"{name} {several} iou"], atol=1e-5)
    drawn = torch.full((1, 1, WINDOW // 4, WINDOW // 4), -6.0)
    drawn[..., 10:20, 8:16] = 6
    for several in (True, False):
        low, iou = model._low_resolution(embedding, None, None, None, drawn, several=several)
        assert_allclose(low[0], authors[f"mask {several} logits"], atol=1e-4)
        assert_allclose(iou[0], authors[f"mask {several} iou"], atol=1e-5)


@pytest.mark.parametrize("kind", ["sam2", "sam2_video", "edgetam", "edgetam_video"])
def test_a_folder_of_transformers_is_its_network(tmp_path: Path, kind: str) -> None:
    network = _made(kind)
    network.save_pretrained(tmp_path / "mine")
    row = import_model(tmp_path / "mine")
    assert row.family == kind.removesuffix("_video")
    assert "2.1" in row.title or kind != "sam2_video"
    model = fs.load_model(row.name)
    rgb = picture(40, 90)
    forward = getattr(network, "_single_frame_forward", network)
    points, labels = torch.tensor([[[[50.0, 60.0]]]]), torch.tensor([[[1]]])
    with torch.inference_mode():
        expected = forward(pixel_values=stretched(rgb, WINDOW), input_points=points, input_labels=labels)
    (found,) = model.decode(model.encode(rgb), [Prompt(points=[(60 * 40 / WINDOW, 50 * 90 / WINDOW)])], multimask=True)
    assert_allclose(found.predicted_iou, expected.iou_scores[0, 0], atol=1e-5)
    best = found.logits[found.predicted_iou.argmax()]
    low = expected.pred_masks if kind.endswith("video") else expected.pred_masks[:, 0]
    low = low[:, [int(found.predicted_iou.argmax())]] if low.shape[1] > 1 else low
    assert_allclose(best, torch.nn.functional.interpolate(low, (40, 90), mode="bilinear")[0, 0], atol=1e-4)


@pytest.fixture
def small(tmp_path: Path) -> Any:
    return fs.load_model(import_model(_folder(tmp_path, "sam2")).name)


@pytest.mark.parametrize("shape", [(90, 30), (30, 90), (1, 200), (200, 1), (3, 3)])
def test_prompts_reach_their_place_in_oblong_pictures(small: Any, shape: tuple[int, int]) -> None:
    """A picture that is the stretched square itself gives the same masks by prompts at the same shares of its sides."""
    rows, columns = shape
    rgb = np.ascontiguousarray(np.broadcast_to(np.uint8([[[90, 140, 60]]]), (rows, columns, 3)))
    square = np.ascontiguousarray(np.broadcast_to(np.uint8([[[90, 140, 60]]]), (WINDOW, WINDOW, 3)))
    embedding, whole = small.encode(rgb), small.encode(square)
    place = np.array([rows * 0.25, columns * 0.5])
    same = place * [WINDOW / rows, WINDOW / columns]
    for at, there in ((Prompt(points=[tuple(place)]), Prompt(points=[tuple(same)])),):
        found, expected = (
            small._low_resolution(e, e.in_window(np.array([p.points])[..., ::-1]), torch.ones(1, 1, dtype=torch.int),
                                  None, None, several=True)[0]
            for e, p in ((embedding, at), (whole, there))
        )  # fmt: skip
        assert_allclose(found, expected, atol=1e-4)
    drawn = np.zeros(shape, bool)
    drawn[: max(1, rows // 2), : max(1, columns // 3)] = True
    logits = embedding.mask_input(drawn, small.mask_side, small.window, 6.0)[0]
    inside = (logits > 0).numpy().mean()
    assert abs(inside - drawn.mean()) < 0.06
    (candidates,) = small.decode(embedding, [Prompt(mask=drawn)], multimask=False)
    assert candidates.logits.shape == (1, *shape)


def test_an_embedding_does_not_change_and_pictures_do_not_mix(small: Any) -> None:
    first, second = picture(40, 60), picture(70, 30, 4)
    prompts = [Prompt(points=[(10, 12)]), Prompt(box=(3, 4, 20, 22)), Prompt(points=[(5, 5), (9, 9)], labels=[1, 0])]
    embeddings = [small.encode(rgb) for rgb in (first, second, first)]
    before = [part.clone() for part in (embeddings[0].features, *embeddings[0].finer)]
    together = small.decode(embeddings[0], prompts, multimask=True, one_by_one=True)
    small.decode(embeddings[1], prompts[:1], multimask=False)
    again = [small.decode(embeddings[2], [prompt], multimask=True, one_by_one=True)[0] for prompt in prompts]
    for found, expected in zip(together, again, strict=True):
        assert_allclose(found.logits, expected.logits, atol=1e-4)
    for part, unchanged in zip((embeddings[0].features, *embeddings[0].finer), before, strict=True):
        assert torch.equal(part, unchanged)


def test_the_grid_has_the_masks_of_its_points_and_stops_when_asked(small: Any) -> None:
    rgb = picture(50, 80)
    embedding = small.encode(rgb)
    points = np.array([[0.25, 0.4], [0.7, 0.6], [0.5, 0.5]])
    options = GridOptions(2, pred_iou_thresh=0.0, stability_score_thresh=0.0, stability_score_offset=1.0)
    masks = small.grid_masks(embedding, points, options, lambda: None)
    single = small.decode(embedding, [Prompt(points=[(y * 50, x * 80)]) for x, y in points], multimask=True)
    expected = [logits > 0 for candidates in single for logits in candidates.logits if (logits > 0).any()]
    assert len(masks) == len(expected)
    for mask, whole in zip(masks, expected, strict=True):
        painted = np.zeros(whole.shape, np.uint8)
        paint(painted, [(1, mask)])
        assert ((painted > 0) != whole).mean() < 0.001

    class StopError(Exception):
        pass

    def poll() -> None:
        raise StopError

    with pytest.raises(StopError):
        small.grid_masks(embedding, points, options, poll)


def test_three_maps_are_packed_and_the_key_names_the_window(small: Any, tmp_path: Path) -> None:
    embedding = small.encode(picture(40, 60))
    again = small.unpacked(small.packed(embedding))
    assert [tuple(part.shape[1:]) for part in (again.features, *again.finer)] == [
        (128, 8, 8),
        (16, 32, 32),
        (32, 16, 16),
    ]
    assert all(torch.equal(a, b) for a, b in zip(again.finer, embedding.finer, strict=True))
    assert again.nbytes >= sum(part.nbytes for part in (again.features, *again.finer))
    assert str(WINDOW) in small.preprocessing


def test_16_bits_prompts_as_8_bits_do_and_automatic_masks_come_out(small: Any) -> None:
    grey = picture(60, 90)[..., 0]
    for image in (grey.astype(np.uint16) * 257, grey):
        found = fs.prompt(image, Prompt(box=(18, 18, 42, 42)), model=small.name)
        assert found.labels.shape == grey.shape
    masks = fs.automatic(grey, model=small.name, method="grid", points_per_side=3, pred_iou_thresh=0, min_area=0,
                         stability_score_thresh=0)  # fmt: skip
    assert masks.labels.shape == grey.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_run_in_float32(published: Path, dtype: torch.dtype) -> None:
    tensors = {name: value.to(dtype) for name, value in filled(small_layout()).items()}
    torch.save({"model": tensors}, published)
    model = _model_of(published)
    (found,) = model.decode(model.encode(picture(20, 30)), [Prompt(points=[(5, 5)])], multimask=True)
    assert found.logits.dtype == np.float32
    assert {value.dtype for value in model.network.parameters()} == {torch.float32}


def test_the_name_tells_medsam2_from_sam_2_1_and_the_import_says_so(tmp_path: Path, small_hiera: None) -> None:
    empty = {name: torch.zeros(shape) for name, shape in small_layout().items()}
    torch.save({"model": empty}, tmp_path / "MedSAM2_lesion.pt")
    torch.save({"model": empty, "epoch": 3}, tmp_path / "checkpoint.pt")
    run = CliRunner()
    said = run.invoke(cli.app, ["models", "import", str(tmp_path / "MedSAM2_lesion.pt")]).output
    assert "MedSAM2, for" in said
    assert "--family sam2" in " ".join(said.split())
    row = import_model(tmp_path / "MedSAM2_lesion.pt", "other", family="sam2")
    assert (row.family, row.title) == ("sam2", "SAM 2.1 small test")
    row = import_model(tmp_path / "checkpoint.pt", "third", family="medsam2")
    assert row.family == "medsam2"
    assert row.options["window"] == 512
    assert "by its name" not in row.assumed
    said = sam2_fields = family_module("sam2").recognise(WeightsView(Path("/x/w.pt"), layout("sam2.1-hiera-tiny"), {}))
    assert sam2_fields is not None
    assert "--family medsam2" in said["assumed"]


def test_edgetam_without_timm_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = family_facts.installed_version
    monkeypatch.setattr(family_facts, "installed_version", lambda name: "" if name == "timm" else installed(name))
    path = _folder(tmp_path, "edgetam")
    with pytest.raises(PackageError, match=r"EdgeTAM needs timm.*pip install timm"):
        import_model(path)
    assert "edgetam" not in {row.family for row in catalog().values() if row.file == str(path)}


def test_a_sam_1_with_this_name_is_a_sam_1_and_a_cut_file_is_named(tmp_path: Path, published: Path) -> None:
    from tests.support.small_sam import small_sam

    torch.save(small_sam().state_dict(), tmp_path / "sam2_vit.pt")
    assert import_model(tmp_path / "sam2_vit.pt").family == "sam_vit"
    data = published.read_bytes()
    (tmp_path / "MedSAM2_cut.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"cut short|damaged"):
        import_model(tmp_path / "MedSAM2_cut.pt")


def test_a_folder_of_several_published_files_is_not_mixed(tmp_path: Path, small_hiera: None) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("MedSAM2_lesion.pt", "sam2_mine.pt"):
        torch.save({"model": {key: torch.zeros(shape) for key, shape in small_layout().items()}}, folder / name)
    with pytest.raises(CheckpointError, match=r"2 files of weights \(MedSAM2_lesion\.pt, sam2_mine\.pt\)"):
        import_model(folder)
    assert import_model(folder / "sam2_mine.pt", "one").family == "sam2"


def test_every_name_of_a_file_is_used_once() -> None:
    for name in ("sam2.1-hiera-large", "edgetam"):
        own = own_tensors(layout(name))
        used = [part for origin in origins(own).values() for part in origin.names]
        assert set(used) == set(own)
    assert sam2_layout.own_tensors({"a": (1,)}) == {}


def test_prompts_of_no_kind_are_refused_by_name(small: Any) -> None:
    with pytest.raises(PromptError):
        fs.prompt(picture(20, 20), Prompt(), model=small.name)

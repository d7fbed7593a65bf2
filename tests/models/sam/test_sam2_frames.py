"""SAM 2, EdgeTAM and SAM 3's tracker through frames: as transformers and the authors' package follow objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose, assert_array_equal

import napari_foundseg as fs
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.catalog import packaged, save_row
from napari_foundseg.models.families.language import sam3
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.protocols.frames import FrameMasks, FramePrompt
from napari_foundseg.models.sam.sam2_checkpoint import load_network
from napari_foundseg.models.sam.sam2_frames import Sam2FrameModel
from napari_foundseg.models.sam.sam2_layout import HIERAS, Hiera
from napari_foundseg.models.sam.sam2_model import stretched
from tests.support import tiny_checkpoints
from tests.support.frozen_arrays import read_arrays
from tests.support.small_sam2 import (
    BLOCKS,
    EDGETAM_WINDOW,
    GLOBAL,
    HEADS,
    WIDTH,
    WINDOW,
    WINDOWS,
    edgetam_tensors,
    filled,
    picture,
    small_layout,
    small_network,
)

AUTHORS = Path(__file__).parents[2] / "data" / "sam2"
POINT = Prompt(points=[(12, 14)])
BOX = Prompt(box=(3, 25, 12, 36))
SIZE = (24, 40)


class Frames(Sequence[Any]):
    """Frames that are made when they are asked for, and counted."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: Any) -> Any:
        self.read.append(at)
        return picture(*SIZE, at)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tiny_checkpoints.write("Sam3VideoModel", tmp_path_factory.mktemp("sam3") / "sam3")
    row = packaged()["sam3"]
    return {kind: small_network(kind) for kind in ("sam2_video", "edgetam_video")} | {
        "sam3": sam3.load(row, folder, "cpu").network
    }


@pytest.fixture(params=["sam2_video", "edgetam_video", "sam3"])
def model(request: pytest.FixtureRequest, networks: dict[str, Any]) -> Sam2FrameModel:
    kind = sam3.Sam3Tracker if request.param == "sam3" else Sam2FrameModel
    return kind(networks[request.param], "small", "small@0")


@pytest.fixture
def sam2(networks: dict[str, Any]) -> Sam2FrameModel:
    return Sam2FrameModel(networks["sam2_video"], "small", "small@0")


def followed(
    model: Sam2FrameModel, count: int, prompts: Iterable[tuple[int, int, Prompt]], first: int = 0, last: int = -1
) -> dict[int, FrameMasks]:
    frames = Frames(count)
    shown = [FramePrompt(*one) for one in prompts]
    found = list(model.propagate(frames, shown, first, last % count, lambda: None))
    assert sorted(one.frame for one in found) == list(range(first, last % count + 1))
    return {one.frame: one for one in found}


def own_session(
    model: Sam2FrameModel, count: int, prompts: Sequence[tuple[int, int, Prompt]]
) -> dict[int, torch.Tensor]:
    """Follow objects as transformers' documentation does it: all is kept, and all frames are read before."""
    network = model.network
    kind = {"sam2_video": "Sam2Video", "edgetam_video": "EdgeTamVideo", "sam3_tracker_video": "Sam3TrackerVideo"}[
        network.config.model_type
    ]
    is_sam3 = kind == "Sam3TrackerVideo"
    of_processor = kind if is_sam3 else "Sam2Video"
    processor = getattr(transformers, f"{of_processor}Processor")(
        transformers.Sam2ImageProcessor(), transformers.Sam2VideoVideoProcessor(), target_size=network.image_size
    )
    colours = ((0.5,) * 3, (0.5,) * 3) if is_sam3 else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    frames = torch.cat([stretched(picture(*SIZE, at), network.image_size, *colours) for at in range(count)])
    session = getattr(transformers, f"{kind}InferenceSession")(frames, *SIZE, dtype=torch.float32)
    for frame, number, prompt in prompts:
        given: dict[str, Any] = {}
        if prompt.mask is not None:
            given["input_masks"] = [prompt.mask]
        if prompt.points:
            given |= {"input_points": [[[[x, y] for y, x in prompt.points]]], "input_labels": [[list(prompt.labels)]]}
        if prompt.box is not None:
            y0, x0, y1, x1 = prompt.box
            given["input_boxes"] = [[[x0, y0, x1, y1]]]
        processor.add_inputs_to_inference_session(session, frame, number, **given)
        network(session, frame_idx=frame)
    start = min(frame for frame, _, _ in prompts)
    found = {}
    for reverse in (False, True):
        for output in network.propagate_in_video_iterator(session, start, reverse=reverse):
            small = output.pred_masks.reshape(-1, 1, *output.pred_masks.shape[-2:])
            found[output.frame_idx] = torch.nn.functional.interpolate(small, SIZE, mode="bilinear")[:, 0]
    return found


DRAWN = np.zeros(SIZE, bool)
DRAWN[5:15, 12:24] = True


@pytest.mark.parametrize(
    "prompts",
    [
        [(4, 1, POINT)],
        [(8, 1, Prompt(mask=DRAWN))],
        [(0, 7, BOX), (6, 7, Prompt(points=[(8, 20), (3, 3)], labels=[1, 0]))],
        [(2, 1, Prompt(points=[(12, 14)], box=(6, 8, 18, 20))), (5, 1, Prompt(mask=DRAWN))],
    ],
)
def test_one_object_is_followed_exactly_as_in_transformers_own_session(
    model: Sam2FrameModel, prompts: list[tuple[int, int, Prompt]]
) -> None:
    """Onward, back, and with corrections; equal to the last bit."""
    count = 9 if prompts[0][0] == 8 else 7
    expected = own_session(model, count, prompts)
    found = followed(model, count, prompts)
    for frame, masks in found.items():
        assert masks.object_ids.tolist() == [prompts[0][1]]
        assert masks.logits.shape == (1, *SIZE)
        assert_array_equal(masks.logits, expected[frame])
        assert 0 <= masks.presence[0] <= 1


def test_two_objects_are_followed_as_in_transformers_own_session(model: Sam2FrameModel) -> None:
    prompts = [(2, 1, POINT), (2, 2, BOX)]
    expected = own_session(model, 5, prompts)
    for frame, masks in followed(model, 5, prompts).items():
        assert masks.object_ids.tolist() == [1, 2]
        # It remembers both at once, which rounds the bfloat16 numbers that it keeps differently: on some processors
        # single logits of later frames are far off.
        logits = np.asarray(expected[frame])
        assert np.median(np.abs(masks.logits - logits)) < 1e-3 * logits.std()
        assert ((masks.logits > 0) == (logits > 0)).mean() > 0.99
    alone = [followed(model, 5, [prompt]) for prompt in prompts]
    for frame, masks in followed(model, 5, prompts).items():
        assert_array_equal(masks.logits, np.concatenate([one[frame].logits for one in alone]))


def test_what_is_forgotten_is_not_looked_at(sam2: Sam2FrameModel) -> None:
    """More frames than any memory reaches, from the middle both ways; nothing differs from a session that keeps all."""
    prompts = [(21, 1, POINT), (24, 1, BOX)]
    expected = own_session(sam2, 42, prompts)
    for frame, masks in followed(sam2, 42, prompts).items():
        assert_array_equal(masks.logits, expected[frame])


def test_memory_is_bounded_and_frames_are_read_as_they_come(
    sam2: Sam2FrameModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Any] = []
    make = sam2._session
    monkeypatch.setattr(sam2, "_session", lambda frames: sessions.append(make(frames)) or sessions[-1])

    def kept() -> int:
        return sum(
            value.numel()
            for session in sessions
            for kinds in session.output_dict_per_obj.values()
            for outputs in kinds.values()
            for output in outputs.values()
            for value in output.values()
        )

    frames = Frames(60)
    sizes = []
    shown = [FramePrompt(0, 1, POINT), FramePrompt(0, 2, BOX)]
    for masks in sam2.propagate(frames, shown, 0, 59, lambda: None):
        sizes.append(kept())
        assert max(frames.read) == masks.frame
    assert max(sizes[-10:]) == min(sizes[-10:]) == max(sizes[36:])
    assert all(frames.read.count(frame) == 1 for frame in range(1, 60))
    assert len(sessions[-1].cache._vision_features) == 1


def test_the_authors_package_gives_these_numbers(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published file by its layout; frozen by `tests/oracles/sam2_outputs.py`, both ways, and with a correction.

    Masks as prompts are remembered otherwise by the authors (at the resolution of the small logits), so that they are
    compared with transformers only.
    """
    monkeypatch.setitem(HIERAS, (WIDTH, BLOCKS), Hiera("small test", HEADS, GLOBAL, WINDOWS))
    torch.save({"model": filled(small_layout())}, tmp_path / "MedSAM2_small.pt")
    row = import_model(tmp_path / "MedSAM2_small.pt")
    assert "Propagating" in row.protocols
    save_row(replace(row, options=row.options | {"window": WINDOW}))
    network: Any = fs.load_model(row.name)
    model = Sam2FrameModel(network.network, "small", "small@0")
    authors = read_arrays(AUTHORS / "films.npz")
    cases = {
        "two objects": [(3, 1, POINT), (3, 2, BOX)],
        "correction": [(3, 1, POINT), (5, 1, Prompt(box=(5, 12, 14, 23)))],
    }
    for name, prompts in cases.items():
        for frame, masks in followed(model, 7, prompts).items():
            way = "on" if frame >= 3 else "back"
            # 1e-4 on the processor that froze them; without AVX-512, 5e-4.
            assert_allclose(masks.logits, authors[f"{name} {way} {frame}"], atol=1e-3)


def test_edgetams_own_code_gives_these_numbers(tmp_path: Path) -> None:
    """A published file, of the full size; frozen by `tests/oracles/edgetam_outputs.py`."""
    torch.save({"model": edgetam_tensors()}, tmp_path / "edgetam.pt")
    model = Sam2FrameModel(load_network(tmp_path / "edgetam.pt", "cpu", EDGETAM_WINDOW), "edgetam", "edgetam@0")
    authors = read_arrays(AUTHORS / "edgetam.npz")
    embedding = model.encode(picture(60, 90))
    at = embedding.in_window(np.array([[[30.0, 30.0]]])).float()
    low, iou = model._low_resolution(embedding, at, torch.ones(1, 1, dtype=torch.int), None, None, several=True)
    assert_allclose(low[0, :, ::2, ::2], authors["logits"], atol=1e-4)
    assert_allclose(iou[0], authors["iou"], atol=1e-5)
    for frame, masks in followed(model, 7, [(3, 1, POINT), (3, 2, BOX)]).items():
        assert_allclose(masks.logits, authors[f"{'on' if frame >= 3 else 'back'} {frame}"], atol=1e-4)


def test_medsam2_goes_back_without_what_it_found_onward(networks: dict[str, Any]) -> None:
    forgetting = Sam2FrameModel(networks["sam2_video"], "small", "small@0", forgets=True)
    whole = followed(forgetting, 8, [(4, 1, BOX)])
    back = followed(forgetting, 8, [(4, 1, BOX)], last=4)
    on = followed(forgetting, 8, [(4, 1, BOX)], first=4)
    for frame, masks in whole.items():
        assert_array_equal(masks.logits, (back if frame < 4 else on)[frame].logits)
    remembering = followed(Sam2FrameModel(networks["sam2_video"], "small", "small@0"), 8, [(4, 1, BOX)])
    assert not np.array_equal(remembering[1].logits, whole[1].logits)


def test_objects_that_are_shown_in_different_frames_do_not_change_each_other(sam2: Sam2FrameModel) -> None:
    """Each comes out as if it were alone, in every frame once, whichever is shown first."""
    shown = {1: (2, POINT), 2: (9, BOX), 5: (6, Prompt(mask=DRAWN))}
    together = followed(sam2, 12, [(frame, number, prompt) for number, (frame, prompt) in shown.items()])
    for masks in together.values():
        assert masks.object_ids.tolist() == [1, 2, 5]
    alone = followed(sam2, 12, [(2, 1, POINT)])
    for frame, masks in together.items():
        assert_array_equal(masks.logits[0], alone[frame].logits[0])
    for at, (frame, prompt) in enumerate(shown.values()):
        number = list(shown)[at]
        own = followed(sam2, 12, [(frame, number, prompt)], first=frame, last=frame)
        assert_array_equal(together[frame].logits[at], own[frame].logits[0])


@pytest.mark.parametrize(("first", "last", "key"), [(0, 0, 0), (3, 3, 3), (2, 6, 2), (2, 6, 6), (0, 8, 8), (8, 8, 8)])
def test_each_frame_of_a_range_comes_once(sam2: Sam2FrameModel, first: int, last: int, key: int) -> None:
    whole = followed(sam2, 9, [(key, 1, POINT)])
    for frame, masks in followed(sam2, 9, [(key, 1, POINT)], first, last).items():
        if frame >= key or last == 8:
            assert_array_equal(masks.logits, whole[frame].logits)


def test_a_drawn_mask_is_kept_and_its_neighbours_move_towards_it(sam2: Sam2FrameModel) -> None:
    before = followed(sam2, 9, [(2, 1, POINT)])
    after = followed(sam2, 9, [(2, 1, POINT), (6, 1, Prompt(mask=DRAWN))])
    kept = after[6].logits[0] > 0
    assert (kept & DRAWN).sum() / (kept | DRAWN).sum() > 0.95
    for frame in (5, 7):
        assert not np.array_equal(before[frame].logits, after[frame].logits)


def test_points_beside_an_object_correct_what_was_found_and_are_remembered(sam2: Sam2FrameModel) -> None:
    beside = Prompt(points=[(12, 16)], labels=[0])
    before = followed(sam2, 9, [(2, 1, POINT)])
    after = followed(sam2, 9, [(2, 1, POINT), (5, 1, beside)])
    for frame in (3, 4):
        assert_array_equal(before[frame].logits, after[frame].logits)
    for frame in (5, 6, 8):
        assert not np.array_equal(before[frame].logits, after[frame].logits)


def test_points_and_a_mask_in_one_frame_make_one_mask(sam2: Sam2FrameModel) -> None:
    both = [(4, 1, Prompt(mask=DRAWN)), (4, 1, Prompt(points=[(12, 30)]))]
    found = followed(sam2, 6, both)
    (candidates,) = sam2.decode(
        sam2.encode(picture(*SIZE, 4)), [Prompt(mask=DRAWN, points=[(12, 30)])], multimask=False
    )
    shown = candidates.logits[0] > 0
    expected = followed(sam2, 6, [(4, 1, Prompt(mask=shown))])
    assert_array_equal(found[4].logits, expected[4].logits)


@pytest.mark.parametrize(
    ("prompts", "first", "last", "words"),
    [
        ([], 0, 5, "no prompt"),
        ([(7, 1, POINT)], 0, 5, "object 1 is in frame 7, outside the frames 0 to 5"),
        ([(2, 1, POINT)], 0, 9, "Frames 0 to 9 of 8"),
        ([(2, 1, POINT)], 5, 4, "not a range"),
        ([(2, 3, Prompt(points=[(1, 1)], labels=[0]))], 0, 5, "Object 3 has points beside it only"),
    ],
)
def test_prompts_that_show_nothing_are_named(
    sam2: Sam2FrameModel, prompts: list[tuple[int, int, Prompt]], first: int, last: int, words: str
) -> None:
    frames = Frames(8)
    with pytest.raises(PromptError, match=words):
        list(sam2.propagate(frames, [FramePrompt(*one) for one in prompts], first, last, lambda: None))
    assert not frames.read


@pytest.mark.parametrize("at", [1, 2, 6])
def test_it_stops_when_asked_and_starts_again(sam2: Sam2FrameModel, at: int) -> None:
    class StopError(Exception):
        pass

    def stopping(left: list[int]) -> Callable[[], None]:
        def poll() -> None:
            left[0] -= 1
            if not left[0]:
                raise StopError

        return poll

    found: list[FrameMasks] = []
    with pytest.raises(StopError):
        found.extend(sam2.propagate(Frames(6), [FramePrompt(3, 1, POINT)], 0, 5, stopping([at])))
    assert len(found) == max(0, at - 2)
    whole = followed(sam2, 6, [(3, 1, POINT)])
    for masks in found:
        assert_array_equal(masks.logits, whole[masks.frame].logits)


def test_a_folder_for_pictures_alone_has_no_memory(tmp_path: Path, own_cache: Path) -> None:
    for kind in ("sam2", "edgetam"):
        small_network(kind).save_pretrained(tmp_path / kind)
        row = import_model(tmp_path / kind)
        assert "Propagating" not in row.protocols
        assert not hasattr(fs.load_model(row.name), "propagate")


def test_one_frame_of_a_stack_can_be_all(sam2: Sam2FrameModel) -> None:
    (masks,) = followed(sam2, 1, [(0, 1, BOX)]).values()
    assert np.isfinite(masks.logits).all()

"""nnInteractive by a server that stands for the authors': all kinds of prompts, resets, what a server does wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.core.errors import (
    AxesError,
    Cancelled,
    FoundsegError,
    OfflineError,
    PromptError,
    ServerError,
    SettingsError,
)
from napari_foundseg.core.image import Image
from napari_foundseg.models.loading import forget_model
from napari_foundseg.tasks import TASKS
from tests.support.nninteractive_server import StandIn, serving

SHAPE = (8, 40, 50)
#: Two balls: one in slices 1 to 6, one in slices 2 to 4.
FIRST = np.hypot(np.hypot(3 * (np.arange(8)[:, None, None] - 3.5), np.arange(40)[:, None] - 12), np.arange(50) - 14) < 9
SECOND = np.hypot(np.hypot(3 * (np.arange(8)[:, None, None] - 3), np.arange(40)[:, None] - 28), np.arange(50) - 38) < 6


def stack() -> np.ndarray:
    return (100 + 900 * (FIRST | SECOND)).astype(np.int16)


@pytest.fixture
def server() -> Iterator[StandIn]:
    forget_model("nninteractive")
    with serving() as own:
        yield own
    forget_model("nninteractive")


def found(own: StandIn, prompts: Any, image: Any = None, **more: Any) -> Any:
    given = stack() if image is None else image
    more = {"axes": "ZYX", "server": own.address, "timeout": 20, **more}
    return fs.propagate(given, prompts, model="nninteractive", **more)


def test_a_click_in_one_slice_becomes_a_mask_in_3d(server: StandIn) -> None:
    parts = []
    seg = found(server, fs.Prompt([(3, 12, 14)]), callback=lambda index, masks: parts.append((index, set(masks))))
    assert np.array_equal(seg.labels == 1, FIRST)
    assert sorted(parts) == [((z,), {1}) for z in np.flatnonzero(FIRST.any((1, 2)))]
    notes = " ".join(seg.provenance["propagation"]["notes"])
    assert "CC BY-NC-SA 4.0" in notes
    assert "2.6.0" in notes
    assert server.address in notes
    # The volume as it is in the file, with a channel, and its spacing along Z, Y and X.
    _, meta, sent = next(one for one in server.got if one[0] == "/set_image")
    assert np.array_equal(sent[0], stack())
    assert meta["image_properties"]["spacing"] == [1, 1, 1]


def test_spacing_range_and_channels_arrive(server: StandIn) -> None:
    both = np.stack([np.zeros(SHAPE), stack()], 1)
    image = Image(both, "ZCYX", channels=1, spacing={"Z": 2.0, "Y": 0.5, "X": 0.5})
    seg = found(server, fs.Prompt([(3, 12, 14)]), image, axes=None, first=2, last=5)
    wanted = FIRST.copy()
    wanted[:2] = wanted[6:] = False
    assert np.array_equal(seg.labels == 1, wanted)
    _, meta, sent = next(one for one in server.got if one[0] == "/set_image")
    assert np.array_equal(sent[0], stack()[2:6])
    assert meta["image_properties"]["spacing"] == [2.0, 0.5, 0.5]


def test_box_scribble_and_mask_are_what_the_protocol_calls_them(server: StandIn) -> None:
    seg = found(server, fs.Prompt(box=(3, 5, 6, 3, 19, 22)))
    assert np.array_equal(seg.labels == 1, FIRST)
    # Half-open, one slice thick.
    assert server.got[-1][1]["bbox_coords"] == [[3, 4], [5, 20], [6, 23]]

    strokes = np.zeros(SHAPE[1:], bool)
    strokes[12, 8:20] = True
    seg = found(server, {4: [fs.Prompt(mask=strokes, index=(3,))]}, painted="strokes")
    assert server.asked[-1] == "/add_scribble_interaction"
    assert server.got[-1][2].shape == (1, 1, 12)
    assert server.got[-1][1]["interaction_bbox"] == [[3, 4], [12, 13], [8, 20]]
    assert np.array_equal(seg.labels == 4, FIRST)

    painted = np.zeros(SHAPE, np.uint8)
    painted[3] = 7 * (FIRST[3] & (np.arange(50) < 15))
    seg = found(server, painted)
    assert server.asked[-1] == "/add_lasso_interaction"
    # Its own slice is kept as it was drawn.
    assert np.array_equal(seg.labels[3] == 7, painted[3] == 7)
    assert np.array_equal(seg.labels[4] == 7, FIRST[4])


def test_a_point_beside_the_object_takes_away(server: StandIn) -> None:
    whole = found(server, fs.Prompt([(3, 12, 14)])).labels
    less = found(server, fs.Prompt([(3, 12, 14), (3, 12, 21)], [1, 0])).labels
    assert server.got[-1][1]["include_interaction"] is False
    assert 0 < less.sum() < whole.sum()
    assert less[3, 12, 21] == 0


def test_objects_are_reset_and_the_volume_is_sent_once(server: StandIn) -> None:
    two = {1: [fs.Prompt([(3, 12, 14)])], 2: [fs.Prompt([(3, 28, 38)])]}
    seg = found(server, two)
    assert np.array_equal(seg.labels == 1, FIRST)
    assert np.array_equal(seg.labels == 2, SECOND)
    assert server.count("/reset_interactions") == 1
    found(server, two)
    assert server.count("/set_image") == server.count("/claim") == 1
    # Other pixels are sent.
    found(server, two, stack() + 5)
    assert server.count("/set_image") == 2


def test_objects_never_overlap_and_an_empty_one_is_named(server: StandIn) -> None:
    same = {1: [fs.Prompt([(3, 12, 14)])], 2: [fs.Prompt([(3, 12, 18)])], 3: [fs.Prompt([(0, 0, 0)])]}
    seg = found(server, same)
    assert np.array_equal(seg.labels == 1, FIRST)
    assert set(np.unique(seg.labels)) == {0, 1}
    assert "Nothing was found of objects 3." in seg.provenance["propagation"]["notes"]


@pytest.mark.parametrize(
    ("path", "fault", "said"),
    [
        ("/claim", 404, "older nninteractive-server"),
        ("/claim", 401, "NN_INTERACTIVE_API_KEY"),
        ("/claim", 503, "no free session"),
        ("/claim", "garbage", "cannot read"),
        ("/capabilities", "garbage", "cannot read"),
        ("/set_image", "lost", "was lost"),
        ("/set_image", 500, "refused"),
        ("/add_point_interaction", "lost", "was lost"),
        ("/add_point_interaction", 410, "has ended"),
        ("/add_point_interaction", 500, "refused"),
        ("/add_point_interaction", "garbage box", "cannot read"),
        ("/reset_interactions", "lost", "was lost"),
    ],
)
def test_what_a_server_does_wrong_is_named(server: StandIn, path: str, fault: Any, said: str) -> None:
    server.faults[path] = fault
    two = {1: [fs.Prompt([(3, 12, 14)])], 2: [fs.Prompt([(3, 28, 38)])]}
    done: list[int] = []
    with pytest.raises(ServerError, match=said) as raised:
        found(server, two, callback=lambda _index, masks: done.extend(masks))
    assert server.address in str(raised.value)
    # What was done before has come already.
    assert set(done) == ({1} if path == "/reset_interactions" else set())
    server.faults.clear()
    assert np.array_equal(found(server, two).labels == 2, SECOND)


@pytest.mark.parametrize("version", ["1.1.2", "3.0.0", "beta"])
def test_a_server_of_another_main_version_is_refused(server: StandIn, version: str) -> None:
    server.version = version
    with pytest.raises(ServerError, match="same main version") as raised:
        found(server, fs.Prompt([(3, 12, 14)]))
    assert version in str(raised.value)
    assert "/set_image" not in server.asked


def test_a_slow_server_ends_in_a_named_error(server: StandIn) -> None:
    server.faults["/add_point_interaction"] = "slow"
    with pytest.raises(ServerError, match=r"did not answer within 0\.3 s"):
        found(server, fs.Prompt([(3, 12, 14)]), timeout=0.3)


def test_cancel_does_not_wait_for_the_server(server: StandIn) -> None:
    server.faults["/add_point_interaction"] = "slow"
    task = TASKS["propagate"]
    model = fs.load_model("nninteractive", protocol="PromptableVolume")
    inputs = task.inputs.parse({"prompts": [fs.Prompt([(3, 12, 14)])]})
    settings = task.settings("volume", {"server": server.address, "timeout": 3000})
    with pytest.raises(Cancelled):
        task.run(Image(stack(), "ZYX"), inputs, settings, model, cancelled=server.waits.is_set)
    assert not server.go_on.is_set()
    server.faults.clear()
    server.go_on.set()
    assert found(server, fs.Prompt([(3, 12, 14)])).labels.any()


def test_a_session_that_ended_while_nobody_looked_is_begun_again(server: StandIn) -> None:
    found(server, fs.Prompt([(3, 12, 14)]))
    server.leases.clear()
    assert np.array_equal(found(server, fs.Prompt([(3, 12, 14)])).labels == 1, FIRST)
    assert server.count("/claim") == 2


def test_no_server_a_wrong_address_and_an_unreachable_one_are_named(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = fs.Prompt([(3, 12, 14)])
    with pytest.raises(SettingsError, match="no address is given"):
        found(server, point, server="")
    for wrong in ("gpu-box:1527", "ftp://gpu-box", "http://", "http://gpu-box:port"):
        with pytest.raises(SettingsError, match="not a valid address; write it like"):
            found(server, point, server=wrong)
    with pytest.raises(ServerError, match="cannot be reached"):
        found(server, point, server="http://127.0.0.1:9", timeout=2)
    monkeypatch.setenv("FOUNDSEG_OFFLINE", "1")
    with pytest.raises(OfflineError):
        found(server, point, server="http://gpu-box:1527")
    assert found(server, point).labels.any()


def test_prompts_that_the_model_does_not_take_and_time_are_refused(server: StandIn) -> None:
    server.kinds = {"points": True, "bbox2d": False}
    with pytest.raises(PromptError, match="takes no box in a slice; it takes: point"):
        found(server, fs.Prompt(box=(3, 5, 6, 3, 19, 22)))
    with pytest.raises(AxesError, match="T is time"):
        found(server, fs.Prompt([(3, 12, 14)]), axes="TYX")


class _Broken:
    """A stack whose slice 3 cannot be read."""

    shape = SHAPE
    dtype = np.dtype(np.int16)
    ndim = 3

    def __getitem__(self, key: Any) -> np.ndarray:
        if np.arange(8)[key[0]].ravel().tolist() == [3]:
            raise OSError("bad sector")
        return stack()[key]


def test_a_slice_that_cannot_be_read_is_named_and_the_others_are_kept(server: StandIn) -> None:
    image = Image(_Broken(), "ZYX", normalisation=fs.Limits(low=0, high=1000))
    seg = found(server, fs.Prompt([(4, 12, 14)]), image, axes=None)
    assert not seg.labels[3].any()
    assert np.array_equal(seg.labels[4] == 1, FIRST[4])
    assert any("[3]" in note and "bad sector" in note for note in seg.provenance["propagation"]["notes"])


def test_the_session_is_given_back_when_the_model_is_forgotten(server: StandIn) -> None:
    found(server, fs.Prompt([(3, 12, 14)]))
    assert server.leases
    given_back = threading.Event()
    leases = server.leases

    class Told(set[str]):
        def discard(self, token: str) -> None:
            super().discard(token)
            given_back.set()

    server.leases = Told(leases)
    forget_model("nninteractive")
    assert given_back.wait(30)
    assert not server.leases


def test_errors_travel_from_the_engine() -> None:
    import pickle

    error: FoundsegError = ServerError("gone")
    assert str(pickle.loads(pickle.dumps(error))) == "gone"

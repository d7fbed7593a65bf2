"""Objects of films linked to tracks: divisions, gaps, movement, and films that are odd."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.draw import disk

from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.core.films.film_frames import film_frames
from napari_foundseg.core.films.track_labels import TrackedFilm, track_film
from napari_foundseg.core.films.tracking import TrackRule
from tests.support.drawn_films import Film, division_f1, draw_film, tra


def shuffled(truth: NDArray[Any], seed: int = 0) -> NDArray[np.uint16]:
    """Return labels whose ids in each frame say nothing of those in the next."""
    rng = np.random.default_rng(seed)
    out = np.zeros(truth.shape, np.uint16)
    for t, plane in enumerate(truth):
        out[t] = np.concatenate([[0], rng.permutation(int(truth.max())) + 1]).astype(np.uint16)[plane]
    return out


def track(labels: Any, axes: str = "TYX", spacing: dict[str, float] | None = None, **rule: Any) -> TrackedFilm:
    return track_film(labels, axes, spacing or {}, TrackRule(**rule))


def discs(*frames: list[tuple[float, float, float]], shape: tuple[int, int] = (80, 80)) -> NDArray[np.uint8]:
    """Draw discs (row, column, radius) in frames."""
    out = np.zeros((len(frames), *shape), np.uint8)
    for t, frame in enumerate(frames):
        for label, (y, x, radius) in enumerate(frame, 1):
            out[t][disk((y, x), radius, shape=shape)] = label
    return out


@pytest.fixture(scope="module")
def film() -> Film:
    return draw_film(24, 30, 8, 8.0, seed=3, side=300)


@pytest.mark.parametrize(("movement", "daughter"), [(4.0, 0.75), (10.0, 0.7), (16.0, 0.85)])
def test_tracks_and_divisions_of_drawn_films_are_those_drawn(movement: float, daughter: float) -> None:
    drawn = draw_film(24, 30, 8, movement, seed=1, side=300, daughter=daughter)
    found = track(shuffled(drawn.truth))
    labels, parents = found.labels(), found.tracks.parents
    assert tra(drawn.truth, drawn.parents, labels, parents) > 0.98
    assert division_f1(drawn.truth, drawn.parents, labels, parents) >= 0.9
    assert movement <= found.tracks.max_movement <= 4 * movement + 10


def test_a_mother_ends_and_both_daughters_have_ids_of_their_own(film: Film) -> None:
    found = track(shuffled(film.truth))
    tracks = found.tracks
    assert tracks.divisions == 8
    assert len(tracks.parents) == 16
    labels = found.labels()
    for child, mother in tracks.parents.items():
        assert tracks.last[mother - 1] == tracks.first[child - 1] - 1
        assert not (labels[tracks.last[mother - 1]] == child).any()
        assert not (labels[tracks.first[child - 1]] == mother).any()


def test_each_object_of_each_frame_is_in_one_track_and_a_second_run_is_equal(film: Film) -> None:
    first = track(film.truth)
    labels = first.labels()
    assert np.array_equal(labels > 0, film.truth > 0)
    for one, other in zip(film.truth, labels, strict=True):
        pairs = np.unique(np.stack([one[one > 0], other[one > 0]]), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    again = track(labels)
    assert np.array_equal(again.labels(), labels)
    assert again.tracks.parents == first.tracks.parents


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_numbers_and_types_of_the_labels_make_no_difference(film: Film, dtype: Any) -> None:
    frames = film.truth[:8]
    own = frames.astype(dtype)
    own[own > 0] += np.array(2_000_000_000, dtype)
    assert np.array_equal(track(own).labels(), track(frames).labels())


def test_masks_of_one_thing_are_labels_too() -> None:
    one = discs([(20, 20, 8)], [(22, 23, 8)], [(25, 25, 8)]) > 0
    assert np.array_equal(track(one).labels() > 0, one)
    assert track(one).tracks.count == 1


def test_an_object_that_is_missed_once_keeps_its_id_and_twice_does_not() -> None:
    path = [[(20.0, 10.0 + 4 * t, 7.0), (60.0, 60.0 - 3 * t, 7.0)] for t in range(9)]
    path[4] = path[4][1:]
    once = track(discs(*path))
    assert (once.tracks.count, once.tracks.gaps) == (2, 1)
    assert track(discs(*path), max_gap=0).tracks.count == 3
    path[5] = path[5][1:]
    assert track(discs(*path)).tracks.count == 3
    assert track(discs(*path), max_gap=2).tracks.count == 2


def test_what_leaves_and_comes_back_later_has_a_new_id_without_a_parent() -> None:
    there = [(40.0, 40.0, 9.0)]
    found = track(discs(there, there, [], [], [], there, there))
    assert found.tracks.count == 2
    assert found.tracks.parents == {}


def test_divisions_can_be_switched_off(film: Film) -> None:
    found = track(film.truth, divisions=False)
    assert found.tracks.parents == {}
    assert found.tracks.count == 30 + 8


def test_a_speck_or_a_neighbour_that_comes_in_is_no_daughter() -> None:
    cell = (40.0, 40.0, 10.0)
    specks = track(discs([cell], [cell, (52, 40, 2)], [cell, (52, 41, 2)]))
    assert specks.tracks.parents == {}
    beside = track(discs([cell], [cell], [cell, (40, 62, 10)], [cell, (40, 62, 10)]))
    assert beside.tracks.parents == {}
    assert beside.tracks.count == 2


def test_daughters_that_are_seen_after_a_missed_frame_have_their_mother() -> None:
    both = [(40.0, 31.0, 8.0), (40.0, 49.0, 8.0)]
    mother = [(40.0, 40.0, 11.0)]
    found = track(discs(mother, mother, [], both, both))
    assert found.tracks.parents == {2: 1, 3: 1}
    assert found.tracks.divisions == 1


@pytest.mark.parametrize("empty", [[0], [3], [5], [0, 1, 2, 3, 4, 5]])
def test_empty_frames_are_no_error(empty: list[int]) -> None:
    path: list[list[tuple[float, float, float]]] = [[(30.0, 20.0 + 3 * t, 7.0)] for t in range(6)]
    for t in empty:
        path[t] = []
    found = track(discs(*path))
    assert found.tracks.count == (0 if len(empty) == 6 else 1)
    assert found.labels().shape == (6, 80, 80)


def test_one_frame_gives_tracks_of_one_frame() -> None:
    found = track(discs([(20, 20, 7), (50, 50, 7)]))
    assert found.tracks.first.tolist() == found.tracks.last.tolist() == [0, 0]


def test_two_that_pass_each_other_go_on_as_they_were_going() -> None:
    path = [[(30.0, 10.0 + 6 * t, 5.0), (41.0, 70.0 - 6 * t, 5.0)] for t in range(11)]
    labels = track(discs(*path)).labels()
    first, second = (labels[0, 30, 10], labels[0, 41, 70])
    assert labels[10, 30, 70] == first
    assert labels[10, 41, 10] == second


def test_an_object_that_comes_in_far_away_is_not_the_one_that_left() -> None:
    still = [(20.0, 20.0, 6.0), (20.0, 60.0, 6.0)]
    film = discs(*([[*still, (60.0, 8.0, 6.0)]] * 3), *([[*still, (60.0, 71.0, 6.0)]] * 3))
    found = track(film)
    assert found.tracks.count == 4
    assert found.tracks.max_movement < 55


def test_without_a_solution_the_links_are_made_without_divisions(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.optimize

    monkeypatch.setattr(scipy.optimize, "milp", lambda *_a, **_k: scipy.optimize.OptimizeResult(x=None))
    found = track(film.truth)
    assert found.tracks.parents == {}
    assert np.array_equal(found.labels() > 0, film.truth > 0)


def test_volumes_are_tracked_with_their_spacing() -> None:
    film = np.zeros((5, 8, 60, 60), np.uint8)
    for t in range(5):
        film[t, 1:3, 20:30, 10 + 4 * t : 20 + 4 * t] = 1
        # Over the other in x and y, eight pixels away in z.
        film[t, 5:7, 20:30, 30 - 4 * t : 40 - 4 * t] = 2
    found = track(film, "TZYX", {"Z": 2.0, "Y": 0.5, "X": 0.5})
    assert np.array_equal(found.labels(), film)
    turned = track(film.transpose(1, 2, 3, 0), "ZYXT", {"Z": 2.0, "Y": 0.5, "X": 0.5})
    assert np.array_equal(turned.labels(), film.transpose(1, 2, 3, 0))


def test_a_lazy_film_is_read_one_frame_at_a_time(film: Film) -> None:
    class Lazy:
        shape = film.truth.shape
        dtype = film.truth.dtype
        read: ClassVar[list[int]] = []

        def __getitem__(self, key: Any) -> NDArray[Any]:
            part = film.truth[key]
            assert part.ndim == 2
            self.read.append(int(key[-1]))
            return part

    lazy = Lazy()
    frames = list(film_frames(track(lazy), "TYX"))
    assert np.array_equal(np.stack(frames), track(film.truth).labels())
    assert lazy.read == [*range(24), *range(24)]


def test_cancelling_ends_at_the_next_frame(film: Film) -> None:
    class StoppedError(Exception):
        pass

    def stop(share: float) -> None:
        if share > 0.2:
            raise StoppedError

    with pytest.raises(StoppedError):
        track_film(film.truth, "TYX", {}, TrackRule(), poll=stop)


def test_what_is_no_film_is_refused() -> None:
    stack = np.zeros((3, 4, 20, 20), np.uint8)
    with pytest.raises(AxesError, match="no axis T"):
        track(stack[0], "ZYX")
    with pytest.raises(AxesError, match="Q"):
        track(stack, "QTYX")
    with pytest.raises(BadImageError, match="whole numbers"):
        track(stack[0].astype(float))

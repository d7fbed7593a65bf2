"""The Tracks layer of a Labels layer whose ids are tracks: lines through the objects, with the graph of parents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari.layers import Labels, Tracks

from napari_foundseg.core.films.film_frames import film_frames
from napari_foundseg.core.films.lineage import Lineage, lineage_of
from napari_foundseg.core.films.spots import find_spots
from napari_foundseg.core.films.track_rows import track_graph, track_rows
from napari_foundseg.io.tracks.track_files import parents_of_table
from napari_foundseg.widgets.layers.layer_axes import layer_axes
from napari_foundseg.widgets.layers.object_features import indexed_features, read_facts, write_facts
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.result import Segmentation

__all__ = [
    "FilmLayer", "draw_tracks", "film_layer", "is_tracked", "show_result_tracks", "tracks_layer_of", "update_tracks",
]  # fmt: skip

#: Entries are kept as long as their Labels layer exists.
_shown: WeakKeyDictionary[Labels, ref[Tracks]] = WeakKeyDictionary()
_threads: WeakKeyDictionary[Labels, NumpyThread] = WeakKeyDictionary()
_TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True, eq=False)
class FilmLayer:
    """A Labels layer as a film: its array without a channel axis, and the letters of the axes.

    Parameters
    ----------
    pixels : array
        The array of labels.
    axes : str
        A letter for each axis of the array.
    all_axes : str
        A letter for each axis of the layer.
    """

    pixels: Any
    axes: str
    all_axes: str


def film_layer(layer: Labels, time_axis: int | None = None) -> FilmLayer:
    """Return a layer as a film; `time_axis`, if not None, is used as T regardless of its name."""
    data = layer.data[0] if layer.multiscale else layer.data
    letters = layer_axes(layer)
    if time_axis is not None and letters[time_axis] != "T":
        own = letters[time_axis]
        letters = letters.replace("T", own)
        letters = letters[:time_axis] + "T" + letters[time_axis + 1 :]
    channel = letters.find("C")
    if channel >= 0 and data.shape[channel] == 1:
        pixels = data[(slice(None),) * channel + (0,)]
        return FilmLayer(pixels, letters.replace("C", ""), letters)
    return FilmLayer(data, letters, letters)


def is_tracked(layer: Labels) -> bool:
    """Tell whether the ids of a layer are tracks: its features have a column of parents."""
    return "parent" in layer.features


def tracks_layer_of(viewer: ViewerModel, layer: Labels) -> Tracks | None:
    """Return the Tracks layer of a Labels layer; None if it is not in the viewer."""
    known = _shown.get(layer)
    tracks = None if known is None else known()
    return tracks if tracks is not None and tracks in viewer.layers else None


def update_tracks(
    viewer: ViewerModel,
    layer: Labels,
    then: Callable[[Lineage | Exception], None] = lambda _result: None,
    time_axis: int | None = None,
) -> None:
    """Show the current tracks of a Labels layer, in a new Tracks layer or in the existing one.

    The objects are found in a background thread; `then` is called with the lineage or with the exception.
    """
    film = film_layer(layer, time_axis)
    pixels = film.pixels.copy() if hasattr(film.pixels, "copy") and hasattr(film.pixels, "flags") else film.pixels
    parents = parents_of_table(indexed_features(layer))

    def work() -> tuple[Lineage, Any, Any]:
        spots = find_spots(film_frames(pixels, film.axes))
        lineage = lineage_of(spots, parents)
        return lineage, *track_rows(spots, lineage, film.all_axes)

    def show(number: int, result: Any) -> None:
        if number != thread.number:
            return
        if isinstance(result, Exception):
            then(result)
            return
        lineage, rows, features = result
        if layer in viewer.layers:
            draw_tracks(viewer, layer, lineage, rows, features, film.all_axes)
        then(lineage)

    thread = _threads.get(layer) or NumpyThread("tracks")
    if layer in _threads:
        thread.done.disconnect()
    _threads[layer] = thread
    thread.done.connect(show)
    thread.ask(work)


def show_result_tracks(
    viewer: ViewerModel, layer: Labels, found: Segmentation, say: Callable[[str], None] = lambda _words: None
) -> None:
    """Show the tracks of a result over its Labels layer; if the result has none, remove the Tracks layer.

    `say` is called with a message if the tracks could not be drawn.
    """
    if "parent" not in found.table:
        tracks = tracks_layer_of(viewer, layer)
        if tracks is not None:
            viewer.layers.remove(tracks)
        return

    def then(result: Lineage | Exception) -> None:
        if isinstance(result, Exception):
            say(f"The lines of the tracks could not be drawn: {result}")

    update_tracks(viewer, layer, then, _time_axis(layer, found))


def _time_axis(layer: Labels, found: Segmentation) -> int:
    """Return the axis of a layer that was time in its result: the user may have named the axes in the form."""
    letters = layer_axes(layer)
    known = str(found.provenance.get("image", {}).get("axes", ""))
    if "C" in letters and len(known) == len(letters) - 1:
        at = letters.index("C")
        known = f"{known[:at]}C{known[at:]}"
    return (known if len(known) == len(letters) else letters).index("T")


def draw_tracks(
    viewer: ViewerModel, layer: Labels, lineage: Lineage, rows: Any, features: Any, axes: str
) -> Tracks | None:
    """Show tracks as a layer, and write parents, first and last frames into the features of the labels.

    Returns None if napari cannot show them: there is no track, or time is not the first axis.
    """
    _write_features(layer, lineage)
    tracks = tracks_layer_of(viewer, layer)
    if not len(rows) or axes[0] != "T":
        if tracks is not None:
            viewer.layers.remove(tracks)
        return None
    if tracks is None:
        active = viewer.layers.selection.active
        tracks = Tracks(
            rows,
            features=features,
            graph=track_graph(lineage),
            name=unique_name(viewer.layers, f"{layer.name} tracks"),
            tail_length=max(1, min(30, int(rows[:, 1].max()))),
            **{name: getattr(layer, name) for name in _TRANSFORMS},
        )
        viewer.add_layer(tracks)
        # Forms follow the active layer, so it is restored.
        viewer.layers.selection.active = active if active in viewer.layers else tracks
        _shown[layer] = ref(tracks)
        return tracks
    # napari refuses a graph with missing tracks, and features of another length.
    tracks.graph = {}
    tracks.data = rows
    tracks.features = features
    tracks.graph = track_graph(lineage)
    return tracks


def _write_features(layer: Labels, lineage: Lineage) -> None:
    """Write parent, first and last frame of each object into the features; other features stay."""
    known = read_facts(layer)
    table = lineage.table()
    facts = {
        track: {**known.get(track, {}), "parent": parent, "first_frame": first, "last_frame": last}
        for track, parent, first, last in table.astype(int).itertuples(index=False)
    }
    changed = {label: values for label, values in facts.items() if values != known.get(label)}
    write_facts(layer, changed)

"""One file, one answer: axes, spacing, channel, orientation and pixels by every way in, for every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr
from napari.layers import Layer
from qtpy.QtCore import Qt
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch.item_stages import run_item_here
from napari_foundseg.cli import app
from napari_foundseg.core.image import Image
from napari_foundseg.io.formats.table import image_formats
from napari_foundseg.io.image_layers import image_reader
from napari_foundseg.tasks import register_task
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget
from tests.support import toy_steps, toy_task

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]

NAMES = ["DAPI", "GFP", "RFP"]


def noise(*shape: int, dtype: str = "u2") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def ome(path: Path, axes: str, shape: tuple[int, ...], **options: Any) -> None:
    metadata = {"axes": axes, "Channel": {"Name": NAMES}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    tifffile.imwrite(path, noise(*shape), metadata=metadata, **options)


def ome_zarr(path: Path, axes: str, shape: tuple[int, ...]) -> None:
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": name, "type": kinds.get(name, "space")} | ({} if name in kinds else {"unit": "micrometer"})
        for name in axes
    ]
    group = zarr.create_group(path, zarr_format=2)
    levels = [noise(*shape), noise(*shape)[..., ::2, ::2]]
    datasets = []
    for i, level in enumerate(levels):
        scale = [2.0**i * 0.5 if axis in "yx" else 2.0 if axis == "z" else 1.0 for axis in axes]
        datasets.append({"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        group.create_array(str(i), shape=level.shape, dtype=level.dtype, chunks=level.shape)[...] = level
    omero = {"channels": [{"label": name} for name in NAMES]}
    group.attrs.update({"multiscales": [{"version": "0.4", "axes": described, "datasets": datasets}], "omero": omero})


def turned_jpeg(path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(noise(40, 56, 3, dtype="u1")).save(path, exif=exif)


def write(function: Any, *arguments: Any, **options: Any) -> Callable[[Path], None]:
    return lambda path: function(path, *arguments, **options)


#: For each format of the table, files that differ in what formats and ways in could lose.
SAMPLES: dict[str, dict[str, Callable[[Path], None]]] = {
    "TIFF": {
        "plain.tif": write(tifffile.imwrite, noise(40, 56)),
        "float.tif": write(tifffile.imwrite, noise(40, 56, dtype="f4"), compression="zlib"),
        "colour.tif": write(tifffile.imwrite, noise(40, 56, 3, dtype="u1"), photometric="rgb"),
        "turned.tif": write(tifffile.imwrite, noise(40, 56), extratags=[(274, "H", 1, 6, True)]),
        "stack.tif": write(tifffile.imwrite, noise(5, 40, 56), photometric="minisblack"),
        "imagej.tif": write(
            tifffile.imwrite,
            noise(4, 3, 40, 56),
            imagej=True,
            resolution=(2, 4),
            metadata={"axes": "TCYX", "unit": "um", "finterval": 30.0},
        ),
        "volume.tif": write(
            tifffile.imwrite,
            noise(5, 40, 56),
            imagej=True,
            resolution=(1 / 0.7, 1 / 0.7),
            metadata={"axes": "ZYX", "unit": "mm", "spacing": 3.0},
        ),
        "channels.ome.tif": write(ome, "CYX", (3, 40, 56), photometric="minisblack"),
        "all.ome.tif": write(ome, "TCZYX", (2, 3, 4, 40, 56), photometric="minisblack"),
    },
    "PNG": {
        "grey.png": lambda path: PIL.Image.fromarray(noise(40, 56)).save(path),
        "colour.png": lambda path: PIL.Image.fromarray(noise(40, 56, 3, dtype="u1")).save(path),
    },
    "JPEG": {
        "grey.jpg": lambda path: PIL.Image.fromarray(noise(40, 56, dtype="u1")).save(path),
        "turned.jpg": turned_jpeg,
    },
    "OME-Zarr": {
        "pyramid.ome.zarr": write(ome_zarr, "czyx", (3, 4, 64, 80)),
        "flat.zarr": write(ome_zarr, "yx", (64, 80)),
    },
}
FILES = [(name, sample) for samples in SAMPLES.values() for name, sample in samples.items()]


def test_every_format_that_is_read_is_in_the_matrix() -> None:
    assert {row.name for row in image_formats()} == set(SAMPLES)


@pytest.fixture
def seen() -> Iterator[list[Image]]:
    """The images that the task was given, in this process."""
    images: list[Image] = []

    def run(image: Image, *arguments: Any) -> Any:
        images.append(image)
        return toy_task.run(image, *arguments)

    remove = register_task(replace(toy_task.TASK, function=run))
    yield images
    remove()


def described(image: Image) -> dict[str, Any]:
    known = {axis for axis, size in image.spacing.items() if size != 1 or image.units.get(axis)}
    return {
        "axes": str(image.axes),
        "shape": image.shape,
        "spacing": {axis: pytest.approx(image.spacing[axis], rel=1e-6) for axis in sorted(known)},
        "units": {axis: image.units[axis] for axis in sorted(known) if axis in image.units},
        "channels": image.channels,
        "choice": image.channel_choice,
        "pixels": [sha256(image.rgb(index).tobytes()).hexdigest()[:12] for index in image.indices()],
    }


def by_command(seen: list[Image], path: Path, channel: str | None) -> Image:
    options = [] if channel is None else ["--channels", channel]
    out = path.parent.parent / "labels.tif"
    ran = CliRunner().invoke(app, ["run", "toy", str(path), "--out", str(out), "--model", "foundseg-tiny", *options])
    assert ran.exit_code == 0, ran.output + repr(ran.exception)
    assert (f"({channel})" in ran.output) == (channel is not None)
    return seen[-1]


def by_batch(seen: list[Image], path: Path, channel: str | None) -> Image:
    recipe = toy_steps.recipe(str(path), channels=channel)
    step = recipe.steps[0].model_copy(update={"task": "toy", "method": "bright", "settings": {}})
    recipe = recipe.model_copy(update={"steps": (step,)})
    (order,) = toy_steps.orders(recipe, path.parent.parent)
    outcome = run_item_here(order)
    assert outcome.state == "done", outcome.reason
    assert (f"({channel})" in outcome.channel) == (channel is not None)
    return seen[-1]


@pytest.mark.filterwarnings("ignore:.*orientation tag:UserWarning")
@pytest.mark.parametrize(("name", "sample"), FILES, ids=[name for name, _ in FILES])
def test_every_way_in_gives_one_answer(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path, seen: list[Image], name: str, sample: Callable[[Path], None]
) -> None:
    path = tmp_path / "images" / name
    path.parent.mkdir()
    sample(path)
    plain = fs.read_image(path)
    chosen = NAMES[1] if plain.channel_names and "C" in str(plain.axes) else None
    number = 1 if plain.channel_choice else None
    fs.run("toy", replace(plain, channels=chosen or number), {}, model="foundseg-tiny")
    expected = described(seen[-1])
    assert expected["pixels"]

    if chosen is not None or number is None:
        assert described(by_command(seen, path, chosen)) == expected, "run"
        assert described(by_batch(seen, path, chosen)) == expected, "batch"

    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form, name="Automatic masks")

    def in_view() -> dict[str, Any]:
        if number is not None:
            axis = form.image.layer.axis_labels.index("c")
            viewer.dims.set_current_step(axis, number)
        return described(form.image.image())

    reader = image_reader(str(path))
    assert reader is not None
    for data in reader(str(path)):
        viewer.add_layer(Layer.create(*data))
    assert in_view() == expected, "our reader"
    viewer.layers.clear()

    worklist = WorklistWidget(viewer)
    viewer.window.add_dock_widget(worklist, name="Worklist")
    worklist.ask_folder = lambda _title: str(path.parent)
    qtbot.mouseClick(worklist.folder_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not worklist.session.busy)
    worklist.session.open(0)
    qtbot.waitUntil(lambda: not worklist.session.busy)
    assert in_view() == expected, "worklist"


@pytest.mark.parametrize(
    "name", ["plain.tif", "colour.tif", "stack.tif", "imagej.tif", "volume.tif", "channels.ome.tif", "all.ome.tif"]
)
def test_napari_and_the_facts_of_the_file_give_that_answer_too(
    viewer: Any, engine: Any, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    SAMPLES["TIFF"][name](path)
    plain = fs.read_image(path)
    viewer.open(path, plugin="napari")
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form, name="Automatic masks")
    form.image.wait_for_file()
    if plain.channel_choice:
        viewer.dims.set_current_step(form.image.layer.axis_labels.index("c"), 1)
        plain = replace(plain, channels=1)
    assert described(form.image.image()) == described(plain)

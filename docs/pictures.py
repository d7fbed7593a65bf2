"""Take the pictures of the documentation: a real window with the real engine, on images that every installation has.

    make pictures                                   # all of them
    make pictures ARGS="automatic batch"            # some
    make pictures ARGS="--out /tmp/pictures"        # elsewhere, to look at them first

Look at the pictures before you commit them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before napari is imported: no settings and no files of the user.
os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(), "settings.yaml")  # noqa: PTH118
os.environ["FOUNDSEG_CACHE"] = tempfile.mkdtemp()

import napari
import numpy as np
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from scipy import ndimage
from skimage import data
from skimage.filters import threshold_otsu
from skimage.io import imread
from skimage.measure import regionprops

from napari_foundseg.batch.recipe import ModelOf, Outputs, Recipe, Sources, Step, write_recipe
from napari_foundseg.io.samples import sample
from napari_foundseg.widgets.editing.label_saving import mark_unwanted
from napari_foundseg.widgets.menu import open_dock
from napari_foundseg.widgets.runs.shared_engine import close_engine

TEMPORARY = Path(os.environ["FOUNDSEG_CACHE"])
WINDOW = (1300, 820)
WIDTH = 330


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> None:
    """Run the event loop until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        QTest.qWait(20)
        if time.monotonic() > end:
            raise SystemExit("The window did not get there in time.")


def open_window(dock: str, pixels: np.ndarray, name: str) -> tuple[Any, Any]:
    """Open an image and a form; returns the viewer and the form."""
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(*WINDOW)  # napari has no public name for it
    viewer.add_image(pixels, name=name)
    form = open_dock(viewer, dock)
    form.setFixedWidth(WIDTH)
    QTest.qWait(1500)
    viewer.reset_view()
    return viewer, form


def finish(viewer: Any, path: Path) -> None:
    """Take the picture and close the window."""
    QTest.qWait(500)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    for layer in viewer.layers:
        if isinstance(layer, napari.layers.Labels):
            # The next window offers nothing to recover.
            mark_unwanted(layer)
    viewer.close()
    close_engine()


def run_form(form: Any) -> None:
    """Press *Run* and wait for the result; ends where the form shows an error."""
    form.run_button.click()
    wait_for(lambda: form.current is None)
    if said := [message.text() for message in form.messages.values() if message.text()]:
        raise SystemExit(f"{type(form).__name__}: {said}")


def click(viewer: Any, layer: Any, place: tuple[int, int]) -> None:
    """Click on a data position of a layer."""
    canvas = viewer.window._qt_viewer.canvas.native  # napari has no public name for it
    centre = np.array([canvas.height(), canvas.width()]) / 2
    world = np.array(layer.data_to_world(place))[-2:] - np.array(viewer.scene.camera.center[-2:])
    row, column = world * viewer.scene.camera.zoom + centre
    position = QPoint(round(column), round(row))
    QTest.mouseMove(canvas, position)
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=position)


def nuclei() -> np.ndarray:
    """Return the sample image of nuclei."""
    return imread(sample("nuclei"))


def places(count: int) -> list[tuple[int, int]]:
    """Return (row, column) in the middle of large nuclei that are well apart from the border."""
    pixels = nuclei()
    bright, _ = ndimage.label(pixels > 1.2 * threshold_otsu(pixels))
    height, width = pixels.shape
    found = []
    for part in regionprops(bright):
        row, column = (round(value) for value in part.centroid)
        if part.solidity > 0.95 and 60 < row < height - 60 and 60 < column < width - 60:
            found.append((part.area, (row, column)))
    return [place for _, place in sorted(found, reverse=True)[:count]]


def accepted_objects(form: Any, viewer: Any) -> Any:
    """Click and accept objects; returns their layer."""
    form.run_button.click()
    QTest.qWait(1500)
    viewer.reset_view()
    for place in places(6)[:-1]:
        click(viewer, form.session.points, place)
        wait_for(lambda: form.current is None and form.accept_button.isEnabled())
        QTest.qWait(300)
        form.accept()
        QTest.qWait(300)
    return next(layer for layer in viewer.layers if isinstance(layer, napari.layers.Labels) and layer.data.max() > 1)


def automatic(path: Path) -> None:
    viewer, form = open_window("automatic", nuclei(), "nuclei")
    run_form(form)
    finish(viewer, path)


def prompt(path: Path) -> None:
    viewer, form = open_window("prompt", nuclei(), "nuclei")
    accepted_objects(form, viewer)
    click(viewer, form.session.points, places(6)[-1])
    wait_for(lambda: form.current is None)
    QTest.qWait(500)
    finish(viewer, path)


def with_objects(dock: str, path: Path) -> None:
    """Show a form that works on existing objects."""
    viewer, form = open_window("automatic", nuclei(), "nuclei")
    run_form(form)
    labels = next(layer for layer in viewer.layers if isinstance(layer, napari.layers.Labels))
    viewer.window.remove_dock_widget("all")
    open_dock(viewer, dock).setFixedWidth(WIDTH)
    viewer.layers.selection.active = labels
    QTest.qWait(2000)
    chosen = int(labels.data[places(1)[0]]) or int(labels.data.max())
    labels.selected_label = chosen
    QTest.qWait(2000)
    finish(viewer, path)


def correct(path: Path) -> None:
    with_objects("correct", path)


def objects(path: Path) -> None:
    with_objects("objects", path)


def panoptic(path: Path) -> None:
    viewer, form = open_window("panoptic", nuclei(), "nuclei")
    run_form(form)
    finish(viewer, path)


def mosaic() -> np.ndarray:
    """Return brick, grass and gravel in three regions with curved borders."""
    rows, columns = np.mgrid[:512, :512]
    place = np.digitize(columns + 60 * np.sin(rows / 60), (180, 350))
    return np.choose(place, [getattr(data, name)()[:512, :512] for name in ("brick", "gravel", "grass")])


def cluster(path: Path) -> None:
    textures = TEMPORARY / "textures.tif"
    tifffile.imwrite(textures, mosaic())
    # In a process of its own: this one must not import torch.
    settings = "name='textures', context=36, n_clusters=3, steps=60"
    fit = f"import sys, napari_foundseg as fs; fs.fit_stego(sys.argv[1], {settings})"
    subprocess.run([sys.executable, "-c", fit, str(textures)], check=True)
    viewer, form = open_window("cluster", mosaic(), "textures")
    form.model.setCurrentIndex(form.model.findData("textures"))
    run_form(form)
    finish(viewer, path)


def batch(path: Path) -> None:
    images = TEMPORARY / "experiment" / "images"
    images.mkdir(parents=True)
    whole = np.pad(nuclei(), 64, mode="reflect")
    for number in range(40):
        row, column = np.random.default_rng(number).integers(0, (250, 400))
        tifffile.imwrite(images / f"{number:03d}.tif", whole[row : row + 320, column : column + 400])
    step = Step(task="automatic", model=ModelOf(name="foundseg-tiny"))
    recipe = Recipe(inputs=Sources(paths=("images",)), steps=(step,), outputs=Outputs(folder="results"))
    write_recipe(images.parent / "recipe.yaml", recipe)
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(*WINDOW)
    form = open_dock(viewer, "batch")
    form.setFixedWidth(400)
    form.session.open_recipe(images.parent / "recipe.yaml")
    QTest.qWait(1500)
    form.start_button.click()
    wait_for(lambda: len(list((images.parent / "results").glob("*_labels.tif"))) >= 20)
    QTest.qWait(300)
    form.grab().save(str(path))
    form.session.stop()
    wait_for(lambda: not form.session.running)
    viewer.close()
    close_engine()


PICTURES = (automatic, prompt, correct, objects, panoptic, cluster, batch)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("names", nargs="*", help=f"of {', '.join(take.__name__ for take in PICTURES)}; default: all")
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for take in PICTURES:
        if not chosen.names or take.__name__ in chosen.names:
            take(chosen.out / f"{take.__name__}.png")
            print(chosen.out / f"{take.__name__}.png")


if __name__ == "__main__":
    main()

"""The command line: every task of the table that needs no pointing, the demo and the catalogue.

Options are made from the tasks' settings, so that they cannot differ from what the window shows.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional, get_args

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.store import state
from napari_foundseg.tasks import TASKS

__all__ = ["main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Segment images with foundation models.")
run_app = typer.Typer(no_args_is_help=True, help="Run a task on one image.")
models_app = typer.Typer(no_args_is_help=True, help="The models there are.")
app.add_typer(run_app, name="run")
app.add_typer(models_app, name="models")
console = Console(stderr=True)


def main() -> None:
    """Run the command line; a named error becomes one line and exit code 1."""
    try:
        app()
    except FoundsegError as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", markup=True, highlight=False)
        sys.exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for labels.tif and overlay.png.")] = Path("foundseg-demo"),
) -> None:
    """Segment a sample image, write labels and a picture, and open the window where there is a display."""
    from napari_foundseg.io.samples import sample

    image = sample("nuclei")
    result = _segment("automatic", image, out / "labels.tif", {})
    _write_overlay(image, result, out / "overlay.png")
    console.print(f"{len(result)} objects in {image.name}: {out / 'labels.tif'} and {out / 'overlay.png'}")
    if _has_display():
        # A process of its own: this one has torch, the window must not.
        sys.exit(subprocess.call([sys.executable, "-m", "napari_foundseg.widgets.demo", str(out / "labels.tif")]))


@models_app.command("list")
def list_models() -> None:
    """List the models of the catalogue."""
    table = Table("Name", "Tasks", "State", "Licence of weights", "Input")
    for row in catalog().values():
        table.add_row(row.name, ", ".join(row.tasks), state(row), row.weights_licence, row.input)
    Console().print(table)


def _segment(task: str, image: Path, out: Path, options: dict[str, Any]) -> Segmentation:
    from napari_foundseg import api
    from napari_foundseg.io.readers import read_image
    from napari_foundseg.io.writers import write_labels

    picture = read_image(image, options.pop("axes", None))
    options.setdefault("model", next(iter(catalog())))
    with Progress(console=console, transient=True) as bar:
        done = bar.add_task(TASKS[task].title, total=1.0)
        result = api.run(
            task,
            picture,
            {},
            progress=lambda share, words: bar.update(done, completed=share, description=words),
            **options,
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_labels(out, result.labels, picture.label_axes, picture.spacing, picture.units)
    return result


def _write_overlay(image: Path, result: Segmentation, out: Path) -> None:
    from napari_foundseg.io.readers import read_image
    from napari_foundseg.io.writers import write_overlay

    write_overlay(out, read_image(image).rgb(), result.labels)


def _has_display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _command(name: str) -> Callable[..., None]:
    """Return the command of a task, with an option for each setting of each of its methods."""
    task = TASKS[name]

    def command(**options: Any) -> None:
        image, out = options.pop("image"), options.pop("out")
        given = {key: value for key, value in options.items() if value is not None}
        result = _segment(name, image, out, given)
        console.print(f"{len(result)} objects: {out}")

    command.__doc__ = f"{task.title}: write the labels of an image."
    fixed: dict[str, Any] = {
        "image": Annotated[Path, typer.Argument(help="TIFF, PNG or JPEG.")],
        "out": Annotated[Path, typer.Option(help="Labels file, .tif or .png.")],
        "model": _option(str, "Model; see: napari-foundseg models list."),
        "method": _option(str, f"{' or '.join(task.methods)}; by default the first that the model has."),
        "axes": _option(str, "Axes of the image, such as ZYX or YXC."),
    }
    parameters = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
        if key in ("image", "out")
        else inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=None)
        for key, kind in (fixed | _settings_options(name)).items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _settings_options(name: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for method, settings in TASKS[name].methods.items():
        for key, field in settings.model_fields.items():
            if key != "method" and key not in options:
                named = {field.annotation, *get_args(field.annotation)} & {bool, int, float, str, Path}
                kind = named.pop() if len(named) == 1 else str
                only = "" if _shared(name, key) else f"[{method}] "
                options[key] = _option(kind, f"{only}{field.description} Default: {field.default}.")
    return options


def _shared(name: str, key: str) -> bool:
    return all(key in settings.model_fields for settings in TASKS[name].methods.values())


def _option(kind: Any, text: str) -> Any:
    return Annotated[Optional[kind], typer.Option(help=text, show_default=False)]  # noqa: UP045 - `kind` is a value


for _name in ("automatic",):
    run_app.command(_name)(_command(_name))

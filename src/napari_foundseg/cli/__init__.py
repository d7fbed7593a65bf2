"""The command line: every task of the table, replay of a result, the demo and the catalogue.

Options are made from the settings of the tasks, so they cannot differ from the options in the window.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_args

import typer
from typer.core import TyperGroup

from napari_foundseg.cli.models import models_app
from napari_foundseg.cli.terminal import console, make_progress, printable, show_error, show_line
from napari_foundseg.cli.tracks import track
from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.engine.waiting_threads import shorten_busy_waiting

if TYPE_CHECKING:
    from napari_foundseg.batch.item_stages import ItemOutcome
    from napari_foundseg.batch.items import BatchItem
    from napari_foundseg.batch.report import Report
    from napari_foundseg.batch.runner import Runner
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.result import Segmentation

__all__ = ["main"]


class _TaskCommands(TyperGroup):
    """The commands of ``run``, one for each task. They are made on demand, since each imports its task."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as typer calls it
        from napari_foundseg.tasks import TASKS

        return [name.replace("_", "-") for name in TASKS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        from napari_foundseg.tasks import TASKS

        name = cmd_name.replace("-", "_")
        if name not in TASKS:
            return None
        one = typer.Typer(add_completion=False)
        one.command(cmd_name)(_command(name))
        return typer.main.get_command(one)


app = typer.Typer(no_args_is_help=True, add_completion=False, help="Segment images with foundation models.")
run_app = typer.Typer(cls=_TaskCommands, no_args_is_help=True, help="Run a task on one image.")
app.add_typer(run_app, name="run")
app.add_typer(models_app, name="models")
app.command("track")(track)


#: Default for an absent ``--help``. Without it, typer imports pydantic to find that the option is absent.
_NO_HELP: dict[str, Any] = {"help": False}


def main() -> None:
    """Run the command line. A named error becomes one line and exit code 1."""
    # pydantic searches all installed packages for its plugins; none is of use here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    shorten_busy_waiting()
    try:
        app(default_map=_NO_HELP | {"models": _NO_HELP | {"list": _NO_HELP}})
    except FoundsegError as error:
        show_error(error)
        sys.exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for labels.tif and overlay.png.")] = Path("foundseg-demo"),
) -> None:
    """Segment a sample image, write labels and a picture, and open the window where there is a display."""
    from napari_foundseg.batch.result_file import write_result
    from napari_foundseg.io.naming import sidecar_path
    from napari_foundseg.io.samples import sample
    from napari_foundseg.io.writers import replace_overlay

    image = sample("nuclei")
    labels = out / "labels.tif"
    opened, result = _run("automatic", image, {})
    # The demo's own files are always made again, even if they were edited.
    for path in (labels, sidecar_path(labels)):
        path.unlink(missing_ok=True)
    write_result(labels, opened, result)
    replace_overlay(out / "overlay.png", opened.rgb(), result.labels)
    show_line(f"{len(result)} objects in {image.name}: {out / 'labels.tif'} and {out / 'overlay.png'}")
    if _has_display():
        # Use another process: this one has imported torch, which the window must not.
        sys.exit(
            subprocess.call([sys.executable, "-m", "napari_foundseg.widgets.demo_window", str(out / "labels.tif")])
        )


@app.command()
def batch(
    recipe: Annotated[Path, typer.Argument(help="Recipe, .yaml or .json.")],
    out: Annotated[Optional[Path], typer.Option(help="Folder of the results. Default: what the recipe says.")] = None,  # noqa: UP045 - typer reads it
    workers: Annotated[
        Optional[int],  # noqa: UP045 - typer reads it
        typer.Option(
            min=1,
            help="Processes, among which the processors are divided, or workers of the scheduler. Default: 1 process, "
            "or all workers of the scheduler.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            envvar="FOUNDSEG_ENGINE",
            help="Address of a dask scheduler, tls://host:port, whose workers see the same files. Default: processes "
            "on this computer.",
            show_default=False,
        ),
    ] = "",
    measure: Annotated[
        Optional[bool],  # noqa: UP045 - typer reads it
        typer.Option(
            "--measure/--no-measure",
            help="Whether tables have size, shape and intensities of the objects. Default: what the recipe says.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the items and write nothing.")] = False,
) -> None:
    """Run a recipe over many images, and continue where an earlier run was stopped.

    Exit code 0: every image has its result. 1: some failed or were not reached. 2: nothing was started, since the call
    or the recipe is wrong. 3: every image has its result, and of some there is something to look at, such as that
    nothing was found.
    """
    from napari_foundseg.batch.recipe import read_recipe
    from napari_foundseg.batch.report import REPORT_NAME
    from napari_foundseg.batch.runner import Runner

    bar = _BatchBar()
    try:
        read = read_recipe(recipe)
        chosen = read if measure is None else read.measuring(measure)
        runner = Runner(chosen, recipe.parent, out, workers=workers, engine=engine, on_change=bar.change)
        if dry_run:
            _list_items(runner)
            return
        if engine:
            show_line(printable(f"Running {runner.source.describe()}."))
        with _stopped_by_signals(runner):
            report = bar.run(runner)
    except FoundsegError as error:
        show_error(error)
        raise typer.Exit(2) from error
    stopped = f" ({report.stopped})" if report.stopped else ""
    words = f"{report.in_words()}{stopped}: {runner.out / REPORT_NAME}"
    show_line(printable(words))
    for channel, count in report.channels().items():
        show_line(printable(f"Used {channel} in {count} of {len(report.items)} images."))
    if diameters := report.diameters():
        show_line(diameters)
    if not report.complete or report.stopped:
        sys.exit(1)
    sys.exit(3 if report.noted else 0)


class _BatchBar:
    """Progress bar of a batch, with a line for each failed item."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, console=console())

    def run(self, runner: Runner) -> Report:
        self._runner = runner
        with self._progress:
            self._task = self._progress.add_task("", total=len(runner.items))
            return runner.run()

    def change(self, item: BatchItem, state: str, outcome: ItemOutcome | None, _share: float, _words: str) -> None:
        if state in ("done", "already done", "kept", "failed"):
            left = self._runner.seconds_left()
            told = "" if left is None else f"about {timedelta(seconds=round(left))} left"
            self._progress.update(self._task, advance=1, description=told)
        if outcome is not None and state in ("failed", "kept"):
            self._print(f"{state}: {item.name}: {outcome.reason}")
        if outcome is not None and outcome.reason and state in ("done", "already done"):
            self._print(f"look at: {item.name}: {outcome.reason}")

    def _print(self, text: str) -> None:
        # rich prints this above the bar.
        self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _list_items(runner: Runner) -> None:
    labels = {item.name: runner.labels_path(item) for item in runner.items}
    there = {True: " (there already)", False: ""}
    typer.echo("\n".join(printable(f"{name} -> {path}") + there[path.exists()] for name, path in labels.items()))
    show_line(
        f"{len(runner.items)} items. Existing results are redone only if image, recipe, model or result "
        "changed, and never if you edited them."
    )


@contextmanager
def _stopped_by_signals(runner: Runner) -> Iterator[None]:
    """Let Ctrl+C and SIGTERM stop a batch in such a way that it still writes its report."""
    before = {number: signal.signal(number, lambda *_: runner.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@app.command()
def replay(
    file: Annotated[
        Path, typer.Argument(help="Labels file with its JSON beside it, or that JSON.", show_default=False)
    ],
    image: Annotated[Optional[Path], typer.Option(help="Path of the image, if it was moved.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="Labels file to write.")] = None,  # noqa: UP045
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result that was not edited since.")
    ] = False,
) -> None:
    """Make a result again, and say whether it is equal to the one that is there (exit code 1 if it is not)."""
    from rich.progress import Progress

    from napari_foundseg.batch.replay import check_replay, compare
    from napari_foundseg.batch.replay import replay as run_again
    from napari_foundseg.batch.result_file import write_replay

    if out is not None:
        check_replay(file, image, out, overwrite=overwrite)
    with Progress(console=console(), transient=True) as bar:
        again = run_again(file, image, progress=make_progress(bar, "Replay"))
    if out is not None:
        write_replay(out, again, overwrite=overwrite)
    found = compare(file, again)
    show_line(f"{again.count_in_words}. {found.words}")
    _say_channel(again)
    if found.equal is False:
        sys.exit(1)


@app.command("recipe-schema")
def recipe_schema() -> None:
    """Print the JSON schema of recipes, for editors that check while one types."""
    from napari_foundseg.batch.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=1))


@app.command("fit-stego")
def fit_stego(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders with images.", show_default=False)],
    name: Annotated[Optional[str], typer.Option(help="Name of the new model. Default: stego-1 and so on.")] = None,  # noqa: UP045
    model: Annotated[str, typer.Option(help="Backbone; see: napari-foundseg models list.")] = "foundseg-tiny",
    labels: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Label image of each image, in their order: a linear probe learns these classes."),
    ] = None,
    axes: Annotated[Optional[str], typer.Option(help="Axes of the images, such as ZYX.")] = None,  # noqa: UP045
    settings: Annotated[str, typer.Option(help="Settings as JSON, such as '{\"n_clusters\": 3}'.")] = "{}",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a fitted model of this name.")] = False,
) -> None:
    """Fit STEGO to images without labels; the new model then runs in: napari-foundseg run cluster."""
    from rich.progress import Progress

    from napari_foundseg import api
    from napari_foundseg.batch.command_text import inputs_of

    with Progress(console=console(), transient=True) as bar:
        told = make_progress(bar, "Fit")
        fitted = api.fit_stego(
            images,
            name=name,
            model=model,
            labels=labels or None,
            axes=axes,
            overwrite=overwrite,
            progress=told,
            **inputs_of(settings),
        )
    for note in fitted.notes:
        show_line(note)
    show_line(f"{fitted.model.name}: {fitted.model.file}")


def _run(
    task: str, file: Path, options: dict[str, Any], check: Callable[[Image], object] = lambda _: None
) -> tuple[Image, Segmentation]:
    """Run a task on a file. `check` is called with the image before the run."""
    from rich.progress import Progress

    from napari_foundseg.batch.command_text import IMAGE_OPTIONS, image_of, inputs_of
    from napari_foundseg.tasks import TASKS
    from napari_foundseg.tasks.notes import notes_of, what_was_chosen
    from napari_foundseg.tasks.running import run
    from napari_foundseg.tasks.task_models import default_model

    image = image_of(file, {name: options.pop(name, None) for name in IMAGE_OPTIONS})
    for note in image.notes:
        show_line(f"{file.name}: {note}")
    check(image)
    inputs = inputs_of(options.pop("inputs", "{}"))
    options.setdefault("model", None)
    options["model"] = options["model"] or default_model(task)
    with Progress(console=console(), transient=True) as bar:
        result = run(task, image, inputs, progress=make_progress(bar, TASKS[task].title), **options)
    for note in (*what_was_chosen(result.provenance), *notes_of(result.provenance)):
        show_line(note)
    return image, result


def _say_channel(result: Segmentation) -> None:
    for choice in filter(None, (result.channel_choice, result.size_choice)):
        show_line(f"Used {choice}.")


def _has_display() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _command(name: str) -> Callable[..., None]:
    """Return the command of a task, with an option for each setting of each method."""
    from napari_foundseg.batch.command_text import IMAGE_OPTIONS, inputs_of
    from napari_foundseg.io.formats.table import image_formats, label_endings, listed
    from napari_foundseg.tasks import TASKS
    from napari_foundseg.tasks.task_models import default_model

    task = TASKS[name]

    def command(**options: Any) -> None:
        from napari_foundseg.batch.result_file import check_result, write_result
        from napari_foundseg.batch.run_files import files_of_run
        from napari_foundseg.io.formats.table import format_of_labels
        from napari_foundseg.io.naming import table_path

        image = options.pop("image")
        out = options.pop("out")
        table = options.pop("table")
        overwrite = options.pop("overwrite")
        measure = options.pop("measure")
        # Measurements, and names given to existing objects, are in the table only, so a table is needed.
        table = table or (table_path(out) if task.takes_labels or measure else None)
        given = {key: value for key, value in options.items() if value is not None}
        given["model"] = given.get("model") or default_model(name)
        text = given.get("inputs", "{}")
        read = files_of_run(image, given, text, inputs_of(text))
        check_result(out, table, read, overwrite=overwrite)
        opened, result = _run(name, image, given, lambda found: format_of_labels(out, found.label_axes))
        write_result(out, opened, result, table, measure=measure, overwrite=overwrite)
        show_line(f"{result.count_in_words}: {out}{'' if table is None else f', {table}'}")
        _say_channel(result)

    command.__doc__ = f"{task.title}: write the labels of an image."
    fixed: dict[str, Any] = {
        "image": Annotated[Path, typer.Argument(help=f"Image: {listed([row.name for row in image_formats()])}.")],
        "out": Annotated[Path, typer.Option(help=f"Labels file, {listed(label_endings())}.")],
        "table": _option(
            Path, f"Table of the objects (CSV).{' Default: beside the labels.' if task.takes_labels else ''}"
        ),
        "measure": Annotated[
            bool, typer.Option("--measure", help="Measure the objects: size, shape and intensities, in the table.")
        ],
        "overwrite": Annotated[
            bool, typer.Option("--overwrite", help="Replace an earlier result that was not edited since.")
        ],
        "model": _option(str, "Model; see: napari-foundseg models list."),
        "method": _option(str, f"{' or '.join(task.methods)}; by default the first that the model has."),
        **{key: _option(str, text) for key, text in IMAGE_OPTIONS.items()},
        "inputs": _option(str, _inputs_help(name)),
    }
    parameters = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
        if key in ("image", "out")
        else inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=_default(key))
        for key, kind in (fixed | _settings_options(name)).items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _default(key: str) -> bool | None:
    return False if key in ("measure", "overwrite") else None


def _settings_options(name: str) -> dict[str, Any]:
    from napari_foundseg.tasks import TASKS

    options: dict[str, Any] = {}
    for method, settings in TASKS[name].methods.items():
        for key, field in settings.model_fields.items():
            if key != "method" and key not in options:
                named = {field.annotation, *get_args(field.annotation)} & {bool, int, float, str, Path}
                kind = named.pop() if len(named) == 1 else str
                only = "" if _shared(name, key) else f"[{method}] "
                options[key] = _option(kind, f"{only}{settings.help_of(key)}{_default_in_words(field.default)}")
    return options


def _default_in_words(value: Any) -> str:
    return "" if value in ("", None) else f" Default: {value}."


def _inputs_help(name: str) -> str:
    from napari_foundseg.tasks import TASKS

    inputs = TASKS[name].inputs
    fields = (f"{key}: {inputs.help_of(key)}" for key in inputs.model_fields)
    return f"What is pointed at, as JSON or a file that holds it. {' '.join(fields)}"


def _shared(name: str, key: str) -> bool:
    from napari_foundseg.tasks import TASKS

    return all(key in settings.model_fields for settings in TASKS[name].methods.values())


def _option(kind: Any, text: str) -> Any:
    return Annotated[Optional[kind], typer.Option(help=text, show_default=False)]  # noqa: UP045 - `kind` is a value

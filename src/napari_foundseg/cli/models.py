"""The commands of ``models``: list models, and download, import, verify or remove weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from napari_foundseg.cli.terminal import console, make_progress, printable, show_error, show_line, show_table
from napari_foundseg.core.errors import DownloadError, FoundsegError, SettingsError

__all__ = ["models_app"]

models_app = typer.Typer(no_args_is_help=True, help="Manage models: list, download, import, verify, remove.")
_Name = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]


@models_app.command("list")
def list_models(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the table of docs/guide/models.md.")] = False,
) -> None:
    """List the models of the catalogue, and whether each is installed."""
    from napari_foundseg.models.catalog import catalog, damaged_rows, packaged
    from napari_foundseg.models.downloads.model_state import model_state
    from napari_foundseg.tasks.task_models import tasks_for

    if markdown:
        from napari_foundseg.models.listing import as_markdown

        typer.echo(as_markdown(packaged().values(), tasks_for), nl=False)
        return
    show_table(
        ("Name", "Tasks", "State", "Licence of weights"),
        [
            (row.name, ", ".join(tasks_for(row)), model_state(row, quick=True).words, row.weights_licence)
            for row in catalog().values()
        ],
    )
    for path, reason in damaged_rows().items():
        show_line(printable(f"left out: {path}: {reason}"))


@models_app.command("show")
def show_model(name: _Name) -> None:
    """Show everything that is known of a model."""
    from napari_foundseg.models.catalog import base_of, row
    from napari_foundseg.models.downloads.model_state import model_state
    from napari_foundseg.tasks.task_models import tasks_for

    shown = row(name)
    state = model_state(shown)
    derived = {"tasks": list(tasks_for(shown)), "state": f"{state.words}. {state.explanation}"}
    if (base := base_of(shown)) is not None:
        derived["base_licences"] = f"code {base.code_licence}; weights {base.weights_licence}"
    for key, value in {**shown.as_json(), **derived}.items():
        if value not in ("", [], {}, None):
            words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            # One line each, even in a narrow terminal, so that addresses and paths can be copied.
            typer.echo(f"{key.replace('_', ' '):<16} {printable(words)}")


@models_app.command("download")
def download_weights(
    name: _Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
) -> None:
    """Download the weights of a model, or go on with a download. Size and licences are shown before."""
    from rich.progress import BarColumn, Progress, TextColumn

    from napari_foundseg.models.catalog import UNVERIFIED, row
    from napari_foundseg.models.downloads.download import download
    from napari_foundseg.models.downloads.model_state import model_state
    from napari_foundseg.models.downloads.planning import make_plan

    wanted = row(name)
    state = model_state(wanted)
    if state.why_no_download:
        show_line(printable(f"{wanted.name}: {state.explanation}"))
        sys.exit(0 if state.here else 1)
    show_line(printable(make_plan(wanted).words).replace("\\n", "\n"))
    if state.kind == "part":
        show_line(printable(state.explanation))
    if not yes and not _agrees():
        raise DownloadError(f"{name} was not downloaded. Answer with y, or give --yes in scripts.")
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console(), transient=True) as bar:
        try:
            new = download(wanted, make_progress(bar, wanted.title))
        except KeyboardInterrupt:
            raise DownloadError(
                f"The download of {name} was stopped; the downloaded part is kept, and the same command continues "
                "from there."
            ) from None
    show_line(printable(f"{name} is here: {model_state(row(name)).path}"))
    if wanted.sha256 == UNVERIFIED:
        show_line(f"Its hash was not known; from now on it is sha256 {new.sha256}")


def _agrees() -> bool:
    try:
        return typer.confirm("Download?", err=True)
    except typer.Abort:
        return False


@models_app.command("import")
def import_weights(
    path: Annotated[str, typer.Argument(help="Weights file, folder, or hf:owner/name.", show_default=False)],
    name: Annotated[Optional[str], typer.Option(help="Name for the model.", show_default=False)] = None,  # noqa: UP045
    family: Annotated[Optional[str], typer.Option(help="Model family to import it as.", show_default=False)] = None,  # noqa: UP045
    facts: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it
        typer.Option(
            "--set",
            help="What a file or package does not say, as NAME=VALUE, such as output='object and boundary'; "
            "several times.",
            show_default=False,
        ),
    ] = None,
    run_code: Annotated[
        bool,
        typer.Option("--run-code", help="Allow a bioimage.io package to run its Python, with all your permissions."),
    ] = False,
) -> None:
    """Make weights or a package of bioimage.io a model. They are inspected, not run, and stay where they are."""
    from napari_foundseg.models.importing import import_model
    from napari_foundseg.tasks.task_models import tasks_for

    said = _said(facts or []) | ({"run_code": "yes"} if run_code else {})
    row = import_model(path, name, family, said)
    also = f"; used where {row.stands_for} is named, too" if row.stands_for else ""
    assumed = f". {row.assumed}" if row.assumed else ""
    typer.echo(printable(f"{row.name}: {row.title}, for {', '.join(tasks_for(row))}{also}{assumed}"))


def _said(facts: list[str]) -> dict[str, str]:
    """Return facts from NAME=VALUE texts; raise `SettingsError` if a text has another form."""
    for fact in facts:
        if "=" not in fact:
            raise SettingsError(f"--set {fact!r:.80} is not NAME=VALUE, such as --set classes='background, nucleus'.")
    return {name.strip(): value.strip() for name, _, value in (fact.partition("=") for fact in facts)}


@models_app.command("verify")
def verify_weights(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it
        typer.Argument(help="Names of models. Default: all that are here.", show_default=False),
    ] = None,
) -> None:
    """Read weights again and compare them with their recorded hashes (exit code 1 if one differs)."""
    from rich.progress import BarColumn, Progress, TextColumn

    from napari_foundseg.models.catalog import catalog, row
    from napari_foundseg.models.downloads.upkeep import verify
    from napari_foundseg.models.store import locate

    wrong = False
    for one in [row(name) for name in names] if names else [r for r in catalog().values() if locate(r)]:
        with Progress(BarColumn(), TextColumn("{task.description}"), console=console(), transient=True) as bar:
            try:
                typer.echo(printable(verify(one, make_progress(bar, one.title))))
            except FoundsegError as error:
                wrong = True
                show_error(error)
    sys.exit(1 if wrong else 0)


@models_app.command("remove")
def remove_weights(
    name: _Name,
    part: Annotated[bool, typer.Option("--part", help="Remove only the part of an unfinished download.")] = False,
) -> None:
    """Remove a model, and what was downloaded of it. Imported weights stay where they are, and others' files too."""
    from napari_foundseg.models.catalog import row
    from napari_foundseg.models.downloads.size_text import bytes_text
    from napari_foundseg.models.downloads.upkeep import remove, remove_part

    wanted = row(name)
    if part:
        typer.echo(f"deleted {bytes_text(remove_part(wanted), None)} of an unfinished download of {name}")
        return
    typer.echo(printable(remove(wanted)))


@models_app.command("login")
def log_in(
    token_file: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it
        typer.Option(help="File with the token. Default: it is asked for, and not shown.", show_default=False),
    ] = None,
) -> None:
    """Have the Hugging Face hub's client keep a token, for models whose authors ask for consent."""
    from napari_foundseg.models.downloads.hub import keep_token
    from napari_foundseg.models.files.small_text import read_small_text

    try:
        token = read_small_text(token_file) if token_file else typer.prompt("Token", hide_input=True, err=True)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{token_file} cannot be read ({error}); give a text file that holds the token.") from error
    show_line(f"The token of {keep_token(token.strip())} is kept by the hub's client.")

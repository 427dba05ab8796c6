"""`tuner --server URL ...`: the studies of a server, from a shell, with the exit codes of studies of this folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import exit_codes, several
from tuner.cli.supervise import Executor

if TYPE_CHECKING:
    from tuner.answers.service import StudyItem
    from tuner.remote.server import Server
    from tuner.remote.study import RemoteStudy

SERVER, TOKEN_FILE = "TUNER_SERVER", "TUNER_TOKEN_FILE"
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
SpaceFile = Annotated[Path, typer.Argument(metavar="FILE", help="The space file; its data is dataset:NAME.")]
SpaceFiles = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="The space file, or several; its data is dataset:NAME.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file; may be repeated.")
]
remote = typer.Typer(
    name="tuner --server URL",
    help="The studies of a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="Data that space files may name as dataset:NAME.", no_args_is_help=True)
remote.add_typer(data, name="data")


def is_meant(arguments: Sequence[str]) -> bool:
    """Whether a command line is about a server: `--server` comes first, or TUNER_SERVER is set and it is done there."""
    words = iter(arguments)
    for word in words:
        if word.partition("=")[0] == "--server":
            return True
        if word == "--token-file":
            next(words, None)
        elif not word.startswith("-"):
            return bool(os.environ.get(SERVER, "").strip()) and word in _names()
    return False


def _names() -> list[str]:
    commands = [each.name or each.callback.__name__ for each in remote.registered_commands if each.callback]
    return commands + [str(group.name) for group in remote.registered_groups]


@remote.callback()
def top(
    context: typer.Context,
    server: Annotated[str, typer.Option("--server", envvar=SERVER, metavar="URL", help="The server's address.")],
    token_file: Annotated[
        Path | None, typer.Option(envvar=TOKEN_FILE, metavar="FILE", help="A file with a token for it.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Also without TLS to another machine: the token goes in the clear.")
    ] = False,
) -> None:
    """The studies of a server that `tuner serve` runs.

    Example: tuner --server https://tuner.example.org --token-file ~/.tuner-token list
    """
    from tuner.remote.server import connect

    if context.resilient_parsing or "--help" in context.args:
        return
    context.obj = connect(server, token_file=token_file, insecure=insecure)


@remote.command()
def run(  # noqa: PLR0913, PLR0917 - the options
    context: typer.Context,
    files: SpaceFiles,
    overrides: Overrides = None,
    executor: Annotated[
        Executor | None, typer.Option(help="Train on the server's machine or on its Ray cluster, where it offers both.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow it to its end, instead of returning at once.")] = True,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="A name for this request: twice with it is once.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output; with several files one a line.")
    ] = False,
) -> None:
    """Hand a space file in, or continue its study where it was stopped, and follow it.

    Several files are all checked before the first is handed in, and wait in their order; each is followed to its end,
    and the exit code is the first that is not 0.
    Ctrl-C ends the following alone, with exit code 130. Exit codes: 0 finished, or handed in with --no-wait; 1 it
    failed; 2 the file is wrong; 3 it was stopped by somebody. Example: tuner --server URL run digits.yaml
    """
    server, given = _server(context), overrides or ()
    if len(files) > 1:
        alone = {"--key": key, "--set name=...": several.names_one(given)}
        several.checked(files, lambda file: server.check(file, overrides=given).name, alone)
    code = 0
    for study in [_handed_in(server.submit(file, overrides=given, key=key, executor=executor)) for file in files]:
        item = _followed(study) if wait else study.item()
        shown = json.dumps(item.as_dict()) if len(files) > 1 else item.as_json()
        typer.echo(shown if as_json else _line(item))
        code = code or _exit_code(item)
    if wait:
        raise typer.Exit(code)


def _handed_in(study: RemoteStudy) -> RemoteStudy:
    """One that was stopped or given up before goes on."""
    if study.item().state in ("stopped", "failed"):
        study.extend()
    return study


def _exit_code(item: StudyItem) -> int:
    return {"finished": 0, "stopped": exit_codes.STOPPED_BY_REQUEST}.get(item.state, 1)


@remote.command()
def validate(context: typer.Context, file: SpaceFile, overrides: Overrides = None) -> None:
    """Check a space file on the server, and say what it would search and cost."""
    found = _server(context).check(file, overrides=overrides or ())
    trials = "as many trials as the time allows" if found.trials is None else f"{found.trials} trials"
    parts = [f"{found.name}: {trials} of {found.epochs}"]
    if found.rows is not None and found.features is not None:
        parts.append(f"{found.rows:,} training rows of {found.features:,} numbers")
    if found.largest_parameters is not None:
        parts.append(f"the largest model has {found.largest_parameters:,} parameters")
    if found.seconds is not None:
        parts.append(f"about {found.seconds:,.0f} seconds of one core")
    typer.echo("\n".join(["; ".join(parts), *found.notes]))


@remote.command("list")
def list_studies(context: typer.Context) -> None:
    """List the server's studies, the newest first."""
    items = _server(context).list()
    typer.echo("\n".join(map(_line, items)) or "no studies on the server yet; `tuner --server URL run FILE` begins one")


@remote.command()
def show(
    context: typer.Context,
    name: StudyName,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, its answer included.")] = False,
) -> None:
    """Show a study's state and its best trial."""
    found = _server(context).study(name).detail()
    typer.echo(found.as_json() if as_json else _line(found.item))


@remote.command()
def watch(context: typer.Context, name: StudyName) -> None:
    """Show how far a study has come, until it is at rest.

    Ctrl-C ends the watching alone, with exit code 130.
    """
    typer.echo(_line(_followed(_server(context).study(name))))


@remote.command()
def stop(
    context: typer.Context,
    name: StudyName,
    wait: Annotated[bool, typer.Option(help="Return when it has stopped, instead of at once.")] = True,
    timeout: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="Wait so long at most. Default: as long as needed.")
    ] = None,
) -> None:
    """Stop a study, as Ctrl-C stops a run; it can be continued.

    Exit codes: 0 it is at rest (or --no-wait); 1 it still runs after --timeout; 2 there is no such study.
    """
    from tuner.remote.study import AT_REST

    item = _server(context).study(name).stop(wait, timeout)
    typer.echo(_line(item))
    if wait and item.state not in AT_REST:
        raise typer.Exit(1)


@remote.command()
def extend(
    context: typer.Context,
    name: StudyName,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.0, metavar="SECONDS", help="Seconds of a run.")] = None,
) -> None:
    """Let a study go on to a larger budget, also one that is finished; without one, where it was stopped."""
    typer.echo(_line(_server(context).study(name).extend(trials, timeout)))


@remote.command()
def trials(
    context: typer.Context,
    name: StudyName,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .csv file instead of standard output.")
    ] = None,
) -> None:
    """Print a study's trials as CSV, or write them."""
    text = _server(context).study(name).csv()
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"{output}: written")


@remote.command()
def export(
    context: typer.Context,
    name: StudyName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing export.")] = False,
) -> None:
    """Write a study's best model into a folder of this machine, as `tuner export` does."""
    written = _server(context).study(name).export(folder, force)
    typer.echo(f"{folder}: {', '.join(sorted(path.name for path in written.iterdir()))}")


@data.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Space files then say dataset:NAME.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table or an array; it is uploaded.")],
) -> None:
    """Upload data under a name."""
    made = _server(context).add_dataset(name, file)
    typer.echo(f"{made.name}: {made.size:,} bytes; space files name it by `source: dataset:{made.name}`")


@data.command("list")
def list_data(context: typer.Context) -> None:
    """List the data that is registered."""
    found = _server(context).datasets()
    lines = [f"{each.name}: {each.size:,} bytes, by {each.by}" for each in found]
    typer.echo("\n".join(lines) or "no data is registered yet; `tuner --server URL data add NAME FILE` uploads some")


@data.command("remove")
def remove(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="As space files name it.")]
) -> None:
    """Forget a name; the data stays on the server, and so do studies of it."""
    _server(context).remove_dataset(name)
    typer.echo(f"{name}: no longer registered.")


def _server(context: typer.Context) -> Server:
    found: Server = context.obj
    return found


def _followed(study: RemoteStudy) -> StudyItem:
    """How it came to rest, shown meanwhile on standard error."""
    from tuner.cli import progress

    last: StudyItem | None = None
    try:
        with progress.lines() as show:
            for last in study.watch():
                show(_line(last), last.state)
    except exit_codes.Interrupted as over:
        typer.echo(f"{study.name}: not watched any more; the study goes on.", err=True)
        raise typer.Exit(over.exit_code) from None
    return last if last is not None else study.item()


def _line(item: StudyItem) -> str:
    """A study in one line, the most important parts first; why it failed below it."""
    from tuner.cli.progress import duration
    from tuner.orchestration.progress import workers_in_words

    parts = [f"{item.name}: {item.state}"]
    if item.place is not None:
        parts.append(f"place {item.place} in the queue")
    if item.total:
        parts.append(f"{item.ended}/{item.total} trials")
    if item.best is not None:
        parts.append(f"best {item.best:.6g}")
    if item.state == "running" and item.seconds_left is not None:
        parts.append(f"{duration(item.seconds_left)} left")
    if item.state == "running" and item.slots is not None:
        parts.append(workers_in_words(item.slots, item.nodes))
    return " · ".join(parts) + (f"\n{item.message.rstrip()}" if item.message else "")

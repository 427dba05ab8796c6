"""Commands on a study that another process may be running: stop, watch, extend, delete, rename."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import exit_codes

if TYPE_CHECKING:
    from tuner.api.control import Stopped
    from tuner.api.whole_studies import Remains
    from tuner.orchestration.progress import Progress

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Give an app these commands."""
    for command in (stop, watch, extend, delete, rename):
        app.command()(command)


def stop(
    name: StudyName,
    wait: Annotated[bool, typer.Option(help="Return when the run has ended, instead of at once.")] = True,
    timeout: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="Wait so long at most. Default: as long as needed.")
    ] = None,
) -> None:
    """Stop a study's run, wherever it was launched, as Ctrl-C in its terminal does.

    Exit codes: 0 no process runs it any more (or --no-wait); 1 it still runs after --timeout; 2 there is no such study.
    Example: tuner stop digits
    """
    from tuner.api import control

    done = control.stop(name, wait=wait, timeout=timeout)
    typer.echo(_stopped(done, wait))
    if wait and not done.is_over:
        raise typer.Exit(1)


def watch(name: StudyName) -> None:
    """Show how far a study's run has come, from any terminal or machine, until it ends.

    Ctrl-C ends the watching alone, with exit code 130. Example: tuner watch digits
    """
    from tuner.api import control
    from tuner.cli import progress

    last = None
    try:
        with progress.live() as show:
            for last in control.watch(name):
                if last.owner is not None:
                    show(last)
    except exit_codes.Interrupted as over:
        typer.echo(f"{name}: not watched any more; the study goes on.", err=True)
        raise typer.Exit(over.exit_code) from None
    if last is not None:
        typer.echo(_standing(last))


def extend(
    name: StudyName,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.0, metavar="SECONDS", help="Seconds of this run.")] = None,
) -> None:
    """Let a running study go on to a larger budget.

    One that no process runs is continued by `tuner run FILE --set search.trials=N`.
    Example: tuner extend digits --trials 216
    """
    from tuner.api import control

    now = control.extend(name, trials=trials, timeout=timeout)
    when = "within a second" if now.phase in ("training", "starting") else "once the final stage is done and scored"
    typer.echo(f"{name}: {now.owner}; it was asked to go on to the larger budget, and takes it up {when}.")


def delete(name: StudyName, yes: Yes = False) -> None:
    """Delete a study: its record, and the files that it alone needs.

    What goes and what stays is said and asked first. MLflow's runs and exported folders stay. A study that runs is
    refused. Example: tuner delete digits --yes
    """
    from tuner.api import whole_studies

    _confirm(_deletion(whole_studies.remains(name)), f"tuner delete {name}", yes)
    done = whole_studies.delete(name)
    typer.echo(f"{name}: deleted, {done.trials} trials and {done.files} files ({done.size / 1e6:.1f} MB).")


def rename(
    old: StudyName, new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")], yes: Yes = False
) -> None:
    """Give a study another name, under which its file continues it.

    What follows and what does not is said and asked first. A study that runs is refused.
    Example: tuner rename digits digits-small
    """
    from tuner.api import whole_studies

    _confirm(_renaming(old, new), f"tuner rename {old} {new}", yes)
    whole_studies.rename(old, new)
    typer.echo(f"{old} is {new} now; to go on, write `name: {new}` into its file.")


def _confirm(what: str, command: str, yes: bool) -> None:
    """Say what will be done, and ask; without a terminal and --yes nothing is done."""
    from tuner.errors import InputError

    if yes:
        return
    typer.echo(what, err=True)
    if not sys.stdin.isatty():
        raise InputError(f"{command}: must be confirmed, but there is no terminal to ask at; add --yes.")
    if not typer.confirm("Go on?", err=True):
        raise InputError(f"{command}: not confirmed; nothing was changed.")


def _deletion(found: Remains) -> str:
    shown = (
        "MLflow shows nothing of it."
        if found.experiment_id is None
        else f"MLflow's runs stay ({found.tracking});"
        f" `mlflow experiments delete -x {found.experiment_id}` deletes the experiment they are in."
    )
    return (
        f"{found.name}: its record of {found.trials} trials is deleted, with {found.files} files"
        f" ({found.size / 1e6:.1f} MB): checkpoints, files made for MLflow, and prepared data that no other study"
        f" needs. {shown} Folders that `tuner export` wrote stay. It cannot be undone."
    )


def _renaming(old: str, new: str) -> str:
    return (
        f"{old} becomes {new}: its trials, checkpoints and prepared data stay as they are. MLflow's experiment and run"
        f" keep the name {old}; the run's tag tuner.study follows with the next run, or `tuner sync {new}`."
        f" A model that was registered as {old} stays that."
    )


def _stopped(done: Stopped, wait: bool) -> str:
    if done.owner is None:
        return f"{done.name}: no process runs it, so there is nothing to stop. {_standing(done.progress)}"
    if done.is_over:
        return _standing(done.progress)
    late = " It still runs; ask again, or end that process." if wait else ""
    return f"{done.name}: {done.owner}; it was asked to stop.{late}"


def _standing(now: Progress) -> str:
    """The state of a study that is no longer watched."""
    from tuner.cli.display import counted

    best = "" if now.best is None else f"; best {now.best:.6g}"
    line = f"{now.name}: {now.state}; {now.ended} of {counted(now.total, 'trial')} recorded{best}."
    on = {"stopped": f" `tuner run FILE` continues it, `tuner show {now.name}` shows it."}
    return line + on.get(now.state, f" `tuner show {now.name}` shows it.")

"""Commands that look after what is kept: the record, what MLflow shows of it, and the files of studies."""

from __future__ import annotations

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Give an app these commands."""
    for command in (sync, doctor, migrate, disk):
        app.command()(command)
    app.command("prune-files")(prune_files)


def sync(
    name: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Of this study alone.")] = None,
) -> None:
    """Publish what waits for MLflow, once.

    At any time, also beside a run. Exit code 1 where something waits still. Example: tuner sync digits
    """
    from tuner.api import publishing
    from tuner.cli import display

    done = publishing.sync(name)
    typer.echo("\n".join(map(display.synced, done)) or display.NO_STUDIES)
    if any(each.waiting for each in done):
        raise typer.Exit(1)


def doctor(
    name: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Of this study alone.")] = None,
    mlflow: Annotated[bool, typer.Option(help="Compare with MLflow as well.")] = True,
    deep: Annotated[bool, typer.Option("--deep", help="Also what takes more than a minute.")] = False,
) -> None:
    """Check the record against itself, its data and search, and against MLflow.

    Nothing is changed. Exit code 1 where something differs. Example: tuner doctor digits
    """
    from tuner.api import maintenance
    from tuner.cli import display

    found = maintenance.doctor(name, mlflow=mlflow, deep=deep)
    typer.echo("".join(map(display.diagnosis, found)) or f"{display.NO_STUDIES}\n", nl=False)
    if any(each.problems for each in found):
        raise typer.Exit(1)


def migrate() -> None:
    """Make the ledger's tables, or bring them up to this version.

    Other commands do so as well when they open it; this is the one step before a service of many processes starts.
    Example: tuner migrate
    """
    from tuner.api import maintenance

    done = maintenance.migrate()
    steps = {None: f"made, version {done.after}", done.after: f"version {done.after}, nothing to do"}
    typer.echo(f"{done.where}: {steps.get(done.before, f'version {done.before} -> {done.after}')}")


def disk() -> None:
    """Say what each study takes on the disk, the largest first; the ledger and MLflow's files are not counted.

    Data that several studies share counts for the oldest of them. Example: tuner disk
    """
    from tuner.api import maintenance
    from tuner.cli import display

    typer.echo(display.used(maintenance.disk()))


def prune_files(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="The best trials' states as well, and what belongs to no study here.")
    ] = False,
) -> None:
    """Free the checkpoints and prepared data of finished studies.

    All of it can be made again. Example: tuner prune-files --dry-run
    """
    from tuner.api import maintenance
    from tuner.cli import display

    typer.echo(display.freed(maintenance.prune_files(dry_run, everything), dry_run))

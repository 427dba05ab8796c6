"""The command that trains: run, for one space file or several in turn."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, final

import typer

from tuner.cli import exit_codes

if TYPE_CHECKING:
    from tuner.api.study import Study

SpaceFiles = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="The space file; several are run one after another.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file; may be repeated.")
]


def add_to(app: typer.Typer) -> None:
    """Give an app this command."""
    app.command()(run)


def run(  # noqa: PLR0913, PLR0917 - the options
    files: SpaceFiles,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option(min=0, max=1024, help="Worker processes; 0 trains in this one. Default: one per core.")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(metavar="inline|processes|ray", help="Where trials train: here, in worker processes, on Ray."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="auto|HOST:PORT", help="With ray: the cluster; by default one of this machine."),
    ] = None,
    slots: Annotated[
        str | None, typer.Option(metavar="cpu=1|gpu=0.25", help="With ray: what a slot takes of a node.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, metavar="N", help="With ray: slots at most.")] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(metavar="FOLDER|URL", help="With ray: a folder or bucket that all nodes reach, for large states."),
    ] = None,
    warm_from: Annotated[
        str | None,
        typer.Option("--from", metavar="STUDY|DIR", help="Begin with the best of another study, or with an export."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="N", help="How long each study may take: as --set search.minutes=N."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output; with several files one a line.")
    ] = False,
) -> None:
    """Launch a study, or continue it; of several files one after another.

    Several files are all checked before the first is begun; one that fails does not keep the next from running, and the
    exit code is the first that is not 0. Ctrl-C ends all.
    Example: tuner run search_spaces/digits.yaml --set search.trials=40
    """
    overrides = [*(overrides or ()), *([] if minutes is None else [f"search.minutes={minutes:.12g}"])]
    if len(files) > 1:  # before signals only stop a run: Ctrl-C ends the checking at once
        from tuner.cli import several

        alone = {"--from": warm_from, "--set name=...": several.names_one(overrides)}
        several.checked(files, lambda file: several.examined(file, overrides)[0].name, alone)
    stop = threading.Event()
    received = exit_codes.stop_on_signals(stop)
    from tuner.api import study
    from tuner.cli import display, progress
    from tuner.execution import choice

    where = choice.asked_for(executor, address, slots, most, checkpoints)
    choice.chosen(where, workers)  # what is wrong with it is said once, whatever files there are

    def launch(file: str) -> Study:
        with progress.live() as show:
            return study.run(
                file,
                overrides=overrides,
                workers=workers,
                executor=where,
                warm_start=warm_from,
                progress=show,
                stop=stop,
            )

    def answer(found: Study, file: str) -> str:
        if as_json:
            return display.as_json(found, a_line=len(files) > 1)
        return display.ending(found, display.command_line(file, overrides))

    runs = _Runs(launch, answer, received)
    if len(files) == 1:
        runs.one(files[0])
    else:
        raise typer.Exit(runs.all(files))


@final
class _Runs:
    """Runs of studies that one command makes.

    Args:
        launch: runs the study of a file.
        answer: what is printed at its end.
        received: signals, each of which ends all.
    """

    def __init__(
        self, launch: Callable[[str], Study], answer: Callable[[Study, str], str], received: Sequence[int]
    ) -> None:
        self._launch, self._answer, self._received = launch, answer, received

    def one(self, file: str) -> None:
        """Run the one study, and end the process where it was stopped."""
        finished = self._launched(file)
        exit_codes.answer(self._answer(finished, file), self._received, finished.stopped_by)

    def all(self, files: Sequence[str]) -> int:
        """Run one after another; the first exit code that is not 0."""
        failed: dict[str, int] = {}
        for place, file in enumerate(files, 1):
            typer.echo(f"{file}: study {place} of {len(files)}", err=True)
            if code := self._code(file):
                failed[file] = code
            if self._received:
                raise typer.Exit(128 + self._received[0])
        left = [f"{file} ended with exit code {code}" for file, code in failed.items()]
        typer.echo("; ".join([f"{len(files) - len(failed)} of {len(files)} studies are done", *left]) + ".", err=True)
        return next(iter(failed.values()), 0)

    def _code(self, file: str) -> int:
        """The exit code that it would have alone."""
        try:
            finished = self._launched(file)
        except typer.Exit as stopped:
            return stopped.exit_code
        except Exception as error:
            return exit_codes.report_failure(error)
        exit_codes.answer(self._answer(finished, file), self._received)
        return 0 if finished.stopped_by is None else exit_codes.STOPPED_BY_REQUEST

    def _launched(self, file: str) -> Study:
        from tuner.errors import StoppedError

        try:
            return self._launch(file)
        except StoppedError as early:
            typer.echo(str(early), err=True)
            raise typer.Exit(128 + (self._received[0] if self._received else signal.SIGINT)) from None

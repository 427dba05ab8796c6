"""How the command line shows that something goes on: one line that changes on a terminal, some lines in a pipe.

On standard error, so that what a command answers can be piped.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuner.orchestration.progress import workers_in_words
from tuner.spec.work import TrialState

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.orchestration.progress import Progress

PLAIN_SECONDS = 5.0  # in a pipe, a line of progress at most this often
ENDED = (TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.INFEASIBLE)


@contextmanager
def live() -> Iterator[Callable[[Progress], None]]:
    """Where a run shows its progress: one line that changes on a terminal, some lines in a pipe; on standard error."""
    with _changing_line() as write:
        yield lambda progress: write(line(progress), progress.phase)


@contextmanager
def lines() -> Iterator[Callable[[str, str], None]]:
    """Where a line that changes is shown, given with the phase it is of."""
    with _changing_line() as write:
        yield write


@contextmanager
def epochs() -> Iterator[Callable[[int], None]]:
    """Where `tuner train` shows its epochs."""
    with _changing_line() as write:
        yield lambda epoch: write(f"epoch {epoch}", "training")


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Where an export says what it is at."""
    with _changing_line() as write:
        yield lambda step: write(f"{step} ...", step)


@contextmanager
def rows() -> Iterator[Callable[[int, int | None], None]]:
    """Where `tuner apply` counts rows; a file that is done at once says nothing in a pipe."""
    with _changing_line(PLAIN_SECONDS) as write:
        yield lambda done, total: write(f"{done:,} rows" + (f" of {total:,}" if total else ""), "")


@contextmanager
def _changing_line(quiet: float = 0.0) -> Iterator[Callable[[str, str], None]]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _PlainLines(quiet).write
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=True) as shown:
        yield lambda text, _: shown.update(_fitting(text, console), refresh=True)


def _fitting(text: str, console: Console) -> str:
    """As many parts of a line as the terminal is wide."""
    parts = text.split(" · ")
    while len(parts) > 1 and len(" · ".join(parts)) > console.width - 1:
        parts.pop()
    return " · ".join(parts)[: console.width - 1]


class _PlainLines:
    """Lines of progress for a pipe: at every change of phase, and now and then between."""

    def __init__(self, quiet: float) -> None:
        self._phase, self._text, self._next = "", "", time.monotonic() + quiet

    def write(self, text: str, phase: str) -> None:
        now = time.monotonic()
        if phase != self._phase or (now >= self._next and text != self._text):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
            self._phase, self._text, self._next = phase, text, now + PLAIN_SECONDS


def line(progress: Progress) -> str:
    """A study's progress in one line, the most important parts first."""
    counts = progress.counts
    done = sum(count for state, count in counts.items() if state is not TrialState.RUNNING)
    parts = [f"{progress.name}: {done}/{progress.total} trials" if progress.total else progress.name]
    if progress.phase == "confirming" and progress.confirmed:
        parts.append("confirming {}/{} runs".format(*progress.confirmed))
    elif progress.phase != "training":
        what = f"{progress.phase}: {progress.detail}" if progress.detail else progress.phase
        publishes = progress.phase == "publishing" and progress.waiting
        parts.append(f"publishing {progress.waiting} records" if publishes else what)
    if progress.best is not None:
        parts.append(f"best {progress.best:.4g}")
    trains = progress.phase in ("training", "confirming")
    if trains and progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    running = counts.get(TrialState.RUNNING, 0)
    parts += [f"{running} running"] * bool(running)
    if trains and progress.slots is not None:
        parts.append(workers_in_words(progress.slots, progress.nodes))
    parts += [f"{counts[state]} {state}" for state in ENDED if counts.get(state)]
    if trains and progress.epochs_per_second > 0:
        parts.append(f"{progress.epochs_per_second:,.0f} {progress.unit}/s")
    if progress.waiting and progress.phase != "publishing":
        parts.append(f"{progress.waiting} waiting for MLflow")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """`0:42`, `12:05`, `3:00:00`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

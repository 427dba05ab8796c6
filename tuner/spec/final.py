"""The runs of the final stage: a trial's configuration, trained again with a seed of its own.

They are recorded beside the search's trials, in numbers that no trial has. Run i of trial t, which the answer is made
of, is `FIRST + 1000 t + i`; run i of those that only choose (rules 4) is `FIRST_CHOOSING + 100 t + i`. Both fit 32 bits
for a million trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Trial, derive_seed

FIRST: Final = 1_000_000_000
MOST_SEEDS: Final = 1000
FIRST_CHOOSING: Final = 2_000_000_000
MOST_CHOOSING: Final = 100
TOP, SEEDS = 3, 5  # of the stage of rules before 4, where they are not declared
COSINE: Final = "cosine"
RECORDED: Final = 50  # epochs that a run trains at most before what it has is recorded
PARTS: Final = 10  # of such a run, after each of which it is recorded where that is more often
LOOKS: Final = 5  # in the time of a whole training of the search, at whether a run has become flat


@dataclass(frozen=True, slots=True)
class Allotment:
    """What the final stage may spend, as it follows from the declaration.

    Attributes:
        top: configurations that are compared.
        choosing: seeds for each of them, which choose the winner.
        seeds: further seeds for the winner alone, which its mean and its interval are of.
        least: epochs of the shortest run: a training of the search that is never pruned.
        most: epochs of the longest one.
        falls: whether length and schedule are declared: every run has `most` epochs, and a rate that falls to 0.
    """

    top: int
    choosing: int
    seeds: int
    least: int
    most: int
    falls: bool = False

    @property
    def runs(self) -> int:
        """Runs in all: those that choose, one with the other schedule, and the winner's."""
        if self.falls:
            return self.top * self.choosing * (self.top > 1) + self.seeds
        return self.top * self.choosing + 1 + self.seeds


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that is compared.

    Attributes:
        trial: the search's trial that found it.
        predicted: its validation loss at the end of a whole training of the search, its own where it came so far.
    """

    trial: int
    predicted: float


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A final stage as it is recorded before its first run (event `final`).

    Attributes:
        allotment: what it may spend.
        trials: how many trials the search had.
        candidates: the best by prediction first.
    """

    allotment: Allotment
    trials: int
    candidates: tuple[Candidate, ...]

    def body(self) -> dict[str, Any]:
        """As an event keeps it."""
        body = asdict(self)
        if not self.allotment.falls:  # as before there was another stage
            del body["allotment"]["falls"]
        return body

    @classmethod
    def recorded(cls, body: Mapping[str, Any]) -> Self:
        """From an event."""
        found = tuple(Candidate(one["trial"], one["predicted"]) for one in body["candidates"])
        return cls(Allotment(**body["allotment"]), body["trials"], found)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How a run of the final stage is trained, recorded before its first step (event `final_runs`).

    Attributes:
        epochs: planned in all; of a run that looks for its length, the most.
        least: epochs after which such a run may end; None for a run whose length is known.
    """

    epochs: int
    least: int | None = None

    @property
    def ends(self) -> tuple[int, ...]:
        """The epochs, rising, after which the run is recorded and may be found to have become flat."""
        part = -(-self.epochs // PARTS) if self.least is None else -(-self.least // LOOKS)
        every = max(1, min(RECORDED, part))
        return (*range(every, self.epochs, every), self.epochs)

    def body(self, runs: Sequence[int]) -> dict[str, Any]:
        """As an event keeps it of these runs."""
        return {"runs": list(runs), **asdict(self)}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of the final stage, and how it is trained."""

    trial: Trial
    plan: RunPlan

    @property
    def number(self) -> int:
        """The run's."""
        return self.trial.number


def final_run(seed: int, of: int, point: Hyperparameters, index: int) -> Trial:
    """Run `index` (counted from 0) of trial `of`, its seed drawn by name from the study's seed."""
    return Trial(FIRST + MOST_SEEDS * of + index, point, derive_seed(seed, "final", of, index))


def choosing_run(seed: int, of: int, point: Hyperparameters, index: int, schedule: str | None = None) -> Trial:
    """A run of trial `of` that chooses, with its seed number `index`; beside it, the same with another schedule."""
    number = FIRST_CHOOSING + MOST_CHOOSING * of + 2 * index + (schedule is not None)
    own = point if schedule is None else replace(point, schedule=schedule)  # type: ignore[arg-type]
    return Trial(number, own, derive_seed(seed, "choosing", of, index))


def is_final(number: int) -> bool:
    """Whether the number is that of a run of the final stage, of either kind."""
    return number >= FIRST


def is_choosing(number: int) -> bool:
    """Whether the number is that of a run that only chooses: its loss is no part of any mean that is told."""
    return number >= FIRST_CHOOSING


def trial_of(number: int) -> int:
    """The trial whose configuration a final run trains."""
    if is_choosing(number):
        return (number - FIRST_CHOOSING) // MOST_CHOOSING
    return (number - FIRST) // MOST_SEEDS


def index_of(number: int) -> int:
    """Which of its configuration's runs a final run is, counted from 0 among those of its kind."""
    if is_choosing(number):
        return (number - FIRST_CHOOSING) % MOST_CHOOSING
    return (number - FIRST) % MOST_SEEDS


def name_of(number: int) -> str:
    """`trial-0042`, `final-0042-3` for run 3 of trial 42, or `choosing-0042-0`."""
    if not is_final(number):
        return f"trial-{number:04}"
    return f"{'choosing' if is_choosing(number) else 'final'}-{trial_of(number):04}-{index_of(number)}"


def words_of(number: int) -> str:
    """`trial 42`, `run 3 of trial 42` for a final run, or `choosing run 0 of trial 42`."""
    if not is_final(number):
        return f"trial {number}"
    return f"{'choosing ' * is_choosing(number)}run {index_of(number)} of trial {trial_of(number)}"


def chosen_from(count: int, what: str) -> str:
    """What kind of number a loss is that was chosen for being low: `the lowest of 5 seeds`."""
    return f"the lowest of {count} {what}s" if count > 1 else f"of the only {what}"

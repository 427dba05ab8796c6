"""What a study does with a number of minutes: a pure function of its declaration and of one reading of speed.

The reading is recorded before anything is trained, so the plan is the same whenever the study goes on, and anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from statistics import fmean
from typing import Any, Final, Self

from tuner.search.lengths import declared_length, resolved
from tuner.search.rungs import ETA, cohort_size
from tuner.spec.length import INTERVALS, Length, Recorded
from tuner.spec.objectives import is_front
from tuner.spec.study import MOST_GRID_POINTS, FinalSpec, SearchSpec, StudySpec
from tuner.spec.work import TrainingPlan

EVENT: Final = "speed"
SEARCHING: Final = 0.6  # of the time, where a final stage follows; the rest is its own and the answer's
SEARCHING_ALONE: Final = 0.85
NEXT_WORKER: Final = 0.7  # of a worker's work that each one beside the first does: cohorts end with few trials
TRIAL_SECONDS: Final = 0.05  # of a trial, beside its training: asked for, recorded, published
MOST_COHORTS: Final = 20  # more trials of one space find little
OPEN: Final = 3  # times the last rung: what a trial that trains until it is flat is expected to train
SEARCHING_LASTING: Final = 0.25  # of the time, where the final stage is one long training
LASTING: Final = 0.75  # of what is then left: an epoch takes a quarter longer where all cores train wide layers
LATE: Final = 1.25  # times the minutes, where it ends at the latest: a falling rate that is cut off leaves no answer
DEAR: Final = 0.75  # the quantile of the space's costs that winners are expected at: where time is short, wide ones win
LEAST_SEEDS, MOST_SEEDS = 2, 5  # of a lasting stage, one for each worker between them
LEAST_TRIALS: Final = 3
FURTHER: Final = 3  # seeds of the smallest final stage elsewhere


@dataclass(frozen=True, slots=True)
class Work:
    """Estimated seconds of one configuration on one worker, by the model of cost.

    Attributes:
        steps: of an epoch.
        epoch: seconds of an epoch's training.
        validation: seconds of one validation.
    """

    steps: int
    epoch: float
    validation: float


@dataclass(frozen=True, slots=True)
class Reading:
    """How fast this machine trains.

    Attributes:
        seconds: that the probe took.
        estimated: seconds of it by the model of cost.
        workers: that train at once.
        spent: seconds of the minutes that were over by then, for the data.
    """

    seconds: float
    estimated: float
    workers: int
    spent: float = 0.0


@dataclass(frozen=True, slots=True)
class Lasting:
    """A search with short trials, and one long training of what it found.

    Attributes:
        epochs: of a trial that is never pruned.
        thirds: how often the first epoch is divided, as `search.thirds`.
        seeds: of the long training.
    """

    epochs: int
    thirds: int
    seeds: int


@dataclass(frozen=True, slots=True)
class Budgeted:
    """What a study does with its minutes.

    Attributes:
        trials: in all.
        steps: of a trial that is never pruned; None where they train as declared, or until they are flat.
        lasting: where one training takes much of the time, so that none of the search is trained until it is flat, and
            the best configuration then as long as there is time for; None elsewhere.
    """

    trials: int
    steps: int | None = None
    lasting: Lasting | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What was read and planned when a study began, as an event keeps it.

    Attributes:
        minutes: that it was planned for.
        reading: of the machine's speed.
        found: the plan.
    """

    minutes: float
    reading: Reading
    found: Budgeted

    def words(self, search: SearchSpec) -> str:
        """The plan in words; `search` says whether a length was declared."""
        steps, lasting = self.found.steps, self.found.lasting
        flat = "until flat" if search.epochs is None and search.steps is None else "as long as declared"
        length = flat if steps is None else f"of at most {steps:,} steps"
        if lasting is not None:
            epochs = f"{lasting.epochs} epoch{'s' * (lasting.epochs != 1)}"
            length = f"of at most {epochs}, then the best one as long as there is time for"
        minutes, trials = f"{self.minutes:g} minute", f"{self.found.trials} trial"
        return f"planned for {minutes}{'s' * (self.minutes != 1)}: {trials}{'s' * (self.found.trials != 1)}, {length}"

    def body(self) -> dict[str, Any]:
        """The event's body."""
        found = asdict(self.found)
        if found["lasting"] is None:
            del found["lasting"]
        return {"minutes": self.minutes, **asdict(self.reading), **found}

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> Self:
        """From an event's body."""
        reading = Reading(body["seconds"], body["estimated"], body["workers"], body["spent"])
        lasting = None if body.get("lasting") is None else Lasting(**body["lasting"])
        return cls(body["minutes"], reading, Budgeted(body["trials"], body["steps"], lasting))

    @classmethod
    def recorded(cls, events: Iterable[Recorded]) -> Self | None:
        """What a study's record says; None where it was not planned for minutes."""
        return next((cls.of_body(event.body) for event in events if event.kind == EVENT), None)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of the space's configurations on this machine, of the mean one where nothing else is said.

    Attributes:
        epoch: of an epoch's training, on all workers together.
        step: of an optimizer step, on all workers together.
        validation: of one validation, on all workers together.
        dear: of an epoch and its validation, of a dear one on one worker alone.
        workers: that train at once.
    """

    epoch: float
    step: float
    validation: float
    dear: float = 0.0
    workers: int = 1

    @classmethod
    def of(cls, sample: Sequence[Work], reading: Reading) -> Self:
        """From some configurations of the space, with a reading's speed, all workers together."""
        alone = reading.seconds / reading.estimated
        slowness = alone / (1 + NEXT_WORKER * max(0, reading.workers - 1))
        by_cost = sorted(one.epoch + one.validation for one in sample)
        return cls(
            slowness * fmean(one.epoch for one in sample),
            slowness * fmean(one.epoch / one.steps for one in sample),
            slowness * fmean(one.validation for one in sample),
            alone * by_cost[int(DEAR * len(by_cost))],
            reading.workers,
        )

    def of_cohort(self, spec: StudySpec, length: Length, size: int) -> float:
        """Seconds that a cohort trains, each trial with its own overhead."""
        unit = self.epoch if length.unit == "epochs" else self.step
        halves = spec.search.pruner in ("halving", "hyperband")
        seconds, before = TRIAL_SECONDS * size, 0
        for end in _ends(length):
            amount = length.amount(end) - length.amount(before)
            seconds += size * (amount * unit + (end - before) * self.validation)
            size = max(1, size // ETA) if halves and size and end < length.top else size
            before = end
        return seconds


def _ends(length: Length) -> tuple[int, ...]:
    """The rungs, and where a training that goes on until it is flat is expected to end."""
    if not length.is_open:
        return length.rungs
    expected = length.top + (OPEN - 1) * max(1, length.top - length.plan.thirds)
    return (*length.rungs, min(length.plan.intervals, expected))


def share(spec: StudySpec, found: Budgeted | None = None) -> float:
    """The search's part of the time, of a study with that plan."""
    if found is not None and found.lasting is not None:
        return SEARCHING_LASTING
    return SEARCHING_ALONE if spec.final_stage is None else SEARCHING


def budgeted(spec: StudySpec, rows: tuple[int, int], costs: Costs, spent: float = 0.0) -> Budgeted:
    """How many trials a study has, and how long they train where its own length does not fit.

    What is declared stays: trials, epochs or steps. Else trials train until flat, as many whole cohorts as there is
    time for; where there is none for one of them, one cohort trains for as many steps as there is time for. Where the
    final stage's part of the time is too short for trainings until flat, one after the other as it needs them, the
    search is short and the final stage one long training.

    Args:
        spec: the declaration, with minutes.
        rows: training and validation rows.
        costs: of its configurations here.
        spent: seconds that are over.
    """
    length, size = resolved(spec, *rows), cohort_size(spec.search)
    left = max(0.0, 60 * (spec.search.minutes or 0) - spent)
    if (lasting := _lasting(spec, length, costs, left)) is not None:
        return lasting
    seconds = left * share(spec)
    whole = costs.of_cohort(spec, length, size)
    if spec.search.is_planned:
        trials = spec.search.trials
        cohorts = trials / size
        fits = not length.is_open or cohorts * whole <= seconds
        return Budgeted(trials, None if fits else _steps(spec, costs, seconds / max(1, cohorts)))
    if seconds >= whole:
        return Budgeted(_possible(spec, size * min(int(seconds / whole), MOST_COHORTS)))
    if length.is_open:
        return Budgeted(_possible(spec, size), _steps(spec, costs, seconds))
    return Budgeted(_possible(spec, int(size * seconds / whole)))


def _lasting(spec: StudySpec, length: Length, costs: Costs, left: float) -> Budgeted | None:
    """The plan with one long training, where that is the better use of the time.

    Only where rungs lie within the first epoch: on fewer rows seeds differ by more than such a training brings, and two
    of them would say little.
    """
    stage = spec.final_stage
    if stage is None or stage != FinalSpec() or spec.search.is_planned or is_front(spec):
        return None
    if not length.is_open or not length.plan.thirds:
        return None
    runs = 2 + ceil(FURTHER / costs.workers)  # to find a length, with the other schedule, and the further seeds
    if runs * costs.dear * length.amount(_ends(length)[-1]) <= (1 - SEARCHING) * left:
        return None
    thirds, size = length.plan.thirds, cohort_size(spec.search)
    closed = Length(TrainingPlan(length.top, thirds), length.rungs)
    whole, seconds = costs.of_cohort(spec, closed, size), left * SEARCHING_LASTING
    trials = size * min(int(seconds / whole), MOST_COHORTS) if seconds >= whole else int(size * seconds / whole)
    if trials < LEAST_TRIALS:
        return None
    seeds = min(MOST_SEEDS, max(LEAST_SEEDS, costs.workers))
    return Budgeted(_possible(spec, trials), None, Lasting(length.top - thirds, thirds, seeds))


def lasting_epochs(seconds: float, epoch: float, seeds: int, workers: int) -> int:
    """How long the runs of a lasting final stage train, for all of them to end in time.

    Args:
        seconds: that are left of the study's minutes.
        epoch: seconds of the winner's epoch and its validation on one worker.
        seeds: runs.
        workers: that train at once.
    """
    return max(1, int(LASTING * seconds / (epoch * ceil(seeds / max(1, workers)))))


def _possible(spec: StudySpec, trials: int) -> int:
    """No fewer than the user's own sets, and no more than a grid has points."""
    least = max(1, trials, len(spec.search.first or ()))
    return min(least, spec.space.grid_size(MOST_GRID_POINTS)) if spec.search.sampler == "grid" else least


def _steps(spec: StudySpec, costs: Costs, seconds: float) -> int:
    """Steps of a trial that is never pruned, for one cohort to take so long; no fewer than there are intervals.

    Seconds are a line over steps: validations, as many for any number of steps, and the steps themselves.
    """
    near, far = INTERVALS, 10 * INTERVALS
    of_near, of_far = (
        costs.of_cohort(spec, declared_length(with_plan(spec, Budgeted(0, steps)).search), cohort_size(spec.search))
        for steps in (near, far)
    )
    return max(near, near + int((seconds - of_near) * (far - near) / (of_far - of_near)))


def with_plan(spec: StudySpec, found: Budgeted) -> StudySpec:
    """The declaration with what was planned."""
    search: dict[str, Any] = {"trials": found.trials}
    final: dict[str, Any] = {}
    if found.steps is not None:
        search["steps"] = found.steps
    if (lasting := found.lasting) is not None:
        search |= {"epochs": lasting.epochs, "thirds": lasting.thirds or None}
        final["final"] = FinalSpec(top=1, seeds=lasting.seeds)
    return spec.model_copy(update={"search": spec.search.model_copy(update=search), **final})

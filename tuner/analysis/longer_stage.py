"""The final stage of studies by rules 4 and later: what is to be trained next, from the record alone.

Each candidate trains at a constant learning rate until it has become flat, which chooses the winner and finds its
length. The winner trains once more over that length with its rate falling to 0 along a cosine, from the same seed, and
keeps the schedule that comes lower. Then it is trained so with further seeds, which had no part in any choice: the
answer is of them. A configuration whose schedule is its own, because the study searches or declares one, keeps it, and
the declared length. Where `final.epochs` is declared there is no length to be found and no schedule to be compared: all
runs have that many epochs and a falling rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Final

from tuner.analysis.pareto import chosen_trial
from tuner.analysis.prediction import best_predicted
from tuner.ledger.records import Event, TrialRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.final import (
    COSINE,
    Allotment,
    Candidate,
    PlannedRun,
    RunPlan,
    StagePlan,
    choosing_run,
    final_run,
    trial_of,
)
from tuner.spec.objectives import is_front
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, Trial, TrialState

STAGE: Final = "final"  # the event that says which configurations are compared, and what that may take
CUT: Final = "final_cut"  # the event that says that the minutes were over before the stage was
RUNS: Final = "final_runs"  # the event that says how runs are trained, recorded before their first step


def recorded_stage(events: Iterable[Event]) -> StagePlan | None:
    """The newest final stage that was begun; None before that."""
    bodies = [event.body for event in events if event.kind == STAGE]
    return StagePlan.recorded(bodies[-1]) if bodies else None


def is_cut(events: Iterable[Event]) -> bool:
    """Whether the stage that was begun last was ended by the study's minutes."""
    return [event.kind for event in events if event.kind in (STAGE, CUT)][-1:] == [CUT]


def recorded_runs(events: Iterable[Event]) -> dict[int, RunPlan]:
    """How each run of the final stage is trained, by number."""
    bodies = [event.body for event in events if event.kind == RUNS]
    return {number: RunPlan(body["epochs"], body["least"]) for body in bodies for number in body["runs"]}


def planned_stage(
    spec: StudySpec,
    trials: Sequence[TrialRecord],
    curves: Mapping[int, Curve],
    allotted: Allotment,
    features: int = 0,
) -> StagePlan:
    """The final stage that follows from the trials now.

    Args:
        spec: the study's declaration.
        trials: the search's trials.
        curves: their epochs.
        allotted: what the stage may spend.
        features: of a row; needed where the number of parameters is an objective.
    """
    if is_front(spec):
        knee = chosen_trial(spec, trials, features)
        alone = () if knee is None else (Candidate(knee.number, float(knee.value or 0.0)),)
        return StagePlan(allotted, len(trials), alone)
    return StagePlan(allotted, len(trials), best_predicted(trials, curves, allotted.top))


@dataclass(frozen=True, slots=True)
class Schedules:
    """What the winner came to with each schedule, from one seed; None where that run was lost.

    Attributes:
        constant: best validation loss at a constant rate.
        cosine: with the rate falling to 0.
    """

    constant: float | None
    cosine: float | None

    @property
    def winner(self) -> str | None:
        """The schedule that the winner is trained with; None for its own."""
        pays = self.cosine is not None and (self.constant is None or self.cosine < self.constant)
        return COSINE if pays else None


class Stage:
    """A final stage as far as it has come.

    Args:
        spec: the study's declaration.
        plan: what was recorded when it began.
        trials: the search's trials.
        finals: the stage's runs so far, those of earlier stages of the study included.
        plans: how they are trained.
        is_cut: whether the study's minutes ended it.
    """

    def __init__(
        self,
        spec: StudySpec,
        plan: StagePlan,
        trials: Iterable[TrialRecord],
        finals: Iterable[TrialRecord],
        plans: Mapping[int, RunPlan],
        *,
        is_cut: bool = False,
    ) -> None:
        self._spec, self.plan, self._plans, self.is_cut = spec, plan, plans, is_cut
        self._schedule_is_searched = "schedule" in spec.space.searched()
        known = {trial.number: trial for trial in trials}
        self.candidates = [known[one.trial] for one in plan.candidates]
        self._runs = {run.number: run for run in finals}

    def due(self) -> list[PlannedRun]:
        """The runs that can be trained now; none where the stage is over.

        Each step waits for the one before it. What an earlier stage left unfinished comes last, so that no run is left
        in the middle of its training.
        """
        if self.is_cut:
            return []
        for step in (self._lengths, self._choices, self._schedule, self._answers):
            if left := [run for run in step() if not self._has_ended(run.number)]:
                return left
        return self._left_behind()

    def count(self) -> tuple[int, int]:
        """Runs that have ended, of all that the stage comes to, as far as that is known."""
        if not self.candidates:
            return 0, 0
        chosen, schedule, own = self._lengths() + self._choices(), self._schedule(), self._answers()
        ended = sum(self._has_ended(run.number) for run in (*chosen, *schedule, *own))
        tried = len(schedule) or int(not self.is_own(self.candidates[0]))
        return ended, self.seeds * len(self.candidates) + tried + (len(own) or self.plan.allotment.seeds)

    def is_own(self, trial: TrialRecord) -> bool:
        """Whether a trial is trained with a schedule and a length that the study says."""
        return self.plan.allotment.falls or self._keeps(trial)

    def _keeps(self, trial: TrialRecord) -> bool:
        """Whether a trial keeps the schedule that the search trained it with."""
        return trial.point.scheduled or self._schedule_is_searched

    @property
    def seeds(self) -> int:
        """Runs of each configuration at its own rate, which choose; 0 where there is nothing to be found out."""
        if len(self.candidates) > 1:
            return self.plan.allotment.choosing
        return sum(not self.is_own(trial) for trial in self.candidates)

    def choosing(self, trial: TrialRecord) -> list[TrialRecord | None]:
        """A configuration's runs that choose, by seed; None for one that was not begun."""
        return [self._runs.get(self._choosing(trial, index).number) for index in range(self.seeds)]

    def losses(self, trial: TrialRecord) -> tuple[float | None, ...]:
        """What they came to; None for a run that was lost."""
        return tuple(_value(run) for run in self.choosing(trial))

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """The candidates, the winner first: the fewest lost runs, then the lowest mean of those that choose."""
        return sorted(self.candidates, key=self._rank)

    @property
    def winner(self) -> TrialRecord | None:
        """The configuration that the answer is of; None where every run that chooses was lost."""
        ranked = self.ranked
        if not ranked or (self.seeds and set(self.losses(ranked[0])) == {None}):
            return None
        return ranked[0] if self._length(ranked[0]) is not None else None

    @property
    def schedules(self) -> Schedules | None:
        """What the winner's schedules came to; None where it has but its own, or that is not known yet."""
        runs = self._schedule()
        if self.winner is None or not runs or not self._has_ended(runs[0].number):
            return None
        return Schedules(self.losses(self.winner)[0], _value(self._runs.get(runs[0].number)))

    @property
    def length(self) -> int | None:
        """Epochs that the winner is trained for; None where there is no winner."""
        return None if self.winner is None else self._length(self.winner)

    def answering(self) -> list[TrialRecord | None]:
        """The winner's runs that the answer is of, by seed; None for one that was not begun."""
        if self.winner is not None and self.answers_by_choosing:
            return self.choosing(self.winner)
        return self._further()

    @property
    def answers_by_choosing(self) -> bool:
        """Whether the stage was ended before a further seed was, so that the runs that chose are all that there is."""
        return self.is_cut and self.seeds > 0 and not any(_value(run) is not None for run in self._further())

    def _further(self) -> list[TrialRecord | None]:
        return [self._runs.get(run.number) for run in self._answers()]

    def _rank(self, trial: TrialRecord) -> tuple[int, float, int]:
        found = [loss for loss in self.losses(trial) if loss is not None]
        return self.seeds - len(found), fmean(found) if found else float("inf"), self.candidates.index(trial)

    def _lengths(self) -> list[PlannedRun]:
        """One run of each candidate, until it has become flat."""
        least, most = self.plan.allotment.least, self.plan.allotment.most
        searching = RunPlan(most, least if most > least else None)
        return [
            self._planned(self._choosing(trial, 0), RunPlan(self._declared) if self.is_own(trial) else searching)
            for trial in self.candidates[: len(self.candidates) * bool(self.seeds)]
        ]

    def _choices(self) -> list[PlannedRun]:
        """The other seeds that choose, each as long as its configuration's first one."""
        lengths = {trial.number: self._length(trial) for trial in self.candidates}
        return [
            self._planned(self._choosing(trial, index), RunPlan(length))
            for trial in self.candidates
            for index in range(1, self.seeds)
            if (length := lengths[trial.number]) is not None
        ]

    def _schedule(self) -> list[PlannedRun]:
        """The winner once more with the other schedule."""
        winner = self.winner
        length = None if winner is None else self._length(winner)
        if winner is None or length is None or self.is_own(winner):
            return []
        run = choosing_run(self._spec.search.seed, winner.number, winner.point, 0, COSINE)
        return [self._planned(run, RunPlan(length))]

    def _answers(self) -> list[PlannedRun]:
        """The winner's further seeds, with the schedule that pays."""
        winner = self.winner
        length = None if winner is None else self._length(winner)
        if winner is None or length is None or (not self.is_own(winner) and self.schedules is None):
            return []
        point, seed = self._point(winner), self._spec.search.seed
        runs = [final_run(seed, winner.number, point, index) for index in range(self.plan.allotment.seeds)]
        return [self._planned(run, RunPlan(length)) for run in runs]

    def _point(self, winner: TrialRecord) -> Hyperparameters:
        chosen = self.schedule_of(winner) if self.schedules is None else self.schedules.winner
        return winner.point if chosen is None else replace(winner.point, schedule=COSINE)

    def schedule_of(self, trial: TrialRecord) -> str | None:
        """The schedule that every run of a trial has; None for its own, or where both are tried."""
        return COSINE if self.plan.allotment.falls and not self._keeps(trial) else None

    @property
    def _declared(self) -> int:
        """Epochs of a run whose length the study says: its own, or that of the search."""
        allotment = self.plan.allotment
        return allotment.most if allotment.falls else allotment.least

    def _length(self, trial: TrialRecord) -> int | None:
        """Epochs that a configuration needs; None where that is not known yet, or the run that finds it was lost."""
        if self.is_own(trial):
            return self._declared
        run = self._runs.get(self._choosing(trial, 0).number)
        return run.epochs if run is not None and run.state is TrialState.COMPLETE else None

    def _left_behind(self) -> list[PlannedRun]:
        begun = [run for run in self._runs.values() if run.state is TrialState.RUNNING and run.epochs]
        return [
            PlannedRun(Trial(run.number, run.point, run.seed), self._plans[run.number])
            for run in begun
            if run.number in self._plans
        ]

    def _choosing(self, trial: TrialRecord, index: int) -> Trial:
        return choosing_run(self._spec.search.seed, trial.number, trial.point, index, self.schedule_of(trial))

    def _planned(self, run: Trial, plan: RunPlan) -> PlannedRun:
        """By the plan that is recorded of it, should the budget have changed since."""
        return PlannedRun(run, self._plans.get(run.number, plan))

    def _has_ended(self, number: int) -> bool:
        run = self._runs.get(number)
        return run is not None and run.state is not TrialState.RUNNING


def _value(run: TrialRecord | None) -> float | None:
    return run.value if run is not None and run.state is TrialState.COMPLETE else None


def is_of(run: TrialRecord, trial: TrialRecord) -> bool:
    """Whether a run of the final stage trains the trial's configuration, with its own schedule or the other one."""
    return trial_of(run.number) == trial.number and run.point in (trial.point, replace(trial.point, schedule=COSINE))

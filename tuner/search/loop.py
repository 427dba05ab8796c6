"""The study's search as a state machine: asked for cohorts, told of whole rounds, it does nothing by itself.

A round is one cohort on its way to one rung. All that the search decides follows from the order in which rounds are
told, never from when they finished: law 2. How a round is cut into packs, where they run, and what of it was recorded
before is nothing it can see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner

from tuner.quiet import without_warnings
from tuner.search.history import BoundedHistory
from tuner.search.lengths import declared_length
from tuner.search.proposals import proposals
from tuner.search.rungs import ETA, LEARNING, halve, halve_front
from tuner.search.samplers import make_sampler
from tuner.spec.distributions import Scalar
from tuner.spec.length import Length
from tuner.spec.objectives import is_front, size
from tuner.spec.rules import FIRST, NEWEST
from tuner.spec.space import SearchSpace
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, Trial, TrialEnd, TrialState, derive_seed

BAD_LOSS = 1e6  # of trials that came to nothing, as long as no other has a loss to compare with
_CAME_TO_SOMETHING = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class Round:
    """A cohort's living trials, to be trained from interval `first` to `last`: to a rung, or on from the last one."""

    cohort: int
    trials: tuple[Trial, ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from a round: the trials that end, and the round of those that climb on, if any."""

    ends: tuple[TrialEnd, ...]
    next: Round | None


class Search:
    """Optuna's sampler and pruner behind cohorts and rounds.

    Args:
        spec: the study's declaration.
        first: points that are asked for before the sampler proposes any; each has a value for every hyperparameter.
        features: of a row; needed where the number of parameters is an objective.
        rules: the study's number of rules.
        length: how long trials train, as it was recorded; by default as it is declared.
    """

    def __init__(
        self,
        spec: StudySpec,
        first: Sequence[Mapping[str, Any]] = (),
        features: int = 0,
        rules: int = NEWEST,
        length: Length | None = None,
    ) -> None:
        self._spec, self._features = spec, features
        self._length = declared_length(spec.search) if length is None else length
        self._propose = proposals(spec)
        with quiet_optuna():
            self._history = BoundedHistory()
            self._study = optuna.create_study(
                study_name=_drawn_by(spec, rules),
                storage=self._history,
                sampler=make_sampler(spec),
                pruner=_pruner(spec, self._length),
                directions=["minimize"] * len(spec.objective),
            )
            for point in first:
                self._study.enqueue_trial(in_force(spec.space, point))
        self._asked: dict[int, optuna.Trial] = {}
        self._sizes: dict[int, float] = {}
        self._trained: dict[int, float] = {}  # each told trial's lowest loss after an epoch
        self._worst = 0.0  # loss of what was told so far

    @property
    def trials_asked(self) -> int:
        """Trials asked for so far."""
        return len(self._asked)

    def ask(self, cohort: int, size: int) -> Round:
        """The next cohort, on its way to the first rung."""
        with quiet_optuna(), self._history.asking(self._study._study_id, self._spec.search.sampler in LEARNING):
            trials = tuple(self._ask_one() for _ in range(size))
        return Round(cohort, trials, 0, self._length.rungs[0])

    def _ask_one(self) -> Trial:
        asked, drawn = self._propose(self._study)
        self._asked[asked.number] = asked
        search = self._spec.search
        seed = derive_seed(search.seed, "trial", asked.number) if search.trial_seed is None else search.trial_seed
        point = self._spec.space.point(drawn)
        self._sizes[asked.number] = size(self._spec, point, self._features)
        return Trial(asked.number, point, seed)

    def size(self, number: int) -> float:
        """A trial's second objective; 0 where there is none."""
        return self._sizes[number]

    def tell(
        self, told: Round, curves: Mapping[int, Curve], given_up: Mapping[int, tuple[TrialState, str]] | None = None
    ) -> Decision:
        """What follows from a whole round.

        Args:
            told: the round.
            curves: each trial's curve from its first epoch on.
            given_up: the trials that could not be trained to the round's end: how they end, and why.
        """
        lost = {trial.number: given_up[trial.number] for trial in told.trials if given_up and trial.number in given_up}
        ended = {number: _given_up(number, curves.get(number), *how) for number, how in lost.items()}
        trained = [trial.number for trial in told.trials if trial.number not in ended]
        living = {number: curves[number].lowest for number in trained if not curves[number].diverged}
        self._trained |= living
        ended |= {number: _diverged(curves[number], self._length) for number in trained if number not in living}
        if not is_front(self._spec):  # with several objectives Optuna refuses reports
            for number, value in living.items():
                self._asked[number].report(value, told.last)
        if told.last >= self._length.top:
            ended |= {
                number: _end(curves[number], TrialState.COMPLETE, "")
                for number, value in living.items()
                if self._length.is_complete(told.last, curves[number].until(told.first).lowest, value)
            }
        else:
            ended |= {
                number: _end(curves[number], TrialState.PRUNED, reason)
                for number, reason in self._prune(told, living).items()
            }
        ends = tuple(ended[trial.number] for trial in told.trials if trial.number in ended)
        self._tell_optuna(ends)
        climbing = tuple(trial for trial in told.trials if trial.number not in ended)
        following = Round(told.cohort, climbing, told.last, self._length.following(told.last)) if climbing else None
        return Decision(ends, following)

    def _prune(self, told: Round, living: Mapping[int, float]) -> dict[int, str]:
        """The living trials that end at this rung, each with its reason."""
        pruner, at = self._spec.search.pruner, self._length.at(told.last)
        if is_front(self._spec):
            places = {number: (value, self._sizes[number]) for number, value in living.items()}
            ends = halve_front(places) if pruner == "halving" else {}
            reason = f"of {len(living)} in its cohort {at}"
            return {number: f"ranked {rank} (front {front}) {reason}" for number, (rank, front) in ends.items()}
        if pruner == "halving":
            return {
                number: f"ranked {rank} of {len(living)} in its cohort {at}" for number, rank in halve(living).items()
            }
        return {number: f"{pruner} {at}" for number in living if self._asked[number].should_prune()}

    def _tell_optuna(self, ends: tuple[TrialEnd, ...]) -> None:
        """A trial that came to nothing is told as infinitely bad; failed ones samplers pass over and propose again.

        One objective is told as training left it: what many trials start at would tell nothing of them.
        """
        came = [end.value for end in ends if end.value is not None and end.state in _CAME_TO_SOMETHING]
        self._worst = max([self._worst, *came])
        with quiet_optuna():
            for end in ends:
                trial = self._asked[end.number]
                if is_front(self._spec):
                    self._study.tell(trial, self._values(end))
                elif end.state is TrialState.PRUNED:
                    self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                else:
                    self._study.tell(trial, self._trained[end.number] if end.state is TrialState.COMPLETE else math.inf)

    def _values(self, end: TrialEnd) -> tuple[float, float]:
        """What is told of a trial with several objectives: a pruned one's loss so far is an upper bound of its own.

        One that came to nothing is as bad as the worst in both: a small size alone would put it on the front. Infinity
        would spoil the volumes that samplers compute.
        """
        if end.value is None or end.state not in _CAME_TO_SOMETHING:
            return self._worst or BAD_LOSS, max(self._sizes.values())
        return end.value, self._sizes[end.number]


def in_force(space: SearchSpace, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What is searched and active at a point: all that a sampler can be told of it."""
    searched, active = space.searched(), space.conditions.active(point)
    return {name: active[name] for name in searched if name in active}


def end_of(
    number: int, curve: Curve | None, given_up: tuple[TrialState, str] | None, length: Length | None = None
) -> TrialEnd:
    """How a trial ended that was compared with no other: its curve is whole, or it was given up.

    Args:
        number: the trial.
        curve: all that was measured of it.
        given_up: how it ends, and why, where it could not be trained.
        length: how trials train; by default in epochs.
    """
    if curve is None or given_up is not None:
        state, reason = given_up or (TrialState.FAILED, "nothing of it was recorded")
        return _given_up(number, curve, state, reason)
    return _diverged(curve, length) if curve.diverged else _end(curve, TrialState.COMPLETE, "")


def _end(curve: Curve, state: TrialState, reason: str) -> TrialEnd:
    value, epoch = curve.best
    return TrialEnd(curve.number, state, None if epoch is None else value, epoch, curve.last, reason)


def _given_up(number: int, curve: Curve | None, state: TrialState, why: str) -> TrialEnd:
    value, epoch = (math.inf, None) if curve is None else curve.best
    epochs = 0 if curve is None else curve.last
    return TrialEnd(number, state, None if epoch is None else value, epoch, epochs, why)


def _diverged(curve: Curve, length: Length | None) -> TrialEnd:
    what = "validation" if math.isfinite(curve.train_loss[-1]) else "training"
    at = f"in epoch {curve.last}" if length is None else length.at(curve.last, "in")
    return _end(curve, TrialState.DIVERGED, f"the {what} loss was not finite {at}")


def _drawn_by(spec: StudySpec, rules: int) -> str:
    """Optuna's name of the study: HyperbandPruner draws a trial's bracket from a checksum of it and the number."""
    return spec.name if rules == FIRST else f"seed-{spec.search.seed}"


def _pruner(spec: StudySpec, length: Length) -> BasePruner:
    """Optuna's pruner; none for `halving`, which is synchronous here as Optuna's is not (`rungs.halve`)."""
    if spec.search.pruner == "hyperband":
        return HyperbandPruner(length.rungs[0], length.top, ETA)
    return MedianPruner() if spec.search.pruner == "median" else NopPruner()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's notes about each study from the user's terminal, and its verbosity as it was."""
    with without_warnings():
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(verbosity)

"""The final stage of rules before 4: which configurations are trained again, which of them wins, and how sure that is.

Studies that began by those rules keep it; `longer_stage.py` has the one of rules 4. All of it follows from the record:
the same trials and runs give the same answer, in whichever process it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tuner.analysis.pareto import chosen_trial
from tuner.analysis.statistics import difference, interval
from tuner.answers.parts import Configuration, FinalStage
from tuner.answers.summary import Summary
from tuner.ledger.records import TrialRecord
from tuner.spec.final import SEEDS, TOP, final_run, index_of, is_choosing, trial_of
from tuner.spec.objectives import is_front
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial, TrialState

METHOD: Final = (
    "means and 95 % intervals (Student's t) of the validation loss over the final stage's seeds;"
    " two means are told apart by Welch's t-test at 5 %"
)

_ENDS: Final = {"low", "high"}  # of an interval


@dataclass(frozen=True, slots=True)
class Winner:
    """The configuration that a study is for, and the one run of it that is exported.

    Attributes:
        trial: the trial that found it.
        index: which of the final stage's runs of it is exported; None where the stage is off and it is the trial's own.
        record: that run, as the ledger holds it.
    """

    trial: int
    index: int | None
    record: TrialRecord


def chosen(trials: Iterable[TrialRecord], top: int) -> list[TrialRecord]:
    """The best complete trials of different configurations, at most `top`, the lowest validation loss first."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    first: dict[Any, TrialRecord] = {}
    for trial in sorted(complete, key=lambda trial: (trial.value, trial.number)):
        first.setdefault(trial.point, trial)
    return list(first.values())[:top]


def candidates(spec: StudySpec, trials: Sequence[TrialRecord], features: int) -> list[TrialRecord]:
    """The trials whose configurations are trained again: the best ones, or with several objectives the front's knee.

    The other points of a front are no worse answers, but answers for other lengths.
    """
    if spec.final_stage is None:
        return []
    if not is_front(spec):
        return chosen(trials, _top(spec))
    knee = chosen_trial(spec, trials, features)
    return [] if knee is None else [knee]


def _top(spec: StudySpec) -> int:
    return TOP if spec.final_stage is None or spec.final_stage.top is None else spec.final_stage.top


def _seeds(spec: StudySpec) -> int:
    return SEEDS if spec.final_stage is None or spec.final_stage.seeds is None else spec.final_stage.seeds


def planned(
    spec: StudySpec, trials: Sequence[TrialRecord], finals: Sequence[TrialRecord], features: int = 0
) -> list[Trial]:
    """The runs of the final stage: those that follow from the trials now, and what an earlier stage left unfinished.

    Args:
        spec: the study's declaration.
        trials: the search's trials.
        finals: the stage's runs so far.
        features: of a row; needed where the number of parameters is an objective.
    """
    if spec.final_stage is None:
        return []
    runs = [
        final_run(spec.search.seed, trial.number, trial.point, index)
        for trial in candidates(spec, trials, features)
        for index in range(_seeds(spec))
    ]
    known = {run.number for run in runs}
    begun = [run for run in finals if run.state is TrialState.RUNNING and run.epochs and run.number not in known]
    return runs + [Trial(run.number, run.point, run.seed) for run in begun]


def missing(
    spec: StudySpec, trials: Sequence[TrialRecord], finals: Sequence[TrialRecord], features: int = 0
) -> list[Trial]:
    """Those of the planned runs that have not ended."""
    ended = {run.number for run in finals if run.state is not TrialState.RUNNING}
    return [run for run in planned(spec, trials, finals, features) if run.number not in ended]


def answer(
    spec: StudySpec, trials: Sequence[TrialRecord], finals: Sequence[TrialRecord], features: int = 0
) -> FinalStage | None:
    """What the final stage says once its runs have ended, without test losses; None where it is switched off.

    The configuration with the lowest mean wins. The search's own run of it does not count: it was chosen for being low,
    so it is lower than the configuration deserves. Nor can a configuration whose runs were lost win against one that
    kept all of its own: the mean of those that did not diverge would flatter it.
    """
    if spec.final_stage is None:
        return None
    tried = [_configuration(trial, finals, _seeds(spec)) for trial in candidates(spec, trials, features)]
    ranked = sorted(tried, key=_rank)
    winner = ranked[0] if ranked and ranked[0].mean is not None else None
    return FinalStage(
        top=_top(spec),
        seeds=_seeds(spec),
        trials=len(trials),
        method=METHOD,
        configurations=tuple(ranked),
        winner=None if winner is None else winner.trial,
        exported=None if winner is None else _lowest(winner.losses),
        sentence=_sentence(ranked, spec),
    )


def is_told(answered: FinalStage | None, summary: Summary | None) -> bool:
    """Whether a summary says what the final stage says."""
    if summary is None:
        return False
    if answered is None or summary.final is None:
        return answered is summary.final
    return _equal(answered.model_dump(), summary.final.unscored.model_dump())


def _equal(one: Any, other: Any) -> bool:
    """Whether two answers are equal but for the last digits of intervals, in which versions of the tuner differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _close(one[key], other[key]) if key in _ENDS else _equal(one[key], other[key]) for key in one
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _close(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9))


def recommended(spec: StudySpec, best: TrialRecord, known: Summary | None, finals: Iterable[TrialRecord]) -> Winner:
    """What `export` writes: the final stage's winner, or the best trial where there is no such winner.

    Args:
        spec: the study's declaration.
        best: the search's best trial.
        known: the study's summary.
        finals: the stage's runs.
    """
    final = None if known is None else known.final
    if spec.final_stage is not None and final is not None and final.winner is not None:
        return Winner(final.winner, final.exported, winners_runs(final, finals)[0])
    return Winner(best.number, None, best)


def winners_runs(answered: FinalStage, finals: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The winner's complete runs, the exported one first; none where there is no winner."""
    places = {run.number: _place(run.number, answered) for run in finals}
    runs = [run for run in finals if run.state is TrialState.COMPLETE and places[run.number] is not None]
    return sorted(runs, key=lambda run: (places[run.number] != answered.exported, run.number))


def _place(number: int, answered: FinalStage) -> int | None:
    """Where a run's loss is in the winner's losses; None where it is not one of them."""
    if trial_of(number) != answered.winner or is_choosing(number) != answered.of_choosing:
        return None
    if not answered.of_choosing:
        return index_of(number) if index_of(number) < answered.seeds else None
    index, of_other_schedule = divmod(index_of(number), 2)
    return None if of_other_schedule or answered.best is None or index >= len(answered.best.losses) else index


def _configuration(trial: TrialRecord, finals: Iterable[TrialRecord], seeds: int) -> Configuration:
    runs = {index_of(run.number): run for run in finals if trial_of(run.number) == trial.number}
    kept = {index: run for index, run in runs.items() if index < seeds and run.state is TrialState.COMPLETE}
    losses = [kept[index].value if index in kept else None for index in range(seeds)]
    lost = [_lost(index, runs.get(index)) for index in range(seeds) if index not in kept]
    return configuration(trial, losses, lost)


def configuration(
    trial: TrialRecord, losses: Sequence[float | None], lost: Sequence[str], **of_rules_4: Any
) -> Configuration:
    """A configuration with the mean and the interval of its runs' losses; None is a run that was lost, see `lost`."""
    known = [loss for loss in losses if loss is not None]
    found = interval(known) if known else None
    return Configuration(
        trial=trial.number,
        params=trial.params,
        mean=found and found.mean,
        low=found and found.low,
        high=found and found.high,
        losses=tuple(losses),
        lost=tuple(lost),
        **of_rules_4,
    )


def _lost(index: int, run: TrialRecord | None) -> str:
    return f"run {index}: not trained" if run is None else f"run {index} {run.state}: {run.reason}"


def _rank(tried: Configuration) -> tuple[int, float, int]:
    return len(tried.lost), float("inf") if tried.mean is None else tried.mean, tried.trial


def _lowest(losses: Sequence[float | None]) -> int:
    return min((loss, index) for index, loss in enumerate(losses) if loss is not None)[1]


def _sentence(ranked: Sequence[Configuration], spec: StudySpec) -> str:
    """The whole of it in plain words."""
    if not ranked:
        return "No trial was completed, so there was nothing to train again."
    if ranked[0].mean is None:
        return "No run of the final stage was completed: the answer is the search's best trial, and is not confirmed."
    parts = [_comparison(ranked[0], ranked[1]) if len(ranked) > 1 else _alone(ranked[0], spec)]
    if 1 < len(ranked) < _top(spec):
        parts.append(f"Only {len(ranked)} different configurations were completed.")
    parts += [f"Trial {one.trial} lost {len(one.lost)} of {_seeds(spec)} runs." for one in ranked if one.lost]
    return " ".join(parts)


def _alone(winner: Configuration, spec: StudySpec) -> str:
    if is_front(spec):
        return f"Trial {winner.trial}, the knee of the front, was trained again."
    why = "only one configuration was completed" if _top(spec) > 1 else "final.top is 1"
    return f"Trial {winner.trial} was trained again alone, for {why}: there is none to compare it with."


def _comparison(winner: Configuration, second: Configuration) -> str:
    names = f"the second, trial {second.trial}"
    if second.mean is None or winner.mean is None:  # the winner has one wherever there is a winner
        return f"Trial {winner.trial} wins, for {names}, completed no run."
    if winner.mean > second.mean:
        return f"Trial {winner.trial} wins, for {names}, lost more of its runs, though the mean of the others is lower."
    found = difference(winner.completed, second.completed)
    if found is None:
        return (
            f"Trial {winner.trial} has a lower mean than {names}, but with one seed each nothing can be said"
            " about whether that is more than luck."
        )
    figures = f"95 % interval {found.low:.3g} to {found.high:.3g}; Welch's t-test, p = {found.p:.2g}"
    verdict, luck = ("is", "") if found.is_distinct else ("is not", ", which may be the seeds' luck")
    return (
        f"Trial {winner.trial} {verdict} distinguishable from {names}: its mean is lower by {found.value:.3g}{luck}"
        f" ({figures})."
    )

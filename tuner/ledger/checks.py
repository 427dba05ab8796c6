"""Whether the ledger agrees with itself; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator

from tuner.ledger.ledger import Ledger
from tuner.ledger.measurements import Best, best_of
from tuner.ledger.records import StudyRecord, TrialRecord
from tuner.spec.final import final_run, index_of, trial_of, words_of
from tuner.spec.work import Curve, Trial, TrialState

_WITH_REASON = {TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.INFEASIBLE}


def contradictions(ledger: Ledger, study: StudyRecord) -> Iterator[str]:
    """What does not fit together in a study's record, a sentence each."""
    trials, curves = ledger.trials(study.id), ledger.curves(study.id)
    ledger.events(study.id)  # raises where one cannot be read, as the others do
    yield from _of_numbers(ledger, study, trials)
    spans = ledger.epoch_spans(study.id)
    finals = ledger.finals(study.id)
    for trial in [*trials, *finals]:
        for problem in _of_trial(trial, curves.get(trial.number), spans.get(trial.number, (0, 0))):
            yield f"{words_of(trial.number)}: {problem}"
    yield from _of_segments(ledger, study, [*trials, *finals])
    yield from _of_finals(study, trials, finals)
    yield from _of_state(ledger, study, trials)


def _of_numbers(ledger: Ledger, study: StudyRecord, trials: list[TrialRecord]) -> Iterator[str]:
    if [trial.number for trial in trials] != list(range(len(trials))):
        yield "the trials' numbers must count up from 0, but some are missing"
    cohorts = ledger.cohorts(study.id)
    if [cohort.number for cohort in cohorts] != list(range(len(cohorts))):
        yield "the cohorts' numbers must count up from 0, but some are missing"
    positions = [cohort.position for cohort in cohorts]
    if positions != sorted(positions):
        yield "the cohorts must have been asked for in order, but their positions fall"


def _of_trial(trial: TrialRecord, curve: Curve | None, span: tuple[int, int]) -> Iterator[str]:
    count, last = span
    if count != last:
        yield f"its epochs must count up from 1, but there are {count} up to {last}"
    if trial.state is TrialState.RUNNING:
        return
    found = best_of(curve.val_loss if curve else ())
    recorded = Best(trial.value, trial.best_epoch, trial.epochs)
    if found != recorded:
        yield f"it ended with value, best epoch and epochs {tuple(recorded)}, but its measurements say {tuple(found)}"
    if trial.state is TrialState.COMPLETE and trial.value is None:
        yield "it is complete, but has no value"
    if (trial.state in _WITH_REASON) is not bool(trial.reason):
        yield f"it is {trial.state}, but its reason is {trial.reason!r}"
    if trial.ended_at is None:
        yield f"it is {trial.state}, but not when"


def _of_segments(ledger: Ledger, study: StudyRecord, trials: list[TrialRecord]) -> Iterator[str]:
    reached = {trial.number: trial for trial in trials}
    for segment in ledger.segments(study.id):
        for number in segment.trials:
            trial = reached.get(number)
            if trial is None:
                yield f"a segment trained {words_of(number)}, which is unknown"
            elif trial.epochs < segment.last and trial.state in (TrialState.RUNNING, TrialState.COMPLETE):
                yield f"a segment trained {words_of(number)} to epoch {segment.last}, but {trial.epochs} are recorded"


def _of_finals(study: StudyRecord, trials: list[TrialRecord], finals: list[TrialRecord]) -> Iterator[str]:
    """Whose runs they must be follows from the search's trials; that they have its seeds is law 1."""
    known = {trial.number: trial for trial in trials}
    for run in finals:
        of, index = known.get(trial_of(run.number)), index_of(run.number)
        if of is None or of.state is not TrialState.COMPLETE:
            yield f"{words_of(run.number)}: it must train a complete trial's configuration, but there is none"
        elif Trial(run.number, run.point, run.seed) != final_run(study.spec.search.seed, of.number, of.point, index):
            yield f"{words_of(run.number)}: its configuration or seed is not that of trial {of.number}"
        elif run.state is TrialState.RUNNING and run.epochs and study.state == "finished" and study.spec.final_stage:
            yield f"{words_of(run.number)}: the study is finished, but it is running"


def _of_state(ledger: Ledger, study: StudyRecord, trials: list[TrialRecord]) -> Iterator[str]:
    """A finished study has spent its budget, unless want of improvement ended the last one."""
    if study.state != "finished":
        return
    budget = study.spec.search.trials
    running = sum(trial.state is TrialState.RUNNING for trial in trials)
    ended = [event.kind for event in ledger.events(study.id) if event.kind in ("budget", "flat")][-1:]
    if running or (len(trials) != budget and ended != ["flat"]):
        yield f"it is finished with a budget of {budget} trials, but has {len(trials)}, {running} of them running"

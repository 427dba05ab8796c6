"""Whether the ledger agrees with itself; nothing is changed.

Each check is a small function from what is recorded of a study to what does not fit, a sentence each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from tuner.answers.summary import Summary
from tuner.ledger.ledger import Ledger
from tuner.ledger.measurements import Best, best_of
from tuner.ledger.records import CohortRecord, Event, SegmentRecord, StudyRecord, TrialRecord
from tuner.spec.final import COSINE, choosing_run, final_run, index_of, is_choosing, is_final, trial_of, words_of
from tuner.spec.length import known_length
from tuner.spec.rules import ANSWERS
from tuner.spec.work import Checkpoint, Curve, Trial, TrialState

_WITH_REASON = {TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.INFEASIBLE}
_GIVEN_UP = {"infeasible": TrialState.INFEASIBLE, "failed": TrialState.FAILED}
_STATES = ("running", "stopped", "finished")
# What replay and reports read of each kind of event; other kinds are notes.
_BODIES: Final[dict[str, dict[str, type]]] = {
    "budget": {"position": int, "trials": int},
    "length": {"intervals": int, "rungs": list},
    "warm_start": {"origin": str, "points": list, "left_out": int},
    "run": {"device": str, "features": int},
    "flat": {"position": int},
    "infeasible": {"trial": int, "reason": str},
    "failed": {"trial": int, "reason": str},
    "worker": {"trials": list, "first": int, "last": int, "cause": str},
    "test": {"trial": int, "runs": list},
    "final": {"allotment": dict, "trials": int, "candidates": list},
    "final_runs": {"runs": list, "epochs": int},
    "final_cut": {"trials": int},
}


@dataclass(frozen=True)
class Evidence:
    """All that is recorded of a study, read at one moment.

    Attributes:
        study: its record.
        trials: its search's trials.
        finals: the final stage's runs.
        curves: every trial's and run's epochs, by number.
        spans: how many epochs each has, and the last one's number.
        cohorts: by number.
        segments: in the order in which they were recorded.
        events: of the study, in their order.
        checkpoints: each trial's newest.
        summary: what came of the study.
        runs: MLflow's runs by trial, the study's under None.
        unpublished: what waits for MLflow, or was set aside: trials, and None for the study.
        store: which MLflow the runs are of; None where nothing was published yet.
        fences: how often the study was held, by purpose.
    """

    study: StudyRecord
    trials: list[TrialRecord]
    finals: list[TrialRecord]
    curves: dict[int, Curve]
    spans: dict[int, tuple[int, int]]
    cohorts: list[CohortRecord]
    segments: list[SegmentRecord]
    events: list[Event]
    checkpoints: dict[int, Checkpoint]
    summary: Summary | None
    runs: Mapping[int | None, str]
    unpublished: set[int | None]
    store: str | None
    fences: Mapping[str, int]

    @classmethod
    def of(cls, ledger: Ledger, study: StudyRecord) -> Evidence:
        """Read it.

        Raises:
            LedgerError: something of it cannot be read.
        """
        with ledger.snapshot():
            trials, finals = ledger.trials(study.id), ledger.finals(study.id)
            newest = ledger.checkpoints(study.id, 1)
            waiting = ledger.outbox.waiting(study.id, ledger.outbox.waiting_count(study.id)) + ledger.outbox.aside(
                study.id
            )
            return cls(
                study=ledger.study_by_id(study.id),
                trials=trials,
                finals=finals,
                curves=ledger.curves(study.id),
                spans=ledger.epoch_spans(study.id),
                cohorts=ledger.cohorts(study.id),
                segments=ledger.segments(study.id),
                events=ledger.events(study.id),
                checkpoints={number: of_trial[0] for number, of_trial in newest.items()},
                summary=ledger.summary(study.id),
                runs=ledger.outbox.run_ids(study.id, [None, *(trial.number for trial in [*trials, *finals])]),
                unpublished={row.trial for row in waiting},
                store=ledger.outbox.tracking_store(study.id),
                fences={"run": ledger.fence(study.id, "run"), "publish": ledger.fence(study.id, "publish")},
            )

    @cached_property
    def all_trials(self) -> list[TrialRecord]:
        """The search's trials and the final stage's runs."""
        return [*self.trials, *self.finals]

    def of_kind(self, kind: str) -> list[Event]:
        """The events of a kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def newer_runs(self) -> list[Event]:
        """The runs by a version that holds leases and measures codes: older ones did not note what the rows are."""
        return [event for event in self.of_kind("run") if "images" in event.body]

    @property
    def features(self) -> int:
        """Of a row; 0 where no run is recorded."""
        return next((int(event.body["features"]) for event in reversed(self.events) if event.kind == "run"), 0)


Check = Callable[[Evidence], Iterator[str]]


def _of_study(evidence: Evidence) -> Iterator[str]:
    if evidence.study.state not in _STATES:
        yield f"its state must be one of {', '.join(_STATES)}, but it is {evidence.study.state!r}"
    if not re.fullmatch("[0-9a-f]{64}", evidence.study.fingerprint):
        yield f"its fingerprint must be 64 hexadecimal digits, but it is {evidence.study.fingerprint!r}"


def _of_numbers(evidence: Evidence) -> Iterator[str]:
    trials, cohorts = evidence.trials, evidence.cohorts
    if [trial.number for trial in trials] != list(range(len(trials))):
        yield "the trials' numbers must count up from 0, but some are missing"
    if [cohort.number for cohort in cohorts] != list(range(len(cohorts))):
        yield "the cohorts' numbers must count up from 0, but some are missing"
    positions = [cohort.position for cohort in cohorts]
    if positions != sorted(positions):
        yield "the cohorts must have been asked for in order, but their positions fall"


def _of_trials(evidence: Evidence) -> Iterator[str]:
    for trial in evidence.all_trials:
        number = trial.number
        for problem in _of_trial(trial, evidence.curves.get(number), evidence.spans.get(number, (0, 0))):
            yield f"{words_of(number)}: {problem}"


def _of_trial(trial: TrialRecord, curve: Curve | None, span: tuple[int, int]) -> Iterator[str]:
    count, last = span
    if count != last:
        yield f"its epochs must count up from 1, but there are {count} up to {last}"
    if trial.state is TrialState.RUNNING:
        return
    found = best_of(curve.val_loss, curve.before) if curve else best_of(())
    recorded = Best(trial.value, trial.best_epoch, trial.epochs)
    if found != recorded:
        yield f"it ended with value, best epoch and epochs {tuple(recorded)}, but its measurements say {tuple(found)}"
    if trial.state is TrialState.COMPLETE and trial.value is None:
        yield "it is complete, but has no value"
    if (trial.state in _WITH_REASON) is not bool(trial.reason):
        yield f"it is {trial.state}, but its reason is {trial.reason!r}"
    if trial.ended_at is None:
        yield f"it is {trial.state}, but not when"


def _of_segments(evidence: Evidence) -> Iterator[str]:
    known = {trial.number: trial for trial in evidence.all_trials}
    trained: dict[int, set[int]] = {number: set() for number in known}
    for segment in evidence.segments:
        for number in segment.trials:
            trial = known.get(number)
            if trial is None:
                yield f"a segment trained {words_of(number)}, which is unknown"
                continue
            trained[number] |= set(range(segment.first + 1, segment.last + 1))
            if trial.epochs < segment.last and trial.state in (TrialState.RUNNING, TrialState.COMPLETE):
                yield f"a segment trained {words_of(number)} to epoch {segment.last}, but {trial.epochs} are recorded"
    for number, (_, last) in evidence.spans.items():
        missing = set(range(1, last + 1)) - trained.get(number, set())
        if missing:
            yield f"{words_of(number)}: epoch {min(missing)} is recorded, but no segment that trained it"


def _of_checkpoints(evidence: Evidence) -> Iterator[str]:
    """The files may be gone, the rows not."""
    for number in sorted(_with_state(evidence)):
        newest, last = evidence.checkpoints.get(number), evidence.curves[number].last
        if newest is None or newest.epoch != last:
            yield f"{words_of(number)}: the state after epoch {last} must be recorded, but it is not"
    for number, newest in evidence.checkpoints.items():
        if not re.fullmatch("[0-9a-f]{64}", newest.sha256):
            yield f"{words_of(number)}: its state's digest must be 64 hexadecimal digits, but it is {newest.sha256!r}"


def _with_state(evidence: Evidence) -> set[int]:
    """Whose last state was written: what could go on, every final run, and the best of each segment to the end."""
    length = known_length(evidence.study.spec.search, evidence.events)
    living = {number: curve for number, curve in evidence.curves.items() if not curve.diverged}
    newest = {(number, segment.last): segment for segment in evidence.segments for number in segment.trials}

    def is_complete(curve: Curve) -> bool:
        segment = newest.get((curve.number, curve.last))
        before = curve.until(0 if segment is None else segment.first)
        return length.is_complete(curve.last, before.lowest, curve.lowest)

    complete = {number for number, curve in living.items() if is_complete(curve)}
    found = {number for number in living if number not in complete or is_final(number)}
    for segment in evidence.segments:
        ranked = [
            (best_of(living[number].val_loss, living[number].before).value, number)
            for number in segment.trials
            if number in complete and living[number].last == segment.last
        ]
        if ranked:
            found.add(min(ranked)[1])
    return found


def _of_measures(evidence: Evidence) -> Iterator[str]:
    """What a complete trial's code is worth is measured with its last epoch; older versions did not measure it.

    A run of the final stage that the study's minutes ended did not come to its last.
    """
    was_cut = bool(evidence.of_kind("final_cut"))
    first = min((event.at for event in evidence.newer_runs), default=float("inf"))
    for trial in evidence.all_trials:
        is_exempt = is_choosing(trial.number) or (was_cut and is_final(trial.number))
        is_to_be = trial.state is TrialState.COMPLETE and not is_exempt
        if is_to_be and not trial.measures and (trial.started_at or 0.0) > first:
            yield f"{words_of(trial.number)}: it is complete, but nothing is recorded of what its code is worth"


def _of_events(evidence: Evidence) -> Iterator[str]:
    for event in evidence.events:
        for name, kind in _BODIES.get(event.kind, {}).items():
            came = event.body.get(name)
            if not isinstance(came, kind):
                yield f"event {event.seq} ({event.kind}): {name} must be {kind.__name__}, but is {came!r}"
    if evidence.trials and not any(event.body.get("position") == 0 for event in evidence.of_kind("budget")):
        yield "it has trials, but the event with its first budget is missing"
    if evidence.trials and not evidence.of_kind("run"):
        yield "it has trials, but no event says that it was run"
    if len({event.body.get("features") for event in evidence.of_kind("run")}) > 1:
        yield "all its runs must have had the same number of features, but their events differ"
    given_up = {event.body.get("trial"): _GIVEN_UP[event.kind] for event in evidence.events if event.kind in _GIVEN_UP}
    for trial in evidence.all_trials:
        if trial.state in _GIVEN_UP.values() and given_up.get(trial.number) is not trial.state:
            yield f"{words_of(trial.number)}: it is {trial.state}, but no event says so"


def _of_leases(evidence: Evidence) -> Iterator[str]:
    """Every run and every publisher holds the study once; older versions did not."""
    runs = len(evidence.newer_runs)
    if evidence.fences["run"] < runs:
        yield f"it was run at least {runs} times, but its lease was taken {evidence.fences['run']} times"
    if runs and evidence.store is not None and not evidence.fences["publish"]:
        yield "it was published, but its lease for that was never taken"


def _of_runs(evidence: Evidence) -> Iterator[str]:
    """What MLflow took has a run there, whose id is remembered."""
    if evidence.store is None:
        return
    for trial in evidence.all_trials:
        is_shown = trial.started_at is not None or trial.state is not TrialState.RUNNING
        if is_shown and trial.number not in evidence.unpublished and trial.number not in evidence.runs:
            yield f"{words_of(trial.number)}: it was published, but the id of its run in MLflow is missing"
    if None not in evidence.unpublished and None not in evidence.runs:
        yield "it was published, but the id of its run in MLflow is missing"


def _of_finals(evidence: Evidence) -> Iterator[str]:
    """Whose runs they must be follows from the search's trials; that they have its seeds is law 1."""
    study, known = evidence.study, {trial.number: trial for trial in evidence.trials}
    was_cut = [event.kind for event in evidence.events if event.kind in ("final", "final_cut")][-1:] == ["final_cut"]
    is_over = study.state == "finished" and study.spec.final_stage is not None and not was_cut
    for run in evidence.finals:
        of = known.get(trial_of(run.number))
        if of is None or of.state not in (_CHOSEN if study.rules >= ANSWERS else {TrialState.COMPLETE}):
            yield f"{words_of(run.number)}: it must train a complete trial's configuration, but there is none"
        elif Trial(run.number, run.point, run.seed) not in _runs_of(study, of, run.number):
            yield f"{words_of(run.number)}: its configuration or seed is not that of trial {of.number}"
        elif run.state is TrialState.RUNNING and run.epochs and is_over:
            yield f"{words_of(run.number)}: the study is finished, but it is running"


_CHOSEN = {TrialState.COMPLETE, TrialState.PRUNED}


def _runs_of(study: StudyRecord, of: TrialRecord, number: int) -> list[Trial]:
    """What the run of that number may be: by rules 4 the winner's schedule is chosen among two."""
    seed, index = study.spec.search.seed, index_of(number)
    if is_choosing(number):
        schedule = COSINE if index % 2 else None
        return [choosing_run(seed, of.number, of.point, index // 2, schedule)]
    runs = [final_run(seed, of.number, of.point, index)]
    other = replace(of.point, schedule=COSINE)
    return [*runs, final_run(seed, of.number, other, index)] if study.rules >= ANSWERS else runs


def _of_state(evidence: Evidence) -> Iterator[str]:
    """A finished study has spent its budget, unless want of improvement ended the last one."""
    study, trials = evidence.study, evidence.trials
    if study.state != "finished":
        return
    budget = study.spec.search.trials
    running = sum(trial.state is TrialState.RUNNING for trial in trials)
    ended = [event.kind for event in evidence.events if event.kind in ("budget", "flat")][-1:]
    if running or (len(trials) != budget and ended != ["flat"]):
        yield f"it is finished with a budget of {budget} trials, but has {len(trials)}, {running} of them running"


CHECKS: Final[dict[str, Check]] = {
    "study": _of_study,
    "numbers": _of_numbers,
    "trials": _of_trials,
    "segments": _of_segments,
    "checkpoints": _of_checkpoints,
    "measures": _of_measures,
    "events": _of_events,
    "leases": _of_leases,
    "MLflow's runs": _of_runs,
    "final stage": _of_finals,
    "state": _of_state,
}

"""The study's loop: it moves rounds between the search, the ledger and the workers, and decides nothing itself.

Durable replay (law 3): the loop always starts at the beginning. What is recorded is answered from the ledger, the rest
is trained; so a study that was killed goes on by running the very code that an undisturbed one runs.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tuner.errors import LedgerError, StoppedError, StudyError, TunerError, WorkerError
from tuner.execution.base import Workers
from tuner.execution.faults import WorkerFaultError
from tuner.execution.retries import Retries
from tuner.ledger.record import RunRecord
from tuner.ledger.records import CohortRecord, StudyRecord, TrialRecord, best_trial
from tuner.search.patience import Budget, Flatness, stopped_early
from tuner.search.rungs import cohort_size
from tuner.spec.study import StudySpec
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, Trial, TrialEnd, TrialState

if TYPE_CHECKING:
    from tuner.search.loop import Round, Search

Outcome = Literal["finished", "stopped", "timeout"]
TICK_SECONDS = 0.25  # how often the user's stop and the progress line are looked at while workers work
KEPT = 2  # states of a running trial
LEADERS = 3  # trials that ended and keep their state: MLflow shows what they make of some rows
GIVEN_UP = {"infeasible": TrialState.INFEASIBLE, "failed": TrialState.FAILED}  # events that end a trial


@dataclass(frozen=True, slots=True)
class Tally:
    """Where a running study stands; `confirmed` are the final stage's runs that are done, of all, once it has begun."""

    counts: dict[TrialState, int]
    best: float | None
    epochs: int
    confirmed: tuple[int, int] | None = None


class Driver:
    """Runs one study until its budget is spent, it is stopped, or its time is up.

    Args:
        study: the study's record.
        spec: its declaration as it is now.
        ledger: where everything is recorded.
        workers: where segments run.
        on_change: called with the tally at every tick and after every record.
        stop: set to end the run early.
    """

    def __init__(
        self,
        study: StudyRecord,
        spec: StudySpec,
        ledger: RunRecord,
        workers: Workers,
        on_change: Callable[[Tally], None],
        stop: threading.Event,
    ) -> None:
        self._study, self._spec, self._ledger, self._workers = study, spec, ledger, workers
        self._on_change, self._stop = on_change, stop
        self._began = time.monotonic()
        self._deadline = self._end_of_time()
        self._cohorts = ledger.cohorts(study.id)
        self._trials = {record.number: record for record in ledger.trials(study.id)}
        self._ended = {n for n, record in self._trials.items() if record.state is not TrialState.RUNNING}
        self._curves = ledger.curves(study.id)
        self._kept = ledger.checkpoints(study.id, KEPT)
        events = ledger.events(study.id)
        self._first = [point for event in events if event.kind == "warm_start" for point in event.body["points"]]
        self._features = next((event.body["features"] for event in reversed(events) if event.kind == "run"), 0)
        self._budgets = {e.body["position"]: Budget.recorded(e.body) for e in events if e.kind == "budget"}
        self._flatness, self._noted_flat = Flatness(), stopped_early(events) is not None
        ends = [(e.body["trial"], GIVEN_UP[e.kind], e.body["reason"]) for e in events if e.kind in GIVEN_UP]
        self._given_up = {number: (state, reason) for number, state, reason in ends}
        self._position = 0
        self._asked_cohorts = 0
        self._rounds: deque[Round] = deque()
        self._queue: deque[Segment] = deque()
        self._running: dict[Future[SegmentResult], Segment] = {}
        self._retries = Retries()
        self._accused: dict[int, str] = {}  # trials that failed before any was trained: is it they, or this machine?
        self._states = {number: record.state for number, record in self._trials.items()}
        self._final_runs: tuple[Trial, ...] = ()
        self._leaders: list[tuple[float, int]] = []
        self._epochs = 0

    def extend(self, spec: StudySpec) -> None:
        """Go on with a larger budget: it comes into force where the record ends, as in a run that continues."""
        self._spec = spec
        self._deadline = self._end_of_time()

    def _end_of_time(self) -> float | None:
        timeout = self._spec.search.timeout
        return None if timeout is None else self._began + timeout

    def run(self) -> Outcome:
        """Move rounds until nothing is left to do."""
        while not self._stop.is_set():  # also while a long record is replayed
            self._ask_cohorts()
            if self._rounds and self._is_measured(self._rounds[0]):
                self._tell(self._rounds.popleft())
            elif self._take_new_budget():
                continue
            elif not self._rounds:
                return self._finished()
            elif (early := self._early_end()) is not None:
                return early
            else:
                self._train()
        return "stopped"

    def confirm(self, runs: Sequence[Trial]) -> Outcome:
        """Train runs of the final stage, which no search asked for, to the last epoch, and record how they ended.

        Like everything else they are recorded as they come, here every so many epochs, and retried. The search need not
        have been replayed.
        """
        from tuner.search.loop import end_of  # (Optuna)
        from tuner.search.rungs import records

        best = best_trial(list(self._trials.values()))
        if not self._leaders and best is not None and best.value is not None:
            self._leaders = [(best.value, best.number)]
        self._final_runs, first = tuple(runs), 0
        for last in records(self._spec.search):
            self._enqueue(runs, first, last)
            while not all(self._has(run.number, last) for run in runs):
                if (early := self._early_end()) is not None:
                    return early
                self._train()
            first = last
        lost = {n: how for n, how in self._given_up.items() if not self._reached(n, self._spec.search.epochs)}
        ends = [end_of(run.number, self._curves.get(run.number), lost.get(run.number)) for run in runs]
        self._ledger.record_ends(self._study.id, ends)
        self._report()
        return "finished"

    def _early_end(self) -> Outcome | None:
        if self._stop.is_set():
            return "stopped"
        return "timeout" if self._deadline is not None and time.monotonic() >= self._deadline else None

    @cached_property
    def _search(self) -> Search:
        from tuner.search.loop import Search  # (Optuna, while the workers start)

        return Search(self._spec, self._first, self._features, self._study.rules)

    def _finished(self) -> Outcome:
        if self._asked_cohorts < len(self._cohorts):
            raise LedgerError(
                f"study {self._study.name}: the ledger's cohort {self._asked_cohorts} was asked for after"
                f" {self._cohorts[self._asked_cohorts].position} rounds, but replaying it ended after {self._position}."
            )
        if self._is_flat() and not self._noted_flat:
            self._ledger.record_event(self._study.id, "flat", {"position": self._position})
        return "finished"

    # Asking. A cohort's size and the position at which it was asked for are recorded, since both depend on the budget
    # of that moment.

    def _ask_cohorts(self) -> None:
        while (size := self._due()) > 0:
            recorded = self._asked_cohorts < len(self._cohorts)
            asked = self._search.ask(self._asked_cohorts, size)
            if recorded:
                self._check_replay(asked.trials)
            else:
                record = CohortRecord(self._asked_cohorts, self._position)
                self._ledger.record_cohort(self._study.id, record, asked.trials)
                self._cohorts.append(replace(record, size=size))
            self._asked_cohorts += 1
            for trial in asked.trials:
                self._states.setdefault(trial.number, TrialState.RUNNING)
            self._begin(asked)

    def _due(self) -> int:
        """Trials of the cohort that is to be asked for now; 0 where none is."""
        if self._asked_cohorts < len(self._cohorts):
            record = self._cohorts[self._asked_cohorts]
            return record.size if record.position == self._position else 0
        return self._wanted()

    def _wanted(self) -> int:
        """Trials that the search asks for at this position; 0 where it waits, or has all it is to have."""
        if len(self._rounds) >= self._spec.search.in_flight or self._is_flat():
            return 0
        return max(0, min(cohort_size(self._spec.search), self._budget().trials - self._search.trials_asked))

    def _budget(self) -> Budget:
        """The budget that was in force at this position."""
        return self._budgets[self._budget_since()]

    def _budget_since(self) -> int:
        return int(max(position for position in self._budgets if position <= self._position))

    def _is_flat(self) -> bool:
        """Patience is over before the trials are; every budget begins to wait anew."""
        budget = self._budget()
        if budget.patience is None or self._search.trials_asked >= budget.trials:
            return False
        return self._flatness.since(self._budget_since()) >= budget.patience

    def _take_new_budget(self) -> bool:
        """Where the record ends, the budget asked for now comes into force: an event, so that replay repeats it."""
        wanted, newest = Budget.of(self._spec.search), max(self._budgets)
        if self._budgets[newest].same_as(wanted) or newest > self._position:
            return False
        self._ledger.record_event(self._study.id, "budget", wanted.body(self._position))
        self._budgets[self._position] = wanted
        self._noted_flat = False
        return True

    def _check_replay(self, trials: Iterable[Trial]) -> None:
        for trial in trials:
            record = self._trials[trial.number]
            if (record.point, record.seed) != (trial.point, trial.seed):
                raise StudyError(_other_versions(self._study, record, trial))

    # Training. Rounds are told in order; what they are made of is recorded as soon as it is there.

    def _begin(self, begun: Round) -> None:
        self._rounds.append(begun)
        self._enqueue(begun.trials, begun.first, begun.last)

    def _enqueue(self, trials: Sequence[Trial], first: int, last: int) -> None:
        missing = [trial for trial in trials if not self._has(trial.number, last)]
        if missing:
            packs = self._workers.plan(missing, last - first)
            self._queue.extend(Segment(pack, first, last) for pack in packs)

    def _train(self) -> None:
        """Keep the workers busy, and record what they have finished within a tick."""
        while self._queue and len(self._running) < self._workers.slots:
            self._submit(self._queue.popleft())
        done, _ = wait(self._running, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            segment = self._running.pop(future, None)
            if segment is not None:
                self._receive(segment, future)
        self._report()

    def _submit(self, segment: Segment) -> None:
        states = [self._kept.get(trial.number, ()) for trial in segment.trials]
        self._running[self._workers.submit(segment, states)] = segment

    def _receive(self, segment: Segment, future: Future[SegmentResult]) -> None:
        try:
            result = future.result()
        except StoppedError:
            self._queue.appendleft(segment)  # ended by the user's stop, which is looked at next
        except (TunerError, OSError):
            raise  # a file or a device is at fault, and no trial
        except WorkerFaultError as fault:
            self._retry(segment, fault)
        except Exception as error:
            self._retry(segment, WorkerFaultError(f"met {type(error).__name__}: {error}", own=True))
        else:
            self._record(segment, result)

    def _record(self, segment: Segment, result: SegmentResult) -> None:
        self._retries.succeeded()
        self._ledger.record_segment(self._study.id, segment, result)
        for curve in result.curves:
            self._extend(curve)
        for number, reason in result.infeasible:
            self._give_up(number, "infeasible", reason)
        for number in list(self._accused):
            self._give_up(number, "failed", self._accused.pop(number))

    def _retry(self, segment: Segment, fault: WorkerFaultError) -> None:
        """Infrastructure's faults cost time alone; a trial's own ends that trial, once it is found."""
        body = {"trials": [trial.number for trial in segment.trials], "first": segment.first, "last": segment.last}
        self._ledger.record_event(self._study.id, "worker", {**body, "cause": fault.cause, "own": fault.own})
        retry = self._retries.after(segment, fault)
        self._queue.extendleft(reversed(retry.segments))
        if retry.failed is not None:
            self._accuse(*retry.failed)

    def _accuse(self, number: int, reason: str) -> None:
        if self._curves or self._given_up:
            self._give_up(number, "failed", reason)
            return
        self._accused[number] = reason
        if not self._queue and not self._running:
            raise WorkerError(
                f"study {self._study.name}: not one trial could be trained; of trial {number}: {reason}."
                " What is recorded stays; run the study again to go on."
            )

    def _give_up(self, number: int, kind: str, reason: str) -> None:
        self._ledger.record_event(self._study.id, kind, {"trial": number, "reason": reason})
        self._given_up[number] = (GIVEN_UP[kind], reason)

    def _extend(self, curve: Curve) -> None:
        known = self._curves.get(curve.number)
        self._curves[curve.number] = curve if known is None else known.joined(curve)
        self._epochs += len(curve.val_loss)
        if curve.checkpoint is not None:
            self._keep(curve.number, (curve.checkpoint, *self._kept.get(curve.number, ())))

    def _keep(self, number: int, checkpoints: Sequence[Checkpoint]) -> None:
        """The newest state and the one before it, should the newest turn out damaged; the older files go."""
        self._kept[number] = tuple(checkpoints[:KEPT])
        _remove(checkpoints[KEPT:])

    def _has(self, number: int, epoch: int) -> bool:
        return number in self._given_up or self._reached(number, epoch)

    def _reached(self, number: int, epoch: int) -> bool:
        curve = self._curves.get(number)
        return curve is not None and (curve.last >= epoch or curve.diverged)

    def _is_measured(self, round_: Round) -> bool:
        return all(self._has(trial.number, round_.last) for trial in round_.trials)

    # Telling.

    def _tell(self, told: Round) -> None:
        known = [trial.number for trial in told.trials if trial.number in self._curves]
        curves = {number: self._curves[number].until(told.last) for number in known}
        decision = self._search.tell(told, curves, self._given_up_by(told))
        fresh = [end for end in decision.ends if end.number not in self._ended]
        if fresh:
            self._ledger.record_ends(self._study.id, fresh)
        if decision.next is None:
            complete = [end for end in decision.ends if end.state is TrialState.COMPLETE]
            reached = [(self._search.size(end.number), end.value) for end in complete if end.value is not None]
            self._flatness.tell(self._position + 1, reached, self._budget().min_improvement)
        self._position += 1
        for end in decision.ends:
            self._states[end.number] = end.state
            self._keep_only_the_best(end)
        if decision.next is not None:
            self._begin(decision.next)
        self._report()

    def _given_up_by(self, told: Round) -> dict[int, tuple[TrialState, str]]:
        """Those of its trials that could not be trained to its end; another machine may have trained them before."""
        numbers = [trial.number for trial in told.trials if trial.number in self._given_up]
        return {number: self._given_up[number] for number in numbers if not self._reached(number, told.last)}

    def _keep_only_the_best(self, end: TrialEnd) -> None:
        """Of the trials that ended the best few's states are worth their space: any other can be trained again."""
        before = {end.number, *(number for _, number in self._leaders)}
        if end.state is TrialState.COMPLETE and end.value is not None:
            self._leaders = sorted([*self._leaders, (end.value, end.number)])[:LEADERS]
        for number in before:
            newest = 1 if number in [leader for _, leader in self._leaders] else 0
            _remove(self._kept.get(number, ())[newest:])
            self._kept[number] = self._kept.get(number, ())[:newest]

    def _report(self) -> None:
        counts = Counter(self._states.values())
        runs, last = self._final_runs, self._spec.search.epochs
        confirmed = (sum(self._has(run.number, last) for run in runs), len(runs)) if runs else None
        self._on_change(Tally(dict(counts), self._leaders[0][0] if self._leaders else None, self._epochs, confirmed))


def _remove(checkpoints: Iterable[Checkpoint]) -> None:
    for checkpoint in checkpoints:
        Path(checkpoint.path).unlink(missing_ok=True)


def _other_versions(study: StudyRecord, record: TrialRecord, trial: Trial) -> str:
    return (
        f"study {study.name}: replaying it proposed {trial.point.as_dict()} for trial {trial.number}, but the ledger"
        f" holds {record.point.as_dict()}; it was begun with optuna {study.versions.get('optuna', '(unknown)')}."
        " Install that version to go on, or give the study another name."
    )

"""The study's loop: it moves rounds between the search, the ledger and the workers, and decides nothing itself.

Durable replay (law 3): the loop always starts at the beginning. What is recorded is answered from the ledger, the rest
is trained; so a study that was killed goes on by running the very code that an undisturbed one runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tuner.errors import WorkerError
from tuner.execution.base import Workers
from tuner.execution.faults import WorkerFaultError
from tuner.ledger.record import RunRecord
from tuner.ledger.records import StudyRecord, TrialRecord, best_trial
from tuner.orchestration.checkpoints import KEPT, KeptCheckpoints
from tuner.orchestration.replay import Replay
from tuner.orchestration.results import Results
from tuner.orchestration.segments import SegmentQueue, Stretch
from tuner.search.lengths import length_of
from tuner.spec.final import PlannedRun
from tuner.spec.plateau import is_flat
from tuner.spec.study import StudySpec
from tuner.spec.work import Segment, SegmentResult, Trial, TrialEnd, TrialState

Outcome = Literal["finished", "stopped", "timeout"]
MOST_ENDS: Final = 64  # that wait to be recorded, as while a long record is replayed


@dataclass(frozen=True, slots=True)
class Tally:
    """The state of a running study.

    Attributes:
        counts: trials by state.
        best: the lowest loss of a complete trial.
        amount: what was trained in this run: epochs or steps, see `Length`.
        confirmed: the final stage's runs that are done, of all; None before it has begun.
        longest: intervals of its longest run; None for those of the search's.
    """

    counts: dict[TrialState, int]
    best: float | None
    amount: float
    confirmed: tuple[int, int] | None = None
    longest: int | None = None


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
        self._study, self._spec, self._ledger = study, spec, ledger
        self._on_change, self._stop = on_change, stop
        self._began = time.monotonic()
        self._last_asking: float | None = None
        self._latest: float | None = None
        self._deadline = self._end_of_time()
        events = ledger.events(study.id)
        self._length = length_of(spec.search, events)
        self._results = Results(ledger.curves(study.id), events, self._length)
        self._checkpoints = KeptCheckpoints(workers, ledger.checkpoints(study.id, KEPT))
        self._queue = SegmentQueue(workers, self._checkpoints.of)
        self._replay = Replay(study, spec, ledger, self._results)
        self._ends: list[TrialEnd] = []  # told, and not recorded yet
        self._accused: dict[int, str] = {}  # trials that failed before any was trained: is it they, or this machine?
        self._confirmed: Callable[[], tuple[int, int] | None] = lambda: None
        self._longest: int | None = None  # epochs of a run of the final stage

    def extend(self, spec: StudySpec) -> None:
        """Go on with another budget: it counts from where the record ends, as in a run that continues."""
        self._spec = spec
        self._replay.extend(spec)
        self._deadline = self._end_of_time()

    @property
    def spec(self) -> StudySpec:
        """The declaration as it is now: with fewer trials where there was no time for all."""
        return self._spec

    def keep_within(self, searching: float, whole: float) -> None:
        """Keep a time.

        Args:
            searching: no trial is asked for after this moment of the monotonic clock; those that are there go on.
            whole: the run ends at this moment, at the latest.
        """
        self._last_asking, self._latest = searching, whole
        self._deadline = self._end_of_time()

    def _cut_short(self) -> bool:
        """Where the search's part of a time is over, trials that were asked for are all: an event, as any budget is."""
        if self._last_asking is None or time.monotonic() < self._last_asking:
            return False
        asked = self._replay.trials_asked
        if not 0 < asked < self._spec.search.trials:
            return False
        shorter = self._spec.model_copy(update={"search": self._spec.search.model_copy(update={"trials": asked})})
        self._replay.extend(shorter)
        if not self._replay.take_new_budget():
            self._replay.extend(self._spec)
            return False
        self._spec, self._last_asking = shorter, None
        return True

    def _end_of_time(self) -> float | None:
        timeout = self._spec.search.timeout
        ends = (None if timeout is None else self._began + timeout, self._latest)
        return min((end for end in ends if end is not None), default=None)

    def run(self) -> Outcome:
        """Move rounds until nothing is left to do."""
        outcome = self._moved()
        self._decided()
        self._report()
        return outcome

    def _moved(self) -> Outcome:
        replay = self._replay
        while not self._stop.is_set():  # also while a long record is replayed
            for begun in replay.ask():
                self._enqueue(begun.trials, begun.first, begun.last)
            if replay.rounds and self._results.is_whole(replay.rounds[0]):
                self._tell()
            elif replay.take_new_budget() or self._cut_short():
                continue
            elif not replay.rounds:
                replay.finish()
                return "finished"
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

        self._follow_best()
        first, whole = 0, self._length.plan.intervals
        self._confirmed = lambda: (sum(self._results.has(run.number, whole) for run in runs), len(runs))
        for last in records(whole):
            self._enqueue(runs, first, last)
            if (early := self._train_to({run.number: last for run in runs})) is not None:
                return early
            first = last
        lost = self._results.lost([*self._results.given_up], whole)
        return self._ended(
            [end_of(run.number, self._results.curves.get(run.number), lost.get(run.number)) for run in runs]
        )

    def train_planned(self, runs: Sequence[PlannedRun], done: int, total: int) -> Outcome:
        """Train runs of the final stage, each by its own plan, and record how they ended.

        Args:
            runs: they are recorded; those that were begun go on.
            done: the stage's runs that have ended before.
            total: runs that the stage comes to.
        """
        from tuner.search.loop import end_of  # (Optuna)

        self._follow_best()
        self._longest = max(run.plan.epochs for run in runs)
        self._confirmed = lambda: (done + sum(next_end(run, self._results) is None for run in runs), total)
        while left := {run: end for run in runs if (end := next_end(run, self._results)) is not None}:
            self._enqueue_planned(left)
            if (early := self._train_to({run.number: end for run, end in left.items()})) is not None:
                return early
        curves, lost, final = self._results.curves, self._results.given_up, self._length.of_final
        return self._ended([end_of(run.number, curves.get(run.number), lost.get(run.number), final) for run in runs])

    @property
    def is_late(self) -> bool:
        """Whether the whole time that the run is to keep is over."""
        return self._latest is not None and time.monotonic() >= self._latest

    def end_early(self, runs: Iterable[TrialRecord]) -> None:
        """Record runs of the final stage as complete as far as they came; one that came to no loss stays as it is."""
        from tuner.search.loop import end_of  # (Optuna)

        known = [(run.number, self._results.curves.get(run.number)) for run in runs]
        ends = [end_of(number, curve, None, self._length.of_final) for number, curve in known if curve is not None]
        self._ended([end for end in ends if end.value is not None])

    def _train_to(self, ends: Mapping[int, int]) -> Outcome | None:
        """Train until every run has come to its interval; how this run of the study ends where it does before."""
        while not all(self._results.has(number, end) for number, end in ends.items()):
            if (early := self._early_end()) is not None:
                return early
            self._train()
        return None

    def _ended(self, ends: Sequence[TrialEnd]) -> Outcome:
        """Record how runs of the final stage ended."""
        self._ledger.record_ends(self._study.id, ends)
        self._report()
        return "finished"

    def _enqueue_planned(self, left: Mapping[PlannedRun, int]) -> None:
        """Runs that are alike in where they stand and how long they train are one piece of work."""
        alike: dict[tuple[int, int, int], list[Trial]] = {}
        for run, end in left.items():
            curve = self._results.curves.get(run.number)
            first = 0 if curve is None else curve.last
            alike.setdefault((first, end, run.plan.epochs), []).append(run.trial)
        for (first, end, epochs), trials in alike.items():
            self._queue.add(trials, Stretch(first, end, self._length.plan.lengthened(epochs)))

    def _follow_best(self) -> None:
        """The best trial's state is kept, also where the search was not replayed."""
        best = best_trial(self._ledger.trials(self._study.id))
        if best is not None and best.value is not None:
            self._checkpoints.lead(best.value, best.number)

    def _early_end(self) -> Outcome | None:
        if self._stop.is_set():
            return "stopped"
        return "timeout" if self._deadline is not None and time.monotonic() >= self._deadline else None

    def _tell(self) -> None:
        decision = self._replay.tell()
        self._ends += decision.ends
        if decision.next is not None:
            self._enqueue(decision.next.trials, decision.next.first, decision.next.last)
        if len(self._ends) > MOST_ENDS:
            self._decided()
        self._report()

    def _decided(self) -> None:
        """Record what the search decided; only then the states of trials that ended are let go."""
        self._replay.record()
        for end in self._ends:
            self._checkpoints.end(end)
        self._ends.clear()

    # Training. Rounds are told in order; what they are made of is recorded as soon as it is there.

    def _enqueue(self, trials: Sequence[Trial], first: int, last: int) -> None:
        left = [trial for trial in trials if not self._results.has(trial.number, last)]
        lowest = self._results.lowest([trial.number for trial in left], first) if self._length.is_open else ()
        self._queue.add(left, Stretch(first, last, lowest=lowest))

    def _train(self) -> None:
        """Keep the workers busy, and record what they have finished within a tick.

        Raises:
            TunerError, OSError: a file or a device is at fault, and no trial.
        """
        self._decided()
        finished = self._queue.work()
        if finished.results:
            self._record(finished.results)
        if finished.error is not None:
            raise finished.error
        for segment, fault in finished.faults:
            self._retry(segment, fault)
        self._report()

    def _record(self, trained: Sequence[tuple[Segment, SegmentResult]]) -> None:
        """In one transaction, which takes hardly longer for many segments than for one."""
        self._queue.succeeded()
        self._ledger.record_segments(self._study.id, trained)
        for curve in (curve for _, result in trained for curve in result.curves):
            self._results.add(curve)
            if curve.checkpoint is not None:
                self._checkpoints.add(curve.number, curve.checkpoint)
        for number, reason in (each for _, result in trained for each in result.infeasible):
            self._give_up(number, "infeasible", reason)
        for number in list(self._accused):
            self._give_up(number, "failed", self._accused.pop(number))

    def _retry(self, segment: Segment, fault: WorkerFaultError) -> None:
        """Infrastructure's faults cost time alone; a trial's own ends that trial, once it is found."""
        body = {"trials": [trial.number for trial in segment.trials], "first": segment.first, "last": segment.last}
        self._ledger.record_event(self._study.id, "worker", {**body, "cause": fault.cause, "own": fault.own})
        failed = self._queue.retry(segment, fault)
        if failed is not None:
            self._accuse(*failed)

    def _accuse(self, number: int, reason: str) -> None:
        if self._results.curves or self._results.given_up:
            self._give_up(number, "failed", reason)
            return
        self._accused[number] = reason
        if self._queue.is_empty:
            raise WorkerError(
                f"study {self._study.name}: not one trial could be trained; of trial {number}: {reason}."
                " What is recorded stays; run the study again to go on."
            )

    def _give_up(self, number: int, kind: str, reason: str) -> None:
        self._ledger.record_event(self._study.id, kind, {"trial": number, "reason": reason})
        self._results.give_up(number, kind, reason)

    def _report(self) -> None:
        counts = dict(+self._replay.counts)
        tally = Tally(counts, self._checkpoints.best, self._results.amount, self._confirmed(), self._longest)
        self._on_change(tally)


def next_end(run: PlannedRun, results: Results) -> int | None:
    """The epoch up to which a run of the final stage is to be trained next; None where it is over.

    It is over where it has its length, diverged or was given up, or where its length is what it looks for and the
    losses so far are flat: a pure function of what is recorded, so a run that was killed ends where it would have.
    """
    if run.number in results.given_up:
        return None
    curve = results.curves.get(run.number)
    if curve is None:
        return run.plan.ends[0]
    looks, least = run.plan.least is not None, run.plan.least or 0
    if curve.diverged or (looks and curve.last >= least and is_flat(curve.val_loss)):
        return None
    return next((end for end in run.plan.ends if end > curve.last), None)

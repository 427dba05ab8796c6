"""The workers of one study on this machine: packs go in, futures come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Final

from tuner.execution.executors import InlineExecutor
from tuner.execution.processes import WorkerProcesses
from tuner.execution.worker import Workplace, forget, run_segment, warm_up
from tuner.learning.compiled import planner as compiled_planner
from tuner.learning.stacked import planner
from tuner.spec.work import Checkpoint, Segment, SegmentResult, Trial
from tuner.waiting import never

LEAST_PATIENCE: Final = 60.0  # seconds without a sign of life that no worker is ended for
LATE: Final = 20.0  # a segment is taken to hang after so many times one epoch's estimate, scaled by measured speed
LATE_UNMEASURED: Final = 1000.0  # before anything was measured on this machine


class LocalWorkers:
    """Worker processes, or this process.

    Args:
        place: what the study's segments share.
        executor: `WorkerProcesses`, or `InlineExecutor`.
        workers: how many of them; 0 for this process.
    """

    def __init__(self, place: Workplace, executor: Executor, workers: int) -> None:
        self._place, self._executor, self._workers = place, executor, workers
        self._slowness: float | None = None  # the most that a segment took of its estimate

    @property
    def slots(self) -> int:
        """One at work and one waiting per worker; a single one in this process, so that each is recorded at once."""
        return 2 * self._workers if self._workers else 1

    def submit(self, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        """Begin to train a segment; its future raises `WorkerFaultError` where a worker died of it or hangs."""
        if not isinstance(self._executor, WorkerProcesses):
            return self._executor.submit(run_segment, self._place, segment, states)
        future = self._executor.submit_patiently(self.patience(segment), run_segment, self._place, segment, states)
        future.add_done_callback(lambda done: self._measure(segment, done))
        return future

    def patience(self, segment: Segment) -> float:
        """Seconds without a sign of life after which a segment is taken to hang: an epoch is such a sign."""
        late = LATE_UNMEASURED if self._slowness is None else LATE * self._slowness
        return LEAST_PATIENCE + late * self._estimate(segment.trials, 1)

    def _measure(self, segment: Segment, done: Future[SegmentResult]) -> None:
        if not done.cancelled() and done.exception() is None:
            slowness = done.result().seconds / self._estimate(segment.trials, segment.last - segment.first)
            self._slowness = max(self._slowness or 0.0, slowness)

    def _estimate(self, trials: Sequence[Trial], epochs: int) -> float:
        """Seconds by the model of cost, which knows another machine."""
        features, (train, validation, _) = self._place.features, self._place.counts
        if self._place.compiled:
            return sum(compiled_planner.seconds(trial, features, (train, validation), epochs) for trial in trials)
        return sum(planner.seconds([trial], features, train, epochs) for trial in trials)

    def plan(self, trials: Sequence[Trial], epochs: int) -> list[tuple[Trial, ...]]:
        """Cut trials into packs, longest first."""
        train, validation, _ = self._place.counts
        if self._place.compiled:
            return compiled_planner.plan(trials, self._place.features, (train, validation), epochs, self._workers)
        if self._place.device == "cpu":
            return planner.plan(trials, self._place.features, train, epochs, self._workers)
        return planner.deal(trials, self._place.features, train, self._workers)


def start_executor(workers: int, gpus: Sequence[str] = (), check: Callable[[], object] = never) -> Executor:
    """Begin to start workers; returns before they are ready.

    Args:
        workers: how many; 0 for this process.
        gpus: names as in CUDA_VISIBLE_DEVICES that the workers are dealt, where a study has several.
        check: called between epochs that are trained in this process; what it raises ends them.
    """
    return WorkerProcesses(workers, warm_up, gpus) if workers else InlineExecutor(check)


def end_executor(executor: Executor) -> None:
    """End its workers at once, whatever they are doing; a second time does nothing."""
    if isinstance(executor, WorkerProcesses):
        executor.kill()
    else:
        forget()

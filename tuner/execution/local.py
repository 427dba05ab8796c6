"""The executors of this machine: this process, or worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import final

from tuner.execution import heartbeat
from tuner.execution.base import Alive, Workers
from tuner.execution.context import Workplace
from tuner.execution.planning import SegmentPlanner
from tuner.execution.processes import WorkerProcesses
from tuner.execution.worker import forget, run_segment, warm_up
from tuner.spec.work import Checkpoint, Segment, SegmentResult, Trial
from tuner.waiting import never


@final
class InlineExecutor:
    """Trains in this process: for one trial, and for debugging.

    Args:
        check: called after an epoch, a few times a second; what it raises ends the segment.
    """

    def __init__(self, check: Callable[[], object] = never) -> None:
        self._check = check
        self.alive = Alive(1)

    def workers(self, place: Workplace) -> Workers:
        """This process, for one study."""
        return _InlineWorkers(place, self._check)

    def grant(self, slots: int | None) -> None:
        """This process is no slot of a cluster."""

    def end(self) -> None:
        """Let go of the study's data, which keeps its file open."""
        forget()


@final
class _InlineWorkers:
    slots = 1  # so that each segment is recorded at once

    def __init__(self, place: Workplace, check: Callable[[], object]) -> None:
        self._place, self._check, self._planner = place, check, SegmentPlanner(place, 0)
        self.checkpoints = place.checkpoints

    def plan(self, trials: Sequence[Trial], epochs: int) -> list[tuple[Trial, ...]]:
        return self._planner.plan(trials, epochs)

    def submit(self, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        """The future is done when this returns."""
        future: Future[SegmentResult] = Future()
        try:
            with heartbeat.heard_by(self._check):
                future.set_result(run_segment(self._place, segment, states))
        except Exception as error:
            future.set_exception(error)
        return future


@final
class ProcessExecutor:
    """Worker processes, which begin to start at once; returns before they are ready.

    Args:
        workers: how many, at least one.
        gpus: names as in CUDA_VISIBLE_DEVICES that the workers are dealt, where a study has several.

    Raises:
        WorkerError: the system gives no threads to look after the workers.
    """

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        self._count, self._processes = workers, WorkerProcesses(workers, warm_up, gpus)

    @property
    def alive(self) -> Alive:
        """The processes that have started and are not known to be dead."""
        return Alive(self._processes.ready)

    def workers(self, place: Workplace) -> Workers:
        """The processes, for one study."""
        return _ProcessWorkers(place, self._processes, self._count)

    def grant(self, slots: int | None) -> None:
        """These processes are no slots of a cluster."""

    def end(self) -> None:
        """Kill the processes; what they were doing, and what waits, is cancelled."""
        self._processes.kill()


@final
class _ProcessWorkers:
    def __init__(self, place: Workplace, processes: WorkerProcesses, count: int) -> None:
        self._place, self._processes, self._planner = place, processes, SegmentPlanner(place, count)
        self.slots = 2 * count  # one at work and one waiting per worker
        self.checkpoints = place.checkpoints

    def plan(self, trials: Sequence[Trial], epochs: int) -> list[tuple[Trial, ...]]:
        return self._planner.plan(trials, epochs)

    def submit(self, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        patience = self._planner.patience(segment)
        future = self._processes.submit_patiently(patience, run_segment, self._place, segment, states)
        future.add_done_callback(lambda done: self._planner.measure(segment, done))
        return future

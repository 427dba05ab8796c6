"""The workers of one study on this machine: packs go in, futures come out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future

from tuner.execution.executors import InlineExecutor, WorkerProcesses
from tuner.execution.worker import Workplace, run_segment, warm_up
from tuner.learning import memory, planner
from tuner.learning.native import planner as native_planner
from tuner.learning.packs import compiled
from tuner.spec.work import Checkpoint, Segment, SegmentResult, Trial


class LocalWorkers:
    """Worker processes, or this process.

    Args:
        place: what the study's segments share.
        executor: `WorkerProcesses`, or `InlineExecutor`.
        workers: how many of them; 0 for this process.
        gpus: what they were dealt.
    """

    def __init__(self, place: Workplace, executor: Executor, workers: int, gpus: Sequence[str] = ()) -> None:
        self._place, self._executor, self._workers, self._gpus = place, executor, workers, gpus

    @property
    def slots(self) -> int:
        """One at work and one waiting per worker; a single one in this process, so that each is recorded at once."""
        return 2 * self._workers if self._workers else 1

    def submit(self, segment: Segment, states: Sequence[Checkpoint | None]) -> Future[SegmentResult]:
        """Begin to train a segment."""
        return self._executor.submit(run_segment, self._place, segment, states)

    def plan(self, trials: Sequence[Trial], epochs: int) -> list[tuple[Trial, ...]]:
        """Cut trials into packs, longest first."""
        train, validation, _ = self._place.counts
        if compiled(self._place.device):
            return native_planner.plan(trials, self._place.features, (train, validation), epochs, self._workers)
        if self._place.device == "cpu":
            return planner.plan(trials, self._place.features, train, epochs, self._workers)
        free = memory.free(self._place.device)
        return planner.plan_for_gpu(trials, self._place.features, train, self._workers, free)

    def replace(self) -> None:
        """New workers in place of dead ones."""
        self.stop()
        self._executor = start_executor(self._workers, self._gpus)

    def stop(self) -> None:
        """End the workers at once, whatever they are doing."""
        end_executor(self._executor)


def start_executor(workers: int, gpus: Sequence[str] = ()) -> Executor:
    """Begin to start workers; returns before they are ready.

    Args:
        workers: how many; 0 for this process.
        gpus: names as in CUDA_VISIBLE_DEVICES that the workers are dealt, where a study has several.
    """
    return WorkerProcesses(workers, warm_up, gpus) if workers else InlineExecutor()


def end_executor(executor: Executor) -> None:
    """End its workers at once, whatever they are doing; a second time does nothing."""
    if isinstance(executor, WorkerProcesses):
        executor.kill()

"""The segments of one run: planned, handed to the workers, and taken back, with results or faults."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, final

from tuner.errors import StoppedError, TunerError
from tuner.execution.base import Workers
from tuner.execution.faults import WorkerFaultError
from tuner.execution.retries import Retries
from tuner.spec.work import Checkpoint, Segment, SegmentResult, TrainingPlan, Trial

TICK_SECONDS: Final = 0.25  # how often the user's stop and the progress line are looked at while workers work
MOST_TOGETHER: Final = 64  # segments taken back at once: workers wait meanwhile, and others for the database's lock


class Stretch(NamedTuple):
    """What some trials are to be trained for; see `Segment`."""

    first: int
    last: int
    plan: TrainingPlan | None = None
    lowest: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class Finished:
    """What was taken back, each in the order in which it was done.

    Attributes:
        results: segments that were trained.
        faults: segments that are to be tried again.
        error: a file or a device is at fault, and no trial: to be raised once the results are recorded.
    """

    results: list[tuple[Segment, SegmentResult]] = field(default_factory=list)
    faults: list[tuple[Segment, WorkerFaultError]] = field(default_factory=list)
    error: TunerError | OSError | None = None


@final
class SegmentQueue:
    """What is to be trained, and what is being trained.

    Args:
        workers: where segments run.
        states: gives a segment's states when it is handed out: each trial's checkpoints, the newest first.
    """

    def __init__(self, workers: Workers, states: Callable[[Segment], Sequence[Sequence[Checkpoint]]]) -> None:
        self._workers, self._states = workers, states
        self._waiting: deque[Segment] = deque()
        self._running: dict[Future[SegmentResult], Segment] = {}
        self._done: SimpleQueue[Future[SegmentResult]] = SimpleQueue()
        self._retries = Retries(lambda: workers.slots)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self._running

    def add(self, trials: Sequence[Trial], stretch: Stretch) -> None:
        """Train these for a stretch."""
        if trials:
            packs = self._workers.plan(trials, stretch.last - stretch.first)
            self._waiting.extend(Segment(pack, *stretch) for pack in packs)

    def work(self) -> Finished:
        """Keep the workers busy, and give what they have finished, once there is something or a tick is over."""
        while self._waiting and len(self._running) < self._workers.slots:
            segment = self._waiting.popleft()
            future = self._workers.submit(segment, self._states(segment))
            self._running[future] = segment
            future.add_done_callback(self._done.put)
        finished = Finished()
        for future in self._taken():
            self._sort(self._running.pop(future), future, finished)
        return finished

    def _taken(self) -> Iterator[Future[SegmentResult]]:
        """Those that are done, in time that does not grow with those that are not."""
        if not self._running:
            return
        try:
            yield self._done.get(timeout=TICK_SECONDS)
            for _ in range(MOST_TOGETHER - 1):
                yield self._done.get_nowait()
        except Empty:
            return

    def _sort(self, segment: Segment, future: Future[SegmentResult], finished: Finished) -> None:
        try:
            finished.results.append((segment, future.result()))
        except StoppedError:
            self._waiting.appendleft(segment)  # ended by the user's stop, which is looked at next
        except (TunerError, OSError) as error:
            finished.error = finished.error or error
        except WorkerFaultError as fault:
            finished.faults.append((segment, fault))
        except Exception as error:
            finished.faults.append((segment, WorkerFaultError(f"met {type(error).__name__}: {error}", own=True)))

    def succeeded(self) -> None:
        """Segments were trained and recorded."""
        self._retries.succeeded()

    def retry(self, segment: Segment, fault: WorkerFaultError) -> tuple[int, str] | None:
        """Train what was lost again; the trial that is not, with the reason, once it is found.

        Raises:
            WorkerError: workers are ended from outside again and again.
        """
        retry = self._retries.after(segment, fault)
        self._waiting.extendleft(reversed(retry.segments))
        return retry.failed

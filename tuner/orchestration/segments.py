"""The segments of one run: planned, handed to the workers, and taken back, with results or faults."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Final, NamedTuple, final

from tuner.errors import StoppedError, TunerError
from tuner.execution.base import Workers
from tuner.execution.faults import WorkerFaultError
from tuner.execution.retries import Retries
from tuner.spec.work import Checkpoint, Segment, SegmentResult, TrainingPlan, Trial

TICK_SECONDS: Final = 0.25  # how often the user's stop and the progress line are looked at while workers work


class Stretch(NamedTuple):
    """What some trials are to be trained for; see `Segment`."""

    first: int
    last: int
    plan: TrainingPlan | None = None
    lowest: tuple[tuple[int, float], ...] = ()


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

    def work(self) -> Iterator[tuple[Segment, SegmentResult | WorkerFaultError]]:
        """Keep the workers busy, and give what they have finished within a tick.

        Raises:
            TunerError, OSError: a file or a device is at fault, and no trial.
        """
        while self._waiting and len(self._running) < self._workers.slots:
            segment = self._waiting.popleft()
            self._running[self._workers.submit(segment, self._states(segment))] = segment
        done, _ = wait(self._running, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            segment = self._running.pop(future)
            outcome = self._outcome(segment, future)
            if outcome is not None:
                yield segment, outcome

    def _outcome(self, segment: Segment, future: Future[SegmentResult]) -> SegmentResult | WorkerFaultError | None:
        try:
            return future.result()
        except StoppedError:
            self._waiting.appendleft(segment)  # ended by the user's stop, which is looked at next
            return None
        except (TunerError, OSError):
            raise
        except WorkerFaultError as fault:
            return fault
        except Exception as error:
            return WorkerFaultError(f"met {type(error).__name__}: {error}", own=True)

    def succeeded(self) -> None:
        """A segment was trained and recorded."""
        self._retries.succeeded()

    def retry(self, segment: Segment, fault: WorkerFaultError) -> tuple[int, str] | None:
        """Train what was lost again; the trial that is not, with the reason, once it is found.

        Raises:
            WorkerError: workers are ended from outside again and again.
        """
        retry = self._retries.after(segment, fault)
        self._waiting.extendleft(reversed(retry.segments))
        return retry.failed

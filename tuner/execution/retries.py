"""What becomes of a segment that brought its worker down: it is tried again, or cut until the guilty trial is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tuner.errors import WorkerError
from tuner.execution.faults import WorkerFaultError
from tuner.spec.work import Segment

OWN_FAULTS: Final = 2  # of a segment, after which it is cut, or its one trial has failed
FOREIGN_FAULTS: Final = 100  # in a row, without one segment trained between them: nothing can be trained here
LOSSES: Final = 10  # of all segments in flight, in a row: as many as that, where it is more


@dataclass(frozen=True, slots=True)
class Retry:
    """What is to be trained again, and the trial that is not, with the reason."""

    segments: tuple[Segment, ...]
    failed: tuple[int, str] | None = None


class Retries:
    """The faults of one run.

    Args:
        at_once: segments that may be in flight: so many are lost together where a cluster is.
    """

    def __init__(self, at_once: Callable[[], int] = lambda: 0) -> None:
        self._at_once = at_once
        self._own: Counter[Segment] = Counter()
        self._foreign = 0

    def succeeded(self) -> None:
        """A segment was trained."""
        self._foreign = 0

    def after(self, segment: Segment, fault: WorkerFaultError) -> Retry:
        """What follows from a fault.

        A worker that was ended from outside says nothing of its trials. Otherwise a segment gets a second chance, then
        its halves one each, and a trial alone two again: a coincidence must not fail a trial.

        Raises:
            WorkerError: workers are ended from outside again and again.
        """
        if not fault.own:
            self._foreign += 1
            if self._foreign >= max(FOREIGN_FAULTS, LOSSES * self._at_once()):
                raise WorkerError(
                    f"{self._foreign} workers in a row did not finish what they began; the last one {fault.cause}."
                    " What is recorded stays; run the study again to go on."
                )
            return Retry((segment,))
        self._own[segment] += 1
        if self._own[segment] < OWN_FAULTS:
            return Retry((segment,))
        if len(segment.trials) == 1:
            return Retry((), (segment.trials[0].number, f"the worker that trained it {fault.cause}"))
        return Retry(self._halves(segment))

    def _halves(self, segment: Segment) -> tuple[Segment, Segment]:
        middle = len(segment.trials) // 2
        first = replace(segment, trials=segment.trials[:middle])
        second = replace(segment, trials=segment.trials[middle:])
        for half in (first, second):
            if len(half.trials) > 1:
                self._own[half] = OWN_FAULTS - 1
        return first, second

"""What an executor must be: the driver knows nothing else of where segments run.

`tests/execution/test_contract.py` says what every implementation must do; a new one is added to its table.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from tuner.execution.context import Workplace
from tuner.learning.checkpoint_store import CheckpointStore
from tuner.spec.work import Checkpoint, Segment, SegmentResult, Trial


@dataclass(frozen=True, slots=True)
class Alive:
    """What is there to train at this moment.

    Attributes:
        slots: workers that are there, at work or idle.
        nodes: machines of the cluster that they are on; None where there is no cluster.
        room: slots that the cluster has room for if nobody else used it; None where there is none.
    """

    slots: int
    nodes: int | None = None
    room: int | None = None


class Workers(Protocol):
    """Where the segments of one study run."""

    @property
    def slots(self) -> int:
        """Segments worth having in flight: enough that no worker waits for the driver."""

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where the states are kept that segments leave, as this process reaches them."""

    def plan(self, trials: Sequence[Trial], epochs: int) -> list[tuple[Trial, ...]]:
        """Cut trials into packs, longest first."""

    def submit(self, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        """Begin to train a segment.

        Its future is done in the end, even if the worker dies. It raises `WorkerFaultError` where a worker died
        of the segment, hung, or was ended from outside; what the training raised; `WorkerError` where no worker can be
        had any more. It is cancelled where the executor was ended.

        Args:
            segment: trials of one pack.
            states: each trial's checkpoints, the newest first.
        """


class Executor(Protocol):
    """Workers that were started, perhaps before the study's data are prepared."""

    @property
    def alive(self) -> Alive:
        """The workers that are there now, as far as is known; asked a few times a second, so it waits for nothing."""

    def workers(self, place: Workplace) -> Workers:
        """The workers for one study's segments."""

    def grant(self, slots: int | None) -> None:
        """Let the study have so many slots of a cluster at most from now on; workers of this machine stay as they are.

        Called often, also before the cluster was joined, and with what was granted before.

        Args:
            slots: at least one; None for as many as were asked for.
        """

    def end(self) -> None:
        """End everything at once, and leave nothing over; a second time does nothing."""

"""Claims about what is taken back from workers: in order, some at a time, and nothing that was trained is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest
from calls import StatesByDigest
from plain import trial

from tuner.errors import DataError, StoppedError
from tuner.execution.faults import WorkerFaultError
from tuner.learning.checkpoint_store import CheckpointStore
from tuner.orchestration.segments import MOST_TOGETHER, SegmentQueue, Stretch
from tuner.spec.work import Checkpoint, Segment, SegmentResult, Trial

ONE, RESULT = Stretch(0, 1), SegmentResult((), 1.0, "here")


class Handed:
    """Workers that do nothing by themselves: a test ends what was handed to them."""

    slots = 3 * MOST_TOGETHER
    checkpoints: CheckpointStore = StatesByDigest("nowhere")

    def __init__(self) -> None:
        self.futures: dict[int, Future[SegmentResult]] = {}

    def plan(self, trials: Sequence[Trial], _: int) -> list[tuple[Trial, ...]]:
        return [(one,) for one in trials]

    def submit(self, segment: Segment, _: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        return self.futures.setdefault(segment.trials[0].number, Future())


@pytest.fixture
def handed() -> Handed:
    return Handed()


@pytest.fixture
def queue(handed: Handed) -> Callable[[int], SegmentQueue]:
    """A queue that has handed out so many segments, of which none is done."""

    def begun(count: int) -> SegmentQueue:
        queue = SegmentQueue(handed, lambda _: [()])
        queue.add([trial(number) for number in range(count)], ONE)
        assert queue.work().results == []
        return queue

    return begun


def test_results_come_in_the_order_in_which_they_are_done_some_at_a_time(
    handed: Handed, queue: Callable[[int], SegmentQueue]
) -> None:
    """More than can be taken at once are taken at the next calls, none twice."""
    count = 2 * MOST_TOGETHER + 3
    begun, order = queue(count), [(7 * number) % count for number in range(count)]
    for number in order:
        handed.futures[number].set_result(RESULT)
    taken = [[segment.trials[0].number for segment, _ in begun.work().results] for _ in range(3)]
    assert [len(some) for some in taken] == [MOST_TOGETHER, MOST_TOGETHER, 3]
    assert [number for some in taken for number in some] == order
    assert begun.is_empty


def test_what_was_trained_is_given_beside_faults_and_errors(
    handed: Handed, queue: Callable[[int], SegmentQueue]
) -> None:
    """A file that is at fault ends the run only once the others' results are recorded; what a user's stop ended waits
    again."""
    begun, error, own = queue(5), DataError("rows.npy: it is gone"), ValueError("no such thing")
    for number, raised in enumerate((error, WorkerFaultError("was ended", own=False), own, StoppedError("stop"))):
        handed.futures[number].set_exception(raised)
    handed.futures[4].set_result(RESULT)
    done = begun.work()
    assert [segment.trials[0].number for segment, _ in done.results] == [4]
    faults = [(segment.trials[0].number, fault.cause, fault.own) for segment, fault in done.faults]
    assert faults == [(1, "was ended", False), (2, "met ValueError: no such thing", True)]
    assert done.error is error
    assert not begun.is_empty

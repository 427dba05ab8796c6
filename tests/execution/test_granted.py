"""Claims about slots of a Ray cluster that are granted and taken back, with two executors on a real cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calls import WORD, RowsThat
from plain import digits, trial
from ray_nodes import nodes
from supervised import until

from tuner.data.rows import RowsFile
from tuner.execution.base import Alive, Executor, Workers
from tuner.execution.choice import Ray
from tuner.execution.context import Workplace
from tuner.execution.executors import start_executor
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.spec.length import Length
from tuner.spec.work import Segment, SegmentResult, TrainingPlan

SECONDS = 90
Start = Callable[[int | None], Executor]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two nodes with a core each, which this process' children find."""
    with nodes() as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield cluster.address


@pytest.fixture
def start(address: str) -> Iterator[Start]:
    """Starts executors on the cluster, each with a grant."""
    started: list[Executor] = []

    def begin(granted: int | None) -> Executor:
        started.append(start_executor(Ray(address)))
        started[-1].grant(granted)
        return started[-1]

    yield begin
    for executor in started:
        executor.end()


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    np.save(tmp_path / "rows.npy", np.concatenate(digits(200, 50)))
    rows = RowsFile(str(tmp_path / "rows.npy"), (200, 50, 0), 64)
    states = CheckpointFolder(str(tmp_path / "states"))
    return Workplace(rows, states, "mse", "cpu", Length.of(TrainingPlan(4)), "fp32")


def begin(workers: Workers, number: int = 0) -> Future[SegmentResult]:
    return workers.submit(Segment((trial(number),), 0, 1), [()])


def test_an_idle_slot_above_the_grant_is_anothers(start: Start, place: Workplace) -> None:
    """One study has both slots; the next finds no room until the first may have one alone. What is granted again is
    had again, once the other has let it go."""
    first = start(None)
    workers = first.workers(place)
    until(lambda: first.alive == Alive(2, 2, 2), "both slots of the first", SECONDS)
    second = start(1)
    begun = begin(second.workers(place))
    assert second.alive.slots == 0
    first.grant(1)
    assert len(begun.result(SECONDS).curves) == 1
    until(lambda: (first.alive, second.alive) == (Alive(1, 1, 2), Alive(1, 1, 2)), "a slot each", SECONDS)
    assert (workers.slots, second.workers(place).slots) == (2, 2)
    second.end()
    first.grant(None)
    until(lambda: first.alive.slots == 2, "both again", SECONDS)
    assert len(begin(workers).result(SECONDS).curves) == 1


def test_a_busy_slot_finishes_its_segment_first(start: Start, place: Workplace, tmp_path: Path) -> None:
    """Both train when one is taken back: both results come, and what waited is trained in the one that is left."""
    executor = start(2)
    os.mkfifo(tmp_path / WORD)
    busy = executor.workers(replace(place, rows=RowsThat("report and await a word", place.rows, str(tmp_path))))
    calls = [begin(busy, number) for number in range(2)]
    until(lambda: len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 2, "both to train", SECONDS)
    executor.grant(1)
    waiting = begin(executor.workers(place), 2)
    assert not any(call.done() for call in (*calls, waiting))
    (tmp_path / WORD).write_text("go on")
    assert [len(call.result(SECONDS).curves) for call in (*calls, waiting)] == [1, 1, 1]
    until(lambda: executor.alive.slots == 1, "the other slot to go", SECONDS)


def test_a_grant_holds_from_the_first_slot_on(start: Start, place: Workplace) -> None:
    """One slot of two, though there is room and work for both."""
    executor = start(1)
    calls = [begin(executor.workers(place), number) for number in range(4)]
    assert [len(call.result(SECONDS).curves) for call in calls] == [1] * 4
    assert executor.alive == Alive(1, 1, 2)

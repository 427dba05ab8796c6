"""Claims about what the bridge to a Ray cluster makes of failures and of room, without a cluster."""

from __future__ import annotations

import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tuner.execution.carried import Unit
from tuner.execution.choice import Share
from tuner.execution.faults import WorkerFaultError
from tuner.execution.joining import ROOM_SECONDS, Joining
from tuner.execution.processes import ATTEMPTS, MOST_PAUSE
from tuner.execution.ray import Bridge, versions
from tuner.execution.slots import Slot, capacity, living

FAULT = WorkerFaultError("could not begin", own=False)
UNIT = Unit(7, 1.0, (), b"")


def joining(most: int | None = None, share: Share | None = None) -> Joining:
    return Joining("head:1", share or Share(cpu=2), most, 2, "")


@pytest.fixture
def ends() -> tuple[Bridge, Connection]:
    here, there = Pipe()
    return Bridge(there, joining()), here


def said(driver: Connection) -> list[tuple[Any, ...]]:
    """The messages to the driver, in order."""
    messages: list[tuple[Any, ...]] = []
    while driver.poll():
        messages.append(driver.recv()[1])
    return messages


def next_round(bridge: Bridge) -> None:
    """As a look at the cluster begins it."""
    bridge._has_failed = False


def test_room_is_what_usable_nodes_have() -> None:
    """Whole slots of each node that lives and is not refused, counted by hand; at most as many as are wanted."""
    has = [
        ("a", True, {"CPU": 5.0}),
        ("b", True, {"CPU": 4.0, "GPU": 1.0}),
        ("c", False, {"CPU": 8.0}),
        ("d", True, {}),
    ]
    nodes = [{"NodeID": name, "Alive": lives, "Resources": resources} for name, lives, resources in has]
    assert capacity(nodes, joining(), ()) == 2 + 2
    assert capacity(nodes, joining(), {"b": "other versions"}) == 2
    assert capacity(nodes, joining(), {"a", "b"}) == 0
    assert capacity(nodes, joining(most=3), ()) == 3
    assert capacity(nodes, joining(share=Share(cpu=1, gpu=0.25)), ()) == 4


def test_slots_are_alive_where_they_have_begun_on_a_node_that_lives() -> None:
    """Counted by hand: an actor that waits for room is none, and those of a node that was lost are none either."""
    numbers = {name: name * 56 for name in "abc"}
    nodes = [{"NodeID": number, "Alive": name != "c"} for name, number in numbers.items()]
    places = ("a", "a", "b", "c", None)
    assert living([Slot(None, name and numbers[name][:12]) for name in places], nodes) == (3, 2)
    assert living([], nodes) == (0, 0)


def test_failures_of_one_round_count_as_one(ends: tuple[Bridge, Connection]) -> None:
    """A node of many slots that all fail is no reason to give up; as many rounds as attempts are one, where no slot
    is left, and the driver is told why."""
    bridge, driver = ends
    for _ in range(ATTEMPTS - 1):
        next_round(bridge)
        for _ in range(100):
            bridge._pause(FAULT)
    assert said(driver) == []
    next_round(bridge)
    bridge._pause(FAULT)
    assert said(driver) == [("hopeless", "has no slot that works; the worker of the last one could not begin")]


def test_failures_beside_a_slot_that_works_go_on_for_ever(ends: tuple[Bridge, Connection]) -> None:
    """More of them than a float's exponent has room for: the pause stays within its bound."""
    bridge, driver = ends
    bridge._slots.append(Slot(None, node="a"))
    for _ in range(1100):
        next_round(bridge)
        bridge._pause(FAULT)
    assert bridge._failures == 1100
    assert bridge._pause_until <= time.monotonic() + MOST_PAUSE
    assert said(driver) == []


def test_only_a_finished_segment_ends_a_row_of_failures(ends: tuple[Bridge, Connection]) -> None:
    """A slot that begins does not: what it is given may fail at once, as on a full disk."""
    bridge, driver = ends
    bridge._pause(FAULT)
    slot = Slot(None)
    bridge._welcome(slot, ("0123456789abcdef", versions()))
    assert (slot.node, bridge._failures) == ("0123456789ab", 1)
    busy = Slot(None, "a", UNIT)
    bridge._finish(busy, b"trained")
    assert (busy.unit, bridge._failures) == (None, 0)
    assert said(driver) == [("done", 7, b"trained")]


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (3, "began no slot of cpu=2 for 600 s, though it is large enough: others may hold it"),
        (0, "had no room for a slot of cpu=2 for 600 s"),
    ],
)
def test_segments_do_not_wait_for_ever_for_a_slot(room: int, words: str, ends: tuple[Bridge, Connection]) -> None:
    """After ten minutes without one the driver is told so, and which nodes were not used; neither while a slot is
    there, nor where nothing waits."""
    bridge, driver = ends
    bridge._slots.append(Slot(None))
    nearly, now = ROOM_SECONDS - 1, time.monotonic() + 2 * ROOM_SECONDS
    bridge._despair(room, now)
    bridge._line.append(UNIT)
    bridge._despair(room, now + nearly)
    bridge._slots[0].node = "a"
    bridge._despair(room, now + 2 * nearly)
    bridge._slots[0].node = None
    bridge._despair(room, now + 3 * nearly)
    assert said(driver) == []
    bridge._refused["b"] = "node b has torch 1"
    bridge._despair(room, now + 4 * nearly)
    assert said(driver) == [("hopeless", f"{words}; node b has torch 1")]

"""Claims about what the bridge to a Ray cluster makes of failures and of room, without a cluster."""

from __future__ import annotations

import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tuner.execution.actor import versions
from tuner.execution.carried import Unit
from tuner.execution.choice import Share
from tuner.execution.faults import WorkerFaultError
from tuner.execution.joining import ROOM_SECONDS, Joining
from tuner.execution.processes import ATTEMPTS, MOST_PAUSE
from tuner.execution.ray import Bridge
from tuner.execution.slots import Slot, above, capacity, living, wanted

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


@pytest.mark.parametrize(
    ("there", "granted", "most", "demand", "actors"),
    [
        (4, None, None, False, 4),
        (4, None, None, True, 5),
        (4, None, 4, True, 4),
        (4, 2, None, False, 2),
        (4, 2, None, True, 3),
        (4, 2, 4, True, 2),
        (4, 2, 8, True, 3),
        (1, 2, 8, False, 1),
        (0, 1, None, True, 1),
    ],
)
def test_as_many_actors_are_wanted_as_there_is_room_for_and_granted(
    there: int, granted: int | None, most: int | None, demand: bool, actors: int
) -> None:
    """And one more where segments wait, unless there is all the room that there may ever be."""
    assert wanted(there, granted, most, demand) == actors


def test_what_is_above_a_grant_is_idle_or_waits_for_room() -> None:
    """Two of three that have begun may stay: the idle one goes, and of those that wait for room the later ones; while
    two are busy more than one that is granted, none of these two goes."""
    idle, waits, later = Slot(None, "a"), Slot(None), Slot(None)
    busy = [Slot(None, "a", UNIT), Slot(None, "b", UNIT)]
    slots = [idle, *busy, waits, later]
    assert above(slots, 2, wanted=2) == [idle, waits, later]
    assert above(slots, 2, wanted=3) == [idle, later]
    assert above(slots, 3, wanted=4) == [later]
    assert above(slots, 1, wanted=1) == [idle, waits, later]
    assert above(slots, 5, wanted=5) == []


def test_a_study_with_a_grant_waits_for_the_others_of_its_service(ends: tuple[Bridge, Connection]) -> None:
    """They may train for hours in the room there is; a cluster without room is given up as ever."""
    bridge, driver = ends
    bridge._line.append(UNIT)
    bridge._limit(1)
    far = time.monotonic() + 2 * ROOM_SECONDS
    bridge._despair(2, far)
    bridge._despair(2, far + 2 * ROOM_SECONDS)
    assert said(driver) == []
    bridge._despair(0, far + 4 * ROOM_SECONDS)
    assert said(driver) == [("hopeless", "had no room for a slot of cpu=2 for 600 s")]


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

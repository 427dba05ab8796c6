"""A study's segments on a Ray cluster: the process beside the driver that speaks with Ray, and the actors.

Ray only places processes and carries bytes. Each slot is an actor that looks after one worker process of our own, so a
crash, a hang and want of memory are told as on one machine; what Ray itself says means only that a node or an actor is
gone. Ray retries nothing. Imported in the bridge process and in actors alone: Ray's threads and its ways to end a
process stay out of the driver.
"""

from __future__ import annotations

import queue
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

from tuner.errors import ClusterError, InputError
from tuner.execution.actor import Actor, versions
from tuner.execution.carried import Unit
from tuner.execution.faults import WorkerFaultError
from tuner.execution.joining import ROOM_SECONDS, Joining
from tuner.execution.processes import ATTEMPTS, FIRST_PAUSE, MOST_PAUSE
from tuner.execution.slots import NODE_DIGITS, Slot, above, capacity, living, wanted
from tuner.execution.spawned import words_of

CHUNK: Final = 64 * 2**20  # bytes of a file that are carried at once
REACH_SECONDS: Final = 10.0  # for an address to answer
LOOK_SECONDS: Final = 1.0  # between two looks at the cluster's nodes
PULSE_SECONDS: Final = 5.0  # between two questions whether an actor still answers
SILENT_SECONDS: Final = 60.0  # after which an actor that does not answer is lost
LEAVE_SECONDS: Final = 5.0  # that actors have to end their workers
PROBE_SECONDS: Final = 60.0  # after a slot was let go, in which none is asked for beyond the grant
_BUSY_TICK: Final = 0.25
_IDLE_TICK: Final = 0.005  # while a slot is free: what is handed in must not wait for what is running


def join(how: Joining) -> None:
    """Become a part of the cluster, or start one on this machine.

    Raises:
        ClusterError: there is none at the address, or it refuses.
        InputError: this machine has no room for a slot.
    """
    try:
        if how.address is not None and (port := how.address.rpartition(":")[2]).isdigit():
            socket.create_connection((how.address.rpartition(":")[0].strip("[]"), int(port)), REACH_SECONDS).close()
        ray.init(**_options(how))
    except (RayError, ConnectionError, ValueError, RuntimeError, OSError, AssertionError) as error:
        why = (words_of(error).strip().splitlines() or [""])[0].partition(". ")[0].rstrip(".")
        raise ClusterError(
            f"executor ray: a cluster must be reachable at {how.address or 'this machine'} and take this process as a"
            f" member, got {type(error).__name__}: {why}. Start Ray on this machine (ray start), and give every member"
            " the same RAY_AUTH_TOKEN where RAY_AUTH_MODE is token."
        ) from None
    if how.address is None and not room(how):
        raise InputError(
            f"executor ray: this machine must have room for a slot of {how.share}; ask for less by --slots."
        )


def _options(how: Joining) -> dict[str, Any]:
    common = {"log_to_driver": False, "configure_logging": False}
    if how.address is not None:
        return common | {"address": how.address}
    small = {"include_dashboard": False, "object_store_memory": how.store}
    return common | small | {"address": "local", "num_cpus": how.cores, "_temp_dir": how.folder}


def room(how: Joining) -> int:
    """Slots that the cluster has room for now; see `capacity`."""
    return capacity(ray.nodes(), how, ())


@final
class Bridge:
    """Hands segments to actors, and what comes of them to the driver, until it is told to end.

    One segment at a time is with an actor, and the others wait here in one line: none waits behind a long one while
    another slot is free. It costs the way there and back, some milliseconds a segment.

    Args:
        connection: to the driver.
        how: the cluster, and what a slot takes of it.
    """

    def __init__(self, connection: Connection, how: Joining) -> None:
        self._connection, self._how, self._run = connection, how, secrets.token_hex(4)
        share = {"num_cpus": how.share.cpu, "num_gpus": how.share.gpu}
        self._kind: Any = ray.remote(**share, max_restarts=0, max_task_retries=0, max_concurrency=4)(Actor)
        self._line: deque[Unit] = deque()
        self._slots: list[Slot] = []
        self._awaited: dict[Any, tuple[Slot, Callable[[Slot, Any], None]]] = {}
        self._files: dict[str, list[Any]] = {}  # what was put into Ray's store, by digest
        self._messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._refused: dict[str, str] = {}  # nodes that cannot be used, by number, and why
        self._failures, self._has_failed, self._pause_until = 0, False, 0.0
        self._looked = self._pulsed = 0.0
        self._granted, self._probe_after = how.granted, 0.0
        self._had_room = time.monotonic()
        self._sent: dict[str, tuple[int, ...]] = {}

    def listen(self) -> None:
        """Take the driver's messages; in a thread of its own."""
        with suppress(EOFError, OSError):
            while True:
                self._messages.put(self._connection.recv())
        self._messages.put(("end", None))

    def serve(self) -> None:
        """Work until the end is asked for."""
        before = time.monotonic()
        act: dict[str, Callable[[Any], None]] = {"files": self._put, "unit": self._line.append, "granted": self._limit}
        while True:
            for name, value in self._received():
                if name == "end":
                    return
                act[name](value)
            now = time.monotonic()
            self._look(now)
            self._feel(now, min(now - before, LOOK_SECONDS))
            before = now
            self._hand_out()
            self._collect()

    def end(self) -> None:
        """End all workers, and leave the cluster; one that was started here is gone."""
        begun = [slot.actor for slot in self._slots if slot.node is not None]
        for waiting in [slot.actor for slot in self._slots if slot.node is None]:
            ray.kill(waiting)  # first, or it would begin in the room that the others leave
        if begun:
            ray.wait([actor.end.remote() for actor in begun], num_returns=len(begun), timeout=LEAVE_SECONDS)
        for actor in begun:
            ray.kill(actor)
        ray.shutdown()

    def _limit(self, granted: int | None) -> None:
        """Have so many slots from the next look on, and hand out no more segments at a time."""
        self._granted = granted

    def _received(self) -> Iterator[tuple[str, Any]]:
        """What the driver has sent; waits a moment for it where nothing is being trained."""
        with suppress(queue.Empty):
            yield self._messages.get(timeout=0 if self._is_training() else _BUSY_TICK)
            while True:
                yield self._messages.get_nowait()

    def _tell(self, name: str, *values: Any) -> None:
        self._connection.send((True, (name, *values)))

    def _put(self, paths: Mapping[str, str]) -> None:
        """Put files into Ray's store, once for the study."""
        try:
            for digest, path in paths.items():
                if digest not in self._files:
                    self._files[digest] = [ray.put(part) for part in self._parts(Path(path))]
        except (RayError, OSError) as error:
            self._tell("hopeless", f"cannot take the prepared rows: {words_of(error)}")

    def _parts(self, path: Path) -> Iterator[Any]:
        with path.open("rb") as file:
            while part := file.read(CHUNK):
                self._connection.send(None)
                yield np.frombuffer(part, np.uint8)

    def _look(self, now: float) -> None:
        """See what the cluster has room for, have as many actors, and say so to the driver, with a sign of life."""
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked, self._has_failed = now, False
        nodes = ray.nodes()
        there = capacity(nodes, self._how, self._refused)
        self._let_go(there, now)
        self._ask_for_slots(there, now)
        self._connection.send(None)
        self._tell_changed("room", there)
        self._tell_changed("begun", *living(self._slots, nodes))
        self._despair(there, now)

    def _tell_changed(self, name: str, *counts: int) -> None:
        """Send counts that differ from those sent last."""
        if self._sent.get(name) != counts:
            self._sent[name] = counts
            self._tell(name, *counts)

    def _despair(self, there: int, now: float) -> None:
        """Give up where segments have waited for too long without a slot, whatever the nodes would have room for.

        A study with a grant waits for the others of its service as long as they train.
        """
        if self._has_slots() or not self._line or (there and self._granted is not None):
            self._had_room = now
        elif now - self._had_room > ROOM_SECONDS:
            share, long = self._how.share, f"for {ROOM_SECONDS:.0f} s"
            held = f"began no slot of {share} {long}, though it is large enough: others may hold it"
            why = held if there else f"had no room for a slot of {share} {long}"
            self._tell("hopeless", "; ".join((why, *self._refused.values())))

    def _has_slots(self) -> bool:
        return any(slot.node is not None for slot in self._slots)

    def _is_training(self) -> bool:
        return any(slot.unit is not None for slot in self._slots)

    def _patience(self) -> float:
        """Seconds for which answers may be waited for, while the driver's messages are not looked at."""
        if not self._is_training():
            return 0.0
        return _IDLE_TICK if any(slot.node and slot.unit is None for slot in self._slots) else _BUSY_TICK

    def _ask_for_slots(self, there: int, now: float) -> None:
        """Actors for all that there is room for and that is granted."""
        if now < self._pause_until:
            return
        usable = NodeLabelSchedulingStrategy({"ray.io/node-id": NotIn(*self._refused)}) if self._refused else None
        for _ in range(self._wanted(there, now) - len(self._slots)):
            slot = Slot(self._kind.options(scheduling_strategy=usable).remote(self._run))
            self._slots.append(slot)
            self._await(slot, slot.actor.begin.remote(), self._welcome)

    def _wanted(self, there: int, now: float) -> int:
        """Actors to have; while segments wait one more, a demand that an autoscaler sees."""
        demand = bool(self._line) and self._how.address is not None and now >= self._probe_after
        return wanted(there, self._granted, self._how.most, demand)

    def _let_go(self, there: int, now: float) -> None:
        """End what is above the grant; a slot that is busy finishes its segment first, so nothing trained is lost."""
        if self._granted is None:
            return
        if sum(slot.node is not None for slot in self._slots) > self._granted:
            self._probe_after = now + PROBE_SECONDS  # others are to have the room that this leaves
        stay = wanted(there, self._granted, self._how.most, now >= self._probe_after)
        for slot in above(self._slots, self._granted, stay):
            self._forget(slot)
            if slot.node is None:
                ray.kill(slot.actor)
            else:
                self._await(slot, slot.actor.end.remote(), self._part)

    def _part(self, slot: Slot, _: None) -> None:
        ray.kill(slot.actor)

    def _forget(self, slot: Slot) -> None:
        self._slots.remove(slot)
        self._awaited = {answer: known for answer, known in self._awaited.items() if known[0] is not slot}

    def _await(self, slot: Slot, answer: Any, act: Callable[[Slot, Any], None]) -> None:
        self._awaited[answer] = slot, act

    def _welcome(self, slot: Slot, seat: tuple[str, Mapping[str, str]]) -> None:
        """A slot that has begun is used, unless its node has other versions: no actor is sent there again."""
        (node, there), here = seat, versions()
        slot.node = node[:NODE_DIGITS]
        if others := [f"{name} {there.get(name)}" for name in here if there.get(name) != here[name]]:
            why = f"node {slot.node} has {', '.join(others)}, and the driver other versions: {here}"
            if node not in self._refused:
                self._tell("refused", why)
            self._refused[node] = why
            self._lose(slot, WorkerFaultError(f"could not be used: {why}", own=False))

    def _hand_out(self) -> None:
        """The first of the line to each free slot, as far as slots are granted."""
        most = len(self._slots) if self._granted is None else self._granted
        free = most - sum(slot.unit is not None for slot in self._slots)
        for slot in self._slots:
            if not self._line or free <= 0:
                return
            if slot.node is not None and slot.unit is None:
                free -= 1
                slot.unit = unit = self._line.popleft()
                files = {digest: self._files[digest] for digest in unit.digests if digest not in slot.given}
                slot.given.update(files)
                slot.silent = 0.0
                self._await(slot, slot.actor.run.remote(files, unit.patience, unit.content), self._finish)

    def _finish(self, slot: Slot, content: bytes) -> None:
        unit, slot.unit, self._failures = slot.unit, None, 0
        if unit is not None:
            self._tell("done", unit.number, content)

    def _feel(self, now: float, passed: float) -> None:
        """Ask actors whether they are there, and let go of those that are gone or have been silent for too long.

        After the loss of a node Ray's calls may stay open for ever (ray-project/ray#24969, #41477).
        """
        ask = now - self._pulsed >= PULSE_SECONDS
        self._pulsed = now if ask else self._pulsed
        for slot in [slot for slot in self._slots if slot.node is not None]:
            slot.silent += passed
            if slot.silent > SILENT_SECONDS:
                self._lose(slot, WorkerFaultError(f"and its node were silent for {slot.silent:.0f} s", own=False))
            elif ask and not slot.asked:
                slot.asked = True
                self._await(slot, slot.actor.pulse.remote(), self._hear)

    def _hear(self, slot: Slot, _: None) -> None:
        slot.silent, slot.asked = 0.0, False

    def _collect(self) -> None:
        """Take what has come back, and wait a moment where nothing has."""
        if not self._awaited:
            return
        ready, rest = ray.wait(list(self._awaited), timeout=self._patience())
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        for answer in ready:
            if answer in self._awaited:  # its slot was not lost meanwhile
                slot, act = self._awaited.pop(answer)
                try:
                    act(slot, ray.get(answer))
                except RayError as error:
                    if slot in self._slots:  # else it was let go, and is gone in one way or another
                        self._break(slot, error)

    def _break(self, slot: Slot, error: RayError) -> None:
        self._lose(slot, fault := fault_of(error, slot.node))
        if slot.node is None or isinstance(error, RayTaskError):  # the next one may fail as well
            self._pause(fault)

    def _lose(self, slot: Slot, fault: WorkerFaultError) -> None:
        """Have a slot no more; its segment has its fault, and another slot is asked for."""
        self._forget(slot)
        with suppress(RayError):
            ray.kill(slot.actor)
        if slot.unit is not None:
            self._tell("lost", slot.unit.number, fault.cause, fault.own)

    def _pause(self, fault: WorkerFaultError) -> None:
        """Ask for no slot for a while, longer after each round with failures, however many there were in it."""
        if not self._has_failed:
            self._has_failed, self._failures = True, self._failures + 1
            self._pause_until = time.monotonic() + min(FIRST_PAUSE * 2 ** min(self._failures, 10), MOST_PAUSE)
        if self._failures >= ATTEMPTS and not self._has_slots():
            self._tell("hopeless", f"has no slot that works; the worker of the last one {fault.cause}")


def fault_of(error: RayError, node: str | None) -> WorkerFaultError:
    """What an error of Ray's means for the segment that its actor had."""
    if isinstance(error, OutOfMemoryError):
        return WorkerFaultError("was ended by the cluster for want of memory", own=True)
    if isinstance(error, RayTaskError):
        return WorkerFaultError(f"could not begin on node {node}: {words_of(error.cause)}", own=False)
    return WorkerFaultError(f"was lost with its actor or its node {node} ({type(error).__name__})", own=False)

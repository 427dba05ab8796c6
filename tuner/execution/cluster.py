"""The driver's side of a Ray cluster: segments go to a bridge process, which alone speaks with Ray.

Ray ends a process that has lost its cluster, takes over signals, and starts threads that outlive a shutdown: none of
that may happen to the driver. A bridge that is gone costs what was being trained, and another one joins again.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, final

from tuner.errors import InputError, TunerError, WorkerError
from tuner.execution import faults
from tuner.execution.base import Alive, Workers
from tuner.execution.carried import Carrier, Open
from tuner.execution.choice import Ray
from tuner.execution.context import Workplace
from tuner.execution.faults import WorkerFaultError
from tuner.execution.joining import ROOM_SECONDS, Joining
from tuner.execution.planning import SegmentPlanner
from tuner.execution.processes import FIRST_PAUSE, MOST_PAUSE
from tuner.execution.scratch import Scratch
from tuner.execution.spawned import START_SECONDS, Process, words_of
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.checkpoint_url import CheckpointUrl
from tuner.spec.work import Checkpoint, Segment, SegmentResult, Trial
from tuner.waiting import never

BRIDGE_SECONDS: Final = 120.0  # without a sign of life, after which the bridge hangs
REJOIN_SECONDS: Final = 300.0  # for which a cluster that was lost is looked for: a head may be started again
TICK_SECONDS: Final = 0.25  # between two looks at the user's stop while it is joined
END_SECONDS: Final = 30.0  # that it has to end all workers and leave the cluster
_MAIN: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tuner.execution.bridge import serve
serve(int(sys.argv[2]), int(sys.argv[3]))
"""


@final
class RayExecutor:
    """Slots of a Ray cluster, which are asked for at once; returns before they are there.

    Args:
        choice: which cluster, and what a slot is.
        cores: of a cluster that is started on this machine.
        check: called while the cluster is awaited; what it raises ends that.

    Raises:
        InputError: Ray is not installed, or the store for large states cannot be used.
        WorkerError: the system gives no thread to look after the cluster.
    """

    def __init__(self, choice: Ray, cores: int, check: Callable[[], object] = never) -> None:
        if importlib.util.find_spec("ray") is None:
            raise InputError("executor ray: needs Ray, which is not installed; pip install 'autoencoder-tuner[ray]'.")
        self._store = None if choice.checkpoints is None else CheckpointUrl(choice.checkpoints)
        if self._store is not None:
            self._store.check()
        self._link, self._check = Link(choice, cores), check
        try:
            self._link.start()
        except (RuntimeError, MemoryError) as error:
            raise _gone(f"needs a thread in this process, which the system refused ({words_of(error)})") from error

    @property
    def alive(self) -> Alive:
        """Slots that have begun, on nodes that are there, as the bridge saw them within the last seconds."""
        return Alive(*self._link.begun, self._link.room)

    def workers(self, place: Workplace) -> Workers:
        """The cluster's slots, for one study.

        Raises:
            ClusterError: there is no such cluster, or it refuses.
            InputError: this machine has no room for a slot.
            WorkerError: it cannot be joined.
        """
        self._link.await_cluster(self._check)
        states, aside = place.checkpoints, None
        if self._store is not None and isinstance(states, CheckpointFolder):
            aside = self._store.of_study(states.key)
        return _RayWorkers(place, self._link, aside)

    def grant(self, slots: int | None) -> None:
        """Begin no slot beyond it, and let go of those above it, a busy one once its segment is done."""
        self._link.grant(slots)

    def end(self) -> None:
        """End all workers and leave the cluster; what they were doing, and what waits, is cancelled."""
        self._link.end()


@final
class _RayWorkers:
    def __init__(self, place: Workplace, link: Link, aside: CheckpointUrl | None) -> None:
        self._link, self._carrier = link, Carrier(place, aside)
        self._planner = SegmentPlanner(place, link.usable)
        self.checkpoints = place.checkpoints
        link.carry(self._carrier.paths)

    @property
    def slots(self) -> int:
        """One at work and one waiting for each slot that the study may have now, so that none waits long."""
        return 2 * self._link.usable

    def plan(self, trials: Sequence[Trial], epochs: int) -> list[tuple[Trial, ...]]:
        self._planner.resize(self._link.usable)
        return self._planner.plan(trials, epochs)

    def submit(self, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        patience = self._planner.patience(segment)
        future: Future[SegmentResult] = Future()
        unit = self._carrier.packed(self._link.number(), patience, segment, states)
        self._link.submit(Open(future, unit, self._carrier))
        future.add_done_callback(lambda done: self._planner.measure(segment, done))
        return future


@final
class Link(threading.Thread):
    """Keeps a bridge process, hands it segments, and completes their futures with what comes back.

    Nothing that goes wrong may leave a future open: the driver would wait for ever.

    Attributes:
        room: slots that the cluster has room for.
        begun: slots that have begun, and the nodes that they are on.
    """

    def __init__(self, choice: Ray, cores: int) -> None:
        super().__init__(name="tuner-ray", daemon=True)
        self._choice, self._cores = choice, cores
        self.room, self.begun = 1, (0, 0)
        self._granted: int | None = None
        self._lock = threading.Lock()  # of what follows, and of the way to the process
        self._process: Process | None = None
        self._joined = False
        self._open: dict[int, Open] = {}
        self._paths: dict[str, str] = {}
        self._numbers = itertools.count()
        self._ending = threading.Event()
        self._settled = threading.Event()  # it was joined, or refused
        self._refusal: TunerError | None = None

    def await_cluster(self, check: Callable[[], object] = never) -> None:
        """Wait until the cluster was joined for the first time.

        Args:
            check: called meanwhile, a few times a second.

        Raises:
            ClusterError: there is no such cluster, or it refuses.
            InputError: this machine has no room for a slot.
            WorkerError: it cannot be joined.
        """
        while not self._settled.wait(TICK_SECONDS):
            check()
        check()  # a stop ends the joining too, and is what is told
        if self._refusal is not None:
            raise self._refusal

    @property
    def usable(self) -> int:
        """Slots that segments are cut for: those there is room for, as far as they are granted; at least one."""
        return max(1, self.room if self._granted is None else min(self.room, self._granted))

    def grant(self, slots: int | None) -> None:
        """Let the bridge know how many slots it may have now."""
        with self._lock:
            if slots != self._granted:
                self._granted = slots
                self._send("granted", slots)

    def number(self) -> int:
        """A segment's own number."""
        return next(self._numbers)

    def carry(self, paths: dict[str, str]) -> None:
        """Let the cluster have files that segments need.

        Args:
            paths: by digest.
        """
        with self._lock:
            self._paths.update(paths)
            self._send("files", paths)

    def submit(self, call: Open) -> None:
        """Hand in a segment; its future is done in the end."""
        with self._lock:
            refusal, is_over = self._refusal, self._ending.is_set()
            if refusal is None and not is_over:
                self._open[call.unit.number] = call
                self._send("unit", call.unit)
                return
        call.cancel() if refusal is None or is_over else call.fail(refusal)

    def end(self) -> None:
        """End the bridge, which ends everything; a second time does nothing."""
        with self._lock:
            self._ending.set()
            self._send("end", None)
            if self._process is not None and not self._joined:
                self._process.kill()  # Ray's processes, if it has begun to start some, end with it
        self._cancel_all()
        self.join(END_SECONDS)
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self.join()

    def run(self) -> None:
        """Join, pass on, and join again where the bridge is gone."""
        # The bridge inherits this thread's mask: Ctrl-C is the driver's to hear, which ends the bridge.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._keep_joined()
        except Exception as error:  # whatever it is: the driver waits for this thread
            self._give_up(f"cannot be looked after: {words_of(error)}")
        finally:
            self._settled.set()

    def _keep_joined(self) -> None:
        lost, failures = time.monotonic(), 0
        while not self._ending.is_set() and self._refusal is None:
            fault = self._bridge()
            if self._joined:
                lost, failures, self._joined = time.monotonic(), 0, False
                self._lament(fault)
            if time.monotonic() - lost > REJOIN_SECONDS:
                self._give_up(
                    f"could not be joined again for {REJOIN_SECONDS:.0f} s; the process that tried {fault.cause}"
                )
            failures += 1
            self._ending.wait(min(FIRST_PAUSE * 2 ** min(failures, 10), MOST_PAUSE))

    def _bridge(self) -> WorkerFaultError:
        """One bridge process from its start to its end, and why it ended."""
        try:
            scratch = Scratch(f"cluster-{secrets.token_hex(4)}", _short_folder())
        except OSError as error:
            self._refuse(error)
            return WorkerFaultError(f"has no folder for its files: {words_of(error)}", own=False)
        with scratch:
            before = faults.oom_kills()
            try:
                process = Process(_MAIN)
            except (OSError, MemoryError) as error:
                return WorkerFaultError(f"could not start: {words_of(error)}", own=False)
            try:
                self._join(process, scratch.path)
                while True:
                    self._hear(*process.answer(BRIDGE_SECONDS))
            except Exception as error:
                return process.explained(error, before)
            finally:
                with self._lock:
                    self._process = None
                self.begun = 0, 0
                process.bury()

    def _join(self, process: Process, folder: Path) -> None:
        """Have it join the cluster; then it is given what waits.

        Raises:
            WorkerFaultError: it could not.
        """
        with self._lock:
            if self._ending.is_set():
                raise WorkerFaultError("is not wanted any more", own=False)
            self._process = process
        before, granted = faults.oom_kills(), self._granted
        with suppress(OSError):  # it is dead, as its answer shows
            process.send(Joining.of(self._choice, self._cores, str(folder), granted))
        try:
            done, value = process.answer(START_SECONDS)
        except Exception as error:
            done, value = False, process.explained(error, before)
        if not done:
            self._refuse(value)
            raise WorkerFaultError(words_of(value), own=False)
        with self._lock:
            self.room, self._joined = value, True
            if self._granted != granted:
                self._send("granted", self._granted)
            self._send("files", self._paths)
            for call in self._open.values():
                self._send("unit", call.unit)
        self._settled.set()

    def _refuse(self, error: Exception) -> None:
        """Where the first attempt fails there is something for the user to put right; later ones are repeated."""
        if not self._settled.is_set():
            self._refusal = error if isinstance(error, TunerError) else _gone(f"cannot be joined: {words_of(error)}")
            self._settled.set()

    def _send(self, name: str, value: object) -> None:
        """Under the lock; before the cluster was joined it waits, and `_join` sends it."""
        if self._process is not None and self._joined:
            with suppress(OSError):  # it is dead, as its thread will see
                self._process.send((name, value))

    def _hear(self, _: bool, message: tuple[Any, ...]) -> None:
        name, *values = message
        if name == "room":
            self._take_room(*values)
        elif name == "begun":
            self.begun = values[0], values[1]
        elif name == "hopeless":
            self._give_up(*values)
        elif name == "refused":
            logging.getLogger("tuner").warning("%s; the node is not used", *values)
        elif (call := self._taken(values[0])) is not None:
            call.complete(values[1]) if name == "done" else call.fail(WorkerFaultError(*values[1:]))

    def _take_room(self, room: int) -> None:
        self.room = room
        if room == 0:
            says = "no node of the Ray cluster has room for a slot of %s; one is waited for, up to %.0f s"
            logging.getLogger("tuner").warning(says, self._choice.share, ROOM_SECONDS)

    def _taken(self, number: int) -> Open | None:
        with self._lock:
            return self._open.pop(number, None)

    def _all(self) -> list[Open]:
        with self._lock:
            calls = list(self._open.values())
            self._open.clear()
        return calls

    def _lament(self, fault: WorkerFaultError) -> None:
        """What was handed to the cluster is lost; what is handed in from now on waits until it is joined again."""
        if self._ending.is_set():
            return
        cause = f"was lost with the connection to the cluster, whose process {fault.cause}"
        says = "the connection to the Ray cluster was lost; it is joined again, for up to %.0f s"
        logging.getLogger("tuner").warning(says, REJOIN_SECONDS)
        for call in self._all():
            call.fail(WorkerFaultError(cause, own=False))

    def _give_up(self, why: str) -> None:
        error = _gone(why)
        with self._lock:
            self._refusal = error
        for call in self._all():
            call.fail(error)

    def _cancel_all(self) -> None:
        for call in self._all():
            call.cancel()


def _gone(why: str) -> WorkerError:
    return WorkerError(f"executor ray: the cluster {why}. What is recorded stays; run the study again to go on.")


def _short_folder() -> Path:
    """Ray's sockets have paths of limited length, too short for some systems' folder of temporary files."""
    return Path("/tmp")

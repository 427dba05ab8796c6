"""Worker processes that may die: each call knows its worker, so that a death costs that call alone.

The standard library's pool is broken as a whole by one death and cannot say whose it was; here the death of a worker is
its call's exception (`WorkerFaultError`), the next call gets a new worker, and the others go on.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from tuner.execution import beats, faults
from tuner.execution.faults import WorkerFaultError

P = ParamSpec("P")
T = TypeVar("T")

START_SECONDS: Final = 120.0  # how long a new process may take to import what it needs
LATE: Final = 20.0  # a call is taken to hang after so many times its longest time between two signs of life
_TICK: Final = 0.5
_PR_SET_PDEATHSIG: Final = 1
# No `multiprocessing.Process`: it runs the caller's script again, and its child prints a traceback if we die early.
_MAIN: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tuner.execution.processes import work
work(int(sys.argv[2]), int(sys.argv[3]))
"""


@dataclass(slots=True)
class _Call:
    """A call on its way. `patience`: seconds that it may take to its first sign of life, and always after it."""

    future: Future[Any]
    work: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    patience: float


class WorkerProcesses(Executor):
    """Worker processes, spawned at once and kept until `kill`; one that dies is replaced.

    Args:
        workers: how many.
        warm_up: called first in the workers, so that heavy imports happen while the first cohort is asked for.
        gpus: names as in CUDA_VISIBLE_DEVICES; each worker sees one of them alone, in turn. None: all see what this
            process sees.
    """

    def __init__(self, workers: int, warm_up: Callable[[], object], gpus: Sequence[str] = ()) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        dealt = [gpus[number % len(gpus)] if gpus else "" for number in range(workers)]
        path = json.dumps(_import_path())
        self._workers = [_Worker(warm_up, gpu, self._calls, path) for gpu in dealt]
        for worker in self._workers:
            worker.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a worker, however long it takes."""
        return self.submit_patiently(float("inf"), fn, *args, **kwargs)

    def submit_patiently(self, patience: float, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a worker; after `patience` seconds without a sign of life its worker is ended.

        Its future raises what `fn` raised, or `WorkerFaultError`.
        """
        future: Future[T] = Future()
        self._calls.put(_Call(future, (fn, args, kwargs), patience))
        return future

    def kill(self) -> None:
        """End every worker now; what they were doing, and what waits, is cancelled."""
        for worker in self._workers:
            worker.end()
        while not self._calls.empty():
            call = self._calls.get()
            if call is not None:
                call.future.cancel()
        for _ in self._workers:
            self._calls.put(None)
        for worker in self._workers:
            worker.join()


class _Worker(threading.Thread):
    """Looks after one process: hands it calls, waits for answers or signs of life, starts another when it is dead."""

    def __init__(
        self, warm_up: Callable[[], object], gpu: str, calls: queue.SimpleQueue[_Call | None], path: str
    ) -> None:
        super().__init__(name="tuner-worker", daemon=True)
        self._warm_up, self._gpu, self._calls, self._path = warm_up, gpu, calls, path
        self._ending = threading.Event()
        self._spawning = threading.Lock()
        self._spawn()

    def _spawn(self) -> None:
        self._connection, theirs = Pipe()
        life, mine = os.pipe()
        self._life: int | None = mine  # closed by the system when this process is gone
        words = [sys.executable, "-c", _MAIN, self._path, str(theirs.fileno()), str(life)]
        with self._spawning, _sigint_held_back():
            self._process = subprocess.Popen(words, pass_fds=(theirs.fileno(), life), stdin=subprocess.DEVNULL)
            if self._ending.is_set():
                self._process.kill()
        theirs.close()
        os.close(life)
        self._ready = False
        with suppress(OSError):  # whoever waits for its answer learns that it is dead
            self._connection.send((self._warm_up, self._gpu))

    def end(self) -> None:
        """End the process; called from another thread."""
        with self._spawning:
            self._ending.set()
            self._process.kill()

    def run(self) -> None:
        """One call after the other, until there is none."""
        while (call := self._calls.get()) is not None:
            if self._ending.is_set():
                call.future.cancel()
            elif call.future.set_running_or_notify_cancel():
                self._do(call)
        self._bury()

    def _do(self, call: _Call) -> None:
        before = faults.oom_kills()
        try:
            self._await_ready()
            with self._guarded(START_SECONDS):
                self._connection.send(call.work)
            done, value = self._answer(call.patience)
        except WorkerFaultError as fault:
            self._fail(call, fault)
        except (EOFError, OSError):
            self._fail(call, faults.death(self._process.wait(), faults.oom_kills() - before))
        except Exception as error:  # the work, or an error that it raised, cannot be sent or read
            self._fail(call, WorkerFaultError(f"could not be understood: {type(error).__name__}: {error}", own=True))
        else:
            call.future.set_result(value) if done else call.future.set_exception(value)

    def _fail(self, call: _Call, fault: WorkerFaultError) -> None:
        """Bury the dead before anybody hears of it, so that no process is left when the call is over."""
        self._bury()
        if not self._ending.is_set():
            self._spawn()
        call.future.set_exception(fault)

    def _bury(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()
        if self._life is not None:
            os.close(self._life)
            self._life = None

    def _await_ready(self) -> None:
        """A process that died while it had nothing to do is replaced without a word."""
        if self._ready and self._connection.poll():
            self._bury()
            self._spawn()
        if not self._ready:
            try:
                failure, _ = self._receive(START_SECONDS)
            except (EOFError, OSError):
                failure = (False, f"exit code {self._process.wait()}")
            if failure is not None:
                raise WorkerFaultError(f"could not start: {failure[1]}", own=False)
            self._ready = True

    def _answer(self, patience: float) -> tuple[bool, Any]:
        """Whether the call succeeded, and its value or error."""
        limit = patience
        while True:
            message, waited = self._receive(limit)
            if message is not None:
                return message  # type: ignore[no-any-return]
            limit = max(limit, LATE * waited)

    def _receive(self, limit: float) -> tuple[Any, float]:
        """The next message and the seconds that it took.

        Time that this process itself stood still is not counted: a laptop may sleep, a user may press Ctrl-Z.
        """
        waited, there = 0.0, False
        while not there:
            began = time.monotonic()
            there = self._connection.poll(_TICK)
            waited += min(time.monotonic() - began, _TICK)
            if waited >= limit and not there:
                raise faults.silence(self._process.pid, waited)
        with self._guarded(min(limit, START_SECONDS)):
            return self._connection.recv(), waited

    @contextmanager
    def _guarded(self, seconds: float) -> Iterator[None]:
        """A worker that is stopped in the middle of a message must not hold this thread for ever."""
        guard = threading.Timer(seconds, self._process.kill)
        guard.daemon = True
        guard.start()
        try:
            yield
        finally:
            guard.cancel()


def _import_path() -> list[str]:
    """Where modules are found, with whole paths: a worker may be started again after the current folder changed.

    What names no file (an import hook's placeholder) stays as it is.
    """
    return [str(Path(entry).absolute()) if Path(entry).exists() else str(entry) for entry in sys.path]


def work(connection_file: int, life: int) -> None:
    """What a worker process does: call after call, until the other end is closed, as it is when the driver dies.

    Args:
        connection_file: its end of the connection.
        life: a pipe whose other end the driver alone holds.
    """
    connection = Connection(connection_file)
    with suppress(EOFError, OSError):
        warm_up, gpu = connection.recv()
        _start_worker(gpu, life)
        _serve(connection, warm_up)


def _serve(connection: Connection, warm_up: Callable[[], object]) -> None:
    ready = _done(warm_up)
    connection.send(None if ready[0] else ready)
    beats.listen(lambda: connection.send(None))
    while ready[0]:
        content = connection.recv_bytes()
        connection.send(_done(lambda: _call(content)))  # noqa: B023 - it is called at once


def _call(content: bytes) -> Any:
    fn, args, kwargs = ForkingPickler.loads(content)
    return fn(*args, **kwargs)


def _done(act: Callable[[], Any]) -> tuple[bool, Any]:
    """Whether a call succeeded, and its value or error; where it stood is noted in the error, and never printed."""
    try:
        return True, act()
    except BaseException as error:
        error.add_note(traceback.format_exc())
        return False, error


def _start_worker(gpu: str, life: int) -> None:
    """Leave Ctrl-C to the driver, never outlive it, and see one GPU alone where there are several."""
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # a closed terminal is the driver's business as well
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":  # even while it is stopped; everywhere else it notices once it runs
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with_driver, args=(life,), daemon=True).start()


def _end_with_driver(life: int) -> None:
    os.read(life, 1)
    os._exit(1)


@contextmanager
def _sigint_held_back() -> Iterator[None]:
    """A process that is started meanwhile has Ctrl-C blocked until it can ignore it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

"""Worker processes that may die: each call knows its worker, so that a death costs that call alone.

The standard library's pool is broken as a whole by one death and cannot say whose it was; here the death of a worker is
its call's exception (`WorkerFaultError`), the next call gets a new worker, and the others go on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from tuner.errors import WorkerError
from tuner.execution import faults, heartbeat
from tuner.execution.calls import Call, Calls
from tuner.execution.faults import WorkerFaultError
from tuner.execution.spawned import Process, words_of

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS: Final = 10  # to start a worker, after which it is out of hope; some 20 s with the pauses between them
FIRST_PAUSE: Final = 0.05  # seconds, doubled after each attempt
MOST_PAUSE: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_HOPELESS: Final = (
    "no worker could be started in {attempts} attempts; the last one {cause}. What is recorded stays; run the study"
    " again to go on, once there is memory and room for processes."
)
# No `multiprocessing.Process`: it runs the caller's script again, and its child prints a traceback if we die early.
_MAIN: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tuner.execution.processes import work
work(int(sys.argv[2]), int(sys.argv[3]))
"""


class WorkerProcesses(Executor):
    """Worker processes, spawned at once and kept until `kill`; one that dies is replaced.

    A worker that cannot be started tries again with growing pauses, while the others go on. Where none of them can be
    started in several attempts, what waits ends with `WorkerError`.

    Args:
        workers: how many.
        warm_up: called first in the workers, so that heavy imports happen while the first cohort is asked for.
        gpus: names as in CUDA_VISIBLE_DEVICES; each worker sees one of them alone, in turn. None: all see what this
            process sees.

    Raises:
        WorkerError: the system gives no threads to look after the workers.
    """

    def __init__(self, workers: int, warm_up: Callable[[], object], gpus: Sequence[str] = ()) -> None:
        self._calls = Calls()
        dealt = [gpus[number % len(gpus)] if gpus else "" for number in range(workers)]
        self._workers = [_Worker(warm_up, gpu, self._calls, self.is_hopeless) for gpu in dealt]
        try:
            for worker in self._workers:
                worker.start()
        except (RuntimeError, MemoryError) as error:
            self.kill()
            raise WorkerError(
                f"{workers} workers need a thread each in this process, but the system refused one"
                f" ({words_of(error)}); free memory or process slots, or run the study with fewer workers."
            ) from error

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a worker, however long it takes."""
        return self.submit_patiently(float("inf"), fn, *args, **kwargs)

    def submit_patiently(self, patience: float, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a worker; after `patience` seconds without a sign of life its worker is ended.

        Its future raises what `fn` raised, or `WorkerFaultError`, or `WorkerError` where no worker can be started.
        """
        future: Future[T] = Future()
        self._calls.put(Call(future, (fn, args, kwargs), patience))
        return future

    def kill(self) -> None:
        """End every worker now; what they were doing, and what waits, is cancelled."""
        for worker in self._workers:
            worker.end()
        self._calls.close()
        for worker in self._workers:
            if worker.ident is not None:  # it was started
                worker.join()

    @property
    def ready(self) -> int:
        """Workers that have started and are not known to be dead, at work or idle."""
        return sum(worker.is_ready for worker in self._workers)

    def is_hopeless(self) -> bool:
        """Whether none of them can be started, in several attempts."""
        return all(worker.failures >= ATTEMPTS for worker in self._workers)


class _Worker(threading.Thread):
    """Looks after one process: hands it calls, waits for answers or signs of life, starts another when it is dead.

    A call is taken only once there is a process to do it. Nothing that goes wrong here may end this thread or leave a
    call open: the driver would wait for ever.

    Attributes:
        failures: starts that failed in a row.
        is_ready: its process has started, and is not known to be dead.
    """

    def __init__(self, warm_up: Callable[[], object], gpu: str, calls: Calls, is_hopeless: Callable[[], bool]) -> None:
        super().__init__(name="tuner-worker", daemon=True)
        self._warm_up, self._gpu, self._calls, self._is_hopeless = warm_up, gpu, calls, is_hopeless
        self._ending = threading.Event()
        self._starting = threading.Lock()
        self._process: Process | None = None
        self._idle: Process | None = None  # the same, where it waits for a call
        self._has_told = False  # a call of the starts that failed
        self.failures, self.is_ready = 0, False

    def end(self) -> None:
        """End the process; called from another thread."""
        self._ending.set()
        with self._starting:
            if self._process is not None:
                self._process.kill()

    def run(self) -> None:
        """One call after the other, until the line is closed."""
        # A new process inherits this thread's mask: Ctrl-C is blocked in it until it can ignore it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self._ending.is_set():
            try:
                self._go_on()
            except Exception:  # the system refused even the little that waiting takes; no call is in hand here
                self._ending.wait(MOST_PAUSE)
        self._bury()

    def _go_on(self) -> None:
        if self._idle is None:
            self._start()
        elif (call := self._calls.take()) is not None:
            process, self._idle = self._idle, None
            if process.is_dead():  # it died while it had nothing to do, and is replaced without a word
                self._calls.put(call, first=True)
            elif call.begin():
                self._do(call, process)
            else:
                self._idle = process

    def _do(self, call: Call, process: Process) -> None:
        """Every way out of here ends the call."""
        before = 0
        try:
            before = faults.oom_kills()
            process.send(call.work)
            done, value = process.answer(call.patience)
            self._idle = process
        except BaseException as error:
            done, value = False, self._fault(process, error, before)
        call.future.set_result(value) if done else call.future.set_exception(value)

    def _fault(self, process: Process, error: BaseException, before: int) -> WorkerFaultError:
        """Why a call has no answer; its process is reaped before the error is reported: no zombie is left."""
        try:
            fault = process.explained(error, before)
            self._bury()
        except Exception as more:
            return WorkerFaultError(f"could not be looked after: {words_of(more)}", own=False)
        return fault

    def _start(self) -> None:
        """Have a process that waits for calls; where there is none to be had, a pause, longer every time."""
        self._bury()
        try:
            with self._starting:
                if self._ending.is_set():
                    return
                process = self._process = Process(_MAIN)
            process.await_ready((self._warm_up, self._gpu))
        except Exception as error:
            self._bury()
            self.failures += 1
            self._tell(f"could not start: {words_of(error)}")
            self._ending.wait(min(FIRST_PAUSE * 2 ** min(self.failures, 10), MOST_PAUSE))
        else:
            self._idle, self.failures, self._has_told, self.is_ready = process, 0, False, True

    def _tell(self, cause: str) -> None:
        """One call hears of a worker that cannot be started, so that it is recorded; all, where none can be started."""
        if self._ending.is_set():
            return
        if self._is_hopeless():
            for call in self._calls.take_now():
                call.fail(WorkerError(_HOPELESS.format(attempts=ATTEMPTS, cause=cause)))
        elif not self._has_told:
            for call in self._calls.take_now(1):
                call.fail(WorkerFaultError(cause, own=False))
                self._has_told = True

    def _bury(self) -> None:
        self.is_ready = False
        if self._process is not None:
            self._process.bury()


def import_path() -> list[str]:
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
        settle(gpu, life)
        _serve(connection, warm_up)


def _serve(connection: Connection, warm_up: Callable[[], object]) -> None:
    ready = _done(warm_up)
    connection.send(None if ready[0] else ready)
    heartbeat.listen(lambda: connection.send(None))
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


def settle(gpu: str, life: int) -> None:
    """Leave Ctrl-C to the driver, never outlive it, and see one GPU alone where there are several.

    Args:
        gpu: as CUDA_VISIBLE_DEVICES names it; empty where all are seen.
        life: a pipe whose other end the driver alone holds.
    """
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # a closed terminal is the driver's business as well
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the driver's caller may have blocked some
    if sys.platform == "linux":  # even while it is stopped; everywhere else it notices once it runs
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with_driver, args=(life,), daemon=True).start()


def _end_with_driver(life: int) -> None:
    os.read(life, 1)
    os._exit(1)

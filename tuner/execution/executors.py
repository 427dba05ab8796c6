"""The executors: `concurrent.futures.Executor` each, so that nothing above knows where a segment runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the control group's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123 - a kernel interface
            quota, period = file.read().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


class InlineExecutor(Executor):
    """Runs each call in this process when it is submitted: for one trial, and for debugging."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is done already."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerProcesses(ProcessPoolExecutor):
    """Worker processes, spawned at once and kept until `kill`.

    Args:
        workers: how many.
        warm_up: called first in the workers, so that heavy imports happen while the first cohort is asked for.
        gpus: names as in CUDA_VISIBLE_DEVICES; each worker sees one of them alone, in turn. None: all see what this
            process sees.
    """

    def __init__(self, workers: int, warm_up: Callable[[], object], gpus: Sequence[str] = ()) -> None:
        context = multiprocessing.get_context("spawn")
        places: SimpleQueue[str] = context.SimpleQueue()
        super().__init__(workers, context, initializer=_start_worker, initargs=(places,))
        for number in range(workers):
            places.put(gpus[number % len(gpus)] if gpus else "")
        others = set(multiprocessing.active_children())
        with _quiet_spawning():
            for _ in range(workers):
                self.submit(warm_up)
        self._children = set(multiprocessing.active_children()) - others

    def kill(self) -> None:
        """End every worker now; their results are lost."""
        for child in self._children:
            child.kill()
        self.shutdown(wait=True, cancel_futures=True)
        for child in self._children:
            child.join()


def _start_worker(places: SimpleQueue[str]) -> None:
    """Leave Ctrl-C to the driver, never outlive it, and see one GPU alone where there are several."""
    gpu = places.get()
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os._exit(1)


@contextmanager
def _quiet_spawning() -> Iterator[None]:
    """Spawn with Ctrl-C held back until `_start_worker` has run, and without running the caller's script again.

    A spawned process imports the main module anew, which would run a script that has no
    `if __name__ == "__main__"`; workers need nothing of it.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, object] = {
        name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__
    }
    main.__spec__ = None
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        main.__dict__.update(hidden)

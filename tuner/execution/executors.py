"""How many workers there can be, and the executor that needs none of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from tuner.execution import beats
from tuner.waiting import never

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
    """Runs each call in this process when it is submitted: for one trial, and for debugging.

    Args:
        check: called after an epoch, a few times a second; what it raises ends the call.
    """

    def __init__(self, check: Callable[[], object] = never) -> None:
        self._check = check

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is done already."""
        future: Future[T] = Future()
        try:
            with beats.heard_by(self._check):
                future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

"""How many workers there can be, and the executor that needs none of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, TypeVar

from tuner.execution import heartbeat
from tuner.learning import cgroups
from tuner.waiting import never

P = ParamSpec("P")
T = TypeVar("T")


def usable_cores(root: Path = cgroups.ROOT) -> int:
    """Cores that this process may use: its affinity, and its control groups' quota where there is one; at least one.

    Args:
        root: the folder that holds proc and sys.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroups.cores(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


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
            with heartbeat.heard_by(self._check):
                future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

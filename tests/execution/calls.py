"""Calls for workers, in a module that a spawned process can import."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from tuner.execution import heartbeat


def segfault() -> None:
    ctypes.string_at(0)


def spin() -> None:
    while True:
        pass


def report_and_wait(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    signal.pause()


def beat_for(seconds: float) -> str:
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        heartbeat.alive()
    return "done"


def write_graphs_that_are_off(*args: Any) -> None:
    """What an export calls in its helper process, with a check that nothing passes."""
    from tuner.export.write import _write_graphs
    from tuner.learning.inference import graphs

    tolerance, graphs.TOLERANCE = graphs.TOLERANCE, -1.0
    try:
        _write_graphs(*args)
    finally:
        graphs.TOLERANCE = tolerance  # the process may be used by other tests


def fail_to_start() -> None:
    raise RuntimeError("no such library")

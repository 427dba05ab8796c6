"""Calls for workers, in a module that a spawned process can import."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from tuner.execution import beats


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
        beats.alive()
    return "done"


def fail_to_start() -> None:
    raise RuntimeError("no such library")

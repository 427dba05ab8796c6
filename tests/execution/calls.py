"""Calls for workers, in a module that a spawned process can import."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.data.rows import Rows, RowsFile, SplitLabels
from tuner.execution import heartbeat
from tuner.spec.work import Checkpoint

WORD = "word"


def segfault() -> None:
    ctypes.string_at(0)


def spin() -> None:
    while True:
        pass


def report_and_wait(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    signal.pause()


def report_and_await_a_word(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    (Path(folder) / WORD).read_bytes()  # a pipe: all who read it go on once somebody writes


def fail(_: str) -> None:
    raise ValueError("no such thing")


# What a segment may do to its worker, each given a folder.
ACTS: dict[str, Callable[[str], object]] = {
    "nothing": lambda _: None,
    "segfault": lambda _: segfault(),
    "hang": lambda _: spin(),
    "fail": fail,
    "report and wait": report_and_wait,
    "report and await a word": report_and_await_a_word,
}


@dataclass(frozen=True)
class RowsThat:
    """Rows that do something to the process in which they are opened: to any worker of any executor."""

    act: str
    file: RowsFile
    folder: str

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.file.counts

    @property
    def features(self) -> int:
        return self.file.features

    def open(self) -> Rows:
        ACTS[self.act](self.folder)
        return self.file.open()

    def open_labels(self) -> SplitLabels | None:
        return self.file.open_labels()


@dataclass(frozen=True)
class RowsInHand:
    """Rows that travel with the segment: a worker needs no file of the driver's."""

    content: bytes
    counts: tuple[int, int, int]
    features: int
    name: str = "rows in hand"

    def open(self) -> Rows:
        rows = np.frombuffer(self.content, np.float32).reshape(-1, self.features).copy()
        first, second = self.counts[0], self.counts[0] + self.counts[1]
        return Rows(rows[:first], rows[first:second], rows[second:])

    def open_labels(self) -> SplitLabels | None:
        return None


@dataclass(frozen=True)
class StatesByDigest:
    """States that are no files of a known name: what is recorded of one is no path."""

    folder: str

    def put(self, name: str, content: bytes, epoch: int) -> Checkpoint:
        digest = hashlib.sha256(content).hexdigest()
        (Path(self.folder) / digest).write_bytes(content)
        return Checkpoint(f"store://{name}", digest, epoch)

    def get(self, checkpoint: Checkpoint) -> bytes | None:
        return (Path(self.folder) / checkpoint.sha256).read_bytes() if self.has(checkpoint) else None

    def has(self, checkpoint: Checkpoint) -> bool:
        return (Path(self.folder) / checkpoint.sha256).exists()

    def remove(self, checkpoints: Iterable[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            (Path(self.folder) / checkpoint.sha256).unlink(missing_ok=True)


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

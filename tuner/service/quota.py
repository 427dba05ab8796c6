"""How much all studies and uploads take on the disk, against what the operator lets them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, final

from tuner.errors import QuotaError

EVERY: Final = 30.0  # seconds between two walks through all files


@final
@dataclass(slots=True)
class DiskQuota:
    """A limit at which nothing new is taken; what runs goes on.

    Attributes:
        folders: what counts, with all that is below.
        most: bytes; None for any number.
    """

    folders: Sequence[Path]
    most: int | None = None
    _used: int = 0
    _looked: float = field(default=-EVERY)
    _lock: Lock = field(default_factory=Lock)

    def check(self) -> None:
        """Refuse something new where the files take all that they may; they are counted twice a minute at most.

        Raises:
            QuotaError: they do.
        """
        if self.most is None:
            return
        with self._lock:
            if time.monotonic() - self._looked >= EVERY:
                self._used, self._looked = sum(map(_sizes, self.folders)), time.monotonic()
            used = self._used
        if used >= self.most:
            raise QuotaError(
                f"studies and uploaded data may take {self.most / 1e9:.3g} GB on the disk here, and take"
                f" {used / 1e9:.3g} GB: delete studies or data that nobody needs, or ask the operator for more"
                " (tuner disk, tuner prune-files)."
            )

    def forget(self) -> None:
        """Count anew the next time: something was deleted."""
        with self._lock:
            self._looked = -EVERY


def _sizes(folder: Path) -> int:
    return sum(_size(entry) for entry in _files(folder))


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # a run has removed it since
        return 0


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                else:
                    yield entry
    except OSError:  # there is no such folder yet, or none any more
        return

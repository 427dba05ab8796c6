"""SQLite files that may be read and not written: another user's, or on a disk that is mounted to be read."""

from __future__ import annotations

import os
from pathlib import Path


def is_writable(path: Path) -> bool:
    """Whether a database there can be opened as usual: SQLite makes files beside it, and a reader writes to them."""
    files = [path, *(file for file in (_beside(path, "-wal"), _beside(path, "-shm")) if file.exists())]
    # The rights that count are the process's effective ones, where the system can be asked for them.
    effective = os.access in os.supports_effective_ids
    return all(os.access(file, os.W_OK, effective_ids=effective) for file in [path.parent, *files])


def read_only_uri(path: Path) -> str:
    """What `sqlite3.connect(..., uri=True)` opens a database by to read it, with or without rights to write.

    A database with a write-ahead log is read together with its log, for which SQLite needs the file `-shm` beside it.
    Where that is not there and cannot be made, but the log is empty or gone, all is in the file itself: `immutable`
    reads it alone.
    """
    log = _beside(path, "-wal")
    alone = not is_writable(path) and not (log.exists() and log.stat().st_size)
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"


def has_unreadable_log(path: Path) -> bool:
    """Whether the newest records are in a log that cannot be read here."""
    log = _beside(path, "-wal")
    return not is_writable(path) and log.exists() and log.stat().st_size > 0 and not _beside(path, "-shm").exists()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)

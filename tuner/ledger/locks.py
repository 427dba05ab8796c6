"""Who holds SQLite's one write lock, as the system tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# The byte of the file `-shm` that a writer locks: https://sqlite.org/walformat.html, "WAL-Index locks".
WRITE_LOCK: Final = 120
_LOCKS: Final = Path("/proc/locks")


def writer_of(file: Path) -> int | None:
    """The process that has a write transaction open on an SQLite file; None for none, or where that is unknown.

    The file itself is not opened: SQLite would lose its own locks of it when it is closed (fcntl(2)).

    Args:
        file: the database, in the mode WAL.
    """
    try:
        inode = file.with_name(f"{file.name}-shm").stat().st_ino
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeError):
        return None
    return next((pid for line in lines if (pid := _holder(line.split(), inode)) is not None), None)


def _holder(fields: list[str], inode: int) -> int | None:
    """The process of a line of proc_locks(5) that holds it: `1: POSIX ADVISORY WRITE 123 fd:01:99 120 120`."""
    if len(fields) != 8 or fields[1] != "POSIX" or fields[3] != "WRITE" or fields[5].rpartition(":")[2] != str(inode):
        return None
    last = WRITE_LOCK if fields[7] == "EOF" else int(fields[7])
    return int(fields[4]) if int(fields[6]) <= WRITE_LOCK <= last else None

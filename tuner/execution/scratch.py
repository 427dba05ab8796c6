"""Folders for files that other processes of the machine may read, and that nobody's death leaves behind for long."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self, final

from tuner.errors import DataError

LEAVE_SECONDS: Final = 10.0  # that others have to end which write into a folder that is removed
_PREFIX: Final = "tuner-ray-"
_LOCK: Final = "in-use"


@final
class Scratch:
    """A folder that several processes may use, each from here to its `leave`; the last one removes it.

    A lock that the system takes from a process that dies tells who uses it. Folders of processes that were killed are
    removed by the next one that begins, on the same machine.

    Args:
        name: the folder's own; equal names are the same folder.
        above: where it is made; others may write there too, so what is found there is not trusted.

    Attributes:
        path: the folder.

    Raises:
        OSError: it cannot be made, or another user's folder or something else has its name.
    """

    def __init__(self, name: str, above: Path | None = None) -> None:
        above = Path(tempfile.gettempdir()) if above is None else above
        for folder in above.glob(f"{_PREFIX}*"):
            _remove_unused(folder)
        self.path = above / f"{_PREFIX}{name}"
        self._lock: int | None = _use(self.path)

    def take(self, digest: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Have a file under its digest; where another process brings it, the chunks are not read.

        Raises:
            DataError: the content is not what the digest says.
            OSError: it cannot be written.
        """
        path = self.path / digest
        with _alone(self.path / f"{digest}.lock"):
            if not path.exists():
                _write(path, digest, chunks)

    def leave(self) -> None:
        """Use it no longer; a second time does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            end = time.monotonic() + LEAVE_SECONDS
            # Processes that end with this one may still write there.
            while _remove_unused(self.path) and self.path.exists() and time.monotonic() < end:
                time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def _write(path: Path, digest: str, chunks: Iterable[bytes | memoryview]) -> None:
    fresh, found = path.with_suffix(".part"), hashlib.sha256()
    with fresh.open("wb") as file:
        for chunk in chunks:
            found.update(chunk)
            file.write(chunk)
    if found.hexdigest() != digest:
        raise DataError(f"{path.name[:12]}: a file of prepared data came to this node damaged; run the study again.")
    fresh.replace(path)


def _use(folder: Path) -> int:
    """The open file whose lock says that this process uses the folder."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            if not _is_own(folder):
                raise PermissionError(f"{folder}: must be a folder of this user, got another's or a link; remove it.")
            lock = _open(folder / _LOCK)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_at(lock, folder / _LOCK):
                return lock
            os.close(lock)  # another process removed the folder meanwhile


def _open(lock: Path) -> int:
    """A lock's file; a link is refused: whoever put it there would have us make a file where it points to."""
    return os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_own(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _is_at(file: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _remove_unused(folder: Path) -> bool:
    """Remove a folder, as far as that can be, unless a living process uses it or it is another user's."""
    with suppress(OSError):
        if not _is_own(folder):
            return False
        lock = _open(folder / _LOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
        return True
    return False


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time."""
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)

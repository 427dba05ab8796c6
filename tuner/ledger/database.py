"""One engine, short transactions, and every failure of the database as one sentence."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from tuner.errors import LedgerError

BUSY_SECONDS = 30.0
ROOM_TO_READ = 65_536  # bytes

# The start of SQLite's own name of an error, and what to tell the user.
_SQLITE_FAULTS: Final = {
    "SQLITE_FULL": "the disk is full; what is recorded is safe, make room and run the same command again",
    "SQLITE_READONLY": "it must be writable, but the file or its folder is read-only",
    "SQLITE_PERM": "it must be writable, but permission was denied",
    "SQLITE_CANTOPEN": "it cannot be opened; its folder must exist and be writable",
    "SQLITE_BUSY": "another process has held it locked for too long; end that process or try again",
    "SQLITE_LOCKED": "another connection has held it locked for too long; try again",
    "SQLITE_NOTADB": "it must be a SQLite database, but the file is something else",
    "SQLITE_CORRUPT": "the file is damaged; restore it from a copy",
    "SQLITE_IOERR": "the disk failed to read or write it; what was recorded before is kept",
    "SQLITE_TOOBIG": "a value is too large to be recorded",
}


@final
class Database:
    """Connections to one ledger; safe to share between threads, not across a fork."""

    def __init__(self, url: str, busy_seconds: float, folder: Path | None = None) -> None:
        given = _parse(url)
        self.where = _shown(given)
        self._url = _resolved(given, folder or Path.cwd())
        self.folder = folder
        self._busy_seconds = busy_seconds
        try:
            self._reader = create_engine(self._url)
        except (SQLAlchemyError, ImportError) as error:
            raise LedgerError(f"{self.where}: no driver for {self._url.drivername}: {_first_line(error)}") from None
        self._writer = self._reader.execution_options(tuner_writes=True)
        if self._reader.dialect.name == "sqlite":
            event.listen(self._reader, "connect", self._set_pragmas)
            event.listen(self._reader, "begin", _begin_sqlite)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees one state of the ledger; a row that cannot be read is the ledger's fault."""
        try:
            with self._sentences("read"), self._reader.begin() as connection:
                yield connection
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(
                f"{self.where}: the ledger must hold what the tuner wrote, but a row is damaged"
                f" ({self._without_password(_first_line(error))}); restore it from a copy"
            ) from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that is recorded whole, on the disk when the block ends, or not at all."""
        with self._sentences("written"), self._writer.begin() as connection:
            yield connection

    def faults(self) -> list[str]:
        """What SQLite's own checks find: damaged pages, rows that point at nothing; Postgres looks after itself."""
        if self._reader.dialect.name != "sqlite":
            return []
        with self.reading() as connection:
            lines = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            loose = {str(row[0]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")}
        found = [line for line in lines if line != "ok"]
        return [f"{self.where}: {line}" for line in [*found, *(f"a row of {name} points at nothing" for name in loose)]]

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()

    def _set_pragmas(self, connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
        _retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL"), self._busy_seconds)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @contextmanager
    def _sentences(self, verb: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise LedgerError(self._sentence(error, verb)) from None

    def _sentence(self, error: SQLAlchemyError, verb: str) -> str:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith("SQLITE_IOERR") and self._disk_is_full():
            name = "SQLITE_FULL"  # even a reader needs some room, for what SQLite shares between processes
        for prefix, fault in _SQLITE_FAULTS.items():
            if name.startswith(prefix):
                return f"{self.where}: the ledger cannot be {verb}: {fault}"
        return f"{self.where}: the ledger cannot be {verb}: {self._without_password(_first_line(cause))}"

    def _disk_is_full(self) -> bool:
        try:
            return shutil.disk_usage(Path(self._url.database or "").parent).free < ROOM_TO_READ
        except OSError:
            return False

    def _without_password(self, text: str) -> str:
        password = self._url.password
        return text.replace(str(password), "***") if password else text


def is_missing(url: str, folder: Path | None = None) -> bool:
    """Whether it names an SQLite file that is not there, in a folder that is: what only looks must not make it.

    Args:
        url: the ledger's.
        folder: what a relative file is relative to; None for the current one.

    Raises:
        LedgerError: it is no url.
    """
    parsed = _parse(url)
    if not _is_file(parsed):
        return False
    path = (folder or Path.cwd()) / (parsed.database or "")
    return path.parent.is_dir() and not path.exists()


def _is_file(url: URL) -> bool:
    """Whether it is a SQLite file named by its path; not a database in memory, nor SQLite's own form of a URI."""
    name = url.database or ":memory:"
    return url.get_backend_name() == "sqlite" and name != ":memory:" and not name.startswith("file:")


def _resolved(url: URL, folder: Path) -> URL:
    """With a SQLite file's whole path."""
    return url.set(database=str(folder / (url.database or ""))) if _is_file(url) else url


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerError("the ledger's url must look like sqlite:///tuner.db or postgresql://host/name") from None


def _shown(url: URL) -> str:
    """The file, or the url without its secrets."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.set(query={}).render_as_string(hide_password=True)


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: a lock asked for in mid-transaction is refused without waiting."""
    writes = connection.get_execution_options().get("tuner_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _retry_while_busy(act: Callable[[], Any], seconds: float) -> None:
    """SQLite does not wait on its own when the journal mode of a fresh file changes."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            act()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return

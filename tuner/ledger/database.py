"""One engine, short transactions, and every failure of the database as one sentence."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from tuner.errors import LedgerError
from tuner.ledger.locks import writer_of
from tuner.ledger.patience import LOST_SECONDS, ConnectionLostError, may_come_back
from tuner.ledger.readonly import has_unreadable_log, is_writable, read_only_uri
from tuner.ledger.schema import NEVER_REMOVED, removed
from tuner.masks import without_secrets

BUSY_SECONDS = 30.0
ROOM_TO_READ = 65_536  # bytes
POSTGRES: Final = "postgresql+psycopg"
CONNECTIONS: Final = 15  # at once, at the most; a thread that needs one more waits

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


@dataclass(slots=True)
class Reached:
    """How far a transaction came: whether its commit was sent, after which nobody knows that it was not taken."""

    commit: bool = False


@final
class Database:
    """Connections to one ledger; safe to share between threads, not across a fork.

    Args:
        url: SQLAlchemy's.
        busy_seconds: how long to wait for another process's lock.
        folder: what a relative path in it is below; the current folder by default.
        read_only: of an SQLite file that cannot be written; it is only read.
        lost_seconds: how long a database that was reached once may be away, as while it is restarted.
    """

    def __init__(
        self,
        url: str,
        busy_seconds: float,
        folder: Path | None = None,
        read_only: bool = False,
        lost_seconds: float = LOST_SECONDS,
    ) -> None:
        given = _parse(url)
        self.where = _shown(given)
        self._url = _resolved(given, folder or Path.cwd())
        self.folder = folder
        self.is_read_only = read_only
        self._busy_seconds, self.lost_seconds = busy_seconds, lost_seconds
        self._was_reached = False
        self.written = 0  # transactions of this process
        self._snapshots = threading.local()
        self._idle = threading.Condition()
        self._users, self._is_closed = 0, False
        try:
            # A connection that a restarted Postgres has closed is found when it is taken, and replaced.
            pings = self._url.get_backend_name() != "sqlite"
            # All that threads ever needed at once are kept: opening one anew takes longer than most questions.
            kept = {} if not pings and _file(self._url) is None else {"pool_size": CONNECTIONS, "max_overflow": 0}
            self._use(create_engine(_to_read(self._url) if read_only else self._url, pool_pre_ping=pings, **kept))
        except (SQLAlchemyError, ImportError) as error:
            raise LedgerError(_no_driver(self._url, self.where, error)) from None

    def _use(self, engine: Engine) -> None:
        self._reader = engine
        self._writer = engine.execution_options(tuner_writes=True)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", self._set_pragmas)
            event.listen(engine, "begin", _begin_sqlite)

    @contextmanager
    def changed_copy(self) -> Iterator[None]:
        """Go on with a copy of a read-only file in memory, which is changed within the context and not after it."""
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        with self._sentences("read"), self._reader.connect() as connection:
            original = connection.connection.dbapi_connection
            assert isinstance(original, sqlite3.Connection)
            original.backup(copy)
        self._reader.dispose()
        self._use(create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool))
        yield
        copy.execute("PRAGMA query_only = ON")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees one state of the ledger; a row that cannot be read is the ledger's fault."""
        try:
            with self._used(), self._sentences("read"), self._begun() as connection:
                yield connection
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(
                f"{self.where}: the ledger must hold what the tuner wrote, but a row is damaged"
                f" ({self._without_password(_first_line(error))}); restore it from a copy"
            ) from None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that this thread reads meanwhile is of one moment, unaffected by what others write."""
        with self._used(), self._sentences("read"), self._reader.connect() as connection:
            if self._reader.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            self._snapshots.connection = connection
            try:
                with connection.begin():
                    yield
            finally:
                del self._snapshots.connection

    @property
    def is_in_snapshot(self) -> bool:
        """Whether this thread reads within `snapshot`."""
        return getattr(self._snapshots, "connection", None) is not None

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        held: Connection | None = getattr(self._snapshots, "connection", None)
        if held is not None:
            yield held
            return
        with self._reader.begin() as connection, _dropped_if_interrupted(connection):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that is recorded whole, on the disk when the block ends, or not at all."""
        reached = Reached()
        with self._used(), self._sentences("written", reached), self._writer.begin() as connection:
            with _dropped_if_interrupted(connection):
                yield connection
            reached.commit = True
        self.written += 1

    def faults(self) -> list[str]:
        """What SQLite's own checks find: damaged pages, rows that point at nothing, and rows that were removed.

        Postgres looks after its pages itself, and does not tell a removed row from one that was never recorded.
        """
        if self._reader.dialect.name != "sqlite":
            return []
        with self.reading() as connection:
            lines = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            loose = {str(row[0]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")}
            lost = list(_removed_rows(connection))
        found = [line for line in lines if line != "ok"]
        found += [f"a row of {name} points at nothing" for name in sorted(loose)]
        return [f"{self.where}: {line}" for line in [*found, *lost]]

    def writer(self) -> int | None:
        """The process that is amid a transaction that writes; None where none is, or where the system does not say.

        It is told of SQLite's files alone, which have one writer at a time.
        """
        path = _file(self._url)
        return None if path is None else writer_of(path)

    def close(self) -> None:
        """Close every connection, once the transactions of other threads have ended; later ones are refused."""
        with self._idle:
            self._is_closed = True
            self._idle.wait_for(lambda: self._users == 0, self._busy_seconds)
        self._reader.dispose()

    @contextmanager
    def _used(self) -> Iterator[None]:
        """An engine would open the file again: a thread that was left behind must not touch a closed ledger."""
        with self._idle:
            if self._is_closed:
                raise LedgerError(f"{self.where}: the ledger must be open to be read or written, but it was closed")
            self._users += 1
        try:
            yield
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    def _set_pragmas(self, connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
        if self.is_read_only:
            return
        _retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL"), self._busy_seconds)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @contextmanager
    def _sentences(self, verb: str, reached: Reached | None = None) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            if (interrupt := _interrupt_before(error)) is not None:
                raise interrupt from None
            text = self._sentence(error, verb)
            if self._was_reached and may_come_back(error):
                raise ConnectionLostError(text, is_recorded_perhaps=reached is not None and reached.commit) from None
            raise LedgerError(text) from None
        self._was_reached = True

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
        return without_secrets(text, self._url.render_as_string(hide_password=False))


@contextmanager
def _dropped_if_interrupted(connection: Connection) -> Iterator[None]:
    """Give up a connection amid whose query Ctrl-C came: it can take no other command, not even the one that undoes."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        connection.invalidate()
        raise


def _interrupt_before(error: BaseException) -> BaseException | None:
    """The Ctrl-C, or other end of the process, that came amid a query and of which an error is but a consequence."""
    cause: BaseException | None = error
    while cause is not None and isinstance(cause, Exception):
        cause = cause.__cause__ or cause.__context__
    return cause


def _removed_rows(connection: Connection) -> Iterator[str]:
    """SQLite remembers the highest number that it gave to a row of these tables, and no number is left out."""
    rows = connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")
    given = {str(row[0]): int(row[1]) for row in rows}
    deleted = {str(name): int(count) for name, count in connection.execute(select(removed.c.name, removed.c.count))}
    for table in NEVER_REMOVED:
        count = connection.execute(select(func.count()).select_from(table)).scalar_one()
        due = given.get(table.name, 0) - deleted.get(table.name, 0)
        if count != due:
            yield f"{due} rows of {table.name} were recorded, but {count} are there"


def cannot_be_written(url: str, folder: Path | None = None) -> bool:
    """Whether it names an SQLite file that is there and that this user may not write.

    Args:
        url: SQLAlchemy's.
        folder: what a relative path in it is below; the current folder by default.

    Raises:
        LedgerError: it is no url, or not even all that is recorded can be read.
    """
    path = _file(_resolved(_parse(url), folder or Path.cwd()))
    if path is None or not path.exists():
        return False
    if has_unreadable_log(path):
        raise LedgerError(
            f"{path}: its newest records are in {path.name}-wal, which SQLite cannot read without the right to write"
            " here; copy both files to another folder and look at the copy."
        )
    return not is_writable(path)


def is_missing(url: str, folder: Path | None = None) -> bool:
    """Whether it names an SQLite file that is not there, in a folder that is: what only looks must not make it.

    Args:
        url: the ledger's.
        folder: what a relative file is relative to; None for the current one.

    Raises:
        LedgerError: it is no url.
    """
    path = _file(_resolved(_parse(url), folder or Path.cwd()))
    return path is not None and path.parent.is_dir() and not path.exists()


def _file(url: URL) -> Path | None:
    """The file that an SQLite url names by its path; None for any other url."""
    name = url.database or ":memory:"
    if url.get_backend_name() != "sqlite" or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name)


def _resolved(url: URL, folder: Path) -> URL:
    """With a SQLite file's whole path."""
    path = _file(url)
    return url if path is None else url.set(database=str(folder / path))


def _to_read(url: URL) -> URL:
    """The url that opens a file by SQLite's own kind of uri, which says that it is to be read."""
    name, _, query = read_only_uri(Path(url.database or "")).partition("?")
    return url.set(database=name, query={**dict(part.split("=") for part in query.split("&")), "uri": "true"})


def _parse(url: str) -> URL:
    try:
        return _with_our_driver(make_url(url))
    except (ArgumentError, ValueError):
        raise LedgerError("the ledger's url must look like sqlite:///tuner.db or postgresql://host/name") from None


def _with_our_driver(url: URL) -> URL:
    """Postgres as its own programs write it means psycopg 3; SQLAlchemy knows one of these names, for psycopg2."""
    return url.set(drivername=POSTGRES) if url.drivername in ("postgres", "postgresql") else url


def _no_driver(url: URL, where: str, error: Exception) -> str:
    if url.drivername == POSTGRES:
        return (
            f"{where}: a ledger on Postgres needs psycopg 3, but it cannot be imported ({_first_line(error)});"
            " install it with: pip install 'psycopg[binary]'"
        )
    return f"{where}: no driver for {url.drivername}: {_first_line(error)}"


def _shown(url: URL) -> str:
    """The file, or the url without its secrets."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.set(query={}).render_as_string(hide_password=True)


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: a lock asked for in mid-transaction is refused without waiting."""
    if connection.get_execution_options().get("tuner_writes", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    # Nothing is asked of the file yet, so this cannot fail; by SQLAlchemy it would take longer than most questions.
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute("BEGIN")


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

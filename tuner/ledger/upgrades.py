"""The ledger's tables: made where there are none, and brought up to date where an older version made them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, func, insert, inspect, select, text, update

from tuner.errors import LedgerError
from tuner.ledger.database import BUSY_SECONDS, Database
from tuner.ledger.schema import SCHEMA_VERSION, metadata, schema, study, submission, supervisor, trial, trial_counts
from tuner.spec.rules import FIRST


@dataclass(frozen=True, slots=True)
class Migration:
    """What was made of a ledger's tables.

    Attributes:
        where: the ledger, as messages name it.
        before: the version of its tables; None where there were none.
        after: their version now.
    """

    where: str
    before: int | None
    after: int


def migrate(url: str, folder: Path | None = None) -> Migration:
    """Make or upgrade the tables of a ledger, and close it.

    Args:
        url: SQLAlchemy's.
        folder: what a relative file in it is below; the current folder by default.

    Raises:
        LedgerError: it cannot be opened or written, or is of a version that this one does not know.
    """
    database = Database(url, BUSY_SECONDS, folder)
    try:
        return Migration(database.where, ensure_schema(database), SCHEMA_VERSION)
    finally:
        database.close()


def ensure_schema(database: Database) -> int | None:
    """Make the tables, or upgrade them in place, step by step and in one transaction; of what is read-only a copy.

    Returns:
        The version that was there; None where this made them.

    Raises:
        LedgerError: the tables are of a version that this one does not know.
    """
    made = _make(database)
    with database.reading() as connection:
        found: int | None = connection.execute(select(func.max(schema.c.version))).scalar()
    version = found
    if version in _STEPS:
        with database.changed_copy() if database.is_read_only else nullcontext(), database.writing() as connection:
            version = _upgraded(connection)
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"{database.where}: the ledger must have schema {SCHEMA_VERSION}, but it has {version};"
            " use the version of the tuner that wrote it, or a newer one"
        )
    return None if made else found


def _make(database: Database) -> bool:
    """Make the tables where there are none; whether it did."""
    with database.reading() as connection:
        if inspect(connection).has_table(schema.name):
            return False
    with database.writing() as connection:
        _wait_for_others(connection)
        if inspect(connection).has_table(schema.name):
            return False
        metadata.create_all(connection)
        connection.execute(insert(schema), [{"version": SCHEMA_VERSION}])
    return True


def _wait_for_others(connection: Connection) -> None:
    """Until this transaction ends nobody else makes the tables; SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MAKING})"))


def _upgraded(connection: Connection) -> int:
    """The version after every step that leads on from it; another process may have taken them meanwhile."""
    version: int = connection.execute(select(schema.c.version).with_for_update()).scalar_one()
    while version in _STEPS:
        _STEPS[version](connection)
        version += 1
    connection.execute(update(schema).values(version=version))
    return version


def _add_tables(connection: Connection) -> None:
    """Those that are not there yet, as they are now."""
    metadata.create_all(connection)


def _add_measures(connection: Connection) -> None:
    _add_column(connection, trial, "measures", "TEXT")


def _add_rules(connection: Connection) -> None:
    """Every study that is there already was begun before rules had a number."""
    _add_column(connection, study, "rules", f"INTEGER NOT NULL DEFAULT {FIRST}")


def _add_control(connection: Connection) -> None:
    """tuner_wanted, tuner_progress, tuner_removed, and the index that lists are counted from."""
    _add_tables(connection)
    trial_counts.create(connection, checkfirst=True)


def _add_executors(connection: Connection) -> None:
    """What launchers chose of what the operator offers; who handed a study in before chose nothing."""
    _add_column(connection, submission, "executor", "VARCHAR(16)")
    _add_column(connection, submission, "ran_on", "VARCHAR(16)")
    _add_column(connection, supervisor, "executors", "TEXT")


def _add_grants(connection: Connection) -> None:
    _add_column(connection, submission, "granted", "INTEGER")


def _add_column(connection: Connection, table: Table, name: str, kind: str) -> None:
    """Add a column that may be NULL or has a default; a step before that made the whole table has made it already."""
    if name not in {column["name"] for column in inspect(connection).get_columns(table.name)}:
        connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {name} {kind}"))


_MAKING: Final = 0x7E57AB1E  # names the lock among all of the database's

# From each version to the next one.
_STEPS: Final[dict[int, Callable[[Connection], None]]] = {
    1: _add_tables,  # tuner_lease
    2: _add_measures,
    3: _add_rules,
    4: _add_control,
    5: _add_tables,  # the service's: tuner_submission and those beside it
    6: _add_executors,
    7: _add_grants,
}

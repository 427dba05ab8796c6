"""Data by name: what a declaration calls `dataset:NAME`, registered by whoever keeps the service."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from sqlalchemy import delete, insert, select

from tuner.errors import InputError
from tuner.ledger.audit import note_down
from tuner.ledger.database import Database
from tuner.ledger.leases import database_time, take_turns
from tuner.ledger.schema import dataset

PREFIX: Final = "dataset:"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that studies may name.

    Attributes:
        name: letters, digits, `_`, `.`, `-`; at most 64.
        path: absolute, of a file or folder inside the data root.
        size: bytes; of a folder, of all its files.
        at: when it was registered, Unix time in seconds.
        by: who registered it.
    """

    name: str
    path: str
    size: int
    at: float
    by: str


@final
class Datasets:
    """The names, in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, path: str, size: int, actor: str) -> Dataset:
        """Register data; a name that is taken is refused, for studies that used it would go on with other data.

        Raises:
            InputError: the name is taken by other data, or is no name.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"data set {name!r}: the name must begin with a letter or digit and hold only letters, digits, _, . and"
                " -, at most 64."
            )
        with self._database.writing() as connection:
            take_turns(connection)
            known = connection.execute(select(dataset).where(dataset.c.name == name)).first()
            if known is not None and known.path != path:
                raise InputError(f"data set {name}: there is one of that name already; choose another name.")
            made = Dataset(name, path, size, database_time(connection), actor)
            if known is not None:
                return Dataset(*known)
            row = {"name": name, "path": path, "size": size, "at": made.at, "by": actor}
            connection.execute(insert(dataset), [row])
            note_down(connection, actor, "dataset", name, {"size": size})
        return made

    def get(self, name: str) -> Dataset | None:
        """The data of that name."""
        with self._database.reading() as connection:
            row = connection.execute(select(dataset).where(dataset.c.name == name)).first()
        return None if row is None else Dataset(*row)

    def all(self) -> list[Dataset]:
        """Every one, by name."""
        with self._database.reading() as connection:
            return [Dataset(*row) for row in connection.execute(select(dataset).order_by(dataset.c.name))]

    def remove(self, name: str, actor: str) -> bool:
        """Forget a name; its file stays. Whether there was one."""
        with self._database.writing() as connection:
            gone = connection.execute(delete(dataset).where(dataset.c.name == name)).rowcount
            if gone:
                note_down(connection, actor, "dataset", name, {"removed": True})
        return bool(gone)

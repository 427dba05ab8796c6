"""Notes and tags that people give to studies; nothing that is trained reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, final

from sqlalchemy import bindparam, insert, select, update

from tuner.ledger.audit import note_down
from tuner.ledger.database import Database
from tuner.ledger.leases import database_time
from tuner.ledger.schema import note, study

_NOTES: Final = select(study.c.name, note.c.text, note.c.tags).join(study, study.c.id == note.c.study_id)
_NOTE: Final = select(note.c.text, note.c.tags).where(note.c.study_id == bindparam("study"))


@dataclass(frozen=True, slots=True)
class Note:
    """What people wrote about a study.

    Attributes:
        text: in plain words; empty where nothing was written.
        tags: in the order in which they were given.
    """

    text: str = ""
    tags: tuple[str, ...] = ()


@final
class Notes:
    """Notes and tags by study."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, study_id: int, text: str, tags: tuple[str, ...], actor: str) -> None:
        """Replace a study's note and tags."""
        with self._database.writing() as connection:
            name = connection.execute(select(study.c.name).where(study.c.id == study_id).with_for_update()).scalar_one()
            values = {"text": text, "tags": json.dumps(list(tags)), "at": database_time(connection), "by": actor}
            if not connection.execute(update(note).where(note.c.study_id == study_id).values(**values)).rowcount:
                connection.execute(insert(note), [{"study_id": study_id, **values}])
            note_down(connection, actor, "note", name, {"tags": list(tags)})

    def all(self) -> dict[str, Note]:
        """Every note, by the study's name."""
        with self._database.reading() as connection:
            return {name: Note(text, tuple(json.loads(tags))) for name, text, tags in connection.execute(_NOTES)}

    def of(self, study_id: int) -> Note:
        """A study's note; an empty one where there is none."""
        with self._database.reading() as connection:
            row = connection.execute(_NOTE, {"study": study_id}).first()
        return Note() if row is None else Note(row.text, tuple(json.loads(row.tags)))

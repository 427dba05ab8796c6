"""Who asked the service for what: one line in the transaction that changed it, never changed or removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from sqlalchemy import Connection, insert, select

from tuner.ledger.database import Database
from tuner.ledger.leases import database_time
from tuner.ledger.schema import audit


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One request that changed something.

    Attributes:
        seq: grows with every line.
        at: Unix time in seconds.
        actor: the name of the token, or the process, that asked.
        action: submit, run, stop, archive, delete, rename, note, token, revoke, dataset.
        subject: the study, token or data set.
        body: what was asked, without secrets.
    """

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    body: dict[str, Any]


@final
class AuditTrail:
    """The lines, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, most: int = 100, subject: str | None = None) -> list[AuditLine]:
        """At most so many lines, of one subject where it is given."""
        query = select(audit).order_by(audit.c.seq.desc()).limit(most)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        with self._database.reading() as connection:
            return [
                AuditLine(row.seq, row.at, row.actor, row.action, row.subject, json.loads(row.body))
                for row in connection.execute(query)
            ]


def note_down(connection: Connection, actor: str, action: str, subject: str, body: Mapping[str, Any]) -> None:
    """Add a line to the transaction that makes the change."""
    row = {"at": database_time(connection), "actor": actor, "action": action, "subject": subject}
    connection.execute(insert(audit), [{**row, "body": json.dumps(dict(body))}])

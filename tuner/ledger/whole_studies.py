"""What is done to a study as a whole: it gets another name, or goes with all that is recorded of it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update

from tuner.errors import SpecError, StudyError
from tuner.ledger import outbox
from tuner.ledger.audit import note_down
from tuner.ledger.schema import (
    NEVER_REMOVED,
    checkpoint,
    cohort,
    event,
    lease,
    measurement,
    note,
    progress,
    removed,
    run,
    segment,
    study,
    submission,
    trial,
    wanted,
)
from tuner.ledger.schema import outbox as outbox_table
from tuner.ledger.submissions import check_no_driver

# What points at another table's rows goes before those.
_OF_A_STUDY: Final = (
    outbox_table,
    run,
    checkpoint,
    measurement,
    segment,
    event,
    trial,
    cohort,
    wanted,
    progress,
    note,
    lease,
)


def rename(connection: Connection, study_id: int, name: str, spec_json: str, actor: str | None = None) -> None:
    """Give a study another name, in its declaration and in the file that was handed in too.

    Args:
        connection: a transaction.
        study_id: the study.
        name: the new name.
        spec_json: the whole declaration with it.
        actor: who asked the service for it; None for the command line.

    Raises:
        StudyError: another study has that name, or a driver was started that knows it by the old one.
    """
    taken = select(study.c.id).where(study.c.name == name, study.c.id != study_id)
    if connection.execute(taken).first():
        raise StudyError(f"study {name}: there is one of that name already; choose another one.")
    waits = select(submission.c.id).where(submission.c.name == name)
    if connection.execute(waits).first():
        raise StudyError(f"study {name}: one of that name was handed in to the service; choose another name.")
    old = connection.execute(select(study.c.name).where(study.c.id == study_id)).scalar_one()
    check_no_driver(connection, old)
    given = connection.execute(select(submission.c.spec_text).where(submission.c.name == old)).scalar()
    if given is not None:
        values = {"name": name, "spec_text": _renamed(given, name)}
        connection.execute(update(submission).where(submission.c.name == old).values(**values))
    if actor is not None:
        note_down(connection, actor, "rename", name, {"from": old})
    connection.execute(update(study).where(study.c.id == study_id).values(name=name, spec_json=spec_json))
    outbox.add(connection, study_id, [outbox.row("study")])


def _renamed(text: str, name: str) -> str:
    from tuner.spec.canonical import renamed_text  # noqa: PLC0415  (pydantic: a list of studies needs none of it)

    try:
        return renamed_text(text, name)
    except SpecError:  # of another version: the study does not go on from it
        return text


def remove(connection: Connection, study_id: int, actor: str | None = None) -> None:
    """Remove all that is recorded of a study, and count it: of all other rows the ledger shows that none is missing.

    Args:
        connection: a transaction.
        study_id: the study.
        actor: who asked the service for it; None for the command line.

    Raises:
        StudyError: a driver was started for it, which would record it again.
    """
    name = connection.execute(select(study.c.name).where(study.c.id == study_id)).scalar_one()
    check_no_driver(connection, name)
    connection.execute(delete(submission).where(submission.c.name == name))
    if actor is not None:
        note_down(connection, actor, "delete", str(name), {})
    for table in _OF_A_STUDY:
        _remove(connection, table, table.c.study_id == study_id)
    _remove(connection, study, study.c.id == study_id)


def _remove(connection: Connection, table: Table, chosen: ColumnElement[bool]) -> None:
    count = connection.execute(delete(table).where(chosen)).rowcount
    if table not in NEVER_REMOVED or not count:
        return
    known = connection.execute(select(removed.c.count).where(removed.c.name == table.name)).scalar()
    if known is None:
        connection.execute(insert(removed), [{"name": table.name, "count": count}])
    else:
        connection.execute(update(removed).where(removed.c.name == table.name).values(count=known + count))

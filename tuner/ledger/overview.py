"""Lists and counts by SQL: no trial's row, nor any epoch's, leaves the database for them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, bindparam, func, select

from tuner.ledger.leases import is_held, owner_in_words
from tuner.ledger.records import StudyTally
from tuner.ledger.schema import FINAL_COHORT, lease, study, trial
from tuner.spec.work import TrialState


class _Counted(NamedTuple):
    counts: dict[TrialState, int]
    best: float | None


_NOTHING = _Counted({}, None)
# Statements are made once: a page that many look at asks for them several times a second.
_OF_RUN: Final = (lease.c.study_id == study.c.id) & (lease.c.purpose == "run")
_STANDINGS: Final = (
    select(
        *(study.c[name] for name in ("id", "name", "state", "created_at", "changed_at", "spec_json")),
        *(lease.c[name] for name in ("owner", "seen_at", "taken_at", "purpose")),
    )
    .outerjoin(lease, _OF_RUN)
    .order_by(study.c.id)
)
_STANDING: Final = _STANDINGS.where(study.c.id == bindparam("study"))
_COUNTS: Final = (
    select(trial.c.study_id, trial.c.state, func.count(), func.min(trial.c.value))
    .where(trial.c.cohort != FINAL_COHORT)
    .group_by(trial.c.study_id, trial.c.state)
)
_COUNT: Final = _COUNTS.where(trial.c.study_id == bindparam("study"))


def tallies(connection: Connection, study_id: int | None = None) -> Iterator[StudyTally]:
    """Every study's tally, oldest first, or one study's."""
    counted = _counted(connection, study_id)
    found = connection.execute(_STANDINGS) if study_id is None else connection.execute(_STANDING, {"study": study_id})
    for row in found:
        yield _tally(connection, row, counted.get(row.id, _NOTHING))


def _tally(connection: Connection, row: Row[Any], counted: _Counted) -> StudyTally:
    owner = owner_in_words(row) if row.owner is not None and is_held(connection, row) else None
    killed = row.state == "running" and owner is None
    return StudyTally(
        name=row.name,
        state="stopped" if killed else row.state,
        counts=counted.counts,
        best=counted.best,
        trials=_declared(row.spec_json) or sum(counted.counts.values()),
        created_at=row.created_at,
        owner=owner,
        was_killed=killed,
        changed_at=row.changed_at,
    )


def _declared(spec_json: str) -> int | None:
    """The trials that a declaration asks for, without the time that checking all of it takes."""
    try:
        return int(json.loads(spec_json)["search"]["trials"])
    except (ValueError, KeyError, TypeError):
        return None


def _counted(connection: Connection, study_id: int | None) -> dict[int, _Counted]:
    rows = connection.execute(_COUNTS) if study_id is None else connection.execute(_COUNT, {"study": study_id})
    found: defaultdict[int, dict[TrialState, int]] = defaultdict(dict)
    best: dict[int, float | None] = {}
    for owner, state, count, lowest in rows:
        found[owner][TrialState(state)] = count
        if state == TrialState.COMPLETE:
            best[owner] = lowest
    return {number: _Counted(counts, best.get(number)) for number, counts in found.items()}

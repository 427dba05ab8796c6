"""Between the ledger's rows and what the ledger answers with."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from tuner.ledger import measurements
from tuner.ledger.records import SegmentRecord, StudyRecord, TrialRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Segment, SegmentResult, Trial, TrialState

if TYPE_CHECKING:
    from tuner.spec.space import SearchSpace


def study_row(  # noqa: PLR0913, PLR0917 - all of a row
    name: str,
    spec_json: str,
    source: str,
    fingerprint: str,
    versions: Mapping[str, str],
    rules: int,
    now: float,
) -> dict[str, Any]:
    """A new study, running, as it is recorded, with a key of its own."""
    return {
        "key": uuid.uuid4().hex,
        "name": name,
        "spec_json": spec_json,
        "source": source,
        "fingerprint": fingerprint,
        "state": "running",
        "created_at": now,
        "changed_at": now,
        "versions": json.dumps(dict(versions)),
        "rules": rules,
    }


def trial_row(study_id: int, cohort_number: int, each: Trial, now: float) -> dict[str, Any]:
    """A new trial, running, as it is recorded."""
    return {
        "study_id": study_id,
        "number": each.number,
        "cohort": cohort_number,
        "point": json.dumps(each.point.as_dict()),
        "seed": each.seed,
        "state": TrialState.RUNNING.value,
        "epochs": 0,
        "reason": "",
        "asked_at": now,
    }


def event_row(study_id: int, kind: str, body: Mapping[str, Any], now: float) -> dict[str, Any]:
    """An event as it is recorded."""
    return {"study_id": study_id, "at": now, "kind": kind, "body": json.dumps(dict(body))}


def segment_row(study_id: int, work: Segment, result: SegmentResult, now: float) -> dict[str, Any]:
    """A segment as it is recorded."""
    return {
        "study_id": study_id,
        "trials": json.dumps([each.number for each in work.trials]),
        "first": work.first,
        "last": work.last,
        "seconds": result.seconds,
        "worker": result.worker,
        "at": now,
    }


def study_record(row: Row[Any]) -> StudyRecord:
    """A study as it is answered."""
    return StudyRecord(
        id=row.id,
        key=row.key,
        name=row.name,
        spec_json=row.spec_json,
        source=row.source,
        fingerprint=row.fingerprint,
        state=row.state,
        created_at=row.created_at,
        changed_at=row.changed_at,
        versions=json.loads(row.versions),
        rules=row.rules,
    )


def trial_record(row: Row[Any], bests: Mapping[int, measurements.Best], space: SearchSpace | None) -> TrialRecord:
    """A trial as it is answered; `bests` says how far running ones came."""
    recorded = measurements.Best(row.value, row.best_epoch, row.epochs)
    best = bests.get(row.number, recorded)
    return TrialRecord(
        number=row.number,
        cohort=row.cohort,
        point=Hyperparameters(**json.loads(row.point)),
        seed=row.seed,
        state=TrialState(row.state),
        value=best.value,
        best_epoch=best.best_epoch,
        epochs=best.epochs,
        reason=row.reason,
        asked_at=row.asked_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        measures=json.loads(row.measures or "{}"),
        space=space,
    )


def segment_record(row: Row[Any]) -> SegmentRecord:
    """A segment as it is answered."""
    return SegmentRecord(tuple(json.loads(row.trials)), row.first, row.last, row.seconds, row.worker, row.at)

"""What segments measured, recorded: any number of them as if one after the other, in few statements."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection, insert

from tuner.ledger import changes, measurements, outbox, rows
from tuner.ledger.schema import event, segment
from tuner.spec.work import Segment, SegmentResult

Trained = tuple[Segment, SegmentResult]


def add(connection: Connection, study_id: int, trained: Sequence[Trained], where: str, folder: Path | None) -> None:
    """Record segments; the rows are those of as many calls with one segment each.

    Args:
        connection: of the transaction.
        study_id: the study.
        trained: the segments and what came of them, in the order in which they are recorded.
        where: the ledger, as messages name it.
        folder: what the paths of checkpoints are recorded relative to.

    Raises:
        LedgerError: as for `measurements.add_curves`.
    """
    for apart in without_repeats(trained):
        _add(connection, study_id, apart, where, folder)


def without_repeats(trained: Sequence[Trained]) -> Iterator[list[Trained]]:
    """The same segments in parts, in order, none of which has a trial twice: what a trial had before is read once."""
    part: list[Trained] = []
    numbers: set[int] = set()
    for work, result in trained:
        new = {curve.number for curve in result.curves}
        if numbers & new:
            yield part
            part, numbers = [], set()
        part.append((work, result))
        numbers |= new
    if part:
        yield part


def _add(connection: Connection, study_id: int, trained: Sequence[Trained], where: str, folder: Path | None) -> None:
    now = time.time()
    measured = [curve for _, result in trained for curve in result.curves]
    curves = [measurements.below(curve, folder) for curve in measured]
    added = measurements.add_curves(connection, study_id, curves, where)
    fresh, begun = {number for number, _, _ in added}, {number for number, first, _ in added if first == 0}
    news = [
        rows.segment_row(study_id, work, result, now)
        for work, result in trained
        if any(curve.number in fresh for curve in result.curves)
    ]
    if news:
        connection.execute(insert(segment), news)
    measurements.add_measures(connection, study_id, measured)
    failed = measurements.failed_measures(measured, fresh)
    if failed:
        connection.execute(insert(event), [rows.event_row(study_id, "unmeasured", body, now) for body in failed])
    changes.set_started(connection, study_id, [result for _, result in trained], begun)
    outbox.add(connection, study_id, [outbox.row("curve", *span) for span in added])

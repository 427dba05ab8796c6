"""The outbox holds what MLflow does not show yet: all of it, in order, and recorded with what it points at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tuner.answers.summary import Summary
from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, OutboxRow, StudyRecord
from tuner.spec.work import TrialEnd, TrialState

Make = Any

RECORDS: dict[str, Callable[[Ledger, int, Make], object]] = {
    "create_study": lambda ledger, _, __: ledger.create_study("{}", "", "", "another", {}),
    "update_spec": lambda ledger, study, _: ledger.update_spec(study, "{}", "new.yaml"),
    "set_state": lambda ledger, study, _: ledger.set_state(study, "stopped"),
    "record_cohorts": lambda ledger, study, make: ledger.record_cohorts(
        study, [(CohortRecord(1, 1), [make.trial(4)])], [TrialEnd(0, TrialState.FAILED, None, None, 0, "no")]
    ),
    "record_segments": lambda ledger, study, make: ledger.record_segments(
        study, [make.segment(make.curve(0, 0, [0.5]), make.curve(1, 0, [0.5])), make.segment(make.curve(2, 0, [0.5]))]
    ),
    "record_ends": lambda ledger, study, _: ledger.record_ends(
        study, [TrialEnd(number, TrialState.COMPLETE, 0.5, 1, 1, "") for number in (0, 1)]
    ),
    "record_summary": lambda ledger, study, _: ledger.record_summary(study, Summary(best=None, seconds=1.0)),
}


@contextmanager
def failing_outbox() -> Iterator[None]:
    """Every insert into the outbox fails, after whatever the call wrote before it."""

    def fail(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO tuner_outbox"):
            raise RuntimeError("the outbox is out of order")

    event.listen(Engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", fail)


@pytest.mark.parametrize("name", RECORDS)
def test_nothing_is_recorded_without_its_outbox_rows(
    ledger: Ledger, study: StudyRecord, make: Make, dump: Callable[[], str], name: str
) -> None:
    """Each record_* call is one transaction with its outbox rows: where they fail, nothing of it is there."""
    before = dump()
    with failing_outbox(), pytest.raises(RuntimeError):
        RECORDS[name](ledger, study.id, make)
    assert dump() == before
    waiting = ledger.outbox.waiting_count()
    RECORDS[name](ledger, study.id, make)
    assert ledger.outbox.waiting_count() > waiting


def test_rows_wait_in_the_order_in_which_things_were_recorded(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """Each thing that is recorded leaves one row, a summary another for its files, and `limit` takes the oldest."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4]), make.curve(1, 0, [0.5, 0.4]))])
    ledger.record_ends(study.id, [TrialEnd(1, TrialState.PRUNED, 0.4, 2, 2, "pruned")])
    ledger.record_summary(study.id, Summary(best=None, seconds=1.0))
    rows = ledger.outbox.waiting(study.id, 100)
    assert [(row.kind, row.trial, row.first, row.last) for row in rows] == [
        ("study", None, None, None),
        *(("trial", number, None, None) for number in range(4)),
        ("curve", 0, 0, 2),
        ("curve", 1, 0, 2),
        ("end", 1, None, None),
        ("summary", None, None, None),
        ("answer", None, None, None),
    ]
    assert ledger.outbox.waiting(study.id, 3) == rows[:3]
    assert ledger.outbox.waiting_count(study.id) == ledger.outbox.waiting_count() == len(rows)


def test_published_rows_are_gone_and_rows_set_aside_do_not_wait(ledger: Ledger, study: StudyRecord) -> None:
    """Only what MLflow may still take waits; an id is never used again."""
    rows = ledger.outbox.waiting(study.id, 100)
    ledger.outbox.mark_published([rows[0].id, rows[-1].id])
    ledger.outbox.set_aside(rows[1].id, "too long")
    assert ledger.outbox.waiting(study.id, 100) == rows[2:-1]
    assert ledger.outbox.aside(study.id) == [OutboxRow(rows[1].id, "trial", 0, None, None, "too long")]
    ledger.set_state(study.id, "stopped")
    assert ledger.outbox.waiting(study.id, 100)[-1].id > rows[-1].id


def test_waiting_rows_of_other_studies_are_counted_apart(ledger: Ledger, study: StudyRecord) -> None:
    """A count is of one study, or of all."""
    other = ledger.create_study("{}", "", "", "other", {})
    assert (
        ledger.outbox.waiting_count(study.id),
        ledger.outbox.waiting_count(other.id),
        ledger.outbox.waiting_count(),
    ) == (5, 1, 6)


def test_run_ids_are_remembered(ledger: Ledger, study: StudyRecord) -> None:
    """A trial's run and the study's own run are told apart; the newest id counts."""
    ledger.outbox.set_run_id(study.id, None, "parent")
    ledger.outbox.set_run_ids(study.id, {0: "old", 3: "three"})
    ledger.outbox.set_run_id(study.id, 0, "zero")
    ledger.outbox.set_experiment_id(study.id, "17")
    assert (
        ledger.outbox.run_id(study.id, None),
        ledger.outbox.run_id(study.id, 0),
        ledger.outbox.run_id(study.id, 1),
    ) == (("parent", "zero", None))
    assert ledger.outbox.run_ids(study.id, [None, 0, 1, 3]) == {None: "parent", 0: "zero", 3: "three"}
    assert ledger.outbox.experiment_id(study.id) == "17"


def test_publishing_anew_lets_all_that_is_recorded_wait(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """For another MLflow the whole study waits again, whatever was published or set aside, and no run is known."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4]), make.curve(1, 0, [0.5, 0.4]))])
    ledger.record_segments(study.id, [make.segment(make.curve(0, 2, [0.3]))])
    ledger.record_ends(study.id, [TrialEnd(1, TrialState.PRUNED, 0.4, 2, 2, "pruned")])
    ledger.record_summary(study.id, Summary(best=None, seconds=1.0))
    rows = ledger.outbox.waiting(study.id, 100)
    ledger.outbox.mark_published([row.id for row in rows[1:]])
    ledger.outbox.set_aside(rows[0].id, "never")
    ledger.outbox.set_run_ids(study.id, {None: "parent", 0: "zero"})
    ledger.outbox.publish_anew(study.id, "http://elsewhere")
    assert [(row.kind, row.trial, row.first, row.last) for row in ledger.outbox.waiting(study.id, 100)] == [
        ("study", None, None, None),
        *(("trial", number, None, None) for number in range(4)),
        ("curve", 0, 0, 3),
        ("curve", 1, 0, 2),
        ("end", 1, None, None),
        ("summary", None, None, None),
        ("answer", None, None, None),
    ]
    assert ledger.outbox.aside(study.id) == []
    assert (ledger.outbox.run_ids(study.id, [None, 0]), ledger.outbox.tracking_store(study.id)) == (
        {},
        "http://elsewhere",
    )


def test_more_rows_than_a_statement_has_variables_can_be_marked(ledger: Ledger, study: StudyRecord) -> None:
    """Marking 70,000 rows as published works; SQLite takes 32,766 variables in a statement."""
    ledger.outbox.mark_published(range(70_000))
    assert ledger.outbox.waiting_count(study.id) == 0


def test_a_failure_of_the_database_is_a_ledger_error(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """What the database refuses is one sentence."""
    ledger.record_finals(study.id, [make.trial(10**9)])
    with pytest.raises(LedgerError, match=r"the ledger cannot be written: UNIQUE constraint failed: tuner_trial"):
        ledger.record_finals(study.id, [make.trial(10**9)])

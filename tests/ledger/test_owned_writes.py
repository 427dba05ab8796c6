"""Claims about who may write: a study's lease is needed for each write, and those that need none are named here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from owning import owning
from sqlalchemy import Engine, event

import tuner.ledger
from tuner.answers.summary import Summary
from tuner.errors import LedgerError
from tuner.ledger.control import Control
from tuner.ledger.leases import Purpose
from tuner.ledger.ledger import Ledger
from tuner.ledger.outbox import Outbox
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.spec.work import TrialEnd, TrialState

Make = Any
Write = Callable[[Ledger, int, Make], object]

# Every method that writes, by the lease that it needs.
OF_A_RUN: dict[str, Write] = {
    "update_spec": lambda ledger, study, _: ledger.update_spec(study, "{}", "new.yaml"),
    "rename_study": lambda ledger, study, _: ledger.rename_study(study, "other", "{}"),
    "delete_study": lambda ledger, study, _: ledger.delete_study(study),
    "set_state": lambda ledger, study, _: ledger.set_state(study, "stopped"),
    "record_event": lambda ledger, study, _: ledger.record_event(study, "run", {}),
    "record_events": lambda ledger, study, _: ledger.record_events(study, [("run", {}), ("speed", {})]),
    "record_cohorts": lambda ledger, study, make: ledger.record_cohorts(
        study, [(CohortRecord(1, 1), [make.trial(4)])], [TrialEnd(0, TrialState.FAILED, None, None, 0, "no")]
    ),
    "record_finals": lambda ledger, study, make: ledger.record_finals(study, [make.trial(10**9)]),
    "record_segments": lambda ledger, study, make: ledger.record_segments(
        study, [make.segment(make.curve(number, 0, [0.5], measures={"kl": 1.0})) for number in (0, 1)]
    ),
    "record_ends": lambda ledger, study, _: ledger.record_ends(
        study, [TrialEnd(0, TrialState.FAILED, None, None, 0, "no")]
    ),
    "record_summary": lambda ledger, study, _: ledger.record_summary(study, Summary(best=None, seconds=1.0)),
}
OF_A_PUBLISHER: dict[str, Write] = {
    "set_run_id": lambda ledger, study, _: ledger.outbox.set_run_id(study, None, "parent"),
    "set_run_ids": lambda ledger, study, _: ledger.outbox.set_run_ids(study, {0: "zero"}),
    "set_view_key": lambda ledger, study, _: ledger.outbox.set_view_key(study, "view"),
    "set_experiment_id": lambda ledger, study, _: ledger.outbox.set_experiment_id(study, "17"),
    "set_tracking_store": lambda ledger, study, _: ledger.outbox.set_tracking_store(study, "http://elsewhere"),
    "publish_anew": lambda ledger, study, _: ledger.outbox.publish_anew(study, "http://elsewhere"),
}
WITHOUT_LEASE: dict[str, Write] = {
    "create_study": lambda ledger, _, __: ledger.create_study("{}", "", "", "another", {}),
    "mark_published": lambda ledger, _, __: ledger.outbox.mark_published([1]),
    "set_aside": lambda ledger, _, __: ledger.outbox.set_aside(1, "never"),
    "ask_to_stop": lambda ledger, study, _: ledger.control.ask_to_stop(study),
    "ask_for_budget": lambda ledger, study, _: ledger.control.ask_for_budget(study, 99, None),
}
OF_THE_SERVICE = {"submissions.py", "standings.py", "supervision.py", "tokens.py", "datasets.py", "notes.py"}
OWNED = [(name, "run", write) for name, write in OF_A_RUN.items()]
OWNED += [(name, "publish", write) for name, write in OF_A_PUBLISHER.items()]
READS = {
    "study", "study_by_id", "standing", "studies", "events", "cohorts", "trials", "finals", "segments", "curves",
    "checkpoints", "checkpoint_stores", "epoch_spans", "faults", "summary", "summary_at", "holder", "fence", "snapshot",
    "waiting", "wanted", "granted", "reported", "tallies", "tally", "last_event", "events_after",
    "waiting_count", "aside", "run_id", "run_ids", "view_key", "experiment_id", "tracking_store",
}  # fmt: skip
OPENING = {"open", "look", "close", "lease", "lease_to_run"}
BESIDE = {"report"}  # written by the holder of a lease, lost on whoever holds none: see test_control.py


def method(ledger: Ledger, name: str) -> Callable[..., object]:
    """The method of that name, of the ledger or of one of its parts."""
    parts = [part for part in (ledger, ledger.outbox, ledger.control) if hasattr(part, name)]
    found: Callable[..., object] = getattr(parts[0], name)
    return found


@pytest.fixture
def begun(shared: str, make: Make) -> StudyRecord:
    """A study with a cohort of four running trials, which nobody runs."""
    ledger = Ledger.open(shared)
    study = ledger.create_study('{"name": "s"}', "s.yaml", "f" * 64, "s", {})
    with ledger.lease(study.id, "run"):
        ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [make.trial(number) for number in range(4)])])
    ledger.close()
    return study


def content(ledger: Ledger, study_id: int) -> list[object]:
    """All that the ledger answers about a study; nothing of one that was deleted."""
    if all(study.id != study_id for study in ledger.studies()):
        return []
    readers = [method(ledger, name) for name in sorted(READS)]
    of_study = [read(study_id) for read in readers if list(inspect.signature(read).parameters) == ["study_id"]]
    runs, waiting = ledger.outbox.run_ids(study_id, [None, 0]), ledger.outbox.waiting(study_id, 99)
    return [*of_study, ledger.studies(), ledger.trials(study_id), runs, waiting]


def test_every_method_is_classified() -> None:
    """A new method of the ledger has to be put into one of the tables above: does it write, and under which lease?"""
    parts = [name for part in (Ledger, Outbox, Control) for name, _ in inspect.getmembers(part, callable)]
    assert {
        name for name in parts if not name.startswith("_")
    } == READS | OPENING | BESIDE | OF_A_RUN.keys() | OF_A_PUBLISHER.keys() | WITHOUT_LEASE.keys()


def test_transactions_that_write_are_begun_in_few_places() -> None:
    """Who may write of a study is decided by the leases; the making of tables, and the service's own records, which no
    run builds on, alone are written around them."""
    found = {
        path.name: len(re.findall(r"\.writing\(", path.read_text(encoding="utf-8")))
        for path in Path(tuner.ledger.__file__).parent.glob("*.py")
    }
    assert {name for name, count in found.items() if count} == {"leases.py", "upgrades.py", *OF_THE_SERVICE}


@pytest.mark.parametrize(("purpose", "write"), [one[1:] for one in OWNED], ids=[one[0] for one in OWNED])
def test_a_write_without_the_lease_is_refused(
    shared: str, begun: StudyRecord, make: Make, purpose: Purpose, write: Write
) -> None:
    """Neither an object without a lease, nor one with the other lease, nor one whose lease is over changes anything;
    the same write under the lease does."""
    ledger, other = Ledger.open(shared), Ledger.open(shared)
    before = content(ledger, begun.id)
    refused = pytest.raises(LedgerError, match=f"study {begun.id} is changed only by whoever {purpose}")
    with refused:
        write(ledger, begun.id, make)
    with refused, ledger.lease(begun.id, "publish" if purpose == "run" else "run"):
        write(ledger, begun.id, make)
    with refused, other.lease(begun.id, purpose):
        write(ledger, begun.id, make)
    with ledger.lease(begun.id, purpose):
        pass
    with refused:
        write(ledger, begun.id, make)
    assert content(ledger, begun.id) == before
    with ledger.lease(begun.id, purpose):
        write(ledger, begun.id, make)
    assert content(ledger, begun.id) != before
    ledger.close()
    other.close()


@pytest.mark.parametrize("write", WITHOUT_LEASE.values(), ids=WITHOUT_LEASE)
def test_what_needs_no_lease_is_written_without_one(shared: str, begun: StudyRecord, make: Make, write: Write) -> None:
    """A new study has no owner yet, and what MLflow took is taken whoever says so."""
    ledger = Ledger.open(shared)
    before = content(ledger, begun.id)
    write(ledger, begun.id, make)
    assert content(ledger, begun.id) != before
    ledger.close()


@pytest.mark.parametrize("name", sorted(READS))
def test_what_reads_writes_nothing(url: str, make: Make, name: str) -> None:
    """No method that is said to read sends a statement that writes."""
    ledger, written = Ledger.open(url), []
    study = ledger.create_study('{"name": "s"}', "s.yaml", "f" * 64, "s", {})
    with owning(ledger, study.id):
        ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [make.trial(0)])])

    def watch(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.split(maxsplit=1)[0].upper() not in {"SELECT", "BEGIN", "PRAGMA"}:
            written.append(statement)

    words = {"name": "s", "record": study, "purpose": "run", "limit": 9, "most": 9, "number": None, "numbers": [0]}
    reads = method(ledger, name)
    event.listen(Engine, "before_cursor_execute", watch)
    try:
        reads(**{each: words.get(each, study.id) for each in inspect.signature(reads).parameters})
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
    assert written == []
    ledger.close()

"""Claims about what is wanted of a study and what its run reports: rows beside the record, on SQLite and Postgres."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tuner.api.control import progress_of
from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord


@pytest.fixture
def ledger(shared: str) -> Iterator[Ledger]:
    opened = Ledger.open(shared)
    yield opened
    opened.close()


@pytest.fixture
def study(ledger: Ledger) -> StudyRecord:
    return ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})


def state(ledger: Ledger, study: StudyRecord) -> str | None:
    wanted = ledger.control.wanted(study.id)
    return None if wanted is None else wanted.state


def test_whoever_launches_wants_the_study_to_run(ledger: Ledger, study: StudyRecord) -> None:
    """The lease replaces a stop and a budget that were asked for before; an ordinary lease asks for nothing."""
    assert state(ledger, study) is None
    ledger.control.ask_to_stop(study.id)
    ledger.control.ask_for_budget(study.id, 99, 60.0)
    with ledger.lease(study.id, "run"):
        assert state(ledger, study) == "stop"
    with ledger.lease_to_run(study.id):
        wanted = ledger.control.wanted(study.id)
        assert wanted is not None
        assert (wanted.state, wanted.trials, wanted.timeout) == ("run", None, None)
        ledger.control.ask_to_stop(study.id)
    assert state(ledger, study) == "stop"


def test_a_launch_that_is_refused_wants_nothing(shared: str, ledger: Ledger, study: StudyRecord) -> None:
    """A second `tuner run` does not take back the stop that the first one was asked for."""
    other = Ledger.open(shared)
    with ledger.lease_to_run(study.id):
        ledger.control.ask_to_stop(study.id)
        with pytest.raises(Exception, match="runs it since"), other.lease_to_run(study.id):
            pass
        assert state(ledger, study) == "stop"
    other.close()


def test_requests_leave_each_other_alone(ledger: Ledger, study: StudyRecord) -> None:
    """More trials, more time and a stop are three wishes; who came last is named."""
    with ledger.lease_to_run(study.id):
        ledger.control.ask_for_budget(study.id, 40, None)
        ledger.control.ask_for_budget(study.id, None, 90.0)
        ledger.control.ask_to_stop(study.id)
    wanted = ledger.control.wanted(study.id)
    assert wanted is not None
    assert (wanted.state, wanted.trials, wanted.timeout) == ("stop", 40, 90.0)
    assert wanted.by.startswith("process ")


def test_of_many_that_ask_at_once_all_are_heard(shared: str, ledger: Ledger, study: StudyRecord) -> None:
    """Eight processes ask for a stop of a study that was never asked for anything: one row, no error."""
    barrier, failed = threading.Barrier(8), []

    def ask() -> None:
        mine = Ledger.open(shared)
        barrier.wait()
        try:
            mine.control.ask_to_stop(study.id)
        except LedgerError as error:
            failed.append(error)
        mine.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert state(ledger, study) == "stop"


def test_an_unknown_study_is_asked_for_nothing(ledger: Ledger) -> None:
    """One sentence, and no row."""
    with pytest.raises(LedgerError, match="study 7 is unknown"):
        ledger.control.ask_to_stop(7)


def test_a_report_is_there_as_long_as_its_run(shared: str, ledger: Ledger, study: StudyRecord) -> None:
    """Another process reads what the run wrote last; it counts no longer once the lease is over, or another begins."""
    other = Ledger.open(shared)
    with ledger.lease_to_run(study.id):
        assert other.control.reported(study.id) is None
        ledger.control.report(study.id, {"phase": "training"})
        ledger.control.report(study.id, {"phase": "scoring"})
        seen = other.control.reported(study.id)
        assert seen is not None
        assert (seen.body, seen.fence) == ({"phase": "scoring"}, 1)
    assert progress_of(other, study.id).phase == "not running"
    with ledger.lease_to_run(study.id):
        assert other.control.reported(study.id) is None
        assert progress_of(other, study.id).phase == "starting"
    other.close()


def test_only_the_newest_owner_reports(shared: str, ledger: Ledger, study: StudyRecord) -> None:
    """A run whose lease was taken over, and an object that holds none, replace nothing."""
    other = Ledger.open(shared)
    with ledger.lease_to_run(study.id):
        ledger._leases._set(study.id, "run", 1, owner=None)  # as if it had not been seen for too long
        with other.lease_to_run(study.id):
            other.control.report(study.id, {"by": "the second"})
            ledger.control.report(study.id, {"by": "the first"})
            Ledger.open(shared).control.report(study.id, {"by": "a run without a lease"})
            seen = ledger.control.reported(study.id)
            assert seen is not None
            assert seen.body == {"by": "the second"}
    other.close()

"""Claims about leases: one owner at a time, a dead one is followed at once, and a late one cannot write."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tuner.answers.summary import Summary
from tuner.errors import LedgerError, StudyError
from tuner.ledger import leases
from tuner.ledger.leases import Leases
from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
from tuner.ledger.records import StudyRecord
from tuner.ledger.schema import lease

HOLD = """
import sys, time
from tuner.ledger.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
with ledger.lease(int(sys.argv[2]), "run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def ledger(shared: str) -> Iterator[Ledger]:
    opened = Ledger.open(shared)
    yield opened
    opened.close()


@pytest.fixture
def study(ledger: Ledger) -> StudyRecord:
    return ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})


def holder(url: str, study: StudyRecord) -> subprocess.Popen[str]:
    """Another process that holds the study until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, url, str(study.id)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def stamp(ledger: Ledger, study: StudyRecord, **values: Any) -> None:
    with ledger._database.writing() as connection:
        connection.execute(update(lease).where(lease.c.study_id == study.id).values(**values))


def fence(ledger: Ledger, study: StudyRecord) -> int:
    with ledger._database.reading() as connection:
        return connection.execute(select(lease.c.fence).where(lease.c.study_id == study.id)).scalar_one()


def test_a_held_study_is_refused_with_its_owner_and_since_when(shared: str, ledger: Ledger, study: StudyRecord) -> None:
    """Another process holds it: the sentence names it, nothing is changed, and once it ends the study is free."""
    process = holder(shared, study)
    for _ in range(2):
        with pytest.raises(StudyError) as error, ledger.lease(study.id, "run"):
            pass
        assert f"study s: process {process.pid} on " in str(error.value)
        assert " runs it since 20" in str(error.value)
        assert "nothing was changed" in str(error.value)
    assert fence(ledger, study) == 1
    process.communicate("")
    with ledger.lease(study.id, "run"):
        assert fence(ledger, study) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_owner_is_followed_at_once(shared: str, ledger: Ledger, study: StudyRecord, number: int) -> None:
    """kill -9 leaves the record as it was; the next owner sees that nobody is there, without waiting."""
    process = holder(shared, study)
    process.send_signal(number)
    process.wait()
    assert ledger.holder(study.id, "run") is None
    with ledger.lease(study.id, "run"):
        assert str(os.getpid()) in (ledger.holder(study.id, "run") or "")


def test_a_stopped_owner_is_an_owner(shared: str, ledger: Ledger, study: StudyRecord) -> None:
    """A process that cannot run just now may run on at any time."""
    process = holder(shared, study)
    process.send_signal(signal.SIGSTOP)
    stamp(ledger, study, seen_at=0.0)
    with pytest.raises(StudyError), ledger.lease(study.id, "run"):
        pass
    process.kill()
    process.wait()


def test_another_process_with_the_same_number_is_no_owner(ledger: Ledger, study: StudyRecord) -> None:
    """Numbers of processes are used again; their starts differ."""
    with ledger.lease(study.id, "run"):
        pass
    stamp(ledger, study, owner=replace(Owner.this_process(), started=1).text)
    with ledger.lease(study.id, "run"):
        pass


@pytest.mark.parametrize(
    ("change", "ago", "held"),
    [
        ({"boot": "other pid:[1]", "host": "elsewhere"}, 30.0, True),
        ({"boot": "other pid:[1]", "host": "elsewhere"}, 90.0, False),
        ({"boot": "", "started": 0}, 30.0, True),
        ({"boot": "", "started": 0}, 90.0, False),
        ({"boot": "other pid:[1]", "machine": "this"}, 1.0, False),
    ],
    ids=["elsewhere", "elsewhere-silent", "untold", "untold-silent", "before-a-restart"],
)
def test_an_owner_that_cannot_be_looked_at_must_have_been_seen(
    ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], ago: float, held: bool
) -> None:
    """On another machine: held while it was seen within a minute; on this one before its restart: never."""
    monkeypatch.setattr("tuner.ledger.owners._machine", lambda: "this")
    with ledger.lease(study.id, "run"):
        pass
    with ledger._database.reading() as connection:
        now = leases.database_time(connection)
    stamp(ledger, study, owner=replace(Owner.this_process(), **change).text, seen_at=now - ago)
    assert (ledger.holder(study.id, "run") is not None) is held


def test_an_owner_that_was_followed_cannot_write(ledger: Ledger, study: StudyRecord, shared: str) -> None:
    """A higher fence refuses whatever the old owner still records, and says so."""
    with ledger.lease(study.id, "run"):
        ledger.record_event(study.id, "run", {})
        stamp(ledger, study, owner=replace(Owner.this_process(), boot="other pid:[1]").text, seen_at=0.0)
        other = Ledger.open(shared)
        with other.lease(study.id, "run"):
            for write in (
                lambda: ledger.record_event(study.id, "run", {}),
                lambda: ledger.record_ends(study.id, []),
                lambda: ledger.record_summary(study.id, Summary(best=None, seconds=1.0)),
                lambda: ledger.set_state(study.id, "stopped"),
            ):
                with pytest.raises(LedgerError, match=f"process {os.getpid()} .* took its place"):
                    write()
            other.record_event(study.id, "run", {})
        other.close()
    assert len(ledger.events(study.id)) == 2


def test_leaving_the_old_lease_does_not_free_the_new_one(ledger: Ledger, study: StudyRecord, shared: str) -> None:
    """Whoever was followed gives back nothing."""
    other = Ledger.open(shared)
    with ledger.lease(study.id, "run"):
        stamp(ledger, study, owner=None)
        inner = other.lease(study.id, "run")
        inner.__enter__()
    assert ledger.holder(study.id, "run") is not None
    inner.__exit__(None, None, None)
    other.close()


def test_two_threads_of_one_process_are_two_owners(ledger: Ledger, study: StudyRecord) -> None:
    """The same process may not hold a study twice, but each purpose for itself."""
    with ledger.lease(study.id, "run"):
        with pytest.raises(StudyError), ledger.lease(study.id, "run"):
            pass
        with ledger.lease(study.id, "publish"):
            pass


def test_of_many_that_come_at_once_one_is_the_owner(shared: str, ledger: Ledger, study: StudyRecord) -> None:
    """Eight threads take a lease that was never held: one gets it, seven are told who has it."""
    barrier, over, outcomes = threading.Barrier(8), threading.Event(), []

    def take() -> None:
        mine = Ledger.open(shared)
        barrier.wait()
        try:
            with mine.lease(study.id, "run"):
                outcomes.append("held")
                over.wait(60)
        except StudyError:
            outcomes.append("refused")
        if len(outcomes) == 8:
            over.set()
        mine.close()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held"] + ["refused"] * 7


def test_a_lease_that_could_not_be_given_back_is_free(
    ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the end of a run does not lock the study for the rest of the process."""
    real = Leases._set

    def full(*_: Any, **__: Any) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Leases, "_set", full)
    with ledger.lease(study.id, "run"):
        pass
    monkeypatch.setattr(Leases, "_set", real)
    assert ledger.holder(study.id, "run") is None


def test_owners_tell_of_themselves(ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a study is held, the time at which its owner was last seen grows."""
    seen, grown = [], threading.Event()
    real = Leases._set

    def watched(self: Leases, *args: Any, **values: Any) -> None:
        real(self, *args, **values)
        with ledger._database.reading() as connection:
            seen.append(connection.execute(select(lease.c.seen_at)).scalar_one())
        if len(seen) == 3:
            grown.set()

    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(Leases, "_set", watched)
    with ledger.lease(study.id, "run"):
        assert grown.wait(20)
    assert seen == sorted(set(seen))


def test_a_ledger_from_before_leases_is_brought_up(tmp_path: Path) -> None:
    """Schema 1 gets the missing table, and keeps all it has."""
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    first = Ledger.open(url)
    study = first.create_study("{}", "s.yaml", "f" * 64, "s", {})
    first.close()
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        connection.executescript("DROP TABLE tuner_lease; UPDATE tuner_schema SET version = 1;")
    second = Ledger.open(url)
    with second.lease(study.id, "run"):
        assert second.study("s") == study
    second.close()

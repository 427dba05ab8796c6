"""Many writers, sudden deaths and broken databases: the record stays whole, and failures are one sentence."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text

from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.ledger.schema import SCHEMA_VERSION
from tuner.spec.work import TrialEnd, TrialState

Make = Any


def test_sqlite_is_opened_for_durability(ledger: Ledger, tmp_path: Path) -> None:
    """Every connection has write-ahead logging, a sync per commit, foreign keys and patience."""
    found: dict[str, Any] = {}

    def look(connection: Any) -> None:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        raw = connection.connection.dbapi_connection
        found.update({name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in names})

    event.listen(Engine, "begin", look)
    try:
        ledger.studies()
    finally:
        event.remove(Engine, "begin", look)
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    assert (tmp_path / "tuner.db").is_file()


def test_a_crash_at_any_statement_leaves_nothing_half_written(
    ledger: Ledger, study: StudyRecord, make: Make, dump: Callable[[], str], tmp_path: Path
) -> None:
    """A process that dies before any statement or commit of a call leaves all of the call's records, or none."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5]))])
    ledger.close()
    saved = tmp_path / "saved.db"
    shutil.copy(tmp_path / "tuner.db", saved)
    with closing(sqlite3.connect(saved)) as connection:
        connection.execute("DELETE FROM tuner_lease")  # in the copy nobody holds the study
        connection.commit()
    untouched, points, deaths = dump(), 0, True
    while deaths:
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"tuner.db{suffix}").unlink(missing_ok=True)
        shutil.copy(saved, tmp_path / "tuner.db")
        deaths = _dies_at(points, lambda: _record(f"sqlite:///{tmp_path / 'tuner.db'}", study.id, make))
        points += 1
        assert (dump() == untouched) is deaths
    assert points > 8


def _record(url: str, study_id: int, make: Make) -> None:
    ledger = Ledger.open(url)
    with ledger.lease(study_id, "run"):
        ledger.record_segments(study_id, [make.segment(make.curve(0, 1, [0.4, 0.3]))])
        os._exit(0)


def _dies_at(point: int, act: Callable[[], None]) -> bool:
    """Run `act` in a child that is gone before its statement or commit number `point`; False if it had fewer."""
    child = os.fork()
    if child == 0:
        left = [point]

        def count(*_: Any) -> None:
            if not left[0]:
                os._exit(9)
            left[0] -= 1

        event.listen(Engine, "before_cursor_execute", count)
        event.listen(Engine, "commit", count)
        try:
            act()
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 9}
    return status == 9


def test_two_threads_write_through_one_ledger(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """A driver that records and a publisher that marks do not lose or block each other's writes."""
    errors: list[Exception] = []

    def drive() -> None:
        try:
            for epoch in range(60):
                ledger.record_segments(study.id, [make.segment(make.curve(0, epoch, [1 / (epoch + 1)]))])
        except Exception as error:
            errors.append(error)

    driver = threading.Thread(target=drive)
    driver.start()
    published = 0
    while driver.is_alive() or ledger.outbox.waiting_count(study.id):
        rows = ledger.outbox.waiting(study.id, 7)
        ledger.outbox.mark_published([row.id for row in rows])
        published += len(rows)
    driver.join()
    assert errors == []
    assert published == 5 + 60
    assert ledger.curves(study.id)[0].last == 60


WRITER = """
import sys
from tuner.ledger.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
study = ledger.create_study("{}", "", "", sys.argv[2], {})
with ledger.lease(study.id, "run"):
    for number in range(100):
        ledger.record_event(study.id, "run", {"number": number})
ledger.close()
"""

OPENER = """
import sys
from tuner.ledger.ledger import Ledger
sys.stdin.readline()
Ledger.open(sys.argv[1]).close()
"""


def test_processes_write_to_one_ledger(url: str, ledger: Ledger) -> None:
    """Two processes that write at the same time, each to its own study, lose nothing."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, name]) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for study in ledger.studies():
        assert [each.body["number"] for each in ledger.events(study.id)] == list(range(100))
    assert sorted(study.name for study in ledger.studies()) == ["a", "b"]


def test_processes_that_open_a_fresh_ledger_together_all_succeed(url: str) -> None:
    """The tables are made once, whoever comes first."""
    openers = [subprocess.Popen([sys.executable, "-c", OPENER, url], stdin=subprocess.PIPE) for _ in range(4)]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write(b"\n")
        opener.stdin.flush()
    assert [opener.wait(60) for opener in openers] == [0, 0, 0, 0]
    Ledger.open(url).close()


def test_a_locked_ledger_says_so_and_is_unharmed(url: str, ledger: Ledger, study: StudyRecord, tmp_path: Path) -> None:
    """A writer waits as long as it is told for another's lock; readers do not wait at all."""
    impatient = Ledger.open(url, busy_seconds=0.05)
    with closing(sqlite3.connect(tmp_path / "tuner.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"tuner\.db: the ledger cannot be written: another process has held it"):
            impatient.create_study("{}", "", "", "other", {})
        assert impatient.studies() == [study]
    other = impatient.create_study("{}", "", "", "other", {})
    impatient.close()
    assert ledger.studies() == [study, other]


def test_a_full_disk_loses_nothing_and_the_study_goes_on_after_room_is_made(
    ledger: Ledger, study: StudyRecord, make: Make, dump: Callable[[], str]
) -> None:
    """What does not fit is not recorded at all, the message says what to do, and the same call works later."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5]))])
    before, full = dump(), [True]

    def fill(connection: Any) -> None:
        raw = connection.connection.dbapi_connection
        pages = raw.execute("PRAGMA page_count").fetchone()[0] if full[0] else 2**30
        raw.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "begin", fill)
    try:
        big = make.segment(make.curve(0, 1, [1 / epoch for epoch in range(1, 2000)]))
        with pytest.raises(LedgerError, match="the disk is full; what is recorded is safe, make room"):
            ledger.record_segments(study.id, [big])
        assert dump() == before
        full[0] = False
        ledger.record_segments(study.id, [big])
        assert ledger.curves(study.id)[0].last == 2000
    finally:
        event.remove(Engine, "begin", fill)


def test_a_damaged_file_is_named_as_such(
    url: str, ledger: Ledger, study: StudyRecord, make: Make, tmp_path: Path
) -> None:
    """Garbage in the middle of the file is a sentence, not a traceback."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [1 / epoch for epoch in range(1, 3000)]))])
    ledger.close()
    content = bytearray((tmp_path / "tuner.db").read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    (tmp_path / "tuner.db").write_bytes(content)
    with pytest.raises(LedgerError, match=r"tuner\.db: the ledger cannot be read: the file is damaged"):
        Ledger.open(url).trials(study.id)


def test_a_ledger_of_a_newer_tuner_is_refused(url: str, ledger: Ledger, tmp_path: Path) -> None:
    """A schema that this version does not know is not touched."""
    ledger.close()
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        connection.execute("UPDATE tuner_schema SET version = 99")
        connection.commit()
    with pytest.raises(LedgerError, match=rf"tuner\.db: the ledger must have schema {SCHEMA_VERSION}, but it has 99"):
        Ledger.open(url)


def test_tables_of_others_in_the_same_database_are_left_alone(tmp_path: Path) -> None:
    """The ledger's tables have names of their own, so that a database may be shared."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with create_engine(url).begin() as connection:
        connection.execute(text("CREATE TABLE trials (x INTEGER)"))
    Ledger.open(url).close()
    with closing(sqlite3.connect(tmp_path / "shared.db")) as raw:
        names = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in names if not name.startswith(("tuner_", "sqlite_"))} == {"trials"}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:////no/such/folder/tuner.db", "/no/such/folder/tuner.db: .* cannot be opened; its folder must exist"),
        ("sqlite:///{folder}", "cannot be opened"),
        ("sqlite:///{folder}/text.txt", "text.txt: .* it must be a SQLite database, but the file is something else"),
        ("sqlite:///file:{folder}/no.db?mode=ro&uri=true", "cannot be opened"),
        ("tuner.db", "the ledger's url must look like sqlite:///tuner.db or postgresql://host/name"),
        ("nonsense://u:hunter2@h/x", "nonsense://u:.*@h/x: no driver for nonsense"),
        ("postgresql+nodriver://u:hunter2@h/x?password=hunter2", "no driver for postgresql"),
    ],
)
def test_a_ledger_that_cannot_be_opened_is_one_sentence_without_a_password(
    tmp_path: Path, url: str, sentence: str
) -> None:
    """Where, what was expected, what came; never a password or a second line."""
    (tmp_path / "text.txt").write_text("this is no database, however long it may be" * 100)
    with pytest.raises(LedgerError, match=sentence) as caught:
        Ledger.open(url.format(folder=tmp_path))
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgres_may_be_named_without_its_driver(postgres: Callable[[], str], scheme: str) -> None:
    """As Postgres's own programs and hosting providers write it; it means psycopg 3."""
    url = postgres()
    opened = Ledger.open(url.replace("postgresql+psycopg", scheme))
    study = opened.create_study("{}", "s.yaml", "f" * 64, "s", {})
    opened.close()
    again = Ledger.look(url)
    assert again.studies() == [study]
    again.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_missing_driver_of_postgres_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """One sentence, without the password."""
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as Python itself marks a module that cannot be imported
    with pytest.raises(LedgerError, match=r"psycopg 3.*pip install 'psycopg\[binary\]'$") as caught:
        Ledger.open(f"{scheme}://u:hunter2@h/x")
    assert "hunter2" not in str(caught.value)


def test_a_read_only_ledger_can_be_read_and_says_why_it_cannot_be_written(study: StudyRecord, tmp_path: Path) -> None:
    """Looking at a study needs no permission to write."""
    reader = Ledger.open(f"sqlite:///file:{tmp_path / 'tuner.db'}?mode=ro&uri=true")
    assert reader.study("s") == study
    with pytest.raises(LedgerError, match="it must be writable, but the file or its folder is read-only"):
        reader.create_study("{}", "", "", "other", {})
    reader.close()


def test_a_password_in_a_database_s_own_message_is_hidden(ledger: Ledger) -> None:
    """Whatever a driver says, the password of the url is not repeated."""
    engine = create_engine("sqlite://")

    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError('FATAL: cannot log in to "postgres://u:hunter2@h" ')

    event.listen(engine, "do_connect", fail)
    database = ledger._database
    database._url = database._url.set(username="u", password="hunter2")
    database._reader = engine
    with pytest.raises(LedgerError) as caught:
        ledger.studies()
    assert "hunter2" not in str(caught.value)
    assert "***" in str(caught.value)


def test_ends_of_a_thousand_trials_are_one_transaction(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """A large cohort is recorded and ended with one commit each."""
    commits: list[object] = []

    def count(connection: object) -> None:
        commits.append(connection)

    event.listen(Engine, "commit", count)
    try:
        ledger.record_cohorts(study.id, [(CohortRecord(1, 0), [make.trial(number) for number in range(4, 1004)])])
        ends = [TrialEnd(number, TrialState.FAILED, None, None, 0, "no") for number in range(1004)]
        ledger.record_ends(study.id, ends)
    finally:
        event.remove(Engine, "commit", count)
    assert len(commits) == 2


def test_a_snapshot_is_of_one_moment(shared: str) -> None:
    """What another process records meanwhile is not seen by one read and missed by the one before."""
    ledger, other = Ledger.open(shared), Ledger.open(shared)
    first = ledger.create_study("{}", "", "", "first", {})
    with ledger.snapshot():
        assert ledger.studies() == [first]
        second = other.create_study("{}", "", "", "second", {})
        assert ledger.studies() == [first]
        assert ledger.study("second") is None
    assert ledger.studies() == [first, second]
    ledger.close()
    other.close()


def test_removed_rows_are_missed(url: str, ledger: Ledger, study: StudyRecord, make: Make, tmp_path: Path) -> None:
    """Also the last ones, of which no number is left that would tell."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5]))])
    ledger.record_event(study.id, "stopped", {})
    assert ledger.faults() == []
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        for table in ("tuner_event", "tuner_segment", "tuner_checkpoint"):
            connection.execute(f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})")
        connection.commit()
    assert [fault.partition(": ")[2] for fault in ledger.faults()] == [
        "1 rows of tuner_event were recorded, but 0 are there",
        "1 rows of tuner_segment were recorded, but 0 are there",
        "1 rows of tuner_checkpoint were recorded, but 0 are there",
    ]

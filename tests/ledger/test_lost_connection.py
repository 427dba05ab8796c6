"""Claims about a Postgres that is restarted or crashes: calls wait for it, and a study goes on as if it never was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from postgres_server import PostgresServer, running_postgres
from studies import tiny, working_in

import tuner
from tuner.api.maintenance import doctor
from tuner.errors import LedgerError
from tuner.ledger.database import Database
from tuner.ledger.ledger import Ledger
from tuner.ledger.patience import ConnectionLostError
from tuner.ledger.records import CohortRecord
from tuner.orchestration.progress import Progress


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of this module's own: others must not see it go."""
    with running_postgres() as made:
        yield made


def away(server: PostgresServer, seconds: float) -> threading.Thread:
    """Crash the server now; it is there again after some seconds."""
    server.stop("immediate")
    back = threading.Timer(seconds, server.start)
    back.start()
    return back


def test_a_call_waits_for_a_database_that_is_restarted(server: PostgresServer) -> None:
    """Reading, writing with a lease, and taking one: each after a crash, with connections in the pool that are dead."""
    ledger = Ledger.open(server.new_database("waits"))
    made = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    calls: list[Callable[[], object]] = [
        ledger.studies,
        lambda: ledger.record_event(made.id, "run", {"number": 1}),
        lambda: ledger.set_state(made.id, "stopped"),
        lambda: ledger.create_study("{}", "s.yaml", "f" * 64, "other", {}),
    ]
    with ledger.lease(made.id, "run"):
        for call in calls:
            back = away(server, 1.0)
            call()
            back.join()
    assert [each.name for each in ledger.studies()] == ["s", "other"]
    assert [each.body for each in ledger.events(made.id)] == [{"number": 1}]
    ledger.close()


def test_the_patience_ends_with_one_sentence(server: PostgresServer) -> None:
    """After `lost_seconds`; a server that never answered is not waited for at all."""
    url = server.new_database("ends")
    ledger = Ledger.open(url, lost_seconds=0.5)
    server.stop("fast")
    try:
        began = time.monotonic()
        with pytest.raises(ConnectionLostError, match="the ledger cannot be read: ") as caught:
            ledger.studies()
        assert 0.2 < time.monotonic() - began < 5
        assert "\n" not in str(caught.value)
        began = time.monotonic()
        with pytest.raises(LedgerError, match="cannot be read"):
            Ledger.open(url)
        assert time.monotonic() - began < 5
    finally:
        server.start()
    ledger.close()


def test_what_may_be_recorded_already_is_not_recorded_again(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit whose answer is lost was taken or not: an event is not written twice, a state may be."""
    ledger = Ledger.open(server.new_database("twice"))
    made = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    with ledger.lease(made.id, "run"):
        lose_answers(ledger, monkeypatch, 1)
        with pytest.raises(ConnectionLostError):
            ledger.record_event(made.id, "run", {})
        assert len(ledger.events(made.id)) == 1
        lose_answers(ledger, monkeypatch, 1)
        ledger.set_state(made.id, "finished")
        lose_answers(ledger, monkeypatch, 1)
        with pytest.raises(ConnectionLostError):
            ledger.record_cohorts(made.id, [(CohortRecord(0, 0), [])])
    assert ledger.study_by_id(made.id).state == "finished"
    ledger.close()


def lose_answers(ledger: Ledger, patch: pytest.MonkeyPatch, count: int) -> None:
    """The next commits are taken, and the connection is cut before their answer comes."""
    dialect, left = ledger._database._writer.dialect, [count]
    commit = type(dialect).do_commit

    def cut(connection: object) -> None:
        commit(dialect, connection)
        if left[0]:
            left[0] -= 1
            import psycopg

            connection.dbapi_connection.close()  # type: ignore[attr-defined]
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    patch.setattr(dialect, "do_commit", cut)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_in_mid_study_is_not_seen_in_it(
    mode: Literal["fast", "immediate"],
    server: PostgresServer,
    tmp_path: Path,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice, for a second that the run waits through, and then again in the midst of recovery: the table is the
    undisturbed one, and doctor finds nothing."""
    monkeypatch.chdir(workspace)
    expected = tuner.run(tiny(), workers=0).csv()
    place = tuner.workspace(workspace, database=server.new_database(f"study_{mode}"))
    restarts, back = [3, 8], list[threading.Timer]()

    def disturb(progress: Progress) -> None:
        if restarts and progress.ended >= restarts[0]:
            restarts.pop(0)
            server.stop(mode)
            if not restarts:
                server.start()
                server.stop("immediate")
            back.append(threading.Timer(1.0, server.start))
            back[-1].start()

    with working_in(workspace):
        study = tuner.run(tiny(), workers=0, progress=disturb, workspace=place)
        assert (restarts, [each.join() for each in back]) == ([], [None, None])
        assert study.csv() == expected
        found = doctor("tiny", workspace=place)
    assert [problem for each in found for problem in each.problems] == []


@pytest.mark.parametrize("way", ["reading", "writing"])
def test_an_interrupt_amid_a_query_stays_one(
    server: PostgresServer, way: Literal["reading", "writing"], capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while a query is under way is no lost connection, which would be waited for and asked again; nothing is
    printed, and the next call is answered."""
    database = Database(server.new_database(f"ctrl_c_{way}"), 5.0)
    with database.reading() as connection:
        connection.exec_driver_sql("SELECT 1")
    with pytest.raises(KeyboardInterrupt), getattr(database, way)() as connection:
        connection.connection.dbapi_connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        raise KeyboardInterrupt
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    database.close()
    assert capfd.readouterr().err == ""


def test_an_error_that_an_interrupt_caused_is_the_interrupt(server: PostgresServer) -> None:
    """Also where it came between two steps of the library, and an error of the database is all that is seen of it."""
    database = Database(server.new_database("caused"), 5.0)
    with pytest.raises(KeyboardInterrupt), database.reading() as connection:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            connection.exec_driver_sql("SELECT wrong")
    with pytest.raises(LedgerError), database.reading() as connection:
        connection.exec_driver_sql("SELECT wrong")
    database.close()

"""Claims about ledgers that an older version wrote: they are brought up in place, and keep all they have."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.ledger.schema import SCHEMA_VERSION
from tuner.spec.rules import NEWEST

WITHOUT_SERVICE = tuple(
    f"DROP TABLE tuner_{name}" for name in ("submission", "supervisor", "token", "audit", "dataset", "note")
)
WITHOUT_CONTROL = (
    *WITHOUT_SERVICE,
    "DROP TABLE tuner_wanted",
    "DROP TABLE tuner_progress",
    "DROP TABLE tuner_removed",
    "DROP INDEX tuner_trial_counts",
)
WITHOUT_GRANTS = "ALTER TABLE tuner_submission DROP COLUMN granted"
WITHOUT_RULES = "ALTER TABLE tuner_study DROP COLUMN rules"
AGED = {
    1: ("DROP TABLE tuner_lease", "ALTER TABLE tuner_trial DROP COLUMN measures", WITHOUT_RULES, *WITHOUT_CONTROL),
    2: ("ALTER TABLE tuner_trial DROP COLUMN measures", WITHOUT_RULES, *WITHOUT_CONTROL),
    3: (WITHOUT_RULES, *WITHOUT_CONTROL),
    4: WITHOUT_CONTROL,
    5: WITHOUT_SERVICE,
    6: (
        WITHOUT_GRANTS,
        "ALTER TABLE tuner_submission DROP COLUMN executor",
        "ALTER TABLE tuner_submission DROP COLUMN ran_on",
        "ALTER TABLE tuner_supervisor DROP COLUMN executors",
    ),
    7: (WITHOUT_GRANTS,),
}
KEPT = Path(__file__).parents[1] / "fixtures" / "version_3" / "tuner.db"


@pytest.mark.parametrize("version", AGED)
def test_an_older_ledger_is_brought_up_step_by_step(
    version: int, url: str, ledger: Ledger, make, tmp_path: Path
) -> None:
    """Its trials stay as they are, nothing is measured of them, and new ones can be recorded with measures."""
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    with ledger.lease(study.id, "run"):
        ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [make.trial(0), make.trial(1)])])
        ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [3.0, 2.0]))])
    before = ledger.trials(study.id)
    ledger.close()
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        connection.executescript(";".join([*AGED[version], f"UPDATE tuner_schema SET version = {version}"]))
    again = Ledger.open(url)
    assert again.trials(study.id) == before
    assert again.control.wanted(study.id) is None
    assert again.submissions.all() == []
    assert again.submissions.submit("t", "text", "me", executor="ray")[0].executor == "ray"
    assert again.supervision.executors() == ()
    assert again.submissions.submit("new", "text", "me")[0].granted is None
    with again.lease(study.id, "run"):
        curve = make.curve(1, 0, [1.0], measures={"trustworthiness": 0.1 + 0.2, "dead_units": 3})
        again.record_segments(study.id, [make.segment(curve)])
    again.close()
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        assert connection.execute("SELECT version FROM tuner_schema").fetchall() == [(SCHEMA_VERSION,)]
    last = Ledger.open(url)
    assert last.trials(study.id)[1].measures == {"trustworthiness": 0.1 + 0.2, "dead_units": 3}
    last.close()


def test_a_study_keeps_the_rules_that_it_was_begun_with(url: str, study: StudyRecord, tmp_path: Path) -> None:
    """Rules 1 where the ledger has no number yet; a study that is begun now has the newest, in the same ledger."""
    assert study.rules == NEWEST
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        connection.executescript(";".join([*AGED[3], "UPDATE tuner_schema SET version = 3"]))
    again = Ledger.open(url)
    again.create_study("{}", "n.yaml", "f" * 64, "new", {})
    assert {one.name: one.rules for one in again.studies()} == {"s": 1, "new": NEWEST}
    again.close()


def test_a_study_from_before_the_service_is_taken_over_by_it(tmp_path: Path) -> None:
    """A ledger that the last version of schema 5 wrote: all is read as before, and the study can be handed in."""
    shutil.copy(KEPT, tmp_path / "tuner.db")
    with closing(sqlite3.connect(KEPT)) as kept, closing(sqlite3.connect(tmp_path / "tuner.db")) as copy:
        before = kept.execute("SELECT * FROM tuner_study, tuner_trial").fetchall()
        assert copy.execute("SELECT version FROM tuner_schema").fetchall() == [(5,)]
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'tuner.db'}")
    ledger.submissions.submit("three", "text", "me", adopted=True)
    standing = ledger.standings.open()[0]
    assert (standing.state, standing.is_leased) == ("finished", False)
    assert ledger.faults() == []
    ledger.close()
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as copy:
        assert copy.execute("SELECT version FROM tuner_schema").fetchall() == [(SCHEMA_VERSION,)]
        assert copy.execute("SELECT * FROM tuner_study, tuner_trial").fetchall() == before


def test_several_processes_may_open_an_older_ledger_at_once(postgres: Callable[[], str], make) -> None:
    """On Postgres too each step is taken once."""
    url = postgres()
    first = Ledger.open(url)
    study = first.create_study("{}", "s.yaml", "f" * 64, "s", {})
    with first.lease(study.id, "run"):
        first.record_cohorts(study.id, [(CohortRecord(0, 0), [make.trial(0)])])
    first.close()
    with create_engine(url).begin() as connection:
        for statement in (*AGED[1], "UPDATE tuner_schema SET version = 1"):
            connection.execute(text(statement))
    with ThreadPoolExecutor(4) as threads:
        for opened in threads.map(lambda _: Ledger.open(url), range(4)):
            assert [trial.measures for trial in opened.trials(study.id)] == [{}]
            opened.close()


def test_a_trial_keeps_the_first_measures_that_came(ledger: Ledger, study: StudyRecord, make) -> None:
    """They are computed once; what comes again with the same epochs changes nothing, bits included."""
    first = make.curve(0, 0, [3.0], measures={"effective_dims": 1 / 3})
    ledger.record_segments(study.id, [make.segment(first, make.curve(1, 0, [2.0]))])
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [3.0], measures={"effective_dims": 9.0}))])
    assert [trial.measures for trial in ledger.trials(study.id)] == [{"effective_dims": 1 / 3}, {}, {}, {}]

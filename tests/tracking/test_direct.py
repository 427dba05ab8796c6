"""Claims about writing MLflow's SQLite store without MLflow."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from answers import made_up_answer, view_state
from packaging.requirements import Requirement
from packaging.version import Version

from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking import direct
from tuner.tracking.publisher import publish_once
from tuner.tracking.store import sqlite_path

# What MLflow stamps with a clock of its own, at the moment of writing; every other time is the ledger's.
STAMPED = {("experiments", "creation_time"), ("experiments", "last_update_time")}
WRITTEN = {
    *("experiments", "runs", "tags", "params", "metrics", "latest_metrics"),
    *("datasets", "inputs", "input_tags", "experiment_tags"),
}


def connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(sqlite_path(uri) or "")
    connection.row_factory = sqlite3.Row
    return connection


def contents(uri: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table; ids that are drawn at random are replaced by what they stand for, the store's folder
    by a word."""
    folder = str((sqlite_path(uri) or Path()).parent)
    with closing(connected(uri)) as store:
        names = {row["run_uuid"]: row["value"] for row in store.execute("SELECT * FROM tags WHERE key = 'tuner.key'")}
        names |= {row["dataset_uuid"]: row["name"] for row in store.execute("SELECT * FROM datasets")}
        inputs = store.execute("SELECT * FROM inputs").fetchall()
        names |= {row["input_uuid"]: f"input of {names[row['destination_id']]}" for row in inputs}

        def shown(value: Any) -> Any:
            if not isinstance(value, str):
                return value
            if value.startswith('{"name"'):
                value = view_state(value)
            for identifier, name in names.items():
                value = value.replace(identifier, name)
            return value.replace(folder, "FOLDER")

        def row_of(table: str, row: sqlite3.Row) -> dict[str, Any]:
            return {name: shown(row[name]) for name in row.keys() if (table, name) not in STAMPED}  # noqa: SIM118

        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: sorted((row_of(table, row) for row in store.execute(f'SELECT * FROM "{table}"')), key=repr)
            for table in tables
        }


def files(uri: str) -> set[tuple[str, bytes]]:
    folder = (sqlite_path(uri) or Path()).parent / "mlartifacts"
    return {(path.name, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def answer(tmp_path: Path) -> Callable[[StudyRecord], Path]:
    """Files of two runs, one of them no text."""
    folder = made_up_answer(tmp_path / "answer")
    return lambda _: folder


def through_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "REVISION", "another")


@pytest.mark.parametrize(
    ("begun", "finished"),
    [
        pytest.param((), ("ours", "theirs"), id="at once"),
        pytest.param(("theirs", "ours"), ("ours", "theirs"), id="directly in two steps, through the client anew"),
        pytest.param(("ours", "theirs"), ("theirs", "ours"), id="through the client in two steps, directly anew"),
    ],
)
def test_the_rows_are_those_that_mlflows_client_writes(
    begun: tuple[str, ...],
    finished: tuple[str, ...],
    make_store: Callable[[str], str],
    ledger: Ledger,
    story: Any,
    answer: Callable[[StudyRecord], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One study with a NaN, a best trial, a saved view, artifacts and files, brought to two stores: after each step all
    rows of all tables are equal, keys and times included. The store that was written to last is gone on with, the other
    gone through anew.
    """
    stores = {name: make_store(name) for name in ("ours", "theirs")}

    def publish(name: str) -> None:
        with monkeypatch.context() as patch:
            if name == "theirs":
                through_the_client(patch)
            assert direct.is_known(stores[name]) == (name == "ours")
            assert publish_once(ledger, study.id, stores[name], answer=answer).waiting == 0

    study = story.begin(ledger, "study")
    for name in begun:
        publish(name)
    if begun:
        assert_equal(stores["ours"], stores["theirs"])
    story.finish(ledger, study.id)
    for name in finished:
        publish(name)
    assert_equal(stores["ours"], stores["theirs"])


def assert_equal(ours: str, theirs: str) -> None:
    left, right = contents(ours), contents(theirs)
    assert left.keys() == right.keys() >= WRITTEN
    for table in left:
        assert list(map(repr, left[table])) == list(map(repr, right[table])), table
        assert left[table] or table not in WRITTEN, f"nothing to compare in {table}"
    assert files(ours) == files(theirs)


def test_a_study_begun_through_the_client_goes_on_directly(
    store: str, ledger: Ledger, story: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run is made twice, whichever way the first part of a study was published."""
    study = story.begin(ledger, "study")
    with monkeypatch.context() as patch:
        through_the_client(patch)
        publish_once(ledger, study.id, store)
    story.finish(ledger, study.id)
    assert direct.is_known(store)
    publish_once(ledger, study.id, store)
    with closing(connected(store)) as opened:
        (count,) = opened.execute("SELECT count(*) FROM runs").fetchone()
    assert count == 1 + 3


def test_what_fails_in_the_middle_leaves_nothing_and_is_published_later(
    store: str, ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error within a batch: no trial's row stays, every row of the ledger waits, and the next time all is there."""
    whole = ledger.outbox.waiting_count(study.id)
    log, calls = direct.DirectRuns.log, [0]

    def failing(self: direct.DirectRuns, *words: Any, **named: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise sqlite3.OperationalError("disk I/O error")
        log(self, *words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(direct.DirectRuns, "log", failing)
        with pytest.raises(TrackingError, match="disk I/O error"):
            publish_once(ledger, study.id, store)
    with closing(connected(store)) as opened:
        assert opened.execute("SELECT count(*) FROM runs").fetchone()[0] == 1, "only the study's own run"
        assert opened.execute("SELECT count(*) FROM metrics").fetchone()[0] == 0
    assert ledger.outbox.waiting_count(study.id) == whole
    assert publish_once(ledger, study.id, store).waiting == 0


def test_publishing_into_a_known_store_does_not_import_mlflow(
    store: str, ledger: Ledger, study: StudyRecord, tmp_path: Path
) -> None:
    """1.3 seconds that no study has to spend."""
    code = (
        "import sys; from tuner.ledger.ledger import Ledger; from tuner.tracking.publisher import publish_once;"
        f"ledger = Ledger.open('sqlite:///{tmp_path / 'tuner.db'}');"
        f"print(publish_once(ledger, {study.id}, {store!r}).waiting, 'mlflow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "0 False\n"


def test_how_a_study_gets_to_mlflow_is_said(store: str, tmp_path: Path) -> None:
    """`tuner validate` says which of the two ways a store is written, and for which reason."""
    assert direct.way_of_writing(store) == "written directly"
    assert direct.way_of_writing(f"sqlite:///{tmp_path / 'new.db'}") == "written directly, once the store is made"
    assert "server" in direct.way_of_writing("http://tracking:5000")
    assert "no SQLite file" in direct.way_of_writing("postgresql://tracking/mlflow")
    with closing(connected(store)) as opened:
        opened.execute("UPDATE alembic_version SET version_num = 'other'")
        opened.commit()
    assert "through MLflow's client" in direct.way_of_writing(store)


def test_only_releases_that_the_tables_were_compared_with_may_be_installed() -> None:
    """What is installed is of those releases, and the project asks for no other one."""
    installed = Version(version("mlflow"))
    assert f"{installed.major}.{installed.minor}" == direct.RELEASES
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = map(Requirement, project["dependencies"])
    (mlflow,) = (one.specifier for one in asked if one.name == "mlflow")
    assert mlflow.contains(f"{direct.RELEASES}.99")
    assert not mlflow.contains(f"{installed.major}.{installed.minor + 1}.0")

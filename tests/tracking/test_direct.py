"""Claims about writing MLflow's SQLite store without MLflow."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking import direct
from tuner.tracking.publisher import publish_once
from tuner.tracking.store import sqlite_path

TABLES = (
    *("experiments", "experiment_tags", "runs", "tags", "params", "metrics", "latest_metrics"),
    *("datasets", "inputs", "input_tags"),
)
# Drawn at random, or the moment of writing: by what they stand for, or left out.
MOMENTS = {"creation_time", "last_update_time"}


def connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(sqlite_path(uri) or "")
    connection.row_factory = sqlite3.Row
    return connection


def contents(uri: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, ids replaced by what they belong to, paths by the store's folder."""
    folder = str((sqlite_path(uri) or Path()).parent)
    with closing(connected(uri)) as store:
        names = {row["run_uuid"]: row["value"] for row in store.execute("SELECT * FROM tags WHERE key = 'tuner.key'")}
        names |= {row["dataset_uuid"]: row["name"] for row in store.execute("SELECT * FROM datasets")}
        names |= {
            row["input_uuid"]: f"input of {names[row['destination_id']]}"
            for row in store.execute("SELECT * FROM inputs")
        }

        def shown(value: Any) -> Any:
            if not isinstance(value, str):
                return value
            for identifier, name in names.items():
                value = value.replace(identifier, name)
            return value.replace(folder, "FOLDER")

        return {
            table: sorted(
                (
                    {name: shown(row[name]) for name in row.keys() if name not in MOMENTS}  # noqa: SIM118
                    for row in store.execute(f"SELECT * FROM {table}")
                ),
                key=repr,
            )
            for table in TABLES
        }


def files(uri: str) -> set[tuple[str, str]]:
    folder = (sqlite_path(uri) or Path()).parent / "mlartifacts"
    return {(path.name, path.read_text()) for path in folder.rglob("*") if path.is_file()}


def through_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "REVISION", "another")


def test_the_rows_are_those_that_mlflows_client_writes(
    make_store: Callable[[str], str], ledger: Ledger, story: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study published in two steps, with a NaN, a best trial and artifacts: all tables are equal, row by row."""
    ours, theirs = make_store("ours"), make_store("theirs")
    for uri, name in ((ours, "ours"), (theirs, "theirs")):
        with monkeypatch.context() as patch:
            if uri == theirs:
                through_the_client(patch)
            assert direct.is_known(uri) == (uri == ours)
            with closing(Ledger.open(f"sqlite:///{name}.db")) as one:
                study = story.begin(one, "study")
                publish_once(one, study.id, uri)
                story.finish(one, study.id)
                publish_once(one, study.id, uri)
    left, right = contents(ours), contents(theirs)
    for table in TABLES:
        assert without_keys(left[table]) == without_keys(right[table]), table
        assert left[table] or table == "experiment_tags", f"nothing to compare in {table}"
    assert files(ours) == files(theirs)


def without_keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A study's key is drawn when it is made, and times are the ledger's."""
    volatile = {"start_time", "end_time", "timestamp"}
    cleaned = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in volatile}
        cleaned.append({name: _without_study(value) for name, value in kept.items()})
    return sorted(cleaned, key=repr)


def _without_study(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    head, _, tail = value.rpartition("/")
    return f"KEY/{tail}" if len(head) >= 32 and " " not in head and "FOLDER" not in head else _no_hex(value)


def _no_hex(value: str) -> str:
    import re

    return re.sub(r"[0-9a-f]{32}", "KEY", value)


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
    whole = ledger.waiting_count(study.id)
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
    assert ledger.waiting_count(study.id) == whole
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

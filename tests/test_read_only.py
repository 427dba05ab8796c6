"""Claims about studies that may be read and not written: whoever can read the files can look at the study."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from disturbed import TUNER
from studies import fresh_folder, tiny, working_in
from test_upkeep import bytes_of

import tuner

# Root may write whatever the permissions say, unless it gives this right up.
AS_A_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.getuid() == 0 else []
AGED = {
    1: ("DROP TABLE tuner_lease", "ALTER TABLE tuner_trial DROP COLUMN measures"),
    2: ("ALTER TABLE tuner_trial DROP COLUMN measures",),
    4: (
        "DROP TABLE tuner_wanted",
        "DROP TABLE tuner_progress",
        "DROP TABLE tuner_removed",
        "DROP INDEX tuner_trial_counts",
    ),
}
READ = """
import sys, tuner
from tuner.api import listing
from tuner.api import maintenance
print(listing.studies())
study = tuner.Study.open("tiny")
print(study.csv(), study.summary)
print([(found.name, found.problems) for found in maintenance.doctor()])
print(maintenance.prune_files(dry_run=True))
for name in sys.argv[1:]:
    print(study.report(name + "/report.html"), sorted(path.name for path in study.export(name + "/best").iterdir()))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with a finished study, all of it published."""
    with working_in(fresh_folder(tmp_path_factory.mktemp("finished"), mlflow_store)) as folder:
        tuner.run(tiny(), workers=0)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, which a test closes; its name is one that a url has to write otherwise."""
    folder = tmp_path / "a copy? 100%23"
    shutil.copytree(finished, folder)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700)


def close(folder: Path) -> None:
    """Nobody may write there."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def look(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command there as somebody who has no other rights than those that the permissions give."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TR", "TUNER_D"))}
    command = [*AS_A_USER, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_reading_needs_no_right_to_write(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder and of files that cannot be written all that reads says what it says to their owner, and reports
    and exports are written where the user says."""
    monkeypatch.chdir(copied)
    monkeypatch.setattr(sys, "argv", ["-c"])
    exec(READ)
    expected = capsys.readouterr().out
    close(copied)
    before = bytes_of(copied)
    ran = look(copied, sys.executable, "-c", READ, str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    *read, written = ran.stdout.splitlines()
    assert read == expected.splitlines()
    assert "report.html" in written
    assert "model.safetensors" in written
    assert bytes_of(copied) == before


@pytest.mark.parametrize("version", AGED)
def test_an_older_ledger_can_be_read_where_it_cannot_be_upgraded(copied: Path, version: int) -> None:
    """It is upgraded in a copy in memory; the file keeps its version."""
    with closing(sqlite3.connect(copied / "tuner.db")) as connection:
        connection.executescript(";".join([*AGED[version], f"UPDATE tuner_schema SET version = {version}"]))
    close(copied)
    before = bytes_of(copied)
    assert look(copied, *TUNER, "list").stdout.startswith("tiny  finished  13/13 trials")
    assert bytes_of(copied) == before


def test_tokens_can_be_listed_by_whoever_can_read_them(copied: Path) -> None:
    """Their names, roles and dates, without a right to write."""
    made = look(copied, *TUNER, "token", "new", "anna")
    assert made.returncode == 0, made.stderr
    close(copied)
    listed = look(copied, *TUNER, "token", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.split()[:2] == ["1", "launch"] and listed.stdout.rstrip().endswith("anna")


@pytest.mark.parametrize("version", [None, 1])
def test_writing_says_what_is_missing(copied: Path, version: int | None) -> None:
    """One sentence with the file, and nothing is changed."""
    with closing(sqlite3.connect(copied / "tuner.db")) as connection:
        if version is not None:
            connection.executescript(";".join([*AGED[version], f"UPDATE tuner_schema SET version = {version}"]))
        connection.execute("INSERT INTO tuner_outbox (study_id, kind) VALUES (1, 'study')")
        connection.commit()
    close(copied)
    ran = look(copied, *TUNER, "sync")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.strip() == (
        "tuner.db: the ledger cannot be written: it must be writable, but the file or its folder is read-only"
    )


def test_records_in_a_log_that_cannot_be_read_are_not_passed_over(copied: Path) -> None:
    """A copy that was made while its owner wrote has its newest records in a second file."""
    with closing(sqlite3.connect(copied / "tuner.db", isolation_level=None)) as connection:
        connection.execute("UPDATE tuner_study SET state = 'stopped'")
        log = (copied / "tuner.db-wal").read_bytes()
    assert log
    (copied / "tuner.db-wal").write_bytes(log)
    close(copied)
    ran = look(copied, *TUNER, "list")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "its newest records are in tuner.db-wal" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_ledger_that_is_being_written_can_be_read_by_others(copied: Path) -> None:
    """Its owner has it open: the reader sees what was recorded last."""
    with closing(sqlite3.connect(copied / "tuner.db", isolation_level=None)) as connection:
        connection.execute("UPDATE tuner_study SET state = 'stopped'")
        close(copied)
        assert look(copied, *TUNER, "list").stdout.startswith("tiny  stopped")

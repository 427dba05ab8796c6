"""Claims about backups as docs/operations.md describes them: taken in mid-study, restored elsewhere, continued."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from postgres_server import PostgresServer, running_postgres
from studies import fresh_folder, tiny, working_in

import tuner
from tuner.api.maintenance import doctor
from tuner.orchestration.progress import Progress


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as made:
        yield made


def copy_sqlite(folder: Path, backup: Path) -> None:
    with closing(sqlite3.connect(folder / "tuner.db")) as connection:
        connection.execute("VACUUM INTO ?", (str(backup / "tuner.db"),))


def restore_with(mlflow_store: Path, backup: Path, folder: Path) -> Path:
    """The files of a backup in a folder that has an MLflow of its own."""
    fresh_folder(folder, mlflow_store)
    shutil.copytree(backup, folder, dirs_exist_ok=True)
    return folder


def back_up_once(take: Callable[[], None]) -> Callable[[Progress], None]:
    """A backup when the first trials are recorded."""
    left = [take]

    def look(progress: Progress) -> None:
        if left and progress.ended >= 3:
            left.pop()()

    return look


def test_a_copy_of_sqlite_in_mid_study_goes_on_to_the_same_table(workspace: Path, mlflow_store: Path) -> None:
    """`VACUUM INTO` beside the run, then the work folder: elsewhere the study ends with the undisturbed table."""
    backup = workspace / "backup"
    backup.mkdir()

    def take() -> None:
        copy_sqlite(workspace, backup)
        shutil.copytree(workspace / ".tuner", backup / ".tuner")

    expected = tuner.run(tiny(), workers=0, progress=back_up_once(take)).csv()
    elsewhere = restore_with(mlflow_store, backup, workspace / "elsewhere")
    with working_in(elsewhere):
        assert not [problem for each in doctor("tiny", mlflow=False) for problem in each.problems]
        assert len(tuner.Study.open("tiny").records) < 13 or tuner.Study.open("tiny").state == "stopped"
        assert tuner.run(tiny(), workers=0).csv() == expected
        assert not [problem for each in doctor("tiny") for problem in each.problems]


def test_a_dump_of_postgres_in_mid_study_goes_on_to_the_same_table(
    workspace: Path, mlflow_store: Path, server: PostgresServer
) -> None:
    """`pg_dump` beside the run, `pg_restore` into a new database, and the work folder."""
    first, second, backup = server.new_database("first"), server.new_database("second"), workspace / "backup"
    backup.mkdir()
    dump = workspace / "dump"

    def take() -> None:
        pg(server, "pg_dump", "-Fc", "-d", "first", "-f", str(dump))
        shutil.copytree(workspace / ".tuner", backup / ".tuner")

    place = tuner.workspace(workspace, database=first)
    expected = tuner.run(tiny(), workers=0, progress=back_up_once(take), workspace=place).csv()
    pg(server, "pg_restore", "--no-owner", "--exit-on-error", "-d", "second", str(dump))
    elsewhere = tuner.workspace(restore_with(mlflow_store, backup, workspace / "elsewhere"), database=second)
    assert tuner.run(tiny(), workers=0, workspace=elsewhere).csv() == expected
    assert not [problem for each in doctor("tiny", workspace=elsewhere) for problem in each.problems]


def pg(server: PostgresServer, program: str, *words: str) -> None:
    where = ["-h", str(server.folder), "-U", server.user]
    subprocess.run([str(server.binaries / program), *where, *words], check=True, capture_output=True)

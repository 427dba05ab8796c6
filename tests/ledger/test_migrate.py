"""Claims about `tuner migrate`: one step from every released version, on SQLite and Postgres, never raced."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tuner.api.maintenance import migrate
from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.schema import SCHEMA_VERSION

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOGETHER = """
import sys
from tuner.api.maintenance import migrate
sys.stdin.readline()
print(migrate(sys.argv[1]).before)
"""


@pytest.mark.parametrize("released", ["version_0", "version_3"])
def test_a_released_ledger_is_brought_up(released: str, tmp_path: Path) -> None:
    """It says from which version to which; a second time there is nothing to do; the studies are there."""
    shutil.copy(FIXTURES / released / "tuner.db", tmp_path)
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    first, second = migrate(url), migrate(url)
    assert first.before is not None
    assert first.before < SCHEMA_VERSION
    assert (first.after, second.before, second.after) == (SCHEMA_VERSION,) * 3
    ledger = Ledger.look(url)
    assert ledger.studies()
    ledger.close()


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    """One line: made, nothing to do, or from which version to which; a newer ledger is a sentence and exit code 1."""

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tuner", "migrate"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run().stdout == f"tuner.db: made, version {SCHEMA_VERSION}\n"
    assert run().stdout == f"tuner.db: version {SCHEMA_VERSION}, nothing to do\n"
    for version, code, said in [(5, 0, f"version 5 -> {SCHEMA_VERSION}"), (99, 1, "but it has 99")]:
        with create_engine(f"sqlite:///{tmp_path / 'tuner.db'}").begin() as connection:
            connection.execute(text(f"UPDATE tuner_schema SET version = {version}"))
        ended = run()
        assert ended.returncode == code
        assert said in ended.stdout + ended.stderr


def test_processes_that_migrate_together_make_the_tables_once(postgres: Callable[[], str]) -> None:
    """Postgres lets two come to make them: exactly one does, and none fails."""
    url = postgres()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].strip() for process in started]
    assert sorted(said) == [str(SCHEMA_VERSION)] * 3 + ["None"]


def test_a_ledger_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """A folder that is missing is not made."""
    with pytest.raises(LedgerError, match="its folder must exist"):
        migrate(f"sqlite:///{tmp_path / 'no' / 'tuner.db'}")

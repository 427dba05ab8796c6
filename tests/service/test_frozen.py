"""Claims about a driver that is frozen amid a write into SQLite, whose lock everybody waits for."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from freezing import freeze_amid_write
from studies import tiny
from supervised import hand_in, opened, rest, supervisor_thread, training, until

from tuner.ledger.locks import writer_of

# Many short trials: the driver writes again and again.
WRITING = {"trials": 3000, "epochs": 1, "cohort": 100, "seed": 3, "sampler": "random", "pruner": "none"}
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("free", flush=True)
sys.stdin.read()
"""


def test_the_writer_is_the_process_that_holds_the_lock(workspace: Path) -> None:
    """The process that is in a write transaction; None before and after it. A reader does not count."""
    file = workspace / "tuner.db"
    with opened(workspace) as ledger, closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM tuner_study").fetchall()
        assert ledger.supervision.writer() is None
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], text=True, **pipes) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert ledger.supervision.writer() == writer_of(file) == process.pid
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "free\n"
            assert ledger.supervision.writer() is None


def test_a_driver_that_is_frozen_amid_a_write_is_killed_and_others_write_again(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds the lock that the supervisor's own writes wait for, and nobody can ask it to stop: after the grace it is
    gone, that is said once, and the wish that waited is recorded and comes about."""
    caplog.set_level("WARNING", "tuner.service")
    with opened(workspace) as ledger:
        hand_in(ledger, tiny(search=WRITING))
        with supervisor_thread(workspace, grace=0.5, workers=1):
            driver = psutil.Process(training(ledger, "tiny"))
            freeze_amid_write(driver, ledger)
            ledger.submissions.want("tiny", "stop", "test")  # waits for the lock
            assert rest(ledger, "tiny").outcome == "stopped"
        until(lambda: not driver.is_running(), "the driver's end")
        assert ledger.faults() == []
    said = [record.getMessage() for record in caplog.records if "stopped amid a write" in record.getMessage()]
    assert said == [
        "tiny: its process was stopped amid a write, so that nobody could write for 0.5 seconds; it was killed."
    ]

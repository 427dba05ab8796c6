"""Studies that are disturbed, and what must hold after each of them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil

from tuner.ledger.ledger import Ledger
from tuner.ledger.table import trials_csv

# How many faults: "sample" in `make test`, "ci" in `make faults`, "long" in `make faults-long`.
FORM = os.environ.get("TUNER_FAULTS", "ci")
LONG = FORM == "long"
TUNER = [sys.executable, "-m", "tuner"]


def table(folder: Path, name: str = "tiny", database: str | None = None) -> str:
    """The trials table and the final stage's runs, which may have columns of their own, byte for byte."""
    ledger = Ledger.open(database or f"sqlite:///{folder / 'tuner.db'}")
    try:
        record = ledger.study(name)
        if record is None:
            return ""
        return "".join([trials_csv(ledger.trials(record.id)), *(trials_csv([run]) for run in ledger.finals(record.id))])
    finally:
        ledger.close()


def disagreements(folder: Path, name: str = "tiny") -> list[str]:
    """How MLflow's store differs from the ledger: runs per trial, their status, and the values of each metric."""
    ledger = Ledger.open(f"sqlite:///{folder / 'tuner.db'}")
    try:
        record = ledger.study(name)
        assert record is not None
        trials = [*ledger.trials(record.id), *ledger.finals(record.id)]
        found = (
            [f"{ledger.outbox.waiting_count(record.id)} records wait"] if ledger.outbox.waiting_count(record.id) else []
        )
    finally:
        ledger.close()
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        for trial in trials:
            runs = store.execute(
                "SELECT r.run_uuid, r.status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid"
                " WHERE t.key = 'tuner.key' AND t.value = ?",
                [f"{record.key}/{trial.number}"],
            ).fetchall()
            if len(runs) != 1 or runs[0][1] == "RUNNING":
                found.append(f"trial {trial.number}: {runs}")
                continue
            query = "SELECT count(*), count(DISTINCT step) FROM metrics WHERE key = 'val_loss' AND run_uuid = ?"
            counts = store.execute(query, [runs[0][0]]).fetchone()
            if counts != (trial.epochs, trial.epochs):
                found.append(f"trial {trial.number}: {counts} values of val_loss, {trial.epochs} epochs")
    return found


def left_behind(folder: Path) -> list[str]:
    """Processes whose current folder is this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.cwd() == str(folder) and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def is_worker(process: psutil.Process) -> bool:
    """Whether it is one of the tuner's workers, and not only waits to be buried."""
    try:
        return "tuner.execution.processes" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def run_tuner(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user types it."""
    return subprocess.run(
        [*TUNER, *words], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def start_tuner(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """The same, in the background; what it prints goes to `out.txt`."""
    with (folder / "out.txt").open("a") as out:
        return subprocess.Popen(
            [*TUNER, *words], cwd=folder, env={**os.environ, **environment}, stdout=out, stderr=out, text=True
        )

"""kill -9, SIGSTOP and a moved clock: a study that is run again ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from disturbed import LONG, TUNER, disagreements, is_worker, left_behind, run_tuner, start_tuner, table
from studies import fresh_folder, tiny

import tuner
from tuner.ledger.ledger import Ledger
from tuner.orchestration.launch import Progress

LONGER = tiny(search={"trials": 90, "epochs": 243, "cohort": 30, "seed": 5}, final={"top": 2, "seeds": 3})


@pytest.mark.sample
def test_any_kill_leaves_the_same_study(
    tmp_path: Path,
    mlflow_store: Path,
    undisturbed: Callable[..., str],
    chance: random.Random,
    scale: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    """Drivers and workers are killed at random moments; run again until it is done, each study has the undisturbed
    table and the exact budget, MLflow shows it, nobody saw a traceback, and no process is left."""
    wanted, expected, kills = scale(60, 500), undisturbed(LONGER), {"driver": 0, "worker": 0}
    while sum(kills.values()) < wanted or not min(kills.values()):
        folder = fresh_folder(tmp_path / f"study-{sum(kills.values())}", mlflow_store)
        (folder / "study.yaml").write_text(json.dumps(LONGER))
        while not killed(folder, chance, kills):
            pass
        assert table(folder) == expected
        assert disagreements(folder) == []
        assert "Traceback" not in (folder / "out.txt").read_text()
        assert left_behind(folder) == []
        shutil.rmtree(folder)
    tell(f"{kills['driver']} drivers and {kills['worker']} workers killed, every table the undisturbed one")
    assert min(kills.values()) > wanted / 10


def killed(folder: Path, chance: random.Random, kills: dict[str, int]) -> bool:
    """Run the study, and kill its driver or its workers now and then; true where it came to its end."""
    run = start_tuner(folder, "run", "study.yaml", "--workers", "2")
    while True:
        try:
            code = run.wait(chance.uniform(0.3, 2.0))
        except subprocess.TimeoutExpired:
            if chance.random() < 0.4:
                workers = psutil.Process(run.pid).children(recursive=True)
                run.kill()
                run.wait()
                _, alive = psutil.wait_procs(workers, timeout=20)
                assert not alive
                kills["driver"] += 1
                return False
            workers = [p for p in psutil.Process(run.pid).children() if is_worker(p)]
            if workers:
                chance.choice(workers).kill()
                kills["worker"] += 1
        else:
            assert code == 0, (folder / "out.txt").read_text()[-2000:]
            return True


STOPS = 10  # in a study: a hundred workers in a row that finish nothing end it, with a sentence


@pytest.mark.parametrize("number", range(10 if LONG else 1))
def test_a_stopped_worker_costs_time_alone(
    number: int,
    workspace: Path,
    undisturbed: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    chance: random.Random,
    tell: Callable[[str], None],
) -> None:
    """SIGSTOP beyond the limit, then SIGCONT: its segment is trained again by another, and no trial is accused."""
    monkeypatch.setattr("tuner.execution.planning.LEAST_PATIENCE", 0.5)
    monkeypatch.setattr("tuner.execution.planning.LATE_UNMEASURED", 50.0)
    monkeypatch.setattr("tuner.execution.spawned.START_SECONDS", 5.0)
    spec = {**LONGER, "name": "tiny"}
    stopped: list[int] = []

    def stop_one(progress: Progress) -> None:
        if progress.phase != "training" or len(stopped) == STOPS or chance.random() < 0.3:
            return
        for worker in psutil.Process().children():
            if is_worker(worker) and worker.pid not in stopped:
                worker.send_signal(signal.SIGSTOP)
                stopped.append(worker.pid)
                return

    tuner.run(spec, workers=2, progress=stop_one)
    for pid in stopped:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)
    assert len(stopped) == STOPS
    assert table(workspace) == undisturbed(LONGER)
    ledger = Ledger.open("sqlite:///tuner.db")
    record = ledger.study("tiny")
    assert record is not None
    events = [event.body for event in ledger.events(record.id) if event.kind == "worker"]
    ledger.close()
    assert events
    assert not any(body["own"] for body in events)
    tell(f"study {number + 1}: {STOPS} workers stopped, nobody accused, the undisturbed table")


def run_events(folder: Path) -> list[float]:
    """When runs of the folder's study began, by their own clocks; none where there is no ledger yet."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'tuner.db'}?mode=ro", uri=True)) as ledger:
            return [at for (at,) in ledger.execute("SELECT at FROM tuner_event WHERE kind = 'run'")]
    except sqlite3.OperationalError:
        return []


@pytest.mark.skipif(shutil.which("faketime") is None, reason="no faketime here")
@pytest.mark.parametrize("moves", [("+0", "+2h", "-2h"), ("+0", "-2h", "+2h"), ("+2h", "+0", "+0")])
def test_a_moved_clock_changes_nothing(
    workspace: Path, undisturbed: Callable[..., str], moves: tuple[str, ...], scale: Callable[[int, int], int]
) -> None:
    """Killed under one clock and run on under another, two hours off either way: at once, and to the same table."""
    (workspace / "study.yaml").write_text(json.dumps(LONGER))
    for move in moves:
        with (workspace / "out.txt").open("a") as out:
            command = ["faketime", "-f", move, *TUNER, "run", "study.yaml"]
            environment = {**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            run = subprocess.Popen(command, cwd=workspace, env=environment, stdout=out, stderr=out)
        begun = len(run_events(workspace))
        while run.poll() is None and len(run_events(workspace)) == begun:
            time.sleep(0.02)
        try:
            run.wait(0.5)
        except subprocess.TimeoutExpired:
            for process in [*psutil.Process(run.pid).children(recursive=True), psutil.Process(run.pid)]:
                process.kill()
            run.wait()
    assert run_tuner(workspace, "run", "study.yaml").returncode == 0
    assert table(workspace) == undisturbed(LONGER)
    assert disagreements(workspace) == []
    assert "Traceback" not in (workspace / "out.txt").read_text()
    runs = run_events(workspace)
    assert len(runs) == len(moves) + 1
    assert max(runs) - min(runs) > 3600  # the moved clocks were there, and were believed

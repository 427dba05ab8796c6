"""kill -9 of servers, supervisors, drivers and workers of the service: every study ends as if nothing had happened."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from disturbed import disagreements, left_behind, start_tuner, table
from studies import fresh_folder, tiny, working_in
from supervised import ENDED, hand_in, killable, opened, rests_within, start_supervisor, until

from tuner.api.maintenance import doctor
from tuner.ledger.ledger import Ledger

LONGER = tiny(search={"trials": 36, "epochs": 243, "cohort": 12, "seed": 5})
SHORT = {"trials": 3, "epochs": 1}
QUICK = ("--workers", "1", "--grace", "5")
SERVE = ("serve", "--port", "0", "--workers", "1")
KINDS = ("server", "supervisor", "driver", "worker")


@pytest.mark.sample
def test_any_kill_leaves_the_same_study(
    tmp_path: Path,
    mlflow_store: Path,
    undisturbed: Callable[..., str],
    chance: random.Random,
    scale: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    """Servers, supervisors, drivers and workers are killed at random moments, and a server is started again whenever it
    is gone: each study that was handed in has the undisturbed table, MLflow shows it, the record is whole, and no
    process is left."""
    wanted, expected, kills = scale(10, 300), undisturbed(LONGER), dict.fromkeys(KINDS, 0)
    numbers = itertools.count()  # of studies: one may end before anything is killed
    while sum(kills.values()) < wanted:
        folder = fresh_folder(tmp_path / f"study-{next(numbers)}", mlflow_store)
        with working_in(folder), opened(folder) as ledger:
            hand_in(ledger, LONGER)
            server = start_tuner(folder, *SERVE)
            while not (ended := rests_within(ledger, "tiny", chance.uniform(0.5, 6.0))):
                server = _killed(ledger, server, chance, kills)
            assert (ended.outcome, ended.message) == ("finished", "")
            server.terminate()
            assert server.wait(60) in ENDED
            until(lambda: left_behind(Path.cwd()) == [], "all processes to end")
            assert table(folder) == expected
            assert disagreements(folder) == []
            assert [found.problems for found in doctor("tiny")] == [(), ()]
        assert "Traceback" not in (folder / "out.txt").read_text()
    tell(", ".join(f"{count} of {kind}" for kind, count in kills.items()) + " killed, every table the undisturbed one")


def _killed(
    ledger: Ledger, server: subprocess.Popen[str], chance: random.Random, kills: dict[str, int]
) -> subprocess.Popen[str]:
    """Kill one of those that are there; the server starts its supervisor again, and is itself replaced."""
    there = killable(ledger, server.pid, "tiny")
    if not there:
        return server
    kind = chance.choice(list(there))
    os.kill(there[kind], signal.SIGKILL)
    kills[kind] += 1
    if kind != "server":
        return server
    server.wait()
    return start_tuner(Path.cwd(), *SERVE)


def test_no_study_ever_has_two_drivers(
    workspace: Path, chance: random.Random, scale: Callable[[int, int], int], tell: Callable[[str], None]
) -> None:
    """Two supervisors for five studies, and whichever works is killed again and again: each study is run exactly once,
    never more than two at a time, though the first driver may outlive several supervisors."""
    names = [f"s{number}" for number in range(scale(5, 50))]
    with opened(workspace) as ledger:
        numbers = {name: hand_in(ledger, tiny(name=name, search=SHORT)).id for name in names}
        pair = [start_supervisor(workspace, *QUICK, "--slots", "2") for _ in range(2)]
        most, killed, next_kill = 0, 0, time.monotonic() + 6.0
        while any(each.outcome is None for each in ledger.submissions.all()):
            drivers = _drivers(numbers)
            assert max(drivers.values(), default=0) <= 1, drivers
            most = max(most, sum(drivers.values()))
            if time.monotonic() > next_kill and (holder := ledger.supervision.holder()):
                at = next(place for place, each in enumerate(pair) if f"process {each.pid} " in holder)
                pair[at].kill()
                pair[at].wait()
                pair[at] = start_supervisor(workspace, *QUICK, "--slots", "2")
                killed, next_kill = killed + 1, time.monotonic() + chance.uniform(3.0, 9.0)
            time.sleep(0.1)
        for each in pair:
            each.terminate()
        assert {each.wait(60) for each in pair} <= ENDED
        assert {each.outcome for each in ledger.submissions.all()} == {"finished"}
        assert {study.name: ledger.fence(study.id, "run") for study in ledger.studies()} == dict.fromkeys(names, 1)
    until(lambda: left_behind(workspace) == [], "all processes to end")
    assert (most, killed > 0) == (2, True)
    tell(f"{len(names)} studies, {killed} supervisors killed, never two drivers of one")


def _drivers(numbers: dict[str, int]) -> dict[str, int]:
    """How many processes run each study; the shell that is a driver's gate runs none."""
    found = dict.fromkeys(numbers, 0)
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        for name, number in numbers.items():
            found[name] += words[0] == sys.executable and any(w.endswith(f"service/{number}/space.yaml") for w in words)
    return found

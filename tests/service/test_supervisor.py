"""Claims about the supervisor, with real drivers: what is wanted of a study comes about, and nothing is run twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from disturbed import left_behind, run_tuner, start_tuner, table
from freezing import freeze
from studies import IRIS, fresh_folder, tiny, working_in
from supervised import (
    hand_in,
    now,
    opened,
    rest,
    start_supervisor,
    supervisor_process,
    supervisor_thread,
    training,
    until,
)

import tuner
from tuner.api.maintenance import doctor
from tuner.api.workspace import workspace as workspace_of
from tuner.ledger.ledger import Ledger
from tuner.service.declarations import Declarations
from tuner.service.studies import ServiceStudies

# Seconds of training, so that there is time to stop it. Sampled at random, so that a larger budget means the same
# trials at whatever moment it is asked for.
LONG = {"trials": 9, "epochs": 600, "cohort": 9, "seed": 3, "sampler": "random", "pruner": "none"}
SHORT = {"trials": 3, "epochs": 1}


@pytest.fixture
def ledger(workspace: Path) -> Iterator[Ledger]:
    with opened(workspace) as ledger:
        yield ledger


def test_stopped_and_continued_through_the_service_it_is_the_same_study(
    workspace: Path, ledger: Ledger, mlflow_store: Path
) -> None:
    """Handed in, stopped amid its training, continued to a larger total, its supervisor killed meanwhile and followed:
    byte for byte the table of `tuner run` with these totals; its one driver outlived the supervisor."""
    hand_in(ledger, tiny(search=LONG))
    first = start_supervisor(workspace, "--workers", "0")
    training(ledger, "tiny")
    ledger.submissions.want("tiny", "stop", "test")
    assert rest(ledger, "tiny").outcome == "stopped"
    ledger.submissions.want("tiny", "run", "test", trials=12)
    pid = training(ledger, "tiny")
    first.kill()
    first.wait()
    assert psutil.pid_exists(pid)
    with supervisor_process(workspace):
        until(ledger.supervision.holder, "the next supervisor")
        driver = now(ledger, "tiny").driver
        assert driver is None or driver.pid == pid
        assert rest(ledger, "tiny").outcome == "finished"
    assert left_behind(workspace) == []
    assert [found.problems for found in doctor("tiny", mlflow=False)] == [(), ()]
    with working_in(fresh_folder(workspace / "by-hand", mlflow_store)) as other:
        for total in (9, 12):
            tuner.run(tiny(search={**LONG, "trials": total}), workers=0)
        assert table(workspace) == table(other)


def test_what_the_user_has_to_mend_is_not_tried_again(workspace: Path, ledger: Ledger) -> None:
    """The data is gone: failed at once, with the driver's last line, which says why. Once it is back it runs."""
    data = shutil.copy(IRIS, workspace / "mine.npy")
    ledger.datasets.add("mine", str(data), 1, "test")
    hand_in(ledger, tiny(search=SHORT), data="mine")
    Path(data).rename(workspace / "elsewhere.npy")
    with supervisor_thread(workspace):
        failed = rest(ledger, "tiny")
        assert (failed.outcome, failed.attempts) == ("failed", 1)
        assert "mine.npy: must be a file or folder" in failed.message.splitlines()[-1]
        (workspace / "elsewhere.npy").rename(data)
        ledger.submissions.want("tiny", "run", "test")
        assert rest(ledger, "tiny").outcome == "finished"


def test_names_that_are_gone_are_said_without_a_driver(workspace: Path, ledger: Ledger) -> None:
    """Data that is registered no longer, and a path, which the service takes from nobody: failed without a process."""
    hand_in(ledger, tiny())
    ledger.datasets.remove("iris", "test")
    ledger.submissions.submit("path", json.dumps(tiny(name="path")), "test")
    with supervisor_thread(workspace):
        assert "must name registered data (there is none yet), got dataset:iris" in rest(ledger, "tiny").message
        assert "must be dataset:NAME" in rest(ledger, "path").message
    assert ledger.studies() == []


def test_a_driver_that_does_not_stop_is_killed_with_its_group(workspace: Path, ledger: Ledger) -> None:
    """Frozen, it cannot answer: after the grace it and its workers are gone, and the study is stopped."""
    hand_in(ledger, tiny(search={**LONG, "trials": 2}))
    with supervisor_thread(workspace, grace=0.5, workers=1, stop_drivers=False):
        driver = psutil.Process(training(ledger, "tiny"))
        group = [driver, *driver.children(recursive=True)]
        freeze(group, f"sqlite:///{workspace / 'tuner.db'}")
        ledger.submissions.want("tiny", "stop", "test")
        assert rest(ledger, "tiny").outcome == "stopped"
        assert len(group) > 1
        _, alive = psutil.wait_procs(group, timeout=20)
        assert alive == []


def test_a_supervisor_that_takes_its_drivers_with_it_leaves_work_for_the_next(workspace: Path, ledger: Ledger) -> None:
    """--stop-drivers: after SIGTERM no process is left, and the study still wants to run; the next one finishes it."""
    hand_in(ledger, tiny(search={**LONG, "trials": 2}))
    with supervisor_process(workspace, "--stop-drivers"):
        training(ledger, "tiny")
    each = now(ledger, "tiny")
    assert (each.wanted, each.outcome, each.driver, each.attempts) == ("run", None, None, 0)
    assert left_behind(workspace) == []
    with supervisor_thread(workspace):
        assert rest(ledger, "tiny").outcome == "finished"


def test_a_study_that_was_launched_by_hand_is_taken_over(workspace: Path, ledger: Ledger) -> None:
    """Its file lies in a folder of its own, with data beside it: asked to stop, it does; continued by the service to a
    larger budget, under the name that it was given since, it finds its data. No driver is started beside the run."""
    mine = workspace / "mine"
    mine.mkdir()
    shutil.copy(IRIS, mine / "x.npy")
    (mine / "study.yaml").write_text(json.dumps(tiny(data={"source": "x.npy"}, search={**LONG, "trials": 2})))
    studies = ServiceStudies(workspace_of(workspace), ledger, Declarations(ledger.datasets))
    run = start_tuner(workspace, "run", "mine/study.yaml", "--workers", "0")
    until(lambda: ledger.study("tiny") and ledger.segments(1), "the run to train")
    with supervisor_thread(workspace):
        studies.want("tiny", "stop", "test")
        assert run.wait(60) == 3
        stopped = rest(ledger, "tiny")
        assert (stopped.outcome, stopped.started_at) == ("stopped", None)
        assert run_tuner(workspace, "rename", "tiny", "big", "--yes").returncode == 0
        studies.want("big", "run", "test", trials=3)
        ended = rest(ledger, "big")
        assert (ended.outcome, ended.message) == ("finished", "")
    assert [(study.name, study.state) for study in ledger.studies()] == [("big", "finished")]
    assert len(ledger.trials(1)) == 3


def test_a_ledger_that_cannot_be_reached_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its folder is not there yet: said once, in a sentence; once it is, the supervisor begins."""
    monkeypatch.setenv("TUNER_DATABASE_URL", f"sqlite:///{tmp_path / 'later' / 'tuner.db'}")
    monkeypatch.setattr("tuner.service.supervisor.LOOK_SECONDS", 0.05)
    caplog.set_level("INFO", "tuner.service")

    def said(word: str) -> list[str]:
        return [record.getMessage() for record in caplog.records if word in record.getMessage()]

    with supervisor_thread(tmp_path):
        until(lambda: said("cannot be written") or said("cannot be read"), "the sentence")
        (tmp_path / "later").mkdir()
        until(lambda: said("supervising"), "the supervisor to begin")
    assert len(said("trying again")) == 1
    assert len(said("can be reached again")) == 1


def test_a_wish_that_comes_back_before_the_start_starts_nothing(workspace: Path, ledger: Ledger) -> None:
    """Handed in and stopped at once: no process is started for it, and archived it stays out of the way."""
    hand_in(ledger, tiny())
    ledger.submissions.want("tiny", "archived", "test")
    with supervisor_thread(workspace):
        assert rest(ledger, "tiny").outcome == "stopped"
    assert now(ledger, "tiny").started_at is None
    assert not (workspace / ".tuner" / "service").exists()


@pytest.mark.parametrize("moment", ["at the gate", "recorded"])
def test_a_supervisor_that_is_killed_while_it_starts_a_driver_leaves_none(
    moment: str, workspace: Path, ledger: Ledger
) -> None:
    """Before the driver is recorded and just after: it ends without having begun, and the next one starts another."""
    hand_in(ledger, tiny(search=SHORT))
    place = {
        "at the gate": "from tuner.ledger.standings import Standings as Found; name = 'started'",
        "recorded": "from tuner.service.driver import Drivers as Found; name = 'let_in'",
    }[moment]
    die = f"import os, sys, threading; {place}; setattr(Found, name, lambda *_: os._exit(9))"
    rest_of = (
        "from tuner.api.workspace import workspace; from tuner.service.supervisor import *; Supervisor(workspace(),"
    )
    script = f"{die}; {rest_of} SupervisorOptions()).run(threading.Event())"
    assert subprocess.run([sys.executable, "-c", script], cwd=workspace, check=False).returncode == 9
    until(lambda: left_behind(workspace) == [], "the driver to end at its gate")
    assert ledger.studies() == []
    assert (now(ledger, "tiny").driver is None) is (moment == "at the gate")
    with supervisor_thread(workspace):
        assert rest(ledger, "tiny").outcome == "finished"

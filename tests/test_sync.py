"""Claims about `tuner sync`: what waits is published once, whoever asks and however many at a time."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from disturbed import TUNER, disagreements, run_tuner
from studies import tiny

import tuner
from tuner.api.maintenance import doctor
from tuner.api.publishing import sync
from tuner.errors import StudyError
from tuner.ledger.ledger import Ledger

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def unpublished(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished study of which MLflow has nothing."""
    (workspace / "study.yaml").write_text(json.dumps(tiny()))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", DEAD)
        tuner.run(tiny(), workers=0)
    return workspace


def test_what_waits_is_told_and_published_once(unpublished: Path) -> None:
    """The summary names the command; it publishes all of it, and the second time nothing is left."""
    shown = run_tuner(unpublished, "show", "tiny").stdout
    assert "records waiting for MLflow: `tuner sync tiny` publishes what waits." in shown
    first, second = run_tuner(unpublished, "sync", "tiny"), run_tuner(unpublished, "sync")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith("tiny: ")
    assert first.stdout.endswith(" records published, 0 waiting\n")
    assert second.stdout == "tiny: 0 records published, 0 waiting\n"
    assert disagreements(unpublished) == []


def test_a_dead_server_is_one_sentence(unpublished: Path) -> None:
    """Exit code 1, what waits, and why; nothing is lost."""
    ran = run_tuner(unpublished, "sync", MLFLOW_TRACKING_URI=DEAD)
    assert ran.returncode == 1
    assert "tiny: 0 records published, " in ran.stdout
    assert f"{DEAD}: MLflow must take what is recorded" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr
    assert run_tuner(unpublished, "sync").returncode == 0


def test_many_at_once_make_no_second_run(unpublished: Path) -> None:
    """Six processes sync at the same time: each run and value is there once, whoever brought it."""
    processes = [
        subprocess.Popen([*TUNER, "sync", "tiny"], cwd=unpublished, stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert any(process.returncode == 0 for process in processes)
    assert all("publishes it since" in said for said, p in zip(outputs, processes, strict=True) if p.returncode)
    assert disagreements(unpublished) == []


def test_a_study_that_somebody_publishes_is_left_to_them(unpublished: Path) -> None:
    """The sentence says who; what waits stays."""
    ledger = Ledger.open("sqlite:///tuner.db")
    record = ledger.study("tiny")
    assert record is not None
    with ledger.lease(record.id, "publish"):
        (done,) = sync()
        assert done.error is not None
        assert "publishes it since" in done.error
        assert (done.published, done.waiting > 0) == (0, True)
    ledger.close()
    assert sync()[0].waiting == 0


def test_a_row_that_mlflow_never_takes_is_set_aside_and_told(unpublished: Path) -> None:
    """A parameter that is there with another value is refused for ever: it is named, and the rest is published."""
    sync()
    with closing(sqlite3.connect("mlflow.db")) as store:
        store.execute("UPDATE params SET value = 'other' WHERE key = 'width'")
        store.commit()
    with closing(sqlite3.connect("tuner.db")) as record:
        record.execute("DELETE FROM tuner_run WHERE trial = 3")
        record.execute("INSERT INTO tuner_outbox (study_id, kind, trial) VALUES (1, 'trial', 3), (1, 'end', 4)")
        record.commit()
    (done,) = sync()
    assert (done.published, done.waiting, len(done.aside)) == (1, 0, 1)
    assert done.aside[0].startswith("trial of trial 3: ")
    shown = run_tuner(unpublished, "show", "tiny").stdout
    assert "`tuner sync tiny` says why" in shown
    assert f"  {done.aside[0]}\n" in shown


def test_a_run_says_why_mlflow_refused(workspace: Path) -> None:
    """On the terminal and as JSON, as `sync` does."""
    (workspace / "study.yaml").write_text(json.dumps(tiny(search={"trials": 2, "epochs": 1})))
    ran = run_tuner(workspace, "run", "study.yaml", "--workers", "0", MLFLOW_TRACKING_URI=DEAD)
    assert f"  {DEAD}: MLflow must take what is recorded, but it cannot be reached or refuses: " in ran.stdout
    again = run_tuner(workspace, "run", "study.yaml", "--workers", "0", "--json", MLFLOW_TRACKING_URI=DEAD)
    assert json.loads(again.stdout)["mlflow"]["error"].startswith(DEAD)


def test_a_folder_that_was_moved_is_followed(unpublished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` names where the files lie; `sync` corrects it though nothing waits, and counts what it published."""
    sync()
    moved = unpublished.with_name(f"{unpublished.name} moved%20to?")
    unpublished.rename(moved)
    monkeypatch.chdir(moved)
    (problem,) = [problem for found in doctor() for problem in found.problems]
    assert f"{unpublished}/mlartifacts" in problem
    (done,) = sync()
    assert (done.published > 0, done.waiting, done.error) == (True, 0, None)
    assert [found.problems for found in doctor()] == [(), ()]
    tuner.run(tiny(search={"trials": 14}), workers=0)
    assert [found.problems for found in doctor()] == [(), ()]
    assert not unpublished.exists()


def test_an_unknown_study_is_refused(unpublished: Path) -> None:
    """With the nearest name."""
    with pytest.raises(StudyError, match="did you mean tiny"):
        sync("tinny")


def test_doctor_and_prune_files_at_the_command_line(unpublished: Path) -> None:
    """What waits is told and is no difference, a planted difference is exit code 1, and what is freed is told once."""
    ran = run_tuner(unpublished, "doctor")
    assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, "tiny: all agrees")
    assert "`tuner sync tiny` publishes what waits." in ran.stdout
    run_tuner(unpublished, "sync")
    assert [line.split(":")[0] for line in run_tuner(unpublished, "doctor").stdout.splitlines()] == [
        "tiny",
        "  not checked",
    ]
    with closing(sqlite3.connect("tuner.db")) as record:
        record.execute("UPDATE tuner_trial SET best_epoch = 99 WHERE number = 0")
        record.commit()
    differing = run_tuner(unpublished, "doctor", "tiny", "--no-mlflow")
    assert (differing.returncode, differing.stdout.splitlines()[0]) == (1, "tiny: 1 difference")
    freed = run_tuner(unpublished, "prune-files", "--dry-run")
    assert "MB would be freed" in freed.stdout
    assert "MB freed" in run_tuner(unpublished, "prune-files").stdout
    assert run_tuner(unpublished, "prune-files").stdout == "Nothing is there that is not needed.\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_user_without_a_name_and_a_home_can_publish(unpublished: Path) -> None:
    """As in a container that is started with a number for a user; MLflow's import alone asks for a home folder."""
    shutil.chown(unpublished, 54321)
    (unpublished / "mlflow.db").unlink()  # making the store imports MLflow
    # The rights to read and write what the tests' own user may: Python and the tuner are installed there.
    rights = [f"--{kind}-caps=+dac_read_search,+dac_override" for kind in ("inh", "ambient")]
    nameless = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *rights]
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    ran = subprocess.run([*nameless, *TUNER, "sync"], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "0 waiting" in ran.stdout

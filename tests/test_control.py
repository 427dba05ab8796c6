"""Claims about control from outside: a run is watched, stopped and extended by other processes, as if from within."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from disturbed import TUNER, left_behind, run_tuner, table
from freezing import freeze
from studies import tiny

import tuner
from tuner.api import control
from tuner.api.maintenance import doctor
from tuner.cli import progress as shown
from tuner.errors import SpecError, StudyError
from tuner.ledger.ledger import Ledger
from tuner.orchestration.control import RemoteControl
from tuner.orchestration.progress import Progress
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import spec_from_mapping
from tuner.spec.work import TrialState

FINAL = {"top": 2, "seeds": 2}
Launched = Callable[[], subprocess.Popen[str]]


# From within one process, where every moment can be chosen.


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a run has heard of a request to stop, or of a larger budget."""
    event, real = threading.Event(), RemoteControl._look

    def look(self: RemoteControl, study_id: int) -> None:
        real(self, study_id)
        if self.stopped_by or (self._wanted and self._wanted.trials):
            event.set()

    monkeypatch.setattr(RemoteControl, "_look", look)
    return event


def asking_when(phase: str, ask: Callable[[], object], heard: threading.Event) -> Callable[[Progress], None]:
    """A listener that asks once, at the first sign of a phase, and goes on when the run has heard of it."""
    asked = threading.Event()

    def listen(progress: Progress) -> None:
        if progress.phase == phase and not asked.is_set():
            asked.set()
            ask()
            assert heard.wait(60)

    return listen


def ask_to_stop() -> None:
    assert not control.stop("tiny", wait=False).is_over


@pytest.mark.parametrize("phase", ["training", "confirming", "scoring"])
def test_a_request_stops_a_run_as_its_own_stop_does(phase: str, workspace: Path, heard: threading.Event) -> None:
    """In the search, the final stage and the scoring: all is recorded, the study is stopped, and the next run, which
    the old request does not stop, ends with the undisturbed table."""
    long = {"epochs": 60}  # the final stage is recorded after 50 epochs as well, so the stop comes amid it
    tuner.run(tiny(name="undisturbed", final=FINAL, search=long), workers=0)
    study = tuner.run(tiny(final=FINAL, search=long), workers=0, progress=asking_when(phase, ask_to_stop, heard))
    assert (study.outcome, study.state) == ("stopped", "stopped")
    assert study.stopped_by is not None
    assert f"process {os.getpid()} on " in study.stopped_by
    again = tuner.run(tiny(final=FINAL, search=long), workers=0)
    assert (again.outcome, again.state) == ("nothing-left" if phase == "scoring" else "finished", "finished")
    assert again.stopped_by is None
    assert table(workspace) == table(workspace, "undisturbed")
    assert [found.problems for found in doctor("tiny", mlflow=False)] == [(), ()]


@pytest.mark.parametrize("phase", ["training", "confirming"])
def test_a_running_study_goes_on_to_a_larger_budget(phase: str, workspace: Path, heard: threading.Event) -> None:
    """As continuing it would: the record replays, the declaration is the larger one, and nothing is left to do."""
    ask = asking_when(phase, lambda: control.extend("tiny", trials=18), heard)
    study = tuner.run(tiny(search={"trials": 9}, final=FINAL), workers=0, progress=ask)
    assert (study.outcome, study.state, len(study.records)) == ("finished", "finished", 18)
    assert study.spec.search.trials == 18
    assert [found.problems for found in doctor("tiny", mlflow=False)] == [(), ()]
    assert tuner.run(tiny(search={"trials": 18}, final=FINAL), workers=0).outcome == "nothing-left"


def test_a_budget_taken_after_the_final_stage_gives_the_table_of_a_study_that_was_continued(
    workspace: Path, heard: threading.Event
) -> None:
    """Byte for byte: the request and the second run come to the same place of the record."""
    for trials in (9, 18):
        tuner.run(tiny(name="continued", search={"trials": trials}, final=FINAL), workers=0)
    ask = asking_when("confirming", lambda: control.extend("tiny", trials=18), heard)
    tuner.run(tiny(search={"trials": 9}, final=FINAL), workers=0, progress=ask)
    assert table(workspace) == table(workspace, "continued")


def test_a_budget_that_cannot_be_taken_is_refused(workspace: Path) -> None:
    """One sentence: of a study that nobody runs, of a smaller budget, and of more points than a grid has."""
    grid = {"width": {"type": "int", "low": 4, "high": 12}, "bottleneck": 2, "depth": 1, "learning_rate": 0.01}
    tuner.run(tiny(space={**grid, "batch_size": 32}, search={"trials": 3, "sampler": "grid"}), workers=0)
    with pytest.raises(StudyError, match="no process trains it"):
        control.extend("tiny", trials=5)
    ledger = Ledger.open("sqlite:///tuner.db")
    with ledger.lease_to_run(1):
        with pytest.raises(StudyError, match="must be larger than 3 trials, got 3"):
            control.extend("tiny", trials=3)
        with pytest.raises(SpecError, match="the points of the grid, got 500"):
            control.extend("tiny", trials=500)
    ledger.close()


def test_a_study_that_nobody_runs_has_progress_too(workspace: Path) -> None:
    """It is counted from the record; stopping it changes nothing of it."""
    study = tuner.run(tiny(), workers=0)
    now = study.progress()
    assert (now.phase, now.state, now.owner, now.ended, now.total) == ("not running", "finished", None, 13, 13)
    assert now.best == study.best.value
    done = study.stop()
    assert (done.is_over, done.owner, done.state) == (True, None, "finished")


def test_what_a_run_of_another_version_wrote_is_read(workspace: Path) -> None:
    """A key that this version does not know is passed over."""
    tuner.run(tiny(search={"trials": 9}), workers=0)
    ledger = Ledger.open("sqlite:///tuner.db")
    with ledger.lease_to_run(1):
        assert control.progress("tiny").phase == "starting"
        body = Progress("tiny", 9, {}, None, 2.0, None, 4, "training").body()
        ledger.control.report(1, {**body, "moon": "full", "confirmed": [1, 4]})
        now = control.progress("tiny")
        assert (now.phase, now.waiting, now.confirmed, now.epochs_per_second) == ("training", 4, (1, 4), 2.0)
        assert now.owner is not None
    ledger.close()


# From other processes, as users do it.


@pytest.fixture(params=["sqlite", "postgres"])
def launched(request: pytest.FixtureRequest, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    """Launches a study of minutes in a process of its own, once it trains; ended by force when the test is done."""
    if request.param == "postgres":
        monkeypatch.setenv("TUNER_DATABASE_URL", request.getfixturevalue("postgres")())
    spec = spec_from_mapping(tiny(search={"trials": 2000, "epochs": 2000}))
    (workspace / "study.yaml").write_text(to_yaml(spec))
    processes: list[subprocess.Popen[str]] = []

    def launch() -> subprocess.Popen[str]:
        processes.append(begin("run", "study.yaml", "--workers", "1"))
        await_line(processes[-1], "running")
        return processes[-1]

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


def begin(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*TUNER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def await_line(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"{words} never came")


def test_a_study_is_watched_and_stopped_from_another_terminal(launched: Launched, workspace: Path) -> None:
    """`tuner watch` shows lines in a pipe and ends with the study; Ctrl-C ends a watch alone; two `tuner stop` at once
    both say that it has stopped, also the one that begins when the other has ended it; the first terminal says who
    asked, with exit code 3, and leaves no process."""
    run, watch, other = launched(), begin("watch", "tiny"), begin("watch", "tiny")
    assert "/2000 trials" in await_line(watch, "tiny: ")
    await_line(other, "tiny: ")
    other.send_signal(signal.SIGINT)
    assert "the study goes on" in other.communicate(timeout=60)[1]
    assert other.returncode == 130
    assert run.poll() is None
    stops = [begin("stop", "tiny") for _ in range(2)]
    ends = [stop.communicate(timeout=120)[0] for stop in stops]
    assert any(end.startswith("tiny: stopped; ") for end in ends)
    assert all("tiny: stopped; " in end for end in ends)
    assert [stop.returncode for stop in stops] == [0, 0]
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 3
    assert "tiny: stopped by request of process " in said
    assert "To go on: tuner run study.yaml" in said
    assert "tiny: stopped; " in watch.communicate(timeout=60)[0]
    assert watch.returncode == 0
    assert left_behind(workspace) == []


def test_a_study_is_watched_and_stopped_from_python(launched: Launched) -> None:
    """`Study.progress` says what the run says of itself, `Study.stop` returns when it has ended."""
    run = launched()
    study = tuner.Study.open("tiny")
    seen = next(now for now in control.watch("tiny") if now.phase == "training" and now.slots)
    assert (seen.state, seen.total, seen.slots, seen.nodes) == ("running", 2000, 1, None)
    assert seen.owner is not None
    assert f"process {run.pid} on " in seen.owner
    done = study.stop(timeout=120)
    assert (done.is_over, done.state) == (True, "stopped")
    run.communicate(timeout=60)
    assert run.returncode == 3
    ended = study.progress()
    assert (ended.phase, ended.slots) == ("not running", None)


@pytest.mark.parametrize(
    ("slots", "nodes", "words"),
    [
        (None, None, "9 running · 40 epochs/s"),
        (1, None, "9 running · 1 worker · 40 epochs/s"),
        (2, None, "9 running · 2 workers · 40 epochs/s"),
        (0, 0, "9 running · waiting for slots · 40 epochs/s"),
        (0, None, "9 running · workers are starting · 40 epochs/s"),
        (1, 1, "9 running · 1 slot on 1 node · 40 epochs/s"),
        (5, 2, "9 running · 5 slots on 2 nodes · 40 epochs/s"),
    ],
)
def test_the_line_says_how_many_train(slots: int | None, nodes: int | None, words: str) -> None:
    """Workers of this machine, or slots on the nodes of a cluster; nothing of a run of an older version."""
    counts = {TrialState.RUNNING: 9}
    now = Progress("tiny", 13, counts, None, 40.0, None, 0, "training", slots=slots, nodes=nodes)
    assert shown.line(now) == f"tiny: 0/13 trials · {words}"


def test_a_runner_that_is_killed_while_it_is_asked_to_stop_is_over(
    launched: Launched, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer is waited for no longer than the user says, exit code 1; once it is killed, a stop that
    waits returns, and the next run is not stopped by the old request."""
    run = launched()
    freeze([psutil.Process(run.pid)], os.environ.get("TUNER_DATABASE_URL", f"sqlite:///{workspace / 'tuner.db'}"))
    late = run_tuner(Path(), "stop", "tiny", "--timeout", "0.5")
    assert late.returncode == 1
    assert "It still runs; ask again" in late.stdout
    waits, real = threading.Event(), control._is_over

    def is_over(*args: Any) -> bool:
        waits.set()
        return real(*args)

    monkeypatch.setattr(control, "_is_over", is_over)
    with ThreadPoolExecutor(1) as thread:
        stop = thread.submit(control.stop, "tiny", timeout=120)
        assert waits.wait(60)
        run.kill()
        run.wait()
        done = stop.result()
    assert (done.is_over, done.state) == (True, "stopped")
    assert f"process {run.pid} on " in (done.owner or "")
    again = launched()
    now = next(now for now in control.watch("tiny") if now.phase == "training")
    assert now.stop_asked_by is None
    assert again.poll() is None


def test_stopping_what_does_not_run_is_a_sentence(workspace: Path) -> None:
    """Exit code 0 for a study that nobody runs, 2 for one that there is not; nothing changes."""
    tuner.run(tiny(search={"trials": 9, "epochs": 3}), workers=0)
    before = table(workspace)
    idle = run_tuner(workspace, "stop", "tiny")
    assert (idle.returncode, idle.stderr) == (0, "")
    assert idle.stdout.startswith(
        "tiny: no process runs it, so there is nothing to stop. tiny: finished; 9 of 9 trials"
    )
    unknown = run_tuner(workspace, "stop", "tinny")
    assert unknown.returncode == 2
    assert "did you mean tiny?" in unknown.stderr
    watched = run_tuner(workspace, "watch", "tiny")
    assert (watched.returncode, watched.stdout.splitlines()) == (
        0,
        [f"tiny: finished; 9 of 9 trials recorded; best {tuner.Study.open('tiny').best.value:.6g}."
         " `tuner show tiny` shows it."],
    )  # fmt: skip
    assert table(workspace) == before

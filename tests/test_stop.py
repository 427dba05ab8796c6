"""Claims about a stop: every phase looks at it, nothing is half made, and the next run goes on."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disturbed import TUNER, run_tuner
from studies import fresh_folder, tiny

import tuner
from tuner.api.listing import studies
from tuner.cli import display
from tuner.errors import StoppedError
from tuner.learning.training import Trained, train_alone
from tuner.ledger.ledger import Ledger
from tuner.orchestration.driver import Driver
from tuner.orchestration.progress import Progress
from tuner.search.loop import Search
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import spec_from_mapping
from tuner.tracking.publisher import Publisher
from tuner.waiting import abandonable

ONE = {"bottleneck": 4, "width": 8, "depth": 1, "learning_rate": 0.01, "batch_size": 64}


def stopping_when(is_time: Callable[[Progress], bool]) -> tuple[threading.Event, Callable[[Progress], None]]:
    """A stop, and a listener that sets it."""
    stop = threading.Event()
    return stop, lambda progress: stop.set() if is_time(progress) else None


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_stop_while_data_is_prepared_leaves_nothing(workspace: Path) -> None:
    """No study, no file of prepared rows; a study that was there is as it was; without the stop it runs."""
    stop, listen = stopping_when(lambda progress: progress.phase == "preparing data")
    with pytest.raises(StoppedError, match="study tiny: stopped before anything of it was recorded"):
        tuner.run(tiny(), workers=0, progress=listen, stop=stop)
    assert studies() == []
    assert files(workspace / ".tuner") == []
    study = tuner.run(tiny(), workers=0)
    assert tuner.run(tiny(), workers=0, progress=listen, stop=stop).outcome == "stopped"
    assert tuner.Study.open("tiny").summary == study.summary


@pytest.mark.parametrize("detail", ["scaling rows", "PCA of 4 components, pass 2", "linear decoder of 4 units"])
def test_a_stop_amid_preparation_leaves_nothing(detail: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed of wide rows is told, and ends at once: no study, no file of where trainings start."""
    monkeypatch.setattr("tuner.orchestration.reporter.SHOW_SECONDS", -1.0)  # every step is told
    np.save("wide.npy", np.random.default_rng(0).random((1600, 1100)).astype(np.float32))
    declared = tiny(data={"source": "wide.npy"}, space=ONE, loss="bce", search={"trials": 1, "epochs": 1})
    told: list[str] = []

    def is_time(progress: Progress) -> bool:
        told.append(progress.detail)
        return progress.phase == "preparing data" and progress.detail.startswith(detail)

    stop, listen = stopping_when(is_time)
    with pytest.raises(StoppedError, match="study tiny: stopped before anything of it was recorded"):
        tuner.run(declared, workers=0, progress=listen, stop=stop)
    assert told[-1].startswith(detail) and not any(text.startswith(detail) for text in told[:-1])
    assert studies() == []
    assert not [path for path in files(workspace / ".tuner") if ".start-" in path.name]


def test_a_stop_amid_the_reading_of_the_speed_leaves_nothing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for one interval of the training that is timed, and for no other training."""
    stop, begun = threading.Event(), list[str]()

    def stopped(*arguments: Any) -> Trained:
        begun.append("training")
        stop.set()
        return train_alone(*arguments)

    monkeypatch.setattr("tuner.orchestration.speed.train_alone", stopped)
    declared = tiny()
    declared["search"] = {"minutes": 1, "seed": 3}
    with pytest.raises(StoppedError, match="study tiny: stopped before anything of it was recorded"):
        tuner.run(declared, workers=0, stop=stop)
    assert begun == ["training"]
    assert studies() == []


def test_what_blocks_is_abandoned() -> None:
    """A call that never returns is left at the next check; its own result and error come through otherwise."""
    never, stop = threading.Event(), threading.Event()

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    def block() -> None:
        stop.set()
        never.wait()

    with pytest.raises(StoppedError):
        abandonable(block, check)
    never.set()
    assert abandonable(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        abandonable(lambda: 1 // 0)


@pytest.mark.parametrize("detail", ["", "pass 1"])
def test_a_stop_while_the_winner_is_scored_leaves_it_to_the_next_run(
    detail: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the phase's beginning or amid a PCA of wide rows: the study says that its answer is missing, the next run
    scores it, and the test split was used once."""
    monkeypatch.setattr("tuner.orchestration.reporter.SHOW_SECONDS", -1.0)  # every step is told
    draw = np.random.default_rng(0)
    np.save("wide.npy", draw.normal(size=(1600, 1100)).astype(np.float32))
    declared = tiny(data={"source": "wide.npy"}, space=ONE, search={"trials": 1, "epochs": 1})
    told: list[str] = []

    def is_time(progress: Progress) -> bool:
        told.append(progress.detail)
        return progress.phase == "scoring" and detail in progress.detail

    stop, listen = stopping_when(is_time)
    study = tuner.run(declared, workers=0, progress=listen, stop=stop)
    assert (study.outcome, study.state, study.awaits_score) == ("stopped", "stopped", True)
    assert study.summary.baselines is None
    assert "Its answer is missing: the winner is not scored yet" in display.summary(study)
    again = tuner.run(declared, workers=0, progress=lambda progress: told.append(progress.detail))
    assert (again.state, again.awaits_score) == ("finished", False)
    assert again.summary.baselines.pca > 0
    assert again.summary.test_uses == 1
    assert any(text.startswith("PCA of 4 components") for text in told)
    assert again.csv() == study.csv()


def test_an_epoch_in_this_process_is_the_most_that_a_stop_waits_for(workspace: Path) -> None:
    """Of a trial of a million epochs the stop comes back; nothing of the segment is recorded, and the study stands."""
    stop = threading.Event()

    def halt(shown: Progress) -> None:
        if shown.phase == "training":
            stop.set()

    space, search = {**ONE, "bottleneck": 3}, {"trials": 1, "epochs": 1_000_000, "pruner": "none"}
    study = tuner.run(tiny(space=space, search=search), workers=0, stop=stop, progress=halt)
    assert (study.outcome, study.state) == ("stopped", "stopped")
    assert study.counts == {"running": 1}


def test_a_long_record_is_not_replayed_before_the_stop_is_looked_at(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler, which takes minutes for thousands of trials, is asked for nothing."""
    tuner.run(tiny(), workers=0)
    asked: list[int] = []
    monkeypatch.setattr(Search, "ask", lambda _, cohort, __: asked.append(cohort))
    ledger, stop = Ledger.open("sqlite:///tuner.db"), threading.Event()
    record = ledger.study("tiny")
    assert record is not None
    stop.set()
    driver = Driver(record, record.spec, ledger, None, lambda _: None, stop)  # type: ignore[arg-type]  # none is needed
    assert driver.run() == "stopped"
    assert asked == []
    ledger.close()


def test_a_publisher_that_hangs_is_left_soon_after_a_stop(workspace: Path) -> None:
    """It would be waited for for a minute; after a stop it is seconds, and what waits stays recorded."""
    study = tuner.run(tiny(search={"trials": 9, "epochs": 1}), workers=0)
    ledger, hang, there, stop = (Ledger.open("sqlite:///tuner.db"), *(threading.Event() for _ in range(3)))
    record = ledger.study("tiny")
    assert record is not None
    with ledger.lease(record.id, "run"):
        summary = ledger.summary(record.id)
        assert summary is not None
        ledger.record_summary(record.id, summary)

    def answer(_: object) -> Path:
        there.set()
        hang.wait()
        return workspace

    publisher = Publisher(ledger, record.id, f"sqlite:///{workspace}/mlflow.db", answer)
    publisher.start()
    publisher.notify()
    assert there.wait(60)
    stop.set()
    began = time.monotonic()
    assert publisher.close(120, stop) > 0
    assert time.monotonic() - began < 60
    hang.set()
    publisher._thread.join(60)
    ledger.close()
    assert study.name == "tiny"


# As a user does it, in a process of its own.


def start(folder: Path, **options: object) -> subprocess.Popen[str]:
    words = [*TUNER, "run", "study.yaml", "--workers", "1"]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def await_line(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"{words} never came")


def write(folder: Path, **changes: object) -> None:
    (folder / "study.yaml").write_text(to_yaml(spec_from_mapping(tiny(**changes))))


def test_ctrl_c_while_a_large_table_is_read(workspace: Path) -> None:
    """Exit code 130 and a sentence, though the parser looks at no signal; nothing is left."""
    lines = "".join(f"{i}.5,{i % 7}.25,{i * i}.125\n" for i in range(1000))
    (workspace / "large.csv").write_text("a,b,c\n" + lines * 2000)
    write(workspace, data={"source": "large.csv"})
    process = start(workspace)
    await_line(process, "preparing data")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped before anything of it was recorded" in said
    assert files(workspace / ".tuner") == []
    assert "no studies here yet" in run_tuner(workspace, "list").stdout


def test_ctrl_c_while_wide_data_is_scored(workspace: Path) -> None:
    """Exit code 130, and the next run finishes."""
    np.save(workspace / "wide.npy", np.random.default_rng(0).normal(size=(2500, 2000)).astype(np.float32))
    write(
        workspace,
        data={"source": "wide.npy"},
        space={**ONE, "depth": 0, "bottleneck": 1000},
        search={"trials": 1, "epochs": 1},
    )
    process = start(workspace)
    await_line(process, "scoring")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Its answer is missing" in output
    assert run_tuner(workspace, "run", "study.yaml", "--workers", "0").returncode == 0
    assert "PCA(1000)'s test loss" in run_tuner(workspace, "show", "tiny").stdout


def test_a_hangup_is_ignored_where_it_was_when_the_run_began(workspace: Path) -> None:
    """As nohup does it: the study runs to its end."""
    write(workspace)
    process = start(workspace, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    await_line(process, "preparing data")
    process.send_signal(signal.SIGHUP)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "all 13 trials are done" in output


def test_a_terminal_that_is_closed_stops_the_run_cleanly(tmp_path: Path, mlflow_store: Path) -> None:
    """Its progress line has nowhere to go any more, and still the study is stopped, with exit code 129."""
    folder = fresh_folder(tmp_path / "study", mlflow_store)
    write(folder, search={"trials": 60, "epochs": 400})
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [*TUNER, "run", "study.yaml", "--workers", "1"],
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no other thread is busy here
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"epochs/s" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(60) == 129
    assert "stopped" in run_tuner(folder, "list").stdout
    assert not (folder / "tuner-crash.log").exists()

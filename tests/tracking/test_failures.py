"""A tracking server that is down, hangs or loses replies costs no run, no record and no training time."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking.publisher import Publisher, publish_once
from tuner.tracking.store import ensure_store

Proxy = Any
Story = Any
Dashboard = Any


def test_lost_replies_make_no_second_run(proxy: Proxy, server: Dashboard, ledger: Ledger, study: StudyRecord) -> None:
    """The reply to the first sending of every single request is lost, and still each run and value is there once."""
    proxy.losing = True
    failures = 0
    while True:
        try:
            publish_once(ledger, study.id, proxy.url)
            break
        except TrackingError:
            failures += 1
    assert failures > 15
    assert Counter(proxy.requests)["POST /api/2.0/mlflow/runs/create"] == 4
    client = MlflowClient(server.url)
    runs = client.search_runs([ledger.experiment_id(study.id)])
    assert sorted(run.info.run_name for run in runs) == sorted([study.name, "trial-0000", "trial-0001", "trial-0002"])
    for run in runs:
        for key in run.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps))
    assert ledger.waiting_count() == 0


def test_a_dead_server_is_waited_for_no_longer_than_asked(ledger: Ledger, study: StudyRecord) -> None:
    """Nothing listens there: closing answers at once with what waits and why, and raises nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        publisher = Publisher(ledger, study.id, f"http://user:hunter2@127.0.0.1:{taken.getsockname()[1]}")
        publisher.start()
        publisher.notify()
        waiting = ledger.waiting_count()
        start = time.monotonic()
        assert publisher.close(5.0) == waiting > 0
        assert time.monotonic() - start < 4.0
    assert publisher.error is not None
    assert "MLflow must take what is recorded, but it cannot be reached" in publisher.error
    assert "hunter2" not in publisher.error


def test_a_hanging_server_is_waited_for_no_longer_than_asked(ledger: Ledger, study: StudyRecord) -> None:
    """A server that accepts and never answers does not hold up the end of a run."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        publisher = Publisher(ledger, study.id, f"http://127.0.0.1:{silent.getsockname()[1]}")
        publisher.start()
        start = time.monotonic()
        assert publisher.close(0.5) == ledger.waiting_count() > 0
        assert time.monotonic() - start < 2.0


def test_a_server_that_comes_back_gets_everything(
    proxy: Proxy, server: Dashboard, ledger: Ledger, study: StudyRecord
) -> None:
    """What was recorded while the server was away is published when it is there again, without being asked."""
    proxy.down = True
    publisher = Publisher(ledger, study.id, proxy.url)
    publisher.start()
    while publisher.error is None:
        threading.Event().wait(0.01)
    proxy.down = False
    while ledger.waiting_count():
        threading.Event().wait(0.01)
    assert publisher.close(10.0) == 0
    assert publisher.error is None
    assert len(MlflowClient(server.url).search_runs([ledger.experiment_id(study.id)])) == 4


def test_the_publisher_shows_what_is_recorded_while_it_runs(store: str, ledger: Ledger, story: Story) -> None:
    """A notice is enough for a running study to appear; closing drains the rest."""
    study = story.begin(ledger, "running")
    publisher = Publisher(ledger, study.id, store)
    publisher.start()
    while ledger.waiting_count():
        threading.Event().wait(0.01)
    story.finish(ledger, study.id)
    publisher.notify()
    assert publisher.close(30.0) == 0
    assert publisher.error is None
    runs = MlflowClient(store).search_runs([ledger.experiment_id(study.id)])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]


def test_a_broken_store_is_an_error_of_the_publisher_alone(ledger: Ledger, study: StudyRecord, tmp_path: Path) -> None:
    """A store that is no database is reported and leaves everything waiting."""
    (tmp_path / "mlflow.db").write_text("this is not a database" * 1000)
    publisher = Publisher(ledger, study.id, f"sqlite:///{tmp_path / 'mlflow.db'}")
    publisher.start()
    assert publisher.close(20.0) == ledger.waiting_count() > 0
    assert publisher.error is not None
    assert "\n" not in publisher.error


PUBLISH = """
import sys
from tuner.ledger.ledger import Ledger
from tuner.tracking.publisher import Publisher
ledger = Ledger.open(sys.argv[1])
publisher = Publisher(ledger, ledger.studies()[0].id, sys.argv[2])
sys.stdin.readline()
publisher.start()
sys.exit(publisher.close(60.0))
"""


def _publish_in_processes(tmp_path: Path, story: Story, uri: str, count: int) -> list[subprocess.CompletedProcess[str]]:
    """One process for each of some ledgers, all let go at the same moment."""
    urls = [f"sqlite:///{tmp_path / str(number)}.db" for number in range(count)]
    for url in urls:
        ledger = Ledger.open(url)
        story.finish(ledger, story.begin(ledger, "together").id)
        ledger.close()
    arguments: dict[str, Any] = {"stdin": -1, "stdout": -1, "stderr": -1, "text": True, "cwd": tmp_path}
    processes = [subprocess.Popen([sys.executable, "-c", PUBLISH, url, uri], **arguments) for url in urls]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120) for process in processes]
    return [
        subprocess.CompletedProcess([], process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


def test_processes_that_meet_a_fresh_store_make_it_once_and_say_nothing(tmp_path: Path, story: Story) -> None:
    """Both publish all they have into the store that one of them made, and nothing reaches the terminal."""
    found = _publish_in_processes(tmp_path, story, "sqlite:///mlflow.db", 2)
    assert [(each.returncode, each.stdout, each.stderr) for each in found] == [(0, "", "")] * 2
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("together")
    assert len(client.search_runs([experiment.experiment_id])) == 2 * 4
    assert not (tmp_path / "mlflow.db.new").exists()


def test_a_dead_server_says_nothing_on_the_terminal(tmp_path: Path, story: Story) -> None:
    """Neither MLflow nor its libraries write a line; the exit code is the number of rows that wait."""
    (found,) = _publish_in_processes(tmp_path, story, "http://127.0.0.1:9", 1)
    assert (found.returncode > 0, found.stdout, found.stderr) == (True, "", "")


def test_a_store_whose_making_was_interrupted_is_made_again(tmp_path: Path) -> None:
    """A process killed in the middle of MLflow's migrations leaves no store, only a file that the next one replaces."""
    (tmp_path / "mlflow.db.new").write_text("half a database")
    (tmp_path / "mlflow.db").touch()
    ensure_store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert len(MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_experiments()) == 1
    assert not (tmp_path / "mlflow.db.new").exists()


def test_a_store_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """Where, what was expected, what came."""
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"MLflow's store cannot be made: Not a directory"):
        ensure_store(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")

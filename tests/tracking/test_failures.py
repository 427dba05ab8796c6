"""A tracking server that is down, hangs or loses replies costs no run, no record and no training time."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from owning import owning

from tuner.errors import LedgerError, TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking.apart import Mlflow
from tuner.tracking.audit import differences
from tuner.tracking.publisher import Publisher, publish_once
from tuner.tracking.store import ensure_store

Proxy = Any
Story = Any
Dashboard = Any


def test_lost_replies_make_no_second_run(proxy: Proxy, server: Dashboard, ledger: Ledger, study: StudyRecord) -> None:
    """The reply to the first sending of every single request is lost, and still each run and value is there once."""
    proxy.losing = True
    failures = 0
    with Mlflow(proxy.url) as mlflow:  # one process for all attempts, as a run has it
        while True:
            try:
                publish_once(ledger, study.id, proxy.url, mlflow=mlflow)
                break
            except TrackingError:
                failures += 1
    assert failures > 15
    assert Counter(proxy.requests)["POST /api/2.0/mlflow/runs/create"] == 4
    client = MlflowClient(server.url)
    runs = client.search_runs([ledger.outbox.experiment_id(study.id)])
    assert sorted(run.info.run_name for run in runs) == sorted([study.name, "trial-0000", "trial-0001", "trial-0002"])
    for run in runs:
        for key in run.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps))
    assert ledger.outbox.waiting_count() == 0


def test_a_dead_server_is_waited_for_no_longer_than_asked(ledger: Ledger, study: StudyRecord) -> None:
    """Nothing listens there: closing answers at once with what waits and why, and raises nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        publisher = Publisher(ledger, study.id, f"http://user:hunter2@127.0.0.1:{taken.getsockname()[1]}")
        publisher.start()
        publisher.notify()
        begun = time.monotonic()
        while (
            publisher.error is None and time.monotonic() - begun < 60
        ):  # MLflow is imported first, which takes seconds
            time.sleep(0.05)
        waiting = ledger.outbox.waiting_count()
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
        assert publisher.close(0.5) == ledger.outbox.waiting_count() > 0
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
    while ledger.outbox.waiting_count():
        threading.Event().wait(0.01)
    assert publisher.close(10.0) == 0
    assert publisher.error is None
    assert len(MlflowClient(server.url).search_runs([ledger.outbox.experiment_id(study.id)])) == 4


def test_the_publisher_shows_what_is_recorded_while_it_runs(store: str, ledger: Ledger, story: Story) -> None:
    """A notice is enough for a running study to appear; closing drains the rest."""
    study = story.begin(ledger, "running")
    publisher = Publisher(ledger, study.id, store)
    publisher.start()
    while ledger.outbox.waiting_count():
        threading.Event().wait(0.01)
    story.finish(ledger, study.id)
    publisher.notify()
    assert publisher.close(30.0) == 0
    assert publisher.error is None
    runs = MlflowClient(store).search_runs([ledger.outbox.experiment_id(study.id)])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]


def test_a_broken_store_is_an_error_of_the_publisher_alone(ledger: Ledger, study: StudyRecord, tmp_path: Path) -> None:
    """A store that is no database is reported and leaves everything waiting."""
    (tmp_path / "mlflow.db").write_text("this is not a database" * 1000)
    publisher = Publisher(ledger, study.id, f"sqlite:///{tmp_path / 'mlflow.db'}")
    publisher.start()
    assert publisher.close(20.0) == ledger.outbox.waiting_count() > 0
    assert publisher.error is not None
    assert "\n" not in publisher.error


PUBLISH = """
import sys
from tuner.ledger.ledger import Ledger
from tuner.tracking.audit import differences
from tuner.tracking.publisher import Publisher
ledger = Ledger.open(sys.argv[1])
publisher = Publisher(ledger, ledger.studies()[0].id, sys.argv[2])
sys.stdin.readline()
publisher.start()
sys.exit(publisher.close(110.0))
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


@pytest.mark.parametrize(
    "address", ["user:hunter2@127.0.0.1:9/name", "user:hunter2@/name?host=/nowhere"], ids=["port", "socket"]
)
def test_an_unreachable_database_is_said_at_once(address: str, ledger: Ledger, study: StudyRecord) -> None:
    """MLflow itself would try for more than a minute; all waits, and the password is not in the sentence."""
    uri, waiting = f"postgresql+psycopg://{address}", ledger.outbox.waiting_count()
    publisher = Publisher(ledger, study.id, uri)
    start = time.monotonic()
    publisher.start()
    assert publisher.close(60.0) == waiting > 0
    assert time.monotonic() - start < 40.0
    assert publisher.error is not None
    assert "cannot be reached or refuses" in publisher.error
    assert "hunter2" not in publisher.error


WARNED = """
import sys, warnings
import tuner.tracking.direct as direct
from tuner.ledger.ledger import Ledger
from tuner.tracking.publisher import publish_once
if sys.argv[3] == "client":
    direct.REVISION = "another"
ledger, before = Ledger.open(sys.argv[1]), list(warnings.filters)
print(publish_once(ledger, ledger.studies()[0].id, sys.argv[2]).waiting, warnings.filters == before)
"""


@pytest.mark.parametrize("way", ["direct", "client"])
def test_warnings_that_are_errors_do_not_keep_a_study_from_mlflow(way: str, tmp_path: Path, story: Story) -> None:
    """As under pytest's `-W error`: a fresh store is made and written, though MLflow's tables use deprecated names."""
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    ledger = Ledger.open(url)
    story.finish(ledger, story.begin(ledger, "warned").id)
    ledger.close()
    command = [sys.executable, "-W", "error", "-c", WARNED, url, f"sqlite:///{tmp_path / 'mlflow.db'}", way]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert found.stdout.split()[:1] == ["0"], found.stderr
    assert way == "client" or found.stdout.split()[1] == "True"


class Recorder:
    """A server that answers when it is let go, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked = self.answers = 0
        self.arrived, self.let_go = threading.Event(), threading.Event()
        self.echo = ""


@pytest.fixture
def recorder() -> Iterator[tuple[Recorder, str]]:
    state = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            state.arrived.set()
            state.let_go.wait(60)
            state.echo = self.headers.get("Authorization", "")
            code = "PERMISSION_DENIED" if state.echo else "RESOURCE_DOES_NOT_EXIST"
            body = json.dumps({"error_code": code, "message": f"got {state.echo}"}).encode()
            self.send_response(404 if not state.echo else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state, f"127.0.0.1:{listener.server_port}"
    state.let_go.set()
    listener.shutdown()
    listener.server_close()
    thread.join()


def test_an_abandoned_publisher_makes_no_other_call_and_leaves_a_closed_ledger_alone(
    recorder: tuple[Recorder, str], tmp_path: Path, story: Story
) -> None:
    """The server answers after the run has ended and its ledger was closed: the thread ends with that answer."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'own.db'}")
    study = story.begin(ledger, "left")
    server, address = recorder
    publisher = Publisher(ledger, study.id, f"http://{address}")
    publisher.start()
    assert server.arrived.wait(60)
    assert publisher.close(0.1) > 0
    assert publisher.error is not None and "did not do so within 0.1 s" in publisher.error
    ledger.close()
    for file in tmp_path.glob("own.db*"):
        file.unlink()
    server.let_go.set()
    publisher._thread.join(60)
    assert not publisher._thread.is_alive()
    assert server.asked == 1
    assert list(tmp_path.glob("own.db*")) == []
    assert "did not do so" in publisher.error, "not what the thread met later"
    with pytest.raises(LedgerError, match="it was closed"):
        ledger.outbox.waiting_count()


def test_an_authorization_header_that_a_server_echoes_is_not_shown(
    recorder: tuple[Recorder, str], ledger: Ledger, study: StudyRecord
) -> None:
    """Neither by what publishes nor by what compares, in any form."""
    server, address = recorder
    server.let_go.set()
    with owning(ledger, study.id, "publish"):
        ledger.outbox.set_experiment_id(study.id, "1")
    for act in (publish_once, lambda *words: list(differences(*words))):
        subject = study.id if act is publish_once else study
        with pytest.raises(TrackingError) as caught:
            act(ledger, subject, f"http://alice:hunter2@{address}")  # type: ignore[operator]
        assert server.echo == "Basic YWxpY2U6aHVudGVyMg=="
        assert "***" in str(caught.value)
        assert not {"hunter2", "YWxpY2U6aHVudGVyMg"} & set(re.findall(r"\w+", str(caught.value)))


def test_what_mlflow_took_before_a_failure_is_counted(
    store: str, ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle is what no longer waits."""
    from tuner.tracking import direct, publisher

    monkeypatch.setattr(publisher, "_ROWS_AT_A_TIME", 2)
    whole, taken, create, calls = ledger.outbox.waiting_count(study.id), [0], direct.DirectRuns._create, [0]

    def failing(self: direct.DirectRuns, *words: Any) -> str:
        calls[0] += 1
        if calls[0] == 3:
            raise OSError(28, "No space left on device")
        return create(self, *words)

    monkeypatch.setattr(direct.DirectRuns, "_create", failing)
    with pytest.raises(TrackingError, match="No space left"):
        publish_once(ledger, study.id, store, took=taken.append)
    assert 0 < sum(taken) == whole - ledger.outbox.waiting_count(study.id)


def test_publishing_that_steps_back_for_the_training_goes_on_at_its_end(
    store: str, ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that may take next to nothing of a processor rests for days after its first records; once the
    training is over it publishes the rest."""
    from tuner.tracking import publisher

    monkeypatch.setattr(publisher, "_ROWS_AT_A_TIME", 2)
    monkeypatch.setattr(publisher, "_SHARE", 10**8)
    whole, resting = ledger.outbox.waiting_count(study.id), Publisher(ledger, study.id, store)
    resting.start()
    while ledger.outbox.waiting_count(study.id) == whole:
        os.sched_yield()
    assert resting.close(60) == 0
    assert resting.error is None

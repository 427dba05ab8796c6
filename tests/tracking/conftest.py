"""A made-up study in a real ledger, MLflow's real stores, and a server of MLflow behind a proxy that loses replies."""

from __future__ import annotations

import math
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from owning import owning

from tuner.answers.parts import BaselineLosses
from tuner.answers.summary import BestScore, Summary
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, Segment, SegmentResult, Trial, TrialEnd, TrialState
from tuner.tracking.dashboard import Dashboard, serve
from tuner.tracking.store import ensure_store

T0 = 1_700_000_000.0
FINGERPRINT = "0123456789abcdef" * 4
COMPLETE, PRUNED, DIVERGED, ASKED = range(4)


class Story:
    """A study of four trials: one completes, one is pruned, one diverges, one is asked for and never trained."""

    start = T0
    fingerprint = FINGERPRINT

    def declaration(self, name: str) -> StudySpec:
        return StudySpec.model_validate(
            {
                "name": name,
                "data": {"source": "tables/rows.csv"},
                "space": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}, "bottleneck": 8},
                "search": {"trials": 4, "epochs": 4, "seed": 11},
            }
        )

    def trial(self, number: int) -> Trial:
        return Trial(number, Hyperparameters(10.0 ** -(number + 1), 64, 2, 128, "relu", 8, 0.0, 0.1), 1000 + number)

    def curve(self, number: int, first: int, losses: Sequence[float]) -> Curve:
        return Curve(
            number=number,
            first=first,
            train_loss=tuple(loss / 2 for loss in losses),
            val_loss=tuple(losses),
            at=tuple(T0 + epoch + 0.25 for epoch in range(first, first + len(losses))),
            diverged=not math.isfinite(losses[-1]),
            checkpoint=None,
        )

    def segment(self, *curves: Curve) -> tuple[Segment, SegmentResult]:
        trials = tuple(self.trial(each.number) for each in curves)
        return Segment(trials, curves[0].first, curves[0].last), SegmentResult(curves, 4.0, "worker-1")

    def begin(self, ledger: Ledger, name: str) -> StudyRecord:
        """Three trials have come through their first rung, the fourth waits."""
        text = self.declaration(name).model_dump_json()
        study = ledger.create_study(text, "spaces/x.yaml", FINGERPRINT, name, {"torch": "2.13.0"})
        curves = (
            self.curve(COMPLETE, 0, [0.5, 0.4]),
            self.curve(PRUNED, 0, [0.7, 0.6]),
            self.curve(DIVERGED, 0, [9.0, math.inf]),
        )
        with owning(ledger, study.id):
            ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [self.trial(number) for number in range(4)])])
            ledger.record_segments(study.id, [self.segment(*curves)])
        return study

    def finish(self, ledger: Ledger, study_id: int) -> None:
        """The first trial goes on to its last rung, and all three end."""
        ends = [
            TrialEnd(COMPLETE, TrialState.COMPLETE, 0.25, 3, 4, ""),
            TrialEnd(PRUNED, TrialState.PRUNED, 0.6, 2, 2, "pruned after epoch 2"),
            TrialEnd(DIVERGED, TrialState.DIVERGED, 9.0, 1, 2, "the validation loss is infinite after epoch 2"),
        ]
        with owning(ledger, study_id):
            ledger.record_segments(study_id, [self.segment(self.curve(COMPLETE, 2, [0.25, 0.3]))])
            ledger.record_ends(study_id, ends)
        self.conclude(ledger, study_id, COMPLETE, 0.25)

    def conclude(self, ledger: Ledger, study_id: int, number: int, value: float) -> None:
        """A summary with this trial as the best one."""
        summary = Summary(
            best=BestScore(number=number, value=value, test_loss=value + 1),
            baselines=BaselineLosses(mean=0.9, pca=0.3),
            seconds=1.5,
        )
        with owning(ledger, study_id):
            ledger.record_summary(study_id, summary)
            ledger.set_state(study_id, "finished")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test itself makes an experiment, MLflow puts its artifacts into the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'tuner.db'}")
    yield ledger
    ledger.close()


@pytest.fixture
def study(ledger: Ledger, story: Story, request: pytest.FixtureRequest) -> Iterator[StudyRecord]:
    """A finished study of which nothing is published, named after the test: the server is shared.

    The ledger goes on holding it as a run does.
    """
    study = story.begin(ledger, re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[-99:].strip("-"))
    with owning(ledger, study.id):
        story.finish(ledger, study.id)
        yield ledger.study_by_id(study.id)


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, to be copied: making one takes 1.5 s."""
    path = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    ensure_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def make_store(fresh_store: Path, tmp_path: Path) -> Callable[[str], str]:
    """Makes an empty SQLite store of that name and answers its uri."""

    def make(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(fresh_store, folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"

    return make


@pytest.fixture
def store(make_store: Callable[[str], str]) -> str:
    return make_store("store")


@pytest.fixture(scope="session")
def server(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """MLflow's server over a store of its own, on a port that was free."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(fresh_store, folder / "mlflow.db")
    with serve(f"sqlite:///{folder / 'mlflow.db'}") as dashboard:
        yield dashboard


@dataclass
class Proxy:
    """Stands before a server; loses the reply to the first sending of each request, or is down altogether."""

    url: str = ""
    losing: bool = False
    down: bool = False
    lost: set[tuple[str, str, bytes]] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def loses(self, request: tuple[str, str, bytes]) -> bool:
        fresh = request not in self.lost
        self.lost.add(request)
        return self.losing and fresh


@pytest.fixture
def proxy(server: Dashboard) -> Iterator[Proxy]:
    state = Proxy()
    target = server.url.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if state.down:
                self.close_connection = True
                return
            onward = HTTPConnection(target, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            onward.request(self.command, self.path, body, headers)
            reply = onward.getresponse()
            content = reply.read()
            onward.close()
            state.requests.append(f"{self.command} {self.path.partition('?')[0]}")
            if state.loses((self.command, self.path, body)):
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

        def log_message(self, *_: object) -> None:
            return

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    listener.shutdown()
    listener.server_close()
    thread.join()

"""Claims about what operators see: health, metrics, log lines, and the webhook."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient
from studies import tiny, tiny_of_sklearn
from supervised import hand_in, opened, rest, supervisor_thread, until

import tuner
from tuner.errors import InputError
from tuner.service import logs
from tuner.service.app import make_app
from tuner.service.options import ServiceOptions
from tuner.service.webhook import Ended, Webhook

HOSTILE = 'a"b\\c\nd{}<script>'
SAMPLE = re.compile(r'^[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\.)*"(,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? [0-9.e+-]+$')


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service without a supervisor, and no token yet."""
    app = make_app(ServiceOptions(tuner.workspace(tmp_path)))
    with TestClient(app, base_url="http://127.0.0.1:8770", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def reader(client: TestClient) -> TestClient:
    """The same, with a token that may launch."""
    secret, _ = client.app.state.studies.ledger.tokens.new("anna", "launch", 1000, "test")  # type: ignore[attr-defined]
    client.headers["Authorization"] = f"Bearer {secret}"
    return client


def test_health_is_open_and_tells_nothing_but_health(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 while the ledger answers, 503 where it does not; no name, address or reason for a stranger."""
    assert client.get("/healthz").json() == {"status": "ok", "supervisor": False}
    client.app.state.studies.ledger.close()  # type: ignore[attr-defined]
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "the ledger does not answer"})


def test_metrics_need_a_token(client: TestClient) -> None:
    """Names and numbers of studies are no stranger's business."""
    assert client.get("/metrics").status_code == 401


def test_metrics_are_prometheus_text(reader: TestClient) -> None:
    """Every line is a comment or a sample; what was done is counted."""
    assert reader.post("/api/v1/studies", json=tiny_of_sklearn()).status_code == 201
    assert reader.get("/api/v1/studies/none").status_code == 404
    assert reader.get(f"/{quote(HOSTILE)}").status_code == 404
    assert reader.get("/api/v1/studies", headers={"Host": "evil.example"}).status_code == 421
    answer = reader.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert [line for line in lines if not line.startswith("# ") and not SAMPLE.match(line)] == []
    for expected in (
        'tuner_studies{state="queued"} 1',
        'tuner_studies{state="running"} 0',
        "tuner_queue_length 1",
        'tuner_trials{state="complete"} 0',
        "tuner_outbox_waiting 0",
        "tuner_supervisor_up 0",
        'tuner_http_requests_total{method="POST",route="/api/v1/studies",status="201"} 1',
        'tuner_http_requests_total{method="GET",route="/api/v1/studies/{name}",status="404"} 1',
        'tuner_http_requests_total{method="GET",route="none",status="421"} 1',
        'tuner_http_requests_total{method="GET",route="none",status="404"} 1',
    ):
        assert expected in lines
    assert "script" not in answer.text


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged as JSON."""
    monkeypatch.setenv("TUNER_LOG", "json")
    root = logging.getLogger()
    handlers, level, stream = root.handlers, root.level, io.StringIO()
    logs.set_up(stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)


def test_a_request_is_one_json_line_with_its_study(reader: TestClient, lines: io.StringIO) -> None:
    """Who asked, which route, what came of it; never the token, nor what a client wrote where no study is."""
    reader.get("/api/v1/studies/digits")
    reader.get("/api/v1/studies/nothing/here?token=abc")
    reader.get("/healthz")
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    found = [line for line in found if line["logger"] == "tuner.service.requests"]
    first = found[0]
    assert {key: first[key] for key in ("level", "method", "route", "status", "actor", "study")} == {
        "level": "info",
        "method": "GET",
        "route": "/api/v1/studies/{name}",
        "status": 404,
        "actor": "anna",
        "study": "digits",
    }
    assert [line["route"] for line in found[1:]] == ["none"]
    assert reader.headers["authorization"].split()[1] not in lines.getvalue()
    assert "abc" not in lines.getvalue()


def test_log_lines_keep_secrets_and_are_one_line(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment keeps secret is masked in messages, in fields and in tracebacks."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-Zebra")
    log = logging.getLogger("tuner.test")
    log.warning("refused hunter2-Zebra\nsecond", extra={"study": "digits", "trial": 3, "other": 1})
    try:
        raise ValueError("hunter2-Zebra")
    except ValueError:
        log.exception("failed")
    first, second = lines.getvalue().splitlines()
    assert "hunter2" not in lines.getvalue()
    line = json.loads(first)
    assert (line["study"], line["trial"], line["message"]) == ("digits", 3, "refused ***\nsecond")
    assert "other" not in line
    assert "ValueError" in json.loads(second)["traceback"]


def test_a_wrong_form_of_logs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the forms that there are."""
    monkeypatch.setenv("TUNER_LOG", "xml")
    with pytest.raises(InputError, match="TUNER_LOG: must be text or json, got xml"):
        logs.set_up(io.StringIO())


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses that it was given, then 204, and keeps what came."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses, self.came = list(statuses), list[tuple[str, dict[str, object], str | None]]()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.came.append((self.path, body, self.headers["Authorization"]))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.came.append((self.path, {}, None))
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        """Not in the tests' output."""


ENDED = Ended("digits", "finished", 0.25, 13, "", 1000.0)


@pytest.mark.parametrize(("statuses", "tries"), [((), 1), ((500, 503), 3), ((302, 302, 302, 302), 4)])
def test_the_webhook_is_told_with_bounded_tries_and_follows_nothing(
    statuses: tuple[int, ...], tries: int, tmp_path: Path
) -> None:
    """The file's address and token; a failure is tried again four times at the most, a redirect is a failure."""
    receiver = Receiver(*statuses)
    file = tmp_path / "hook"
    file.write_text(f"{receiver.url}/hook/T0K\nsesame\n")
    hook = Webhook(file, pauses=(0.01, 0.01, 0.01))
    hook.tell(ENDED)
    assert hook.flush(10)
    receiver.shutdown()
    assert [path for path, _, _ in receiver.came] == ["/hook/T0K"] * tries
    assert receiver.came[0][1:] == (
        {"study": "digits", "outcome": "finished", "best": 0.25, "trials": 13, "message": "", "at": 1000.0},
        "Bearer sesame",
    )


def test_a_supervisor_reports_the_end_of_a_study(workspace: Path) -> None:
    """One that failed without a process, for its data is registered no longer: once, with the reason."""
    receiver = Receiver()
    (workspace / "hook").write_text(f"{receiver.url}/hook\n")
    with opened(workspace) as ledger:
        hand_in(ledger, tiny())
        ledger.datasets.remove("iris", "test")
        with supervisor_thread(workspace, webhook_file=workspace / "hook"):
            assert rest(ledger, "tiny").outcome == "failed"
            until(lambda: receiver.came, "the webhook to be called")
    receiver.shutdown()
    ((path, body, token),) = receiver.came
    assert (path, body["study"], body["outcome"], token) == ("/hook", "tiny", "failed", None)
    assert "must name registered data" in str(body["message"])


def test_a_webhook_that_is_away_is_said_without_its_path(tmp_path: Path, lines: io.StringIO) -> None:
    """Many services keep a secret in the path: the log has the host alone."""
    (tmp_path / "hook").write_text("http://127.0.0.1:9/services/T0K\n")
    hook = Webhook(tmp_path / "hook", pauses=(0.01,))
    hook.tell(ENDED)
    assert hook.flush(10)
    line = json.loads(lines.getvalue().splitlines()[-1])
    assert line["message"] == "the webhook at 127.0.0.1 did not take it: Connection refused"
    assert line["study"] == "digits"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("", "its first line"),
        ("ftp://h/x", "its first line"),
        ("file:///etc/passwd", "must be"),
    ],
)
def test_a_wrong_webhook_file_is_refused_at_the_start(tmp_path: Path, content: str | None, said: str) -> None:
    """Not when the first study ends."""
    if content is not None:
        (tmp_path / "hook").write_text(content)
    with pytest.raises(InputError, match=f"--webhook-file .*{said}"):
        Webhook(tmp_path / "hook")

"""Claims about the client alone, against servers that answer as a test says: addresses, tokens, errors, streams."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from disturbed import run_tuner

import tuner
from tuner.answers.service import StudyItem
from tuner.errors import ExportError, InputError, LedgerError, ServerError, SpecError, StudyError, UnknownStudyError
from tuner.remote.events import ServerEvent, parsed
from tuner.spec.reader import read_spec_text

TOKEN = "tuner_hunter2-Zebra"
Answering = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the test says."""

    server: StandIn

    def answer(self, status: int, body: bytes | str | dict[str, Any] = b"", **headers: str) -> None:
        content = json.dumps(body) if isinstance(body, dict) else body
        sent = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def problem(self, status: int, kind: str, detail: str, **more: Any) -> None:
        self.answer(status, {"type": f"urn:tuner:{kind}", "detail": detail, **more})

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.sent.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.act(self)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Not in the tests' output."""


class StandIn(ThreadingHTTPServer):
    """A server on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.act: Answering = lambda handler: handler.answer(500)
        self.asked: list[str] = []
        self.sent: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.shutdown()
    made.server_close()


def item(**changes: Any) -> StudyItem:
    values = dict.fromkeys(StudyItem.model_fields) | {
        "name": "digits", "state": "running", "phase": "training", "total": 9, "ended": 3, "counts": {},
        "epochs_per_second": 0.0, "unit": "epochs", "detail": "", "waiting": 0, "message": "", "attempts": 0,
        "created_at": 0.0, "by": "anna", "tags": (), "note": "",
    }  # fmt: skip
    return StudyItem(**{**values, **changes})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://h", "must be an address such as https"),
        ("file:///etc/passwd", "must be an address such as https"),
        ("tuner.example.org", "must be an address such as https"),
        ("http://[::1", "must be an address such as https"),
        ("http://h:99999", "must be an address such as https"),
        ("https://u:hunter2@h", r"^https://h: .*without a user"),
        ("https://h/x?token=hunter2", r"^https://h: .*without a user, a path"),
        ("http://tuner.example.org", "must begin with https://, for a token would be sent in the clear"),
    ],
)
def test_an_address_that_is_none_or_not_safe_is_refused(url: str, said: str) -> None:
    """Before anything is sent, and without repeating what may be secret."""
    with pytest.raises(InputError, match=said) as caught:
        tuner.connect(url, token=TOKEN)
    assert "hunter2" not in str(caught.value)


def test_an_address_in_the_clear_must_be_asked_for() -> None:
    """`insecure=True` for another machine; this machine needs none."""
    assert tuner.connect("http://tuner.example.org", token=TOKEN, insecure=True).url == "http://tuner.example.org"
    assert tuner.connect("http://localhost:8770/", token=TOKEN).url == "http://localhost:8770"


@pytest.mark.parametrize("content", [None, "", "two words", "tuner_ä"])
def test_a_token_file_that_holds_none_is_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its path, never by what is in it; without any token the message says how to give one."""
    monkeypatch.delenv("TUNER_TOKEN_FILE", raising=False)
    with pytest.raises(InputError, match="give --token-file FILE or set TUNER_TOKEN_FILE"):
        tuner.connect("https://h")
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=rf"^{file}: must ") as caught:
        tuner.connect("https://h", token_file=file)
    assert not content or content not in str(caught.value)
    file.write_text(f"{TOKEN}\n")
    monkeypatch.setenv("TUNER_TOKEN_FILE", str(file))
    tuner.connect("https://h")


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (404, "unknown-study", UnknownStudyError),
        (409, "study", StudyError),
        (401, "token", InputError),
        (403, "forbidden", InputError),
        (413, "too-large", InputError),
        (409, "export", ExportError),
        (500, "failed", ServerError),
        (418, "something-new", ServerError),
    ],
)
def test_a_problem_is_the_error_of_the_command_line(
    status: int, kind: str, error: type[Exception], server: StandIn
) -> None:
    """Its class by the problem's type, its sentence the problem's detail."""
    server.act = lambda handler: handler.problem(status, kind, "what is wrong")
    with pytest.raises(error, match=r"^http://127.0.0.1:\d+: what is wrong$") as caught:
        tuner.connect(server.url, token=TOKEN).study("digits")
    assert type(caught.value) is error
    assert len(server.asked) == 1


def test_mistakes_of_a_space_file_keep_their_lines(server: StandIn, tmp_path: Path) -> None:
    """As the local reader names them: the file that was given, line, key."""
    errors = [
        {"line": 3, "key": "space.width.high", "message": "must be more"},
        {"line": None, "key": "", "message": "x"},
    ]
    server.act = lambda handler: handler.problem(422, "spec", "mistakes", errors=errors)
    file = tmp_path / "x.yaml"
    file.write_text("name: x\n")
    with pytest.raises(SpecError) as caught:
        tuner.connect(server.url, token=TOKEN).submit(file)
    assert str(caught.value) == f"{file}:3: space.width.high: must be more\n{file}: x"


def test_data_of_this_machine_is_refused_before_it_is_sent(server: StandIn, tmp_path: Path) -> None:
    """A server does not see it; the line is named, and what uploads it."""
    file = tmp_path / "x.yaml"
    file.write_text("name: x\ndata:\n  source: table.csv\n")
    with pytest.raises(SpecError, match=rf"^{file}:3: data.source: must be dataset:NAME .* data add NAME table.csv"):
        tuner.connect(server.url, token=TOKEN).submit(file)
    assert server.asked == []


def test_overrides_are_in_what_is_sent(server: StandIn, tmp_path: Path) -> None:
    """The server reads the file with them; a mistake in one is named by it, and nothing is sent."""
    file = tmp_path / "x.yaml"
    file.write_text("name: x\ndata: {source: dataset:d}\nspace: {bottleneck: 2}\nsearch: {trials: 5}\n")
    connected = tuner.connect(server.url, token=TOKEN)
    with pytest.raises(SpecError, match=r"^--set search\.trial=9: search\.trial: is not a known key"):
        connected.submit(file, overrides=["search.trial=9"])
    assert server.asked == []
    server.act = lambda handler: handler.problem(409, "study", "taken")
    with pytest.raises(StudyError):
        connected.submit(file, overrides=["search.trials=9", "data.source=dataset:e"])
    sent = read_spec_text(server.sent[0].decode(), "sent")
    assert (sent.search.trials, sent.data.source, sent.name) == (9, "dataset:e", "x")


def test_where_it_is_to_train_goes_along(server: StandIn, tmp_path: Path) -> None:
    """Where that is said, from Python and from the shell; what the server refuses is exit code 2 and its sentence."""
    file = tmp_path / "x.yaml"
    file.write_text("name: x\ndata: {source: dataset:d}\n")
    server.act = lambda handler: handler.problem(422, "input", "executor: must be processes.")
    for executor, path in ((None, "/api/v1/studies"), ("ray", "/api/v1/studies?executor=ray")):
        with pytest.raises(InputError, match="executor: must be processes"):
            tuner.connect(server.url, token=TOKEN).submit(file, executor=executor)
        assert server.asked.pop() == path
    (tmp_path / "token").write_text(TOKEN)
    words = ("--server", server.url, "--token-file", "token", "run", str(file), "--executor", "ray")
    typed = run_tuner(tmp_path, *words)
    assert (typed.returncode, typed.stderr) == (2, f"{server.url}: executor: must be processes.\n")
    assert server.asked == ["/api/v1/studies?executor=ray"]


def test_what_is_no_tuner_is_said(server: StandIn) -> None:
    """A page, a redirect, an answer of another version."""
    connected = tuner.connect(server.url, token=TOKEN)
    for act in (
        lambda handler: handler.answer(200, "<html>hello</html>"),
        lambda handler: handler.answer(200, {"name": "digits"}),
    ):
        server.act = act
        with pytest.raises(ServerError, match="must answer as this version of the tuner does"):
            connected.study("digits")
    server.act = lambda handler: handler.answer(302, Location=f"{server.url}/elsewhere")
    with pytest.raises(ServerError, match="the server answered 302"):
        connected.study("digits")
    assert "/elsewhere" not in server.asked


def test_a_busy_server_is_asked_again_and_not_for_ever(server: StandIn) -> None:
    """429 and 503 say when to come again; after four tries the error is that of the last."""
    left = [429, 503]

    def busy(handler: Handler) -> None:
        if left:
            handler.answer(left.pop(), {"type": "urn:tuner:ledger", "detail": "away"}, Retry_After="0.1")
        else:
            handler.answer(200, item().model_dump_json())

    server.act = busy
    assert tuner.connect(server.url, token=TOKEN).study("digits").name == "digits"
    assert len(server.asked) == 3
    left.extend([503] * 9)
    with pytest.raises(LedgerError, match="away"):
        tuner.connect(server.url, token=TOKEN).study("digits")
    assert len(server.asked) == 7


def test_a_server_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address, without the token."""
    monkeypatch.setattr("tuner.remote.connection.TRIES", 1)
    with pytest.raises(
        ServerError, match=r"^http://127.0.0.1:9: the server must be reachable, but it is not"
    ) as caught:
        tuner.connect("http://127.0.0.1:9", token=TOKEN).list()
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_events_are_read_as_the_standard_says() -> None:
    """Names, data of several lines, comments, ids that stay, and no event that was cut short."""
    lines = [": ping", "id: 7", "event: study", "data: a", "data:b", "", "data: c", "", "id: 8", "data: cut"]
    assert list(parsed(lines)) == [ServerEvent("study", "a\nb", "7"), ServerEvent("message", "c", "7")]


def test_a_watch_goes_on_where_the_stream_was_cut(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again with the last event's id, through a server that is away, and ends when the study is at rest."""
    monkeypatch.setattr("tuner.remote.events.FIRST_PAUSE", 0.01)
    streams: list[tuple[str | None, bytes | None]] = []
    bodies = [
        b"id: 4\nevent: event\ndata: {}\n\nevent: study\ndata: %s\n\n" % item(ended=4).model_dump_json().encode(),
        None,  # 503
        b"event: study\ndata: %s\n\n" % item(ended=9, state="finished").model_dump_json().encode(),
    ]

    def act(handler: Handler) -> None:
        if not handler.path.endswith("/events"):
            handler.answer(200, item().model_dump_json())
            return
        body = bodies[len(streams)]
        streams.append((handler.headers["Last-Event-ID"], body))
        if body is None:
            handler.problem(503, "ledger", "away")
        else:
            handler.answer(200, body, Content_Type="text/event-stream")

    server.act = act
    seen = list(tuner.connect(server.url, token=TOKEN).study("digits").watch())
    assert [each.ended for each in seen] == [3, 4, 9]
    assert [last for last, _ in streams] == [None, "4", "4"]


def packed(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time of day
    return made.getvalue()


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "a\\..\\out.txt", "/out.txt", "a/..", "out.txt"]
)
def test_an_archive_leads_nowhere_else(name: str, server: StandIn, tmp_path: Path) -> None:
    """A hostile server writes nothing outside the folder, and leaves none behind."""
    server.act = lambda handler: handler.answer(
        200,
        packed(**{name: b"x"}) if handler.path.endswith(".zip") else item().model_dump_json(),
        Repr_Digest=digest(packed(**{name: b"x"})),
    )
    study = tuner.connect(server.url, token=TOKEN).study("digits")
    with pytest.raises(ExportError, match="it sent the file"):
        study.export(tmp_path / "best")
    server.act = lambda handler: handler.answer(200, packed(a=b"x"), Repr_Digest=digest(b"other"))
    with pytest.raises(ServerError, match="what came differs from what the server sent"):
        study.export(tmp_path / "best")
    assert list(tmp_path.iterdir()) == []
    server.act = lambda handler: handler.answer(200, b"no archive", Repr_Digest=digest(b"no archive"))
    with pytest.raises(ExportError, match="it sent no archive"):
        study.export(tmp_path / "best")

"""Claims about the process: how it starts, streams and ends."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving import Served, served, space
from studies import working_in
from typer.testing import CliRunner

from tuner.cli.app import app
from tuner.errors import InputError
from tuner.ledger.ledger import Ledger

HEAVY = ("torch", "optuna", "mlflow", "pandas", "sklearn", "scipy", "pyarrow")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Iterator[tuple[Served, Path]]:
    """A server without a supervisor over a copy of a finished study, and its folder."""
    import shutil

    folder = tmp_path_factory.mktemp("served") / "copy"
    shutil.copytree(finished, folder)
    with served(folder, "--no-supervise") as server:
        yield server, folder


def events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Server-sent events as their fields; comments are passed over."""
    found: dict[str, str] = {}
    for line in lines:
        if not line and found:
            yield found
            found = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(":")
            found[name] = value.strip()


def test_it_answers_soon_after_it_is_started_and_imports_nothing_heavy(running: tuple[Served, Path]) -> None:
    """Its start takes less than four times the processor time of importing what it is built of, which torch alone would
    make five; and it holds none of the libraries that train."""
    server, _ = running
    assert server.seconds < 4 * _importing("fastapi, uvicorn, sqlalchemy, typer, pydantic")
    code = f"import sys, tuner.cli.service, tuner.service.serve; print(*[m for m in {HEAVY} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def _importing(libraries: str) -> float:
    """Processor seconds of a process that does nothing else, on this machine now."""
    code = f"import {libraries}, time; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_a_stream_brings_what_was_missed_and_what_happens(running: tuple[Served, Path]) -> None:
    """Each event of the ledger once, in order, also to a client that comes again; and how far the study has come."""
    server, folder = running
    with server.logged_in() as client:
        with client.stream("GET", "/api/v1/studies/tiny/events", headers={"Last-Event-ID": "0"}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            seen = events(stream.iter_lines())
            first = next(seen)
            assert first["event"] == "event"
            ids = [int(first["id"])]
            for each in seen:
                if each["event"] == "study":
                    assert json.loads(each["data"])["state"] == "finished"
                    break
                ids.append(int(each["id"]))
        ledger = Ledger.open("sqlite:///tuner.db", folder=folder)
        record = ledger.study("tiny")
        assert record is not None
        recorded = [event.seq for event in ledger.events(record.id)]
        assert ids == recorded
        with client.stream("GET", "/api/v1/studies/tiny/events", headers={"Last-Event-ID": str(ids[-2])}) as stream:
            again = events(stream.iter_lines())
            assert next(again)["id"] == str(ids[-1])
            assert next(again)["event"] == "study"
            with ledger.lease(record.id, "run"):
                ledger.record_event(record.id, "stop", {"by": "a test"})
            new = next(each for each in again if each["event"] == "event")
            assert int(new["id"]) > ids[-1]
            assert json.loads(new["data"])["kind"] == "stop"
        ledger.close()
        assert client.get("/api/v1/studies/none/events").status_code == 404


def test_many_listen_to_one_poller(running: tuple[Served, Path]) -> None:
    """A change reaches every stream; reads beside them stay quick."""
    server, _ = running
    with server.logged_in() as client:
        cookie = client.cookies["tuner_session"]

        def listen(_: int) -> str:
            cookies = {"tuner_session": cookie}
            with httpx.stream("GET", f"{server.address}/api/v1/events", cookies=cookies, timeout=20) as stream:
                for each in events(stream.iter_lines()):
                    started.release()
                    if json.loads(each["data"])["name"] == "new":
                        return each["event"]
            return ""

        started = threading.Semaphore(0)
        with ThreadPoolExecutor(20) as pool:
            listeners = [pool.submit(listen, number) for number in range(20)]
            for _ in listeners:
                assert started.acquire(timeout=20)
            assert client.post("/api/v1/studies", content=space(name="new")).status_code == 201
            assert [each.result(timeout=20) for each in listeners] == ["study"] * 20


def test_it_ends_soon_with_open_streams(tmp_path: Path) -> None:
    """SIGTERM ends it in under 10 s though a browser listens; the stream ends, and is not torn."""
    with served(tmp_path, "--no-supervise") as server, server.logged_in() as client:
        client.post("/api/v1/studies", content=space())
        with client.stream("GET", "/api/v1/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            for _ in lines:
                pass
        server.process.wait(10)
        assert time.monotonic() - began < 10
        assert server.process.returncode in {0, 143}


def test_a_link_is_used_once_and_shown_to_the_terminal_alone(running: tuple[Served, Path], tmp_path: Path) -> None:
    """Its secret is in no file of the folder."""
    with served(tmp_path, "--no-supervise") as server:
        first = httpx.post(f"{server.address}/login", json={"token": server.once})
        assert first.status_code == 204
        again = httpx.post(f"{server.address}/login", json={"token": server.once})
        assert again.status_code == 401
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or server.once.encode() not in file.read_bytes()


def refused(folder: Path, *arguments: str) -> str:
    """What `tuner serve` says where it does not start."""
    with working_in(folder):
        ran = CliRunner().invoke(app, ["serve", "--no-supervise", *arguments])
    assert isinstance(ran.exception, InputError)
    return str(ran.exception)


def test_it_refuses_in_a_sentence(tmp_path: Path) -> None:
    """A port that is taken, an address that others reach without TLS, half of what TLS needs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "another process listens there" in refused(tmp_path, "--port", str(taken.getsockname()[1]))
    assert "must have TLS" in refused(tmp_path, "--host", "0.0.0.0")
    assert "must be given together" in refused(tmp_path, "--tls-cert", "x.pem")


def test_tokens_are_made_listed_and_revoked_from_a_shell(tmp_path: Path) -> None:
    """The secret is printed alone on standard output, and counts until it is revoked."""

    def shell(*arguments: str) -> str:
        with working_in(tmp_path):
            ran = CliRunner().invoke(app, ["token", *arguments], catch_exceptions=False)
        return ran.stdout.strip()

    secret = shell("new", "anna", "--role", "read")
    ledger = Ledger.open("sqlite:///tuner.db", folder=tmp_path)
    found = ledger.tokens.check(secret)
    assert found is not None
    assert (found.name, found.role) == ("anna", "read")
    assert "anna" in shell("list")
    shell("revoke", str(found.id))
    assert ledger.tokens.check(secret) is None
    ledger.close()


def test_tls_is_served(tmp_path: Path) -> None:
    """With a certificate it listens at any address, and its cookie is for TLS alone."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", "key.pem", "-out", "cert.pem", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*made, *files], cwd=tmp_path, check=True, capture_output=True)
    with served(tmp_path, "--no-supervise", "--tls-cert", "cert.pem", "--tls-key", "key.pem") as server:
        assert server.address.startswith("https://")
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        answer = httpx.post(f"{server.address}/login", data={"token": server.once}, verify=context)
        assert answer.status_code == 303
        assert "Secure" in answer.headers["set-cookie"]

"""MLflow's own server on loopback, over the store that the studies were published to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import IO, Final, final
from urllib.parse import urlsplit

from tuner.errors import TrackingError
from tuner.tracking.artifacts import open_store
from tuner.tracking.store import (
    artifact_root,
    check_reachable,
    ensure_store,
    is_server,
    past_proxy,
    sentence,
    shown,
    without_secrets,
)

HOST = "127.0.0.1"
DEFAULT_PORT = 5000
_PORTS_TO_TRY = 50
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0
_MARK: Final = "x-tuner-page"


def command(host: str, port: int, mark: str) -> list[str]:
    """The server's command line; the store's uri goes through `environment`, since it may hold a password.

    Args:
        host: on which it listens.
        port: that it listens on.
        mark: every reply carries it in a header: what answers on the port is this server and no other one.
    """
    words = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    return [*words, "--uvicorn-opts", f"--header {_MARK}:{mark}"]


def environment(uri: str, base: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: no job execution (1.4 GB of memory and an open job API), no telemetry."""
    artifacts = {} if (root := artifact_root(uri)) is None else {"MLFLOW_ARTIFACTS_DESTINATION": root}
    inherited = {name: value for name, value in base.items() if name != "PYTHONWARNINGS"}  # `error` would end it
    return {
        **inherited,
        **artifacts,
        **past_proxy(base),
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


@final
class Dashboard:
    """A page that can be opened; stop it, or leave its `with` block, to end the server behind it."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None) -> None:
        self.url = url
        self._process = process

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> int:
        """Wait until the server ends; return at once where it is not ours.

        Returns:
            Its exit status.
        """
        return 0 if self._process is None else self._process.wait()

    def stop(self) -> None:
        """End the server and its workers."""
        if self._process is not None:
            _end(self._process)


def serve(uri: str, port: int | None = None, seconds: float = 60.0) -> Dashboard:
    """Start MLflow's server and wait until it answers.

    Args:
        uri: the tracking uri; where it is a server's, there is nothing to start.
        port: on loopback; by default 5000, or the next one that is free.
        seconds: how long the server may take to start.

    Raises:
        TrackingError: the port is taken, or the server does not start.
    """
    if is_server(uri):
        return Dashboard(shown(uri), None)
    ensure_store(uri)
    _check_database(uri)
    with suppress(TrackingError):  # a store that can only be read is shown as it is
        open_store(uri)
    if port is not None:
        return _started(uri, port, seconds)
    for chosen in _free_ports():
        with suppress(_TakenError):
            return _started(uri, chosen, seconds)
    raise TrackingError(
        f"the dashboard needs a free port, but {DEFAULT_PORT} and the {_PORTS_TO_TRY - 1} after it are in use"
    )


class _TakenError(TrackingError):
    """Another process has the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"the dashboard's port must be free, but {HOST}:{port} is in use; choose another --port")


def _check_database(uri: str) -> None:
    try:
        check_reachable(uri)
    except OSError as error:
        raise TrackingError(sentence(uri, error)) from None


def _started(uri: str, port: int, seconds: float) -> Dashboard:
    """A server of our own on that port: two that start at the same moment both find it free, and one gets it."""
    if not _is_free(port):
        raise _TakenError(port)
    mark = uuid.uuid4().hex
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command(HOST, port, mark),
            env=environment(uri, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await_health(_Starting(process, port, mark, uri, log), seconds)
        except BaseException:
            _end(process)
            raise
    return Dashboard(f"http://{HOST}:{port}", process)


@dataclass(frozen=True, slots=True)
class _Starting:
    """A server that was started, and where it writes."""

    process: subprocess.Popen[bytes]
    port: int
    mark: str
    uri: str
    log: IO[bytes]


def _await_health(server: _Starting, seconds: float) -> None:
    deadline, url = time.monotonic() + seconds, f"http://{HOST}:{server.port}"
    while (marked := _health(url)) != server.mark:
        if marked is not None:
            raise _TakenError(server.port)
        if server.process.poll() is not None:
            if not _is_free(server.port):
                raise _TakenError(server.port)
            raise TrackingError(f"MLflow's server must start at {url}, but it ended: {_last_line(server)}")
        if time.monotonic() > deadline:
            raise TrackingError(f"MLflow's server must start at {url}, but did not answer within {seconds:g} s")
        time.sleep(_POLL_SECONDS)


def _health(url: str) -> str | None:
    """The mark of the server that answers there, empty where it has none; None where no healthy server is.

    Not by `urllib.request`, which would ask a proxy of the environment for what is on this machine.
    """
    connection = HTTPConnection(urlsplit(url).netloc, timeout=1)
    try:
        connection.request("GET", "/health")
        reply = connection.getresponse()
        return reply.getheader(_MARK, "") if reply.status == 200 else None
    except (HTTPException, OSError):
        return None
    finally:
        connection.close()


def _last_line(server: _Starting) -> str:
    server.log.seek(0)
    lines = server.log.read().decode(errors="replace").strip().splitlines() or ["no message"]
    return without_secrets(lines[-1], server.uri)[:300]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_ports() -> Iterator[int]:
    return filter(_is_free, range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TO_TRY))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Politely, then firmly; the server's workers are in its own process group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        if sign is signal.SIGTERM and not _group_is_alive(process.pid):
            break
    process.wait()


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True

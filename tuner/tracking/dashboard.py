"""MLflow's own server on loopback, over the store that the studies were published to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO, final

from tuner.errors import TrackingError
from tuner.tracking.store import artifact_root, ensure_store, is_server, shown, without_secrets

HOST = "127.0.0.1"
DEFAULT_PORT = 5000
_PORTS_TO_TRY = 50
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0


def command(host: str, port: int) -> list[str]:
    """The server's command line; the store's uri goes through `environment`, since it may hold a password."""
    return [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]


def environment(uri: str, base: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: no job execution (1.4 GB of memory and an open job API), no telemetry."""
    artifacts = {} if (root := artifact_root(uri)) is None else {"MLFLOW_ARTIFACTS_DESTINATION": root}
    return {
        **base,
        **artifacts,
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
    chosen = _free_port() if port is None else port
    if not _is_free(chosen):
        raise TrackingError(f"the dashboard's port must be free, but {HOST}:{chosen} is in use; choose another --port")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command(HOST, chosen),
            env=environment(uri, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await_health(process, f"http://{HOST}:{chosen}", seconds, uri, log)
        except BaseException:
            _end(process)
            raise
    return Dashboard(f"http://{HOST}:{chosen}", process)


def _await_health(process: subprocess.Popen[bytes], url: str, seconds: float, uri: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + seconds
    while not _is_healthy(url):
        if process.poll() is not None:
            raise TrackingError(f"MLflow's server must start at {url}, but it ended: {_last_line(log, uri)}")
        if time.monotonic() > deadline:
            raise TrackingError(f"MLflow's server must start at {url}, but did not answer within {seconds:g} s")
        time.sleep(_POLL_SECONDS)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _last_line(log: IO[bytes], uri: str) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
    return without_secrets(lines[-1], uri)[:300]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TO_TRY):
        if _is_free(port):
            return port
    raise TrackingError(
        f"the dashboard needs a free port, but {DEFAULT_PORT} and the {_PORTS_TO_TRY - 1} after it are in use"
    )


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

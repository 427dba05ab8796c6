"""The dashboard is MLflow's own server: on loopback, over the user's store, and gone when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking import dashboard
from tuner.tracking.publisher import publish_once

Dashboard = Any


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return bytes(reply.read())


def test_the_dashboard_answers_on_loopback_without_job_execution(server: Dashboard) -> None:
    """The server is up when `serve` returns, and its job interface is closed."""
    assert server.url.startswith("http://127.0.0.1:")
    assert _get(f"{server.url}/health") == b"OK"
    with pytest.raises(urllib.error.HTTPError):
        _get(f"{server.url}/ajax-api/3.0/jobs/")


def test_a_bare_mlflow_ui_in_the_same_folder_shows_runs_and_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger, study: StudyRecord
) -> None:
    """Without a word about stores MLflow's own command finds the default one and serves its artifacts."""
    monkeypatch.chdir(tmp_path)
    publish_once(ledger, study.id, "sqlite:///mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    clean["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # It starts 10 s faster.
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(command, env=clean, start_new_session=True, stdout=-3, stderr=-3)
    try:
        base, run = f"http://127.0.0.1:{port}", ledger.outbox.run_id(study.id, None)
        while dashboard._health(base) is None:
            assert process.poll() is None
            time.sleep(0.1)
        shown = json.loads(_get(f"{base}/ajax-api/2.0/mlflow/runs/get?run_id={run}"))
        assert shown["run"]["info"]["run_name"] == study.name
        assert _get(f"{base}/get-artifact?path=trials.csv&run_uuid={run}").startswith(b"number,state,value")
        assert _get(f"{base}/get-artifact?path=config.yaml&run_uuid={run}").startswith(b"name:")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_a_taken_port_is_refused_or_passed_over(server: Dashboard, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that the user named must be free; of the default ones, the next free one is taken."""
    taken = int(server.url.rpartition(":")[2])
    with pytest.raises(TrackingError, match=f"port must be free, but 127.0.0.1:{taken} is in use"):
        dashboard.serve(store, taken)
    monkeypatch.setattr(dashboard, "DEFAULT_PORT", taken)
    assert next(dashboard._free_ports()) > taken


def test_two_that_start_at_once_get_a_page_each(
    make_store: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find the same port free at the same moment: each answers with its own store, on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(dashboard, "DEFAULT_PORT", probe.getsockname()[1])
    stores = [make_store(name) for name in ("one", "other")]
    for name, store in zip(("one", "other"), stores, strict=True):
        MlflowClient(store).create_experiment(name)
    both, is_free = threading.Barrier(2), dashboard._is_free
    looked = threading.local()

    def together(port: int) -> bool:
        found = is_free(port)
        if not getattr(looked, "once", False):
            looked.once = True
            both.wait(60)
        return found

    monkeypatch.setattr(dashboard, "_is_free", together)
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(dashboard.serve, stores))
    try:
        assert len({page.url for page in pages}) == 2
        for name, page in zip(("one", "other"), pages, strict=True):
            assert MlflowClient(page.url).get_experiment_by_name(name) is not None, "a page of its own store"
    finally:
        for page in pages:
            page.stop()


def test_a_proxy_is_not_asked_for_this_machine(
    store: str, ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a proxy in the environment that nobody answers at, the page is there and MLflow's client reaches it; the
    user's own exceptions stay."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intern.example.org")
    assert dashboard.environment(store, os.environ)["no_proxy"] == "intern.example.org,127.0.0.1,localhost,::1"
    with dashboard.serve(store) as page:
        assert publish_once(ledger, study.id, page.url).waiting == 0
    assert dashboard.environment(store, {"no_proxy": "*", "http_proxy": "x"})["no_proxy"] == "*"
    assert "no_proxy" not in dashboard.environment(store, {})


def test_a_server_s_own_page_is_the_dashboard() -> None:
    """Where the tracking uri is a server's, nothing is started, and its password is not in the link."""
    with dashboard.serve("http://user:hunter2@host:5000") as page:
        assert page.url == "http://host:5000"
        assert page.wait() == 0


def test_a_server_that_does_not_start_is_one_sentence_without_secrets(tmp_path: Path) -> None:
    """A store that MLflow cannot open is said, whatever MLflow wrote, and no process is left."""
    uri = "nonsense://user:hunter2@host/name"
    with pytest.raises(TrackingError, match=r"MLflow's server must start at http://127\.0\.0\.1:") as caught:
        dashboard.serve(uri)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secrets_are_not_on_the_command_line() -> None:
    """Anyone on the machine can read a command line; the store's uri goes through the environment."""
    uri = "postgresql://user:hunter2@host/name"
    assert "hunter2" not in " ".join(dashboard.command("127.0.0.1", 5000, "mark"))
    environment = dashboard.environment(uri, {"PATH": "/bin"})
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["PATH"] == "/bin"


def test_stopping_leaves_no_process(store: str) -> None:
    """The server's workers end with it, and stopping twice is harmless."""
    page = dashboard.serve(store)
    assert page._process is not None
    group = page._process.pid
    page.stop()
    page.stop()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert dashboard._health(page.url) is None

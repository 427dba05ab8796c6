"""Services to test against: the application in this process, and `tuner serve` in one of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from fastapi import FastAPI
from starlette.testclient import TestClient
from studies import tiny_of_sklearn

import tuner
from tuner.ledger.ledger import Ledger
from tuner.service.app import make_app
from tuner.service.options import Limits, ServiceOptions

ADDRESS = "http://127.0.0.1:8770"
ROLES = ("read", "launch", "admin")


@dataclass(frozen=True)
class Service:
    """An application, a client without a token, and a token of each role."""

    app: FastAPI
    client: TestClient
    secrets: dict[str, str]

    @property
    def ledger(self) -> Ledger:
        """Of its studies."""
        ledger: Ledger = self.app.state.studies.ledger
        return ledger

    def ask(self, method: str, path: str, role: str | None = "launch", **given: Any) -> httpx.Response:
        """A request with a token of that role, or of none; a path without a slash is below /api/v1."""
        headers = dict(given.pop("headers", {}))
        if role is not None:
            headers["Authorization"] = f"Bearer {self.secrets[role]}"
        where = path if path.startswith("/") else f"/api/v1/{path}"
        return self.client.request(method, where, headers=headers, follow_redirects=False, **given)

    def submit(self, text: str | None = None, **given: Any) -> httpx.Response:
        """Hand a space file in; by default the tiny study."""
        return self.ask("POST", "studies", content=space() if text is None else text, **given)


def space(**changes: Any) -> str:
    """The tiny study as a space file."""
    return yaml.safe_dump(tiny_of_sklearn(**changes), sort_keys=False)


@contextmanager
def serving(
    folder: Path, *, copy_of: Path | None = None, limits: Limits | None = None, with_root: bool = True, **options: Any
) -> Iterator[Service]:
    """A service over a folder, perhaps over a copy of another one."""
    if copy_of is not None:
        shutil.copytree(copy_of, folder, dirs_exist_ok=True)
    root = folder / "data" if with_root else None
    if root is not None:
        root.mkdir(exist_ok=True)
    places = tuner.workspace(folder, database="sqlite:///tuner.db", mlflow="sqlite:///mlflow.db", data_root=root)
    app = make_app(ServiceOptions(places, limits=limits or Limits(), **options))
    tokens = app.state.studies.ledger.tokens
    secrets = {role: tokens.new(f"{role}er", role, 3600, "test")[0] for role in ROLES}
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield Service(app, client, secrets)


@dataclass(frozen=True)
class Served:
    """A `tuner serve` in a process of its own, and the processor's seconds that it took to start."""

    process: subprocess.Popen[str]
    address: str
    once: str
    folder: Path
    seconds: float

    @contextmanager
    def logged_in(self) -> Iterator[httpx.Client]:
        """A client with a session, as a browser has it after a link was opened."""
        ledger = Ledger.open("sqlite:///tuner.db", folder=self.folder)
        secret, _ = ledger.tokens.new("browser", "admin", 60, "test", "login")
        ledger.close()
        with httpx.Client(base_url=self.address, headers={"Origin": self.address}, timeout=20) as client:
            assert client.post("/login", data={"token": secret}).status_code == 303
            yield client


@contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    """Run `tuner serve` in a folder, on a free port, and end it."""
    command = [sys.executable, "-m", "tuner", "serve", "--port", "0", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TUNER_", "MLFLOW_"))}
    process = subprocess.Popen(
        command, cwd=folder, env={**clean, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        address, link = process.stdout.readline().strip(), process.stdout.readline().strip()
        found = re.search(r"once=(\S+)", link)
        assert found, process.stderr.read()
        used = psutil.Process(process.pid).cpu_times()
        yield Served(process, address, found[1], folder, used.user + used.system)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def said(answer: httpx.Response) -> str:
    """The sentence of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = json.loads(answer.text)
    assert {"type", "title", "status", "detail"} <= body.keys()
    assert body["status"] == answer.status_code
    detail: str = body["detail"]
    return detail

"""A Postgres of the tests' own, on a socket in a folder, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import pytest


@dataclass(frozen=True)
class PostgresServer:
    """One that was made; `start` it. Postgres refuses to be root: there it runs as `nobody`.

    Attributes:
        binaries: where its programs are.
        folder: its socket's, its log's and its data's.
        port: on loopback as well, where passwords are asked for; None for the socket alone.
        user: who may do everything.
    """

    binaries: Path
    folder: Path
    port: int | None = None
    user: str = "tuner"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{self.user}@/{database}?host={self.folder}"

    def make(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, "nobody")
        self._run("initdb", "-U", self.user, "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")

    def start(self) -> None:
        listens = "-c listen_addresses=''" if self.port is None else f"-c listen_addresses=127.0.0.1 -p {self.port}"
        options = f"-k {self.folder} -c fsync=off {listens}"
        self._run("pg_ctl", "-w", "-l", f"{self.folder / 'log'}", "-o", options, "start")

    def stop(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """`immediate` is as a crash: what was under way is undone by the recovery of the next start."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """SIGKILL for all of its processes, as where its machine loses power."""
        note = self.folder / "data" / "postmaster.pid"
        first = psutil.Process(int(note.read_text().split()[0]))
        there = [first, *first.children(recursive=True)]
        for each in there:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(there, timeout=10)
        note.unlink()  # its process may wait to be buried, and would count as running

    def new_database(self, name: str) -> str:
        import psycopg

        with psycopg.connect(f"host={self.folder} user={self.user} dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def _run(self, program: str, *args: str) -> None:
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups", "--"] if os.getuid() == 0 else []
        command = [*as_user, str(self.binaries / program), "-D", str(self.folder / "data"), *args]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


@contextmanager
def running_postgres(port: int | None = None, user: str = "tuner") -> Iterator[PostgresServer]:
    """A fresh one that runs; the test is skipped where there is no Postgres."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/none").parent]
    if not (found[-1] / "initdb").exists():
        pytest.skip("no Postgres here")
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        server = PostgresServer(found[-1], Path(name), port, user)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()

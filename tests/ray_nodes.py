"""Nodes of a Ray cluster on this machine, each with a folder of its own, which can be killed as a whole."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

RAY = Path(sys.executable).with_name("ray")
STORE = 80 * 2**20  # bytes of a node's memory for objects, about the least that Ray takes
START_SECONDS = 90


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class NoNodeError(Exception):
    """Ray's own command starts no node; what it said."""


class Node:
    """One node: `ray start` and all that it starts; the first node of a cluster is its head."""

    def __init__(self, folder: Path, port: int, token: str, is_head: bool, cores: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._cores = folder, cores
        where = ["--head", "--port", str(port), "--include-dashboard", "false"]
        self._where = where if is_head else ["--address", f"127.0.0.1:{port}"]
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it is a member."""
        size = ["--num-cpus", str(self._cores), "--object-store-memory", str(STORE), "--temp-dir", str(self.folder)]
        command = [str(RAY), "start", *self._where, *size, "--disable-usage-stats", "--block"]
        environment = {**os.environ, **self.environment, "TMPDIR": str(self.folder)}
        self._process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdout is not None
        said = b""
        while b"runtime started" not in said:
            line = self._process.stdout.readline()
            if not line:
                raise NoNodeError(said.decode(errors="replace"))
            said += line

    def processes(self) -> list[psutil.Process]:
        """All that belongs to it."""
        if self._process is None:
            return []
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """SIGKILL for all of it, as when its machine is gone."""
        there = self.processes()
        for process in there:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(there, timeout=START_SECONDS)
        if self._process is not None:
            self._process.communicate()
            self._process = None


class Nodes:
    """A head and another node, each with a core."""

    def __init__(self, folder: Path, others: int = 1, cores: int = 1) -> None:
        port, token = free_port(), secrets.token_hex(32)
        self._folder, self._port, self._token = folder, port, token
        self.address = f"127.0.0.1:{port}"
        self.head = Node(folder / "h", port, token, is_head=True, cores=cores)
        self.others = [Node(folder / f"n{n}", port, token, is_head=False, cores=cores) for n in range(others)]
        self.environment: dict[str, Any] = {
            key: self.head.environment[key] for key in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED")
        }

    def start(self) -> None:
        for node in (self.head, *self.others):
            node.start()

    def another(self, name: str, path: Path) -> Node:
        """One more node, not started yet, which looks for what it imports in a folder of its own first."""
        node = Node(self._folder / name, self._port, self._token, is_head=False)
        node.environment["PYTHONPATH"] = os.pathsep.join([str(path), node.environment["PYTHONPATH"]])
        return node

    def kill(self) -> None:
        for node in (*self.others, self.head):
            node.kill()


@contextmanager
def nodes(others: int = 1, cores: int = 1) -> Iterator[Nodes]:
    """A cluster that is gone afterwards, with its folders, whose names are short: Ray's sockets lie in them."""
    with tempfile.TemporaryDirectory(prefix="n", ignore_cleanup_errors=True) as folder:
        cluster = Nodes(Path(folder), others, cores)
        try:
            try:
                cluster.start()
            except NoNodeError as error:  # as where /dev/shm is too small, or a firewall is between its processes
                pytest.skip(f"no Ray cluster can be started here: {error}")
            yield cluster
        finally:
            cluster.kill()

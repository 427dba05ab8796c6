"""Which process holds something, and whether it is still there."""

from __future__ import annotations

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

_held: set[str] = set()  # tokens of what this very process holds


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, distinguished from every other one there ever was.

    Attributes:
        pid: its number.
        started: clock ticks between the machine's start and its own; 0 where the system does not tell.
        boot: names this start of the machine, and the namespace that `pid` is counted in; empty where it is unknown.
        host: the machine's name.
        machine: names the machine through all its starts; empty where it is unknown.
        token: names what is held, for one process may hold the like more than once.
    """

    pid: int
    started: int
    boot: str
    host: str
    machine: str
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def this_process(cls) -> Self:
        """A new owner: this process."""
        return cls(os.getpid(), _started(os.getpid()), _boot(), socket.gethostname(), _machine())

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """Another process of this machine, such as one that was just started."""
        return cls(pid, _started(pid), _boot(), socket.gethostname(), _machine())

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `text` wrote."""
        return cls(**json.loads(text))

    @property
    def text(self) -> str:
        """As JSON, for the record."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def hold(self) -> None:
        """From now on this process holds what the token names."""
        _held.add(self.token)

    def let_go(self) -> None:
        """It has ended, even if the record says otherwise."""
        _held.discard(self.token)

    def is_alive(self) -> bool | None:
        """Whether it still holds what it held; None where that cannot be seen from here.

        No clock is asked: a process is there, or another one has its number.
        """
        boot = _boot()
        if not self.boot or not boot:
            return None
        if self.boot != boot:
            here = (self.host, self.machine) == (socket.gethostname(), _machine()) and bool(self.machine)
            started_again = self.boot.split()[0] != boot.split()[0]
            return False if here and started_again else None  # another namespace cannot be looked into
        if self.pid == os.getpid() and self.started == _started(self.pid):
            return self.token in _held
        return self.started == _started(self.pid)


@cache  # neither changes while this process lives
def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@cache
def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> int:
    """Field 22 of proc(5)'s stat; 0 for a process that is not there or only waits to be buried."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - for each driver at every look
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in b"ZX" else int(fields[19])

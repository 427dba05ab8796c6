"""How a worker process ended, and whether its work is to blame for it.

A trial may bring its worker down: it hangs, takes all memory, or meets a fault in a library. And a worker may be
brought down by what has nothing to do with its trial: an administrator, a container that is moved. The second kind
must never count against a trial, however often it happens.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from tuner.learning import cgroups

# Signals that a process earns by what it does; the others are sent to it.
_EARNED: Final = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
_STOPPED: Final = frozenset("Tt")


class WorkerFaultError(Exception):
    """A call that its worker did not finish.

    Attributes:
        cause: what happened, in words that follow "the worker".
        own: the call may be to blame, so that it is worth finding out which of its trials is.
    """

    def __init__(self, cause: str, own: bool) -> None:
        super().__init__(cause)
        self.cause, self.own = cause, own

    def __reduce__(self) -> tuple[type[WorkerFaultError], tuple[str, bool]]:
        """As it travels between processes."""
        return type(self), (self.cause, self.own)


def death(exitcode: int | None, oom_kills: int) -> WorkerFaultError:
    """How a process ended that was not asked to.

    Args:
        exitcode: as `multiprocessing.Process` has it, negative for a signal.
        oom_kills: processes that Linux ended for want of memory since the call began.
    """
    if exitcode is None or exitcode >= 0:
        return WorkerFaultError(f"ended with exit code {exitcode}", own=True)
    name = signal.Signals(-exitcode).name if -exitcode in set(signal.Signals) else f"signal {-exitcode}"
    if exitcode == -signal.SIGKILL and oom_kills:
        return WorkerFaultError("was ended by the system for want of memory", own=True)
    return WorkerFaultError(f"was ended by {name}", own=-exitcode in _EARNED)


def silence(pid: int | None, seconds: float) -> WorkerFaultError:
    """A process that sent no heartbeat for so long; one that a user stopped (SIGSTOP) is not to blame."""
    if _state(pid) in _STOPPED:
        return WorkerFaultError(f"was stopped for {seconds:.0f} s by a signal", own=False)
    return WorkerFaultError(f"gave no sign of life for {seconds:.0f} s", own=True)


def oom_kills(root: Path = cgroups.ROOT) -> int:
    """Processes that Linux ended for want of memory so far; 0 where they are not counted.

    Those of this process' own control group, to which its workers belong; of the whole machine where the group does
    not count: another container's ends say nothing about ours.

    Args:
        root: the folder that holds proc and sys.
    """
    if (own := cgroups.oom_kills(root)) is not None:
        return own
    try:
        lines = (root / "proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _state(pid: int | None) -> str:
    """The letter that Linux gives the process; empty where it is unknown."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[0]

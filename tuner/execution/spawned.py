"""One Python process that is spoken with: started, awaited, sent to, listened to, and buried."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, Final, final

from tuner.execution import faults
from tuner.execution.faults import WorkerFaultError

START_SECONDS: Final = 120.0  # how long a new process may take to import what it needs
LATE: Final = 20.0  # a call is taken to hang after so many times its longest time between two signs of life
_END_SECONDS: Final = 20.0  # how long a process may take to end after its connection has
_TICK: Final = 0.5


@final
class Process:
    """A process from its start to its end, and the connection to it.

    Args:
        code: what it runs; its arguments are this process' `sys.path` as JSON and two open files: its end of the
            connection, and a pipe whose other end this process alone holds.

    Raises:
        OSError, MemoryError: the system refuses it; nothing of it is left open.
    """

    def __init__(self, code: str) -> None:
        with ExitStack() as theirs, ExitStack() as ours:
            self._connection, end = Pipe()
            ours.callback(self._connection.close)
            theirs.callback(end.close)
            life, mine = os.pipe()  # closed by the system when this process is gone
            ours.callback(os.close, mine)
            theirs.callback(os.close, life)
            _bound(self._connection)
            places = json.dumps([os.fsdecode(place) for place in sys.path])  # a caller may have put a Path there
            words = [sys.executable, "-c", code, places, str(end.fileno()), str(life)]
            self._process = subprocess.Popen(words, pass_fds=(end.fileno(), life), stdin=subprocess.DEVNULL)
            self._files = ours.pop_all()

    def await_ready(self, first: object) -> None:
        """Send it the first message and wait for the answer, as long as a start may take.

        Raises:
            WorkerFaultError: it died of that, or failed.
        """
        with suppress(OSError):  # it is dead, as its answer shows
            self.send(first)
        try:
            failure, _ = self._receive(START_SECONDS)
        except (EOFError, OSError):
            raise WorkerFaultError(f"it {faults.death(self._exit_code(), 0).cause}", own=False) from None
        if failure is not None:
            raise WorkerFaultError(words_of(failure[1]), own=False)

    def send(self, message: object) -> None:
        """Hand it something to do."""
        self._connection.send(message)

    def is_dead(self) -> bool:
        """Whether a process that has nothing to do is gone: then its connection ends."""
        try:
            return self._connection.poll()
        except Exception:  # a call is in the caller's hand, and must not be lost
            return True

    def answer(self, patience: float) -> tuple[bool, Any]:
        """Whether the call succeeded, and its value or error.

        Raises:
            WorkerFaultError: it gave no sign of life, or what ended the call would end whoever asks for its result.
            EOFError, OSError: it is dead.
        """
        limit = patience
        while True:
            message, waited = self._receive(limit)
            if message is not None:
                done, value = message
                if not done and not isinstance(value, Exception):
                    raise WorkerFaultError(f"met {type(value).__name__}: {value}", own=True)
                return done, value
            limit = max(limit, LATE * waited)

    def explained(self, error: BaseException, oom_kills: int) -> WorkerFaultError:
        """What an error in talking to it means.

        Args:
            error: the error.
            oom_kills: as they were counted before the call.
        """
        if isinstance(error, WorkerFaultError):
            return error
        if isinstance(error, BlockingIOError):
            return faults.silence(self._process.pid, START_SECONDS)
        if _is_end(error) and (code := self._exit_code()) is not None:
            return faults.death(code, faults.oom_kills() - oom_kills)
        if isinstance(error, EOFError | OSError):
            return WorkerFaultError(f"could not be reached: {words_of(error)}", own=False)
        # The work, or an error that it raised, cannot be sent or read, unless this process has no memory for it.
        cause = f"could not be understood: {type(error).__name__}: {error}"
        return WorkerFaultError(cause, own=not isinstance(error, MemoryError))

    def _receive(self, limit: float) -> tuple[Any, float]:
        """The next message and the seconds that it took.

        Time that this process itself stood still is not counted: a laptop may sleep, a user may press Ctrl-Z.
        """
        waited, there = 0.0, False
        while not there:
            began = time.monotonic()
            there = self._connection.poll(_TICK)
            waited += min(time.monotonic() - began, _TICK)
            if waited >= limit and not there:
                raise faults.silence(self._process.pid, waited)
        return self._connection.recv(), waited

    def _exit_code(self) -> int | None:
        """Of a process that is about to end; None where it goes on."""
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it; called from any thread."""
        self._process.kill()

    def bury(self) -> None:
        """End it, and leave nothing of it; a second time does nothing."""
        self._process.kill()
        self._process.wait()
        self._files.close()


def _bound(connection: Connection) -> None:
    """A worker that is stopped in the middle of a message must not hold its thread for ever.

    The system itself watches over it: one more thread for each message may be one too many.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(START_SECONDS), 0))


def _is_end(error: BaseException) -> bool:
    """Whether the other end is gone; a message that breaks off is an OSError without a number."""
    return isinstance(error, EOFError | ConnectionError) or (isinstance(error, OSError) and error.errno is None)


def words_of(error: BaseException) -> str:
    """What an error says, which may be nothing but its kind."""
    return str(error) or type(error).__name__

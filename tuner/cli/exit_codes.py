"""How a command ends: every failure is one sentence and an exit code.

Exit codes: 0 done; 1 failed; 2 the input is wrong; 3 stopped because another process asked for it (`tuner stop`); 4 the
cluster cannot be joined now; 130 stopped by Ctrl-C; 143 by SIGTERM; 129 for the terminal was closed; 70 a mistake of
ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tuner import streams

CRASH_LOG = "tuner-crash.log"
STOPPED_BY_REQUEST = 3


class Interrupted(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command, and end with its exit code."""
    with streams.guarded():
        for number in _signals():
            signal.signal(number, _interrupt)
        try:
            command()
        except Interrupted as stop:
            _end(stop.exit_code, "stopped.")
        except streams.ReaderGone:
            _end(0)
        except streams.OutputLost as lost:
            _end(1, str(lost))
        except Exception as error:
            _fail(error)
        _end(0)


def _signals() -> list[int]:
    """What ends a command. Started by nohup, it outlives its terminal."""
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _fail(error: Exception) -> NoReturn:
    _end(report_failure(error))


def report_failure(error: Exception) -> int:
    """Say in a sentence why a command, or one of its studies, failed.

    Returns:
        The exit code.
    """
    from tuner.errors import SpecError, TunerError
    from tuner.masks import without_secrets

    if os.environ.get("TUNER_DEBUG"):
        raise error
    if isinstance(error, TunerError):
        many = isinstance(error, SpecError) and len(error.problems) > 1
        count = f"\n{len(error.problems)} mistakes." if isinstance(error, SpecError) and many else ""
        return _said(error.exit_code, f"{error}{count}")
    if isinstance(error, OSError) and error.filename is not None:
        name, why = os.fsdecode(error.filename), error.strerror
        return _said(1, f"{name}: must be readable and writable, got: {why}. What is recorded stays.")
    with contextlib.suppress(OSError):
        whole = without_secrets("".join(traceback.format_exception(error)))
        Path(CRASH_LOG).write_text(whole, encoding="utf-8")
    said = without_secrets(str(error))
    return _said(
        70, f"internal error: {type(error).__name__}: {said}. This is a mistake of the tuner; details: {CRASH_LOG}"
    )


def _said(code: int, message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return code


def _end(code: int, message: str = "") -> NoReturn:
    sys.exit(_said(code, message) if message else code)


def answer(text: str, received: Sequence[int], stopped_by: str | None = None) -> None:
    """Print what a command came to; where a signal or a request stopped it, end the process with the exit code of that.

    At once: no thread of a library, such as an upload that hangs, holds it any longer.

    Args:
        text: the answer.
        received: from `stop_on_signals`.
        stopped_by: who asked for the stop, in words, where another process did.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    finally:
        if received:  # also where the terminal is gone that would have shown it
            os._exit(128 + received[0])
        if stopped_by is not None:
            os._exit(STOPPED_BY_REQUEST)


def stop_on_signals(stop: threading.Event) -> list[int]:
    """The first Ctrl-C, SIGTERM or SIGHUP stops cleanly, a second of the former two at once.

    A terminal that is closed may send SIGHUP more than once.

    Returns:
        The list of what was received.
    """
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if received and number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopped at once; what is recorded stays. Run the same command to go on.\n")
            os._exit(128 + number)
        received.append(number)
        stop.set()

    for number in _signals():
        signal.signal(number, handle)
    return received

"""How a command ends: every failure is one sentence and an exit code.

Exit codes: 0 done; 1 failed; 2 the input is wrong; 130 stopped by Ctrl-C; 143 by SIGTERM; 70 a mistake of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

CRASH_LOG = "tuner-crash.log"


class Interrupted(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command, and end with its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        command()
    except Interrupted as stop:
        _end(stop.exit_code, "stopped.")
    except BrokenPipeError:
        # The reader has seen enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end(0)
    except Exception as error:
        _fail(error)
    _end(0)


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _fail(error: Exception) -> NoReturn:
    from tuner.errors import SpecError, TunerError
    from tuner.masks import without_secrets

    if os.environ.get("TUNER_DEBUG"):
        raise error
    if isinstance(error, TunerError):
        many = isinstance(error, SpecError) and len(error.problems) > 1
        count = f"\n{len(error.problems)} mistakes." if isinstance(error, SpecError) and many else ""
        _end(error.exit_code, f"{error}{count}")
    if isinstance(error, OSError) and error.filename is not None:
        name, why = os.fsdecode(error.filename), error.strerror
        _end(1, f"{name}: must be readable and writable, got: {why}. What is recorded stays.")
    with contextlib.suppress(OSError):
        whole = without_secrets("".join(traceback.format_exception(error)))
        Path(CRASH_LOG).write_text(whole, encoding="utf-8")
    said = without_secrets(str(error))
    _end(70, f"internal error: {type(error).__name__}: {said}. This is a mistake of the tuner; details: {CRASH_LOG}")


def _end(code: int, message: str = "") -> NoReturn:
    if message:
        sys.stderr.write(f"{message}\n")
    sys.exit(code)


def stop_on_signals(stop: threading.Event) -> list[int]:
    """The first Ctrl-C or SIGTERM stops cleanly, the second at once; returns the list of what was received."""
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if received:
            os.write(
                sys.stderr.fileno(), b"\nstopped at once; what is recorded stays. Run the same command to go on.\n"
            )
            os._exit(128 + number)
        received.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return received

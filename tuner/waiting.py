"""Waiting for a long call only as long as it is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from tuner.errors import HelperError

T = TypeVar("T")
TICK_SECONDS: Final = 0.1


def never() -> None:
    """A check that never ends a call."""


def started(thread: threading.Thread) -> threading.Thread:
    """The thread, started.

    Raises:
        HelperError: the system has no room for one more.
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        raise HelperError(
            "a thread must be started, but the system refuses (threads or memory are at their limit); end other"
            " programs, or raise the limit."
        ) from None
    return thread


def abandonable(act: Callable[[], T], check: Callable[[], object] = never) -> T:
    """What `act` returns or raises, unless `check` raises before.

    It runs in a thread of its own, which goes on unheeded once it is abandoned: so it must not write anything. A signal
    is answered at once as well, where a parser of a large file would hold the main thread for minutes.

    Args:
        act: called once.
        check: called ten times a second; it raises to end the waiting.

    Raises:
        HelperError: the thread cannot be started.
    """
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(act())
        except BaseException as error:
            done.set_exception(error)

    thread = started(threading.Thread(target=work, name="tuner-abandonable", daemon=True))
    while thread.is_alive():
        check()
        thread.join(TICK_SECONDS)
    check()
    return done.result()

"""Heartbeats: training reports now and then that it goes on, so that a hang is distinguished from long work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

SECONDS: Final = 0.25  # between two signs, at least

_say: Callable[[], object] | None = None
_last = 0.0


def listen(say: Callable[[], object]) -> None:
    """Have `say` called for a sign of life of this process."""
    global _say  # noqa: PLW0603 - a process has one voice
    _say = say


@contextmanager
def heard_by(say: Callable[[], object]) -> Iterator[None]:
    """Have `say` called at each heartbeat within the block; afterwards the previous listener is restored."""
    global _say  # noqa: PLW0603
    before, _say = _say, say
    try:
        yield
    finally:
        _say = before


def alive(_: object = None) -> None:
    """Report to the listener, if there is one, that another epoch is done."""
    global _last  # noqa: PLW0603
    now = time.monotonic()
    if _say is not None and now - _last >= SECONDS:
        _last = now
        _say()

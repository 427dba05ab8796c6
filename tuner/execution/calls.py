"""Calls that wait for a worker, in one line for all workers; each of them is over in the end, one way or another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, final


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """A call on its way.

    Attributes:
        future: what its caller waits for.
        work: function, arguments and keyword arguments.
        patience: seconds that it may take to its first sign of life, and always after it.
    """

    future: Future[Any]
    work: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    patience: float

    def begin(self) -> bool:
        """Whether it is still wanted; from then on it cannot be cancelled."""
        return self.future.set_running_or_notify_cancel()

    def cancel(self) -> None:
        """End a call that waits, also for those who wait for several futures at once."""
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()

    def fail(self, error: Exception) -> None:
        """End a call that waits with an error."""
        if self.begin():
            self.future.set_exception(error)


@final
class Calls:
    """The line. Once it is closed nothing waits in it, and what is put into it is cancelled.

    Finding a waiting call and taking it is one step, under one lock: between two steps another thread may
    take the last one, and who then waits for it waits for ever.
    """

    def __init__(self) -> None:
        self._line: deque[Call] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, call: Call, first: bool = False) -> None:
        """Add a call at the end, or in front of all others."""
        with self._changed:
            if not self._is_closed:
                self._line.appendleft(call) if first else self._line.append(call)
                self._changed.notify()
                return
        call.cancel()

    def take(self) -> Call | None:
        """The first one, as soon as there is one; None once the line is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._is_closed)
            return self._line.popleft() if self._line else None

    def take_now(self, most: int | None = None) -> list[Call]:
        """The first ones, at most so many, or all: those that wait at this moment."""
        with self._changed:
            count = len(self._line) if most is None else min(most, len(self._line))
            return [self._line.popleft() for _ in range(count)]

    def close(self) -> None:
        """Cancel what waits, and send home everyone who waits for a call."""
        with self._changed:
            self._is_closed = True
            left = list(self._line)
            self._line.clear()
            self._changed.notify_all()
        for call in left:
            call.cancel()

"""A database that is away for a while: what was asked of it is asked again, where that cannot be done twice.

Postgres that is restarted closes every connection. What was under way is undone by it, and done again once it answers.
Only where the connection was lost while a commit was under way nobody knows whether that was taken: then a call is made
again if doing it twice is as good as once, and fails else; the study is continued by running it again.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from tuner.errors import LedgerError

LOST_SECONDS: Final = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
# What Postgres answers at the door while it starts or ends; any other refusal there stays one.
_PASSING: Final = ("starting up", "shutting down", "recovery", "not yet accepting", "too many clients")
P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=type)
_calling = threading.local()


class ConnectionLostError(LedgerError):
    """The database that answered before does not now.

    Attributes:
        is_recorded_perhaps: it went away in a commit.
    """

    def __init__(self, message: str, is_recorded_perhaps: bool = False) -> None:
        super().__init__(message)
        self.is_recorded_perhaps = is_recorded_perhaps


def may_come_back(error: SQLAlchemyError) -> bool:
    """Whether it says that a server is away, or that it is about to be or was just started."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError) or hasattr(error.orig, "sqlite_errorname"):
        return False
    text = str(error.orig)
    at_the_door = error.statement is None
    return at_the_door and ("FATAL" not in text or any(words in text for words in _PASSING))


def harmless_twice(method: Callable[P, T]) -> Callable[P, T]:
    """Mark a method: what it records is the same where it was recorded already."""
    method.is_harmless_twice = True  # type: ignore[attr-defined]
    return method


def patient(kind: C) -> C:
    """Let every public method of a class wait for a database that is away; the class keeps it in `_database`.

    Each must be one transaction, with arguments that can be read twice.
    """
    for name, method in list(vars(kind).items()):
        is_plain = inspect.isfunction(method) and not inspect.isgeneratorfunction(inspect.unwrap(method))
        if is_plain and not name.startswith("_"):
            setattr(kind, name, retried(method))
    return kind


def retried(method: Callable[..., T]) -> Callable[..., T]:
    """The method, called again while the database is away, for `Database.lost_seconds` at most."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> T:
        database = self._database
        if getattr(_calling, "is_under_way", False) or database.is_in_snapshot:
            return method(self, *args, **kwargs)
        _calling.is_under_way = True
        try:
            return _until_it_answers(
                lambda: method(self, *args, **kwargs),
                database.lost_seconds,
                getattr(method, "is_harmless_twice", False),
            )
        finally:
            _calling.is_under_way = False

    return call


def _until_it_answers(act: Callable[[], T], seconds: float, is_harmless_twice: bool) -> T:
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        try:
            return act()
        except ConnectionLostError as lost:
            if (lost.is_recorded_perhaps and not is_harmless_twice) or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)

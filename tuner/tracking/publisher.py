"""Brings the outbox to MLflow behind the training's back.

MLflow may be slow, unreachable or full: nothing of that reaches the training, and nothing
recorded is lost by it. What could not be published waits in the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from tuner.errors import TrackingError, TunerError
from tuner.tracking.entries import Answer, is_gone, without_files
from tuner.tracking.store import ensure_store, identity, quieten, sentence

if TYPE_CHECKING:
    from tuner.ledger.ledger import Ledger

_ROWS_AT_A_TIME: Final = 500
_PAUSE: Final = 1.0
_TICK: Final = 0.1
STOP_SECONDS: Final = 5.0  # how long a call to MLflow may take to its end once the user has stopped the run
_FIRST_BACKOFF: Final = 0.5
_LONGEST_BACKOFF: Final = 30.0


@dataclass(frozen=True, slots=True)
class Published:
    """How many rows MLflow took now, how many wait still, and how many it will never take."""

    count: int
    waiting: int
    aside: int


def publish_once(
    ledger: Ledger,
    study_id: int,
    uri: str,
    stop: Callable[[], bool] = lambda: False,
    answer: Answer = without_files,
) -> Published:
    """Publish all that waits, once, until `stop` says so; `answer` gives the files of the study's answer.

    Where the ledger's memory is of another MLflow, or of one whose store was removed, the whole study is published
    anew: every run is found by its key if it is there.

    Raises:
        TrackingError: MLflow cannot be reached or refuses; what it had not taken waits.
        StorageError: the data of the answer's files cannot be prepared for want of room or rights; they wait.
        StudyError: another process is publishing it.
        LedgerError: the ledger cannot be read or written.
    """
    quieten()
    ensure_store(uri)
    with ledger.lease(study_id, "publish"):
        _remember_store(ledger, study_id, identity(uri))
        try:
            count = _drain_anew_if_gone(ledger, study_id, uri, stop, answer)
        except TunerError:
            raise
        except Exception as error:  # MLflow lets through what its stores and transports raise.
            raise TrackingError(sentence(uri, error)) from None
        return Published(count, ledger.waiting_count(study_id), len(ledger.aside(study_id)))


def _drain_anew_if_gone(ledger: Ledger, study_id: int, uri: str, stop: Callable[[], bool], answer: Answer) -> int:
    try:
        return _drain(ledger, study_id, uri, stop, answer)
    except Exception as error:
        if not is_gone(error):
            raise
        ledger.publish_anew(study_id, identity(uri))
        return _drain(ledger, study_id, uri, stop, answer)


def _remember_store(ledger: Ledger, study_id: int, store: str) -> None:
    known = ledger.tracking_store(study_id)
    if known is None:
        ledger.set_tracking_store(study_id, store)
    elif known != store:
        ledger.publish_anew(study_id, store)


def _drain(ledger: Ledger, study_id: int, uri: str, stop: Callable[[], bool], answer: Answer) -> int:
    from tuner.tracking.mirror import Mirror  # noqa: PLC0415

    count = 0
    while not stop() and (rows := ledger.waiting(study_id, _ROWS_AT_A_TIME)):
        mirror = Mirror(ledger, ledger.study_by_id(study_id), uri, answer)
        count += len(mirror.publish(rows, stop).published)
    return count


@final
class Publisher:
    """A background thread that publishes one study's outbox; its methods never wait for MLflow nor raise for it."""

    def __init__(self, ledger: Ledger, study_id: int, uri: str, answer: Answer = without_files) -> None:
        self._ledger = ledger
        self._answer = answer
        self._study_id = study_id
        self._uri = uri
        self._news = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._work, name="tuner-publisher", daemon=True)
        self.error: str | None = None

    def start(self) -> None:
        """Start publishing what waits."""
        quieten()
        self._thread.start()

    def notify(self) -> None:
        """Something was recorded."""
        self._news.set()

    def close(self, seconds: float, stop: threading.Event | None = None) -> int:
        """Publish the rest and stop, within so many seconds, or STOP_SECONDS after `stop` is set.

        Where MLflow failed already before, it gets one more attempt and no more.

        Returns:
            How many rows wait; `error` says why.
        """
        self._closing.set()
        self._news.set()
        deadline = time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < deadline:
            if stop is not None and stop.is_set():
                deadline, stop = min(deadline, time.monotonic() + STOP_SECONDS), None
            self._thread.join(_TICK)
        self._abandoned.set()
        return self._ledger.waiting_count(self._study_id)

    def _work(self) -> None:
        while not self._abandoned.is_set():
            closing, failed_before = self._closing.is_set(), self._failures > 0
            self._news.clear()
            self._attempt()
            if closing and (failed_before or not self._failures):
                return
            self._rest()

    def _attempt(self) -> None:
        try:
            publish_once(self._ledger, self._study_id, self._uri, self._abandoned.is_set, self._answer)
        except Exception as error:
            self._failures += 1
            self.error = str(error) if isinstance(error, TunerError) else sentence(self._uri, error)
        else:
            self._failures = 0
            self.error = None

    def _rest(self) -> None:
        """After a failure, back off; else let some news gather, so that a trial takes few calls, and wait for it."""
        if self._failures:
            signal = self._abandoned if self._closing.is_set() else self._closing
            signal.wait(min(_FIRST_BACKOFF * 2 ** min(self._failures - 1, 10), _LONGEST_BACKOFF))
            return
        self._closing.wait(_PAUSE)
        self._news.wait()

"""Brings the outbox to MLflow behind the training's back.

MLflow may be slow, unreachable or full: nothing of that reaches the training, and nothing
recorded is lost by it. What could not be published waits in the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from tuner.errors import TrackingError, TunerError
from tuner.tracking.apart import Mlflow
from tuner.tracking.artifacts import open_store
from tuner.tracking.entries import Answer, StoppedError, is_gone, never, without_files
from tuner.tracking.store import absolute, identity, sentence, unanswered
from tuner.waiting import started

if TYPE_CHECKING:
    from tuner.ledger.ledger import Ledger

_ROWS_AT_A_TIME: Final = 500
_PAUSE: Final = 1.0
_TICK: Final = 0.1
STOP_SECONDS: Final = 5.0  # how long a call to MLflow may take to its end once the user has stopped the run
_FIRST_BACKOFF: Final = 0.5
_LONGEST_BACKOFF: Final = 30.0
_SHARE: Final = 3  # publishing takes at most one part in so many of a processor's time while there is training
_LAST_SECONDS: Final = 0.5  # a thread whose helper process is gone ends at once, unless it writes files


@dataclass(frozen=True, slots=True)
class Published:
    """How many rows MLflow took now, how many wait still, and how many it will never take."""

    count: int
    waiting: int
    aside: int


def publish_once(  # noqa: PLR0913 - the last three by name
    ledger: Ledger,
    study_id: int,
    uri: str,
    stop: Callable[[], bool] = never,
    answer: Answer = without_files,
    *,
    took: Callable[[int], object] = int,
    mlflow: Mlflow | None = None,
) -> Published:
    """Publish all that waits, once, until `stop` says so.

    Args:
        ledger: of the study.
        study_id: of the study.
        uri: MLflow's.
        stop: asked before each call of a server, and between two trials elsewhere.
        answer: gives the files of the study's answer.
        took: called with each number of rows that MLflow took, also before a failure.
        mlflow: kept for the next time; without it, MLflow's client is started where it is needed, and ended.

    Where the ledger's memory is of another MLflow, or of one whose store was removed, the whole study is published
    anew: every run is found by its key if it is there.

    Raises:
        TrackingError: MLflow cannot be reached or refuses; what it had not taken waits.
        StorageError: the data of the answer's files cannot be prepared for want of room or rights; they wait.
        StudyError: another process is publishing it.
        LedgerError: the ledger cannot be read or written.
    """
    with ExitStack() as stack:
        # First, so that what another process publishes, and what cannot be recorded here, leaves MLflow untouched.
        stack.enter_context(ledger.lease(study_id, "publish"))
        open_store(uri)
        opened = mlflow or stack.enter_context(Mlflow(absolute(uri)))
        _remember_store(ledger, study_id, identity(uri))
        counts: list[int] = []

        def tell(count: int) -> None:
            counts.append(count)
            took(count)

        try:
            _drain_anew_if_gone(_Task(ledger, study_id, opened, stop, answer, tell))
        except StoppedError:
            pass  # what was not published waits
        except TunerError:
            raise
        except Exception as error:  # MLflow lets through what its stores and transports raise.
            raise TrackingError(sentence(uri, error)) from None
        return Published(sum(counts), ledger.outbox.waiting_count(study_id), len(ledger.outbox.aside(study_id)))


@dataclass(frozen=True, slots=True)
class _Task:
    """One study to be published: see `publish_once`."""

    ledger: Ledger
    study_id: int
    mlflow: Mlflow
    stop: Callable[[], bool]
    answer: Answer
    took: Callable[[int], object]


def _drain_anew_if_gone(task: _Task) -> None:
    try:
        _drain(task)
    except Exception as error:
        if not is_gone(error):
            raise
        task.ledger.outbox.publish_anew(task.study_id, identity(task.mlflow.uri))
        _drain(task)


def _remember_store(ledger: Ledger, study_id: int, store: str) -> None:
    known = ledger.outbox.tracking_store(study_id)
    if known is None:
        ledger.outbox.set_tracking_store(study_id, store)
    elif known != store:
        ledger.outbox.publish_anew(study_id, store)


def _drain(task: _Task) -> None:
    from tuner.tracking.mirror import Mirror, Outcome  # noqa: PLC0415

    ledger, study_id = task.ledger, task.study_id
    while not task.stop() and (rows := ledger.outbox.waiting(study_id, _ROWS_AT_A_TIME)):
        mirror = Mirror(ledger, ledger.study_by_id(study_id), task.mlflow, task.answer, task.stop)
        outcome = Outcome()
        try:
            mirror.publish(rows, outcome)
        finally:
            task.took(len(outcome.published))


@final
class Publisher:
    """A background thread that publishes one study's outbox; no method waits for MLflow or raises its errors."""

    def __init__(self, ledger: Ledger, study_id: int, uri: str, answer: Answer = without_files) -> None:
        self._ledger = ledger
        self._answer = answer
        self._study_id = study_id
        self._uri = uri
        self._mlflow = Mlflow(absolute(uri))
        self._news = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._telling = threading.Lock()
        self._failures = 0
        self._used = 0.0  # processor seconds of the thread when it last took a breath
        self._thread = threading.Thread(target=self._work, name="tuner-publisher", daemon=True)
        self.error: str | None = None

    def start(self) -> None:
        """Start publishing what waits.

        Raises:
            HelperError: the thread that does it cannot be started.
        """
        started(self._thread)

    def notify(self) -> None:
        """Something was recorded."""
        self._news.set()

    def close(self, seconds: float, stop: threading.Event | None = None) -> int:
        """Publish the rest and stop, within so many seconds, or STOP_SECONDS after `stop` is set.

        Where MLflow failed already before, it gets one more attempt and no more. Where it does not answer, the thread
        is left to the call that it is in: it makes no other one, and finds the ledger closed if that was closed.

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
        is_late = self._thread.is_alive()
        with self._telling:
            self._abandoned.set()
        self._mlflow.close()
        self._thread.join(_LAST_SECONDS)
        waiting = self._ledger.outbox.waiting_count(self._study_id)
        if waiting and is_late and self.error is None:
            self.error = unanswered(self._uri, seconds)
        return waiting

    def _work(self) -> None:
        while not self._abandoned.is_set():
            closing, failed_before = self._closing.is_set(), self._failures > 0
            self._news.clear()
            self._attempt()
            if closing and (failed_before or not self._failures):
                return
            self._rest()

    def _attempt(self) -> None:
        self._used = time.thread_time()
        try:
            publish_once(
                self._ledger,
                self._study_id,
                self._uri,
                self._abandoned.is_set,
                self._answer,
                took=self._breathe,
                mlflow=self._mlflow,
            )
        except Exception as error:
            self._tell(str(error) if isinstance(error, TunerError) else sentence(self._uri, error))
        else:
            self._tell(None)

    def _breathe(self, _: int) -> None:
        """Python runs one thread at a time: what this one takes is missing where a cluster waits for decisions.

        Waiting for a server takes nothing, and once the training is over there is nobody to wait for.
        """
        used = time.thread_time() - self._used
        self._closing.wait((_SHARE - 1) * used)
        self._used = time.thread_time()

    def _tell(self, error: str | None) -> None:
        """How an attempt ended; nothing of an abandoned one, whose ledger may be closed."""
        with self._telling:
            if not self._abandoned.is_set():
                self._failures = self._failures + 1 if error else 0
                self.error = error

    def _rest(self) -> None:
        """After a failure, back off; else let some records gather, so that a trial takes few calls, and wait for it."""
        if self._failures:
            signal = self._abandoned if self._closing.is_set() else self._closing
            signal.wait(min(_FIRST_BACKOFF * 2 ** min(self._failures - 1, 10), _LONGEST_BACKOFF))
            return
        self._closing.wait(_PAUSE)
        self._news.wait()

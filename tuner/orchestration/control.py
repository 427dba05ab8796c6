"""A run's ear and voice: what other processes ask of it, and what they see of it, off the training path.

A thread of its own reads what is wanted and writes how far the run has come. Neither waits for the training, nor does
the training wait for it: a database that does not answer costs a late stop or an old progress line, nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import Wanted
from tuner.orchestration.progress import Progress
from tuner.spec.continuing import with_budget
from tuner.spec.study import StudySpec
from tuner.waiting import started

POLL_SECONDS: Final = 0.4  # between two looks at what is wanted: a request is seen within a second
REPORT_EVERY: Final = 2  # looks: progress is written about once a second, where it has changed


class Stop(threading.Event):
    """Set where the caller's own event is, or where another process asked for a stop; only `is_set` is asked."""

    def __init__(self, of_caller: threading.Event) -> None:
        super().__init__()
        self._of_caller = of_caller

    def is_set(self) -> bool:
        """Whether the run is to end."""
        return super().is_set() or self._of_caller.is_set()


class RemoteControl:
    """One run's side of `ledger.control`.

    Args:
        ledger: it holds the study's lease while `listening`.
        stop: the caller's own.

    Attributes:
        stop: ends the run.
        stopped_by: the process that asked for the end, in words; None where none did.
        granted: slots of a cluster that the run may have now; None for as many as it was launched with.
    """

    def __init__(self, ledger: Ledger, stop: threading.Event) -> None:
        self._ledger = ledger
        self.stop = Stop(stop)
        self.stopped_by: str | None = None
        self.granted: int | None = None
        self._wanted: Wanted | None = None
        self._shown: Progress | None = None

    @contextmanager
    def listening(self, study_id: int) -> Iterator[None]:
        """Take requests and report progress until the block ends.

        Raises:
            HelperError: the thread that does it cannot be started.
        """
        over = threading.Event()
        thread = started(
            threading.Thread(target=self._listen, args=(study_id, over), name="tuner-control", daemon=True)
        )
        try:
            yield
        finally:
            over.set()
            thread.join()

    def show(self, progress: Progress) -> None:
        """Let others see it; returns at once."""
        self._shown = progress

    def look_up_grant(self, name: str) -> None:
        """See what is granted to a study that perhaps is not recorded yet."""
        self.granted = self._ledger.control.granted(name)

    def larger(self, spec: StudySpec) -> StudySpec | None:
        """The declaration with the larger budget that was asked for; None where it is not larger.

        A run goes on to more trials or seconds, never to fewer: for that there is the stop.
        """
        wanted = self._wanted
        if wanted is None:
            return None
        return with_budget(spec, wanted.trials, wanted.timeout)

    def _listen(self, study_id: int, over: threading.Event) -> None:
        reported: Progress | None = None
        looks = 0
        while True:
            with suppress(LedgerError):  # a full disk, a lost connection: the next look may have more luck
                self._look(study_id)
                if looks % REPORT_EVERY == 0 and self._shown is not None and self._shown != reported:
                    now = self._shown
                    self._report(study_id, now)
                    reported = now  # only now: what could not be written is written at a later look
            looks += 1
            if over.wait(POLL_SECONDS):
                return

    def _look(self, study_id: int) -> None:
        self._wanted = wanted = self._ledger.control.wanted(study_id)
        if wanted is not None:
            self.granted = wanted.granted
        if wanted is not None and wanted.state == "stop" and self.stopped_by is None:
            self.stopped_by = wanted.by
            self.stop.set()

    def _report(self, study_id: int, progress: Progress) -> None:
        waiting = self._ledger.outbox.waiting_count(study_id)
        self._ledger.control.report(study_id, replace(progress, waiting=waiting).body())

"""Drivers that a signal (SIGSTOP) stopped during a write to SQLite, which blocks every other writer."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import final

from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
from tuner.ledger.submissions import Submission
from tuner.service.driver import Drivers

_log = logging.getLogger("tuner.service.supervisor")


@final
class FrozenDrivers:
    """Looks whether a driver holds the write lock and is stopped, and kills it after the grace; its study goes on.

    Args:
        ledger: whose lock.
        drivers: those that may be killed.
        grace: seconds.
    """

    def __init__(self, ledger: Ledger, drivers: Drivers, grace: float) -> None:
        self._ledger, self._drivers, self._grace = ledger, drivers, grace
        self._seen: tuple[Owner, float] | None = None  # the one that is frozen so, and since when

    def look(self) -> None:
        """One look, which writes nothing.

        Raises:
            LedgerError: it cannot be read.
        """
        each = self._frozen()
        if each is None or each.driver is None:
            self._seen = None
        elif self._seen is None or self._seen[0] != each.driver:
            self._seen = each.driver, time.monotonic()
        elif time.monotonic() - self._seen[1] > self._grace and self._drivers.kill(each):
            words = (
                "%s: its process was stopped amid a write, so that nobody could write for %g seconds; it was killed."
            )
            _log.warning(words, each.name, self._grace, extra={"study": each.name})

    def _frozen(self) -> Submission | None:
        writer = self._ledger.supervision.writer()
        if writer is None or not _is_stopped(writer):
            return None
        known = (standing.submission for standing in self._ledger.standings.open())
        return next((each for each in known if each.driver is not None and each.driver.pid == writer), None)


def _is_stopped(pid: int) -> bool:
    """Whether a signal stopped it: state T in proc(5)'s stat. A debugger's is t, and is left alone."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "T"
        )
    except OSError:
        return False

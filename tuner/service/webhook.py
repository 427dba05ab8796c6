"""Tells an address of the operator's choice when a study has ended.

The address is the first line of a file that the configuration names, a token for it the second; no client can set
either, and a redirect is not followed. What cannot be delivered after some tries is said in the log and let go: the
ledger, not the message, is the record.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Final, final
from urllib.parse import urlsplit

from tuner.errors import InputError
from tuner.ledger.ledger import Ledger

TRIES: Final = 4
PAUSES: Final = (1.0, 5.0, 25.0)  # seconds between the tries
TIMEOUT: Final = 10.0
MOST_WAITING: Final = 1000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """What the webhook gets at a study's end.

    Attributes:
        study: its name.
        outcome: finished, stopped or failed.
        best: the lowest validation loss; None where no trial is complete.
        trials: that have ended.
        message: why it failed; empty where it did not.
        at: Unix time in seconds.
    """

    study: str
    outcome: str
    best: float | None
    trials: int
    message: str
    at: float


def ended(ledger: Ledger, study: str, outcome: str, message: str) -> Ended:
    """What the webhook gets of a study that came to rest just now, from the ledger."""
    record = ledger.study(study)
    tally = None if record is None else ledger.tally(record.id)
    trials = 0 if tally is None else tally.ended
    return Ended(study, outcome, None if tally is None else tally.best, trials, message, time.time())


@dataclass(frozen=True, slots=True)
class _Address:
    url: str
    token: str | None

    @property
    def shown(self) -> str:
        """Without what may be secret: many services put a token into the path."""
        return urlsplit(self.url).hostname or ""


@final
class Webhook:
    """Sends in a thread of its own, in order.

    Args:
        file: holds the address, and in a second line a token if one is needed.
        pauses: seconds between tries.

    Raises:
        InputError: the file cannot be read, or holds no address.
    """

    def __init__(self, file: Path, pauses: tuple[float, ...] = PAUSES) -> None:
        self._address, self._pauses = _read(file), pauses
        self._waiting: queue.Queue[Ended] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._send_all, name="tuner-webhook", daemon=True).start()

    def tell(self, ended: Ended) -> None:
        """Send this soon; returns at once."""
        try:
            self._waiting.put_nowait(ended)
        except queue.Full:
            log.warning("the webhook is too far behind; its end is not reported", extra={"study": ended.study})

    def flush(self, seconds: float) -> bool:
        """Wait until all is sent or given up, so many seconds at most. Whether it is."""
        deadline = time.monotonic() + seconds
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._waiting.all_tasks_done.wait(left)
        return True

    def _send_all(self) -> None:
        while True:
            ended = self._waiting.get()
            try:
                self._send(ended)
            finally:
                self._waiting.task_done()

    def _send(self, ended: Ended) -> None:
        about = {"study": ended.study, "outcome": ended.outcome}
        for pause in (*self._pauses, None):
            refused = _post(self._address, asdict(ended))
            if refused is None:
                log.info("called the webhook", extra=about)
                return
            if pause is not None:
                time.sleep(pause)
        log.warning("the webhook at %s did not take it: %s", self._address.shown, refused, extra=about)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address is the operator's; where it points elsewhere, it is not followed."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        """None lets the redirect be an error."""
        return


def _read(file: Path) -> _Address:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(f"--webhook-file {file}: must be a file that can be read: {why}.") from None
    words = [line.strip() for line in lines if line.strip()]
    parts = urlsplit(words[0]) if words else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or not words[0].isprintable():
        raise InputError(f"--webhook-file {file}: its first line must be an address, https://host/path.")
    return _Address(words[0], words[1] if len(words) > 1 else None)


def _post(address: _Address, body: Mapping[str, object]) -> str | None:
    """Send it once. Why it was not taken; None where it was."""
    headers = {"Content-Type": "application/json", "User-Agent": "autoencoder-tuner"}
    if address.token is not None:
        headers["Authorization"] = f"Bearer {address.token}"
    request = urllib.request.Request(address.url, json.dumps(body).encode(), headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"it answered {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return getattr(reason, "strerror", None) or type(reason).__name__

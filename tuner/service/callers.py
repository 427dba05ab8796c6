"""Whose secret a request carries, looked up once for all requests of half a second."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Final, final

from starlette.concurrency import run_in_threadpool

from tuner.ledger.ledger import Ledger
from tuner.ledger.tokens import TokenRecord

FRESH: Final = 0.5  # seconds for which what the ledger said is taken for true; the stream of changes looks as often


@dataclass(frozen=True, slots=True)
class _Known:
    """What the ledger said.

    Attributes:
        asked: when, by the monotonic clock.
        written: transactions that this process had written by then.
        token: whose secret it is.
    """

    asked: float
    written: int
    token: TokenRecord


@final
class Callers:
    """The tokens of those who ask again and again.

    A token that is revoked through this process counts no longer at once; one that another process revokes, or that
    expires, half a second later at the latest.

    Args:
        ledger: where the tokens are.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[bytes, _Known] = {}  # by the secret's SHA-256: no secret is kept

    async def of(self, secret: str) -> TokenRecord | None:
        """Whose secret it is; None where the ledger takes it for none."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        now, written = time.monotonic(), self._ledger.written
        known = self._known.get(digest)
        if known is not None and known.written == written and now - known.asked < FRESH:
            return known.token
        token = await run_in_threadpool(self._ledger.tokens.check, secret)
        self._known = {each: seen for each, seen in self._known.items() if now - seen.asked < FRESH}
        if token is not None:
            self._known[digest] = _Known(now, written, token)
        return token

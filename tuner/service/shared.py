"""Answers that many people ask for again and again: made once for all who ask within half a second."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.ledger.ledger import Ledger
from tuner.service.callers import FRESH
from tuner.service.rest.answering import PREFIX
from tuner.service.security import READING

_PATHS: Final = re.compile(rf"{PREFIX}/studies(/[^/]+(/progress)?)?")
_NAMED: Final = ("route", "path_params")  # what the log of requests reads of one that was answered
Moment: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer as it was sent, and how its route is called."""

    messages: tuple[Message, ...]
    named: dict[str, Any]


@dataclass(slots=True, eq=False)
class _Asked:
    """An answer that is being made, or was.

    Attributes:
        began: when it was asked for, by the monotonic clock.
        moment: what had changed until then.
        answer: None where it is no answer for others.
    """

    began: float
    moment: Moment
    answer: asyncio.Future[_Answer | None] = field(default_factory=asyncio.Future)


@final
class Shared:
    """ASGI middleware within the gate: lists of studies, studies, and how far they have come.

    What was changed through this process is in every answer that is asked for afterwards; what drivers or other
    processes record is there half a second later at the latest.

    Args:
        app: what makes the answers.
        ledger: through which this process writes.
    """

    def __init__(self, app: ASGIApp, ledger: Ledger) -> None:
        self._app, self._ledger = app, ledger
        self._asked: dict[tuple[str, bytes], _Asked] = {}
        self._changes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with what another caller is given, or pass the request on."""
        if scope["type"] != "http" or scope["method"] not in READING:
            try:
                await self._app(scope, receive, send)
            finally:
                self._changes += 1
        elif scope["method"] == "GET" and _PATHS.fullmatch(scope["path"]):
            await self._shared(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _shared(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, now = (scope["path"], scope["query_string"]), time.monotonic()
        known, moment = self._asked.get(key), (self._changes, self._ledger.written)
        if known is not None and known.moment == moment and now - known.began < FRESH:
            answer = await asyncio.shield(known.answer)
            if answer is not None:
                scope.update(answer.named)
                for message in answer.messages:
                    await send(dict(message))
                return
        self._asked = {each: asked for each, asked in self._asked.items() if now - asked.began < FRESH}
        asked = self._asked[key] = _Asked(now, moment)
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(dict(message))  # the gate adds its headers to the one that is sent
            if message["type"] == "http.response.body" and not message.get("more_body"):
                asked.answer.set_result(_whole(sent, scope))  # first: this caller may be slow to take it
            await send(message)

        try:
            await self._app(scope, receive, keep)
        finally:
            if not asked.answer.done():
                asked.answer.set_result(None)


def _whole(sent: list[Message], scope: Scope) -> _Answer | None:
    if sent[0].get("status") != 200:
        return None
    return _Answer(tuple(sent), {name: scope[name] for name in _NAMED if name in scope})

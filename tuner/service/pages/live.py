"""Pages as they change: the part that is different, written anew by the server, at most a few times a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from fastapi.sse import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from tuner.errors import StudyError
from tuner.report.markup import Html
from tuner.service.feed import Change
from tuner.service.rest.trials import STREAM_SECONDS

PAUSE: Final = 0.1  # seconds in which changes are gathered


async def streamed(changes: AsyncIterator[Change], write: Callable[[], Html]) -> AsyncIterator[ServerSentEvent]:
    """A part of a page, again whenever it is another than before.

    Args:
        changes: what happened.
        write: the part as it is now; it may block. Where its study is gone, the stream ends.
    """
    last = None
    until = time.monotonic() + STREAM_SECONDS
    with contextlib.suppress(StudyError):
        async for _ in gathered(changes):
            now = await run_in_threadpool(write)
            if now != last:
                last = now
                yield ServerSentEvent(raw_data=now)
            if time.monotonic() > until:
                return


async def gathered(changes: AsyncIterator[Change]) -> AsyncIterator[None]:
    """Once for all changes that come within a moment."""
    waiting: asyncio.Future[Change | None] = asyncio.ensure_future(_next(changes))
    try:
        while await waiting is not None:
            waiting = await _after_a_moment(changes)
            yield None
    finally:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting


async def _after_a_moment(changes: AsyncIterator[Change]) -> asyncio.Future[Change | None]:
    """The next change that did not come within the moment; or the end."""
    clock = asyncio.get_running_loop()
    end = clock.time() + PAUSE
    while True:
        waiting = asyncio.ensure_future(_next(changes))
        await asyncio.wait({waiting}, timeout=max(0.0, end - clock.time()))
        if not waiting.done() or waiting.result() is None:
            return waiting


async def _next(changes: AsyncIterator[Change]) -> Change | None:
    return await anext(changes, None)

"""Claims about the stream of changes, with one event loop and a ledger of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi.sse import KEEPALIVE_COMMENT
from serving import Service, serving, space

from tuner.ledger.records import Event
from tuner.service.feed import Change, Feed, _Tail
from tuner.service.rest.trials import sent


class Numbers:
    """A ledger whose events become visible in another order than that of their numbers."""

    def __init__(self) -> None:
        self.visible: list[int] = []

    def events_after(self, seq: int) -> list[tuple[str, Event]]:
        """As the ledger's."""
        return [("a", Event(number, 0.0, "run", {})) for number in sorted(self.visible) if number > seq]


def test_an_event_that_becomes_visible_late_is_seen_and_none_twice() -> None:
    """Postgres gives numbers before transactions end: the higher of two may be visible first."""
    ledger, seen = Numbers(), []
    tail = _Tail(ledger, 0)  # type: ignore[arg-type]
    for visible in ([1, 3], [2], [200], [190, 201], []):
        ledger.visible += visible
        seen += [event.seq for _, event in tail.news()]
    assert seen == [1, 3, 2, 200, 190, 201]


@pytest.mark.parametrize("listeners", [1, 5])
def test_a_feed_polls_while_somebody_listens_and_stops_when_nobody_does(tmp_path: Path, listeners: int) -> None:
    """Each hears of a study that is handed in, stopped and deleted; then the poller rests."""

    async def heard(feed: Feed, ready: asyncio.Semaphore) -> list[str]:
        found: list[str] = []
        async for change in feed.changes():
            state = change.item.state if change.item is not None else change.kind
            if state not in found:  # one may hear the same twice before another has heard it once
                found.append(state)
                ready.release()
            if change.kind == "gone":
                break
        return found

    async def all_heard(service: Service) -> list[list[str]]:
        feed = Feed(service.app.state.studies)
        studies, ready = service.app.state.studies, asyncio.Semaphore(0)
        tasks = [asyncio.create_task(heard(feed, ready)) for _ in range(listeners)]
        studies.submit(space(), "test")
        steps = (lambda: studies.want("tiny", "archived", "test"), lambda: studies.delete("tiny", "test"))
        for step in steps:
            for _ in range(listeners):
                await asyncio.wait_for(ready.acquire(), 20)
            step()
        done = [await asyncio.wait_for(task, 20) for task in tasks]
        poller = feed._task
        assert poller is not None
        await asyncio.wait_for(poller, 20)
        return done

    with serving(tmp_path) as service:
        for states in asyncio.run(all_heard(service)):
            assert states[0] == "queued"
            assert states[-1] == "gone"


def test_one_who_does_not_read_is_let_go(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a slow browser takes no more memory than so many changes; it comes again and misses nothing."""
    monkeypatch.setattr("tuner.service.feed.MOST_WAITING", 3)

    async def slow() -> list[Change]:
        feed = Feed(service.app.state.studies)
        stream = feed.changes()
        first = await anext(stream)
        for number in range(6):
            service.app.state.studies.submit(space(name=f"s{number}"), "test")
            await asyncio.sleep(0)
            feed._tell([Change("gone", f"x{number}")])
        return [first, *[change async for change in stream]]

    service.app.state.studies.submit(space(), "test")
    assert len(asyncio.run(asyncio.wait_for(slow(), 20))) < 6


def test_all_that_waits_for_a_listener_is_sent_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write for all of it, in its order and as single events; where nothing happens, a comment keeps it open."""
    monkeypatch.setattr("tuner.service.feed.QUIET", 0.05)
    monkeypatch.setattr("tuner.service.feed.EVERY", 60.0)

    async def heard() -> list[bytes]:
        feed = Feed(service.app.state.studies)
        stream = sent(feed, None, None)
        first = await anext(stream)
        feed._tell([Change("gone", f"x{number}") for number in range(3)])
        found = [first]
        while found[-1] != KEEPALIVE_COMMENT:
            found.append(await anext(stream))
        await stream.aclose()
        assert not feed._listeners
        return found

    service.app.state.studies.submit(space(name="there"), "test")
    chunks = asyncio.run(asyncio.wait_for(heard(), 20))
    assert chunks[0].startswith(b"event: study\n")
    single = 'event: gone\ndata: {{"name": "x{}"}}\n\n'
    together = "".join(single.format(number) for number in range(3))
    assert sum(together in chunk.decode() for chunk in chunks) == 1

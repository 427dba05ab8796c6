"""What changes, as a stream: one poller of the ledger for all listeners, and none without a listener."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, final

from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from tuner.answers.service import EventItem, StudyItem
from tuner.errors import LedgerError, StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import Event
from tuner.service.studies import ServiceStudies

QUIET: Final = 15.0  # seconds after which a listener hears that nothing happens
EVERY: Final = 0.5  # seconds between two looks at the ledger
OVERLAP: Final = 50  # numbers of events that are looked at again
MOST_WAITING: Final = 1000  # changes of a listener that does not read; then it is let go, and comes again
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """Something that is different than before.

    Attributes:
        kind: event (the ledger has a new one), study (its item is another than before, or new), gone (it was deleted
            or renamed).
        name: the study.
        seq: of an event, its number; replay begins after it.
        event: of an event, what happened.
        item: of a study, what it is now.
    """

    kind: Literal["event", "study", "gone"]
    name: str
    seq: int | None = None
    event: EventItem | None = None
    item: StudyItem | None = None

    @cached_property
    def sent(self) -> bytes:
        """As a server-sent event, written once for all who listen."""
        said = self.event or self.item
        text = f'{{"name": "{self.name}"}}' if said is None else said.model_dump_json()
        return format_sse_event(data_str=text, event=self.kind, id=None if self.seq is None else str(self.seq))


@dataclass(slots=True, eq=False)
class _Listener:
    name: str | None
    queue: asyncio.Queue[Change | None] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def tell(self, change: Change | None) -> None:
        if change is not None and self.name not in (None, change.name):
            return
        try:
            self.queue.put_nowait(change)
        except asyncio.QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)

    async def heard(self, seconds: float) -> list[Change | None]:
        """All that waits; where nothing does, what comes first, or nothing within so many seconds."""
        found: list[Change | None] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                found.append(await self.queue.get())
        while not self.queue.empty():
            found.append(self.queue.get_nowait())
        return found


class _Tail:
    """New events of the ledger, each once, after one that is known.

    Of two that are recorded at the same time the higher number may be seen first: some numbers are looked at again.
    """

    def __init__(self, ledger: Ledger, newest: int) -> None:
        self._ledger, self._known, self._seen = ledger, newest, set[int]()

    def news(self) -> list[tuple[str, Event]]:
        """What is new since the last call, each with its study's name."""
        found = [each for each in self._ledger.events_after(self._known) if each[1].seq not in self._seen]
        self._seen |= {event.seq for _, event in found}
        self._known = max([self._known, *(seq - OVERLAP for seq in self._seen)])
        self._seen = {seq for seq in self._seen if seq > self._known}
        return found


@final
class Feed:
    """The poller and its listeners; all of it lives in the server's event loop.

    Args:
        studies: what is read.
    """

    def __init__(self, studies: ServiceStudies) -> None:
        self._studies = studies
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._tail = _Tail(studies.ledger, 0)
        self._items: Mapping[str, StudyItem] = {}
        self._is_closed = False

    async def changes(self, name: str | None = None, after_seq: int | None = None) -> AsyncIterator[Change]:
        """Changes of one study or of all, from now on, one by one; as `batches`."""
        async with aclosing(self.batches(name, after_seq)) as batches:
            async for batch in batches:
                for change in batch:
                    yield change

    async def batches(self, name: str | None = None, after_seq: int | None = None) -> AsyncGenerator[list[Change]]:
        """Changes of one study or of all, from now on, those together that are there; first the items as they are.

        Args:
            name: the study; None for all of them.
            after_seq: events after this one come first, those that were missed; None for new ones alone.

        Yields:
            What changed; nothing where it was quiet for `QUIET` seconds.
        """
        if self._is_closed:
            return
        listener = _Listener(name)
        self._listeners.add(listener)  # first: what the poller finds while this reads is kept for it
        try:
            newest = await run_in_threadpool(self._studies.ledger.last_event)
            self._begin(newest)
            last = newest if after_seq is None else after_seq
            missed = await run_in_threadpool(self._missed, name, last)
            items = await run_in_threadpool(self._look, name)
            yield [*missed, *(Change("study", item.name, item=item) for item in items.values())]
            async with aclosing(_new(listener, missed, last)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Let every listener go; the server ends."""
        self._is_closed = True
        self._tell([None])
        if self._task is not None:
            self._task.cancel()

    def _begin(self, newest: int) -> None:
        """Start the poller where it does not run; it looks for events after the newest one."""
        if self._task is None or self._task.done():
            self._tail, self._items = _Tail(self._studies.ledger, newest), {}
            self._task = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        is_away = False
        try:
            while self._listeners:
                try:
                    self._tell(await run_in_threadpool(self._news))
                    is_away = False
                except LedgerError as error:
                    if not is_away:
                        log.warning("the ledger cannot be read: %s", error)
                    is_away = True
                await asyncio.sleep(EVERY)
        finally:  # whoever listens still is let go, and comes again
            self._tell([None])

    def _tell(self, changes: Iterable[Change | None]) -> None:
        for change in changes:
            for listener in tuple(self._listeners):
                listener.tell(change)

    def _news(self) -> list[Change]:
        events = self._tail.news()
        before, now = self._items, self._look(None)
        self._items = now
        found = [_event(name, event) for name, event in events]
        found += [Change("study", name, item=item) for name, item in now.items() if before.get(name) != item]
        return found + [Change("gone", name) for name in before if name not in now]

    def _look(self, name: str | None) -> dict[str, StudyItem]:
        """Items by name; those of studies that somebody listens to say how far their runs have come."""
        if name is not None:
            return {name: self._studies.item(name)}
        watched = {listener.name for listener in tuple(self._listeners) if listener.name is not None}
        found = {item.name: item for item in self._studies.all()}
        for each in watched & found.keys():
            found[each] = self._closer(found[each])
        return found

    def _closer(self, item: StudyItem) -> StudyItem:
        try:
            return self._studies.item(item.name)
        except StudyError:  # deleted between two looks
            return item

    def _missed(self, name: str | None, last: int) -> list[Change]:
        ledger = self._studies.ledger
        if name is not None:
            record = ledger.study(name)
            events = [] if record is None else ledger.events(record.id)
            return [_event(name, event) for event in events if event.seq > last]
        found = ledger.events_after(last)
        while found and (more := ledger.events_after(found[-1][1].seq)):
            found += more
        return [_event(each, event) for each, event in found]


async def _new(listener: _Listener, missed: Iterable[Change], last: int) -> AsyncGenerator[list[Change]]:
    """What the poller finds, each event once: neither those that were missed nor those up to `last` come again."""
    sent = {change.name: change.seq or 0 for change in missed}  # those of one study come in order
    while True:
        found: list[Change] = []
        heard = await listener.heard(QUIET)
        for change in heard:
            if change is not None and (change.seq is None or change.seq > sent.get(change.name, last)):
                sent[change.name] = change.seq or sent.get(change.name, last)
                found.append(change)
        if found or not heard:
            yield found
        if None in heard:
            return


def _event(name: str, event: object) -> Change:
    item = EventItem.model_validate(event, from_attributes=True)
    return Change("event", name, item.seq, item)

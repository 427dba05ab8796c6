"""Server-sent events: read as the standard says, and taken up again after the last one where they were cut."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tuner.remote.connection import BusyError, Connection

GIVEN_UP: Final = 60.0  # seconds without the server, after which a stream is given up
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream.

    Attributes:
        kind: `message` where the server names none.
        data: its lines.
        id: to go on after it; empty where the stream has none.
    """

    kind: str
    data: str
    id: str


def parsed(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """The events in a stream's lines; an event that was cut short is none."""
    kind, data, last = "", list[str](), ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield ServerEvent(kind or "message", "\n".join(data), last)
            kind, data = "", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last = value


def follow(connection: Connection, path: str) -> Iterator[ServerEvent]:
    """A stream's events, for ever: it is asked for again where it ends or is cut, from the last event on.

    Raises:
        ServerError: the server was away for too long, or refuses.
    """
    last, since, pause = "", time.monotonic(), FIRST_PAUSE
    while True:
        try:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
            with connection.stream(path, headers=headers) as answer:
                for event in parsed(answer.iter_lines()):
                    last, since, pause = event.id or last, time.monotonic(), FIRST_PAUSE
                    yield event
        except BusyError as busy:
            if time.monotonic() - since > GIVEN_UP:
                raise busy.error from None
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)

"""Words and small parts that several pages share."""

from __future__ import annotations

import time
from typing import Final

from tuner.answers.service import StudyItem
from tuner.orchestration.progress import workers_in_words
from tuner.report.markup import Html, element, join

STATES: Final = {
    "queued": "waits for a free place",
    "starting": "its process is there, its run begins",
    "running": "trains",
    "stopping": "a stop was asked for",
    "stopped": "rests, and can be continued",
    "finished": "is done",
    "failed": "was given up",
    "archived": "out of the way",
}
EXECUTORS: Final = {"processes": "the service's machine", "ray": "the Ray cluster"}
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def badge(state: str) -> Html:
    """A study's state as a small label; its colour says no more than its word."""
    return element("span", state, class_=f"badge {state}", title=STATES.get(state))


def moment(at: float | None) -> Html:
    """A moment in the time zone of all pages, UTC."""
    if at is None:
        return element("span", "never", class_="soft")
    parts = time.gmtime(at)
    exact = time.strftime("%Y-%m-%dT%H:%M:%SZ", parts)
    return element("time", time.strftime("%-d %b %Y, %H:%M", parts), datetime=exact, title=f"{exact} (UTC)")


def duration(seconds: float) -> str:
    """Seconds as a reader wants them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36 * 3600 else f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """Bytes as a reader wants them."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def budget(item: StudyItem) -> Html:
    """How much of a study's trials has ended, as a bar and in numbers."""
    if not item.total:
        return element("span", "–", class_="soft")
    words = f"{item.ended:,} of {item.total:,}"
    bar = element("progress", words, value=item.ended, max=item.total, aria_label=f"{words} trials ended")
    return join([bar, element("span", words, class_="numbers")])


def doing(item: StudyItem) -> str:
    """What a study is doing now, in a few words."""
    if item.state == "queued":
        return f"place {item.place} in the queue" if item.place else "waits for a free place"
    if item.state == "failed":
        return last_line(item.message) or "given up"
    if item.state != "running" or item.phase == "not running":  # a list does not say how far a run has come
        return ""
    parts = [item.detail or item.phase]
    if item.epochs_per_second > 0:
        parts.append(f"{item.epochs_per_second:,.0f} {item.unit}/s")
    if item.slots is not None:
        parts.append(workers_in_words(item.slots, item.nodes))
    if item.seconds_left is not None:
        parts.append(f"about {duration(item.seconds_left)} left")
    return ", ".join(parts)


def last_line(message: str) -> str:
    """The last line that says something: drivers end with what went wrong."""
    return next((line for line in reversed(message.splitlines()) if line.strip()), "")

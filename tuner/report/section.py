"""A section of a report, and the blocks that sections are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from tuner.report.markup import Html, element, join

Figures: TypeAlias = Mapping[str, Html]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: its anchor, its heading and its content."""

    anchor: str
    title: str
    body: Html


def moment(at: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def pairs(rows: Sequence[tuple[str, object]]) -> Html:
    """Names and values."""
    return element("dl", *(join([element("dt", name), element("dd", value)]) for name, value in rows), class_="pairs")


def drawn(chart: Html, words: str) -> Html:
    """A chart with its caption."""
    return element("figure", chart, element("figcaption", words))


def note(words: str) -> Html:
    """A paragraph in small print."""
    return element("p", words, class_="note")

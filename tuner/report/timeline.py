"""Where a study's time went, as far as its segments tell: by worker, without the pauses between runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from tuner.report.facts import Facts
from tuner.report.markup import Html, element
from tuner.report.svg import Axis, Chart, axis_of

MOST_SEGMENTS = 6000
LANE = 22.0


def spans(facts: Facts) -> list[tuple[float, float, int]]:
    """Begin, end and last epoch of each segment, by begin, Unix time in seconds."""
    found = [(each.at - each.seconds, each.at, each.last) for each in facts.segments]
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Spent:
    """Where a study's time went, in seconds.

    Attributes:
        trained: by all workers together.
        between: from the first to the last segment of every run.
        waited: by workers meanwhile.
        before: from each run's beginning to its first segment.
    """

    trained: float
    between: float
    waited: float
    before: float


def spent(facts: Facts) -> Spent:
    """Where the time went; what lies between two runs of a study that was stopped and continued is not counted."""
    runs = _runs(facts)
    lengths = [run.end - run.begin for run in runs]
    trained = sum(end - begin for run in runs for begin, end, _ in run.spans)
    room = sum(length * max(1, run.workers) for length, run in zip(lengths, runs, strict=True))
    before = sum(max(0.0, run.begin - run.at) for run in runs)
    return Spent(trained, sum(lengths), max(0.0, room - trained), before)


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of the study: when it began, its workers, and the spans of its segments."""

    at: float
    workers: int
    spans: list[tuple[float, float, int]]

    @property
    def begin(self) -> float:
        """Of its first segment."""
        return self.spans[0][0]

    @property
    def end(self) -> float:
        """Of its last segment."""
        return max(end for _, end, _ in self.spans)


def _runs(facts: Facts) -> list[_Run]:
    """The study's runs that trained something, each with its segments."""
    begun = [(event.at, event.body.get("workers")) for event in facts.events if event.kind == "run"]
    every = spans(facts)
    if not begun:
        return [_Run(every[0][0], 1, every)] if every else []
    firsts = [-math.inf, *(at for at, _ in begun[1:]), math.inf]
    found = [[span for span in every if first <= span[1] < end] for first, end in pairwise(firsts)]
    # How many a cluster has is not known when a run begins: as many as worked at once.
    return [
        _Run(at, workers or max(_lanes(own)) + 1, own) for (at, workers), own in zip(begun, found, strict=True) if own
    ]


def timeline(facts: Facts) -> Html | None:
    """Each segment as a bar in a lane, so that two at the same time lie above each other; darker came further."""
    runs = _runs(facts)
    if not runs:
        return None
    placed, begin = [], 0.0
    for run in runs:
        placed += [(begin + start - run.begin, begin + end - run.begin, last) for start, end, last in run.spans]
        begin = max(end for _, end, _ in placed)
    lanes = _lanes(placed[:MOST_SEGMENTS])
    count = max(lanes) + 1
    x = axis_of([0.0, begin], "seconds of training, pauses between runs left out", False)
    x = Axis(x.title, 0.0, begin)
    y = Axis("", 0.0, float(count), ticks=(float(count) + 1,))
    chart = Chart("Segments of training by time", x, y, 1000, 56 + 12 + LANE * count)
    _draw(chart, placed, lanes)
    return chart.svg()


def _lanes(placed: list[tuple[float, float, int]]) -> list[int]:
    """For each segment, by begin, the first lane that is free."""
    free: list[float] = []
    lanes = []
    for start, end, _ in placed:
        lane = next((place for place, until in enumerate(free) if until <= start + 1e-3), len(free))
        free[lane : lane + 1] = [end]
        lanes.append(lane)
    return lanes


def _draw(chart: Chart, placed: list[tuple[float, float, int]], lanes: list[int]) -> None:
    """One path for all segments of a rung: thousands stay small."""
    rungs = sorted({last for _, _, last in placed})
    for place, rung in enumerate(rungs):
        boxes = [
            _box(chart, start, end, lane)
            for (start, end, last), lane in zip(placed, lanes, strict=False)
            if last == rung
        ]
        shade = 0.4 + 0.6 * place / max(1, len(rungs) - 1)
        bar = element(
            "path", element("title", f"to epoch {rung}"), d="".join(boxes), class_="segments", fill_opacity=shade
        )
        chart.marks.append(bar)


def _box(chart: Chart, start: float, end: float, lane: int) -> str:
    left, right = chart.px(start), chart.px(end)
    right, top, bottom = max(right - 0.6, left + 0.6), chart.py(lane + 0.9), chart.py(lane + 0.1)
    return f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z"


def gaps(facts: Facts) -> float:
    """Seconds between the study's runs."""
    runs = _runs(facts)
    return math.fsum(max(0.0, later.at - run.end) for run, later in pairwise(runs))

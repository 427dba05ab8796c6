"""Where a study's time went, as far as its segments tell: by worker, without the pauses between runs."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from tuner.report.markup import Html, element
from tuner.report.svg import Axis, Chart, axis_of

MOST_SEGMENTS = 6000
LANE = 22.0


def spans(facts: dict[str, Any]) -> list[tuple[float, float, int]]:
    """Begin, end and last epoch of each segment, by begin, Unix time in seconds."""
    found = [(each["at"] - each["seconds"], each["at"], each["last"]) for each in facts["segments"]]
    return sorted(found)


def spent(facts: dict[str, Any]) -> dict[str, float]:
    """Seconds: `trained`, by all workers together; `open`, first to last segment of every run; `waited`, by workers.

    `before` is from the event that begins a run to its first segment.
    A study that was stopped and continued has several runs; what lies between them is not counted.
    """
    runs = _runs(facts)
    workers = [max(1, run["workers"]) for run in runs]
    lengths = [max(end for _, end, _ in run["spans"]) - run["spans"][0][0] for run in runs]
    trained = sum(end - begin for run in runs for begin, end, _ in run["spans"])
    room = sum(length * count for length, count in zip(lengths, workers, strict=True))
    before = sum(max(0.0, run["spans"][0][0] - run["at"]) for run in runs)
    return {"trained": trained, "open": sum(lengths), "waited": max(0.0, room - trained), "before": before}


def _runs(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The study's runs that trained something, each with its segments."""
    begun = [event for event in facts["events"] if event["kind"] == "run"] or [{"at": None}]
    ends = [*(event["at"] for event in begun[1:]), float("inf")]
    every = spans(facts)
    runs = []
    for place, (event, end) in enumerate(zip(begun, ends, strict=True)):
        first = event["at"] if place else float("-inf")
        own = [span for span in every if first <= span[1] < end]
        if own:
            runs.append(
                {
                    "at": own[0][0] if event["at"] is None else event["at"],
                    "workers": int(event.get("workers", 1)),
                    "spans": own,
                }
            )
    return runs


def timeline(facts: dict[str, Any]) -> Html | None:
    """Each segment as a bar in a lane, so that two at the same time lie above each other; darker came further."""
    runs = _runs(facts)
    if not runs:
        return None
    placed, begin = [], 0.0
    for run in runs:
        first = run["spans"][0][0]
        placed += [(begin + start - first, begin + end - first, last) for start, end, last in run["spans"]]
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


def gaps(facts: dict[str, Any]) -> float:
    """Seconds between the study's runs."""
    runs = _runs(facts)
    return math.fsum(max(0.0, later["at"] - max(end for _, end, _ in run["spans"])) for run, later in pairwise(runs))

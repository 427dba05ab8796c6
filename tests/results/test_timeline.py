"""Claims about time: what the segments tell, counted by hand."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import pytest

from tuner.ledger.records import Event, SegmentRecord
from tuner.report.timeline import gaps, spent, timeline


@dataclass(frozen=True)
class Times:
    """The part of a study's facts that times are counted from."""

    events: list[Event]
    segments: list[SegmentRecord]


def facts(events: list[tuple[float, int]], segments: list[tuple[float, float]]) -> Any:
    """Runs that begin at a time with so many workers, and segments from one time to another."""
    return Times(
        [Event(seq, at, "run", {"workers": workers}) for seq, (at, workers) in enumerate(events)],
        [SegmentRecord((0,), 0, 2, end - begin, "w", end) for begin, end in segments],
    )


def test_waiting_is_the_workers_time_without_a_segment() -> None:
    """Two workers, 10 s from first to last segment, 14 s of training: 6 s of waiting; 3 s before the first."""
    known = facts([(100.0, 2)], [(103, 109), (103, 107), (109, 113)])
    assert astuple(spent(known)) == pytest.approx((14.0, 10.0, 6.0, 3.0))
    assert gaps(known) == 0


def test_pauses_between_runs_are_not_counted() -> None:
    """A study that was stopped and went on a day later: its time is that of its runs, and the pause is told apart."""
    known = facts([(0.0, 1), (90_000.0, 1)], [(1, 5), (90_002, 90_010)])
    assert astuple(spent(known)) == pytest.approx((12.0, 12.0, 0.0, 3.0))
    assert gaps(known) == pytest.approx(89_995.0)


def test_segments_at_the_same_time_lie_in_lanes_of_their_own() -> None:
    """Three at once need three lanes, whoever trained them; without any there is no drawing."""
    heights = [timeline(facts([(0, 3)], spans)) or "" for spans in ([(0, 4), (5, 8)], [(0, 4), (1, 5), (2, 6)])]
    assert [int(each.split('viewBox="')[1].split()[3].rstrip('">')) for each in heights] == [56 + 12 + 22, 56 + 12 + 66]
    assert timeline(facts([(0, 3)], [])) is None

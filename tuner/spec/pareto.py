"""Pareto fronts of two objectives, both to be small: which points are dominated, which are crowded, where the knee is.

A point dominates another where it is nowhere larger and somewhere smaller. Fronts and crowding are those of Deb et al.
2002 (NSGA-II); with two objectives a front is found in one sweep over the sorted points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

Point = tuple[float, float]


def fronts(points: Sequence[Point]) -> Iterator[list[int]]:
    """Indices of the points that nothing dominates, then of those that only these dominate, and so on.

    Within a front the first objective rises; equal points are in the same front.
    """
    left = sorted(range(len(points)), key=lambda i: (points[i], i))
    while left:
        front: list[int] = []
        rest: list[int] = []
        for i in left:
            last = points[front[-1]] if front else None
            (front if last is None or points[i][1] < last[1] or points[i] == last else rest).append(i)
        yield front
        left = rest


def ranked(points: Sequence[Point]) -> list[tuple[int, int]]:
    """Index and front (from 1) of each point, the best first: by front, then the least crowded, then the earlier."""
    order = []
    for number, front in enumerate(fronts(points), start=1):
        room = dict(zip(front, _crowding([points[i] for i in front]), strict=True))
        order += [(i, number) for i in sorted(front, key=lambda i: (-room[i], i))]
    return order


def _crowding(front: Sequence[Point]) -> list[float]:
    """Deb's crowding distance: half the outline of the box between a point's neighbours; infinite at the ends."""
    room = [0.0] * len(front)
    for axis in (0, 1):
        order = sorted(range(len(front)), key=lambda i: (front[i][axis], i))
        span = front[order[-1]][axis] - front[order[0]][axis]
        room[order[0]] = room[order[-1]] = math.inf
        if span > 0:
            for before, i, after in zip(order, order[1:], order[2:], strict=False):
                room[i] += (front[after][axis] - front[before][axis]) / span
    return room


def knee(front: Sequence[Point]) -> int:
    """The place in a front from which both directions cost most: farthest below the line between its ends.

    That is the knee of Das 1999 ("On characterizing the knee of the Pareto curve based on normal-boundary
    intersection"), with the logarithm of the loss, and both objectives scaled to [0, 1].

    Args:
        front: (loss, size) of each point, none dominated; at least one.
    """
    losses = _scaled([math.log(max(loss, 1e-300)) for loss, _ in front])
    sizes = _scaled([size for _, size in front])
    return min(range(len(front)), key=lambda i: (losses[i] + sizes[i], front[i][0], i))


def _scaled(values: Sequence[float]) -> list[float]:
    low, span = min(values), max(values) - min(values)
    return [(value - low) / span if span > 0 else 0.0 for value in values]

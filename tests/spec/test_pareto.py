"""Claims about Pareto fronts, against their definition."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from optuna.study._multi_objective import _fast_non_domination_rank

from tuner.spec.pareto import Point, fronts, knee, ranked

POINTS = st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)), max_size=40)


def dominates(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


@given(POINTS)
def test_the_first_front_is_what_nothing_dominates(points: list[Point]) -> None:
    """By the definition, point by point."""
    first = next(fronts(points), [])
    assert sorted(first) == [i for i, p in enumerate(points) if not any(dominates(other, p) for other in points)]


@given(POINTS.filter(bool))
def test_fronts_are_optunas(points: list[Point]) -> None:
    """Every point is in the front of its non-domination rank."""
    import numpy as np

    ranks = _fast_non_domination_rank(np.array(points))
    assert {i: front for front, members in enumerate(fronts(points)) for i in members} == dict(enumerate(ranks))


@given(POINTS)
def test_the_ranking_holds_every_point_once_front_after_front(points: list[Point]) -> None:
    """The front never falls along the ranking."""
    order = ranked(points)
    assert sorted(i for i, _ in order) == list(range(len(points)))
    assert [front for _, front in order] == sorted(front for _, front in order)


def test_the_least_crowded_come_first() -> None:
    """By hand (Deb et al. 2002): the ends first, then 3 with 0.6 + 0.6, before 1 and 2 in the crowd."""
    points = [(0.0, 10.0), (1.0, 9.0), (2.0, 8.0), (7.0, 3.0), (10.0, 0.0)]
    assert [i for i, _ in ranked(points)] == [0, 4, 3, 2, 1]


def test_the_knee_is_farthest_from_the_line_between_the_ends() -> None:
    """Losses 1, 0.1, 0.08 and 0.01 at sizes 1, 2, 9 and 10: by hand, 0.1 at size 2; log loss, scaled."""
    front = [(0.01, 10.0), (0.08, 9.0), (0.1, 2.0), (1.0, 1.0)]

    def distance(point: Point) -> float:
        x, y = (point[1] - 1) / 9, (math.log(point[0]) - math.log(0.01)) / math.log(100)
        return (1 - x - y) / math.sqrt(2)

    assert knee(front) == 2 == max(range(4), key=lambda i: distance(front[i]))
    assert knee([(0.3, 4.0)]) == 0
    assert knee([(0.3, 4.0), (0.5, 2.0)]) == 0

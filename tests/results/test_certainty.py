"""Claims about intervals and differences of means, held to scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tuner.analysis.statistics import difference, interval

REL = 1e-9
LOSSES = st.lists(st.floats(1e-6, 10, allow_subnormal=False), min_size=2, max_size=30)


@settings(max_examples=200, deadline=None)
@given(LOSSES)
def test_the_interval_is_scipys(values: list[float]) -> None:
    """Mean and both ends, in the scale of the values."""
    found, error = interval(values), stats.sem(values)
    assert found.mean == pytest.approx(np.mean(values))
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), error) if error > 0 else [np.mean(values)] * 2
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12, abs=1e-12 * max(values))


@settings(max_examples=200, deadline=None)
@given(LOSSES, LOSSES)
def test_the_difference_is_welchs(first: list[float], second: list[float]) -> None:
    """p and the interval of scipy's Welch test."""
    found = difference(first, second)
    assert found is not None
    if max(np.std(first), np.std(second)) < 1e-12:
        return
    expected = stats.ttest_ind(second, first, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, rel=REL, abs=1e-12)
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=REL, abs=1e-12 * max(first + second))
    assert found.is_distinct is bool(expected.pvalue < 0.05)


def test_one_seed_says_nothing() -> None:
    """A mean, and neither an interval nor a difference."""
    assert (interval([0.25]).mean, interval([0.25]).low, interval([0.25]).high) == (0.25, None, None)
    assert difference([0.25], [0.5, 0.75]) is None


def test_seeds_that_change_nothing_leave_no_doubt() -> None:
    """Without any spread the interval is the mean, and two means differ or do not."""
    assert (interval([0.25, 0.25]).low, interval([0.25, 0.25]).high) == (0.25, 0.25)
    apart, equal = difference([0.25, 0.25], [0.5, 0.5]), difference([0.25, 0.25], [0.25, 0.25])
    assert apart is not None
    assert equal is not None
    assert (apart.is_distinct, equal.is_distinct) == (True, False)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_welch_is_the_formula_of_1947(seeds: int) -> None:
    """The statistic and the degrees of freedom written out, to the last digits, for losses as studies have them."""
    draw = np.random.default_rng(seeds)
    for scale in (1e-6, 1e-3, 0.02, 0.3):
        one, two = draw.normal(0.02, 0.02 * scale, seeds), draw.normal(0.0201, 0.01 * scale, 3)
        a, b = np.var(one, ddof=1) / seeds, np.var(two, ddof=1) / 3
        freedom = (a + b) ** 2 / (a**2 / (seeds - 1) + b**2 / 2)
        expected = 2 * stats.t.sf(abs(np.mean(one) - np.mean(two)) / math.sqrt(a + b), freedom)
        half = stats.t.ppf(0.975, freedom) * math.sqrt(a + b)
        found = difference(list(one), list(two))
        assert found is not None
        assert found.p == pytest.approx(expected, rel=1e-11)
        assert found.high - found.value == pytest.approx(half, rel=1e-11)


def test_in_95_of_100_studies_the_interval_holds_the_truth() -> None:
    """Drawn 2,000 times with five seeds each."""
    draws = np.random.default_rng(0).normal(1.0, 0.3, size=(2000, 5))
    intervals = [interval(list(row)) for row in draws]
    held = sum(found.low < 1.0 < found.high for found in intervals)  # type: ignore[operator]
    assert held / 2000 == pytest.approx(0.95, abs=0.015)

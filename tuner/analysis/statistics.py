"""How sure a mean over a few seeds is: Student's t interval and Welch's test.

From scipy.special, which is imported in 0.4 s of a core, where it is needed; scipy.stats takes 1.7 s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Final

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and what it lies between with `CONFIDENCE`; `low` and `high` are None where one value says nothing."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How far apart two means are, `value` = second - first.

    Attributes:
        value: the difference.
        low: of its interval.
        high: its upper end.
        p: two-sided, of the hypothesis that there is none.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def is_distinct(self) -> bool:
        """Whether it is there, at the level that goes with `CONFIDENCE`."""
        return self.p < 1 - CONFIDENCE


def interval(values: Sequence[float]) -> Interval:
    """The mean of independent values and Student's t interval: mean +- t(0.975, n - 1) s / sqrt(n) (Student 1908)."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    half = _half_width(math.sqrt(variance(values) / len(values)), len(values) - 1)
    return Interval(mean, mean - half, mean + half)


def difference(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Welch's t-test (1947), which does not take the spreads for equal; None where either is a single value.

    It knows nothing of how the two were chosen: the best of several means is flattered a little.
    """
    if min(len(first), len(second)) < 2:
        return None
    value = fmean(second) - fmean(first)
    errors = [variance(values) / len(values) for values in (first, second)]
    error = math.sqrt(sum(errors))
    if error == 0.0:  # every seed gave the same loss, so a difference cannot be the seeds'
        return Difference(value, value, value, 1.0 if value == 0.0 else 0.0)
    # Satterthwaite's degrees of freedom, in shares of the whole so that small losses do not underflow.
    shares = [part / sum(errors) for part in errors]
    freedom = 1 / sum(share**2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True))
    half = _half_width(error, freedom)
    return Difference(value, value - half, value + half, _two_sided(value / error, freedom))


def _half_width(error: float, freedom: float) -> float:
    """Half of the interval around a value whose standard error is `error`."""
    from scipy.special import stdtrit  # noqa: PLC0415

    return error * float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _two_sided(value: float, freedom: float) -> float:
    """The probability that Student's t is as far from 0 as `value`, on either side."""
    from scipy.special import stdtr  # noqa: PLC0415

    return 2 * float(stdtr(freedom, -abs(value)))

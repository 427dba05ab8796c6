"""How sure a mean over a few seeds is: Student's t and Welch's test, written out.

scipy takes most of a second to import, and a study ends in seconds; the tests hold every figure here to scipy.stats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Final

CONFIDENCE: Final = 0.95
_TINY: Final = 1e-300
_TERMS: Final = 10_000
_HALVINGS: Final = 200


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
        high: likewise.
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
    half = t_quantile((1 + CONFIDENCE) / 2, len(values) - 1) * math.sqrt(variance(values) / len(values))
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
    half = t_quantile((1 + CONFIDENCE) / 2, freedom) * error
    return Difference(value, value - half, value + half, 2 * t_tail(abs(value) / error, freedom))


def t_quantile(probability: float, freedom: float) -> float:
    """The value that Student's t stays below with a probability of at least one half, by bisection."""
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > 1 - probability:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - probability else (low, middle)
    return high


def t_tail(value: float, freedom: float) -> float:
    """The probability that Student's t exceeds a value of at least 0: half of I_x(f / 2, 1 / 2), x = f / (f + t^2)."""
    square = value * value
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + square), square / (freedom + square)) / 2


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularized incomplete beta function I_x(a, b), with `rest` = 1 - x (Abramowitz & Stegun 26.5.8)."""
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(b, a, rest, x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(scale) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction's denominator 1 + d1 / (1 + d2 / (1 + ...)), by Lentz's method (1976)."""
    value, c, d = 1.0, 1.0, 0.0
    for term in range(1, _TERMS):
        step = _coefficient(a, b, term) * x
        d = 1 / _not_zero(1 + step * d)
        c = _not_zero(1 + step / c)
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _coefficient(a: float, b: float, term: int) -> float:
    m = term // 2
    if term % 2:
        return -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
    return m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m))


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY

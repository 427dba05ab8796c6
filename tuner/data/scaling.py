"""Scalings, fitted on training values alone: of a matrix' columns at once, or of one column of a table.

A column whose spread is within rounding is constant: high - low <= 16 eps max(|low|, |high|). One operation leaves half
an eps, and a formula of some steps (0.1 + 0.2, a mean, a unit's conversion) a few, so 16 is above what arithmetic makes
of equal values; and it is far below any measurement, for it takes 101,325 Pa and 101,325.0000000003 Pa for one.

A constant column is not stretched. Nothing in it says how large a deviation is, but its own size does: its scale is
max(1, |value|), so that 101,326 Pa after 101,325 is 1e-5, and it is clipped to [-1, 1], so that 3,000 after nothing but
0, whose size says nothing, counts as one column that is wrong and not as nine million.

`robust` divides the distance from the median by the range from the 10th to the 90th percentile. The middle half (IQR)
is nothing where three quarters of a column agree, as in counts that are mostly 0, and the 1st and 99th percentile are
the outliers themselves where there are fewer than 100 rows. Where the 10th and the 90th agree, the 1st and 99th are
taken, then the whole range. What is more than 5 such ranges away is clipped: 13 standard deviations of a normal column.

Legend: N rows, K columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.spec.data import Scaling

ROUNDING: Final = 16 * float(np.finfo(np.float64).eps)
ROBUST_LIMIT: Final = 5.0
CONSTANT_LIMIT: Final = 1.0
MOST_KNOTS: Final = 1000
_RANGES: Final = ((10, 90), (1, 99), (0, 100))
_LARGEST_LOG: Final = math.log(np.finfo(np.float64).max)
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class LinearFit:
    """scaled = (raw - offset) / scale, within [-limit, limit].

    Attributes:
        offset, scale: (K,) each; no scale is zero.
        limit: (K,), infinite where nothing is clipped.
        constant: (K,), whether a column is: then it can be left out of the loss.
        low, high: (K,), the training values' range; 0 for a column without any.
    """

    offset: Values
    scale: Values
    limit: Values
    constant: NDArray[np.bool_]
    low: Values
    high: Values


def fit_columns(name: str, values_NK: Values) -> LinearFit:
    """Fit minmax, standard, robust or none to each column.

    Args:
        name: the scaling.
        values_NK: training values; NaN is a missing one, which the fit passes over.

    Raises:
        DataError: `name` is a scaling of another form, log1p or quantile.
    """
    if name not in _LINEAR:
        raise DataError(
            f"data.scaling {name} is for single columns of a table; use robust, which bounds outliers too, or"
            f" {', '.join(other for other in _LINEAR if other != 'robust')}."
        )
    known = _without_empty(values_NK)
    low, high = np.nanmin(known, 0), np.nanmax(known, 0)
    constant = is_constant(low, high)
    with np.errstate(over="ignore", invalid="ignore"):  # a range that no float holds is refused by the caller
        offset, scale = _LINEAR[name](known)
    if name != "none":
        offset = np.where(constant, low, offset)
        scale = np.where(constant, np.maximum(1.0, np.abs(low)), scale)
    scale = np.where(scale == 0, 1.0, scale)  # the squares of numbers around 1e-200 are 0
    return LinearFit(offset, scale, limits(name, constant), constant, low, high)


def is_constant(low: Values, high: Values) -> NDArray[np.bool_]:
    """Whether columns with these lowest and highest values have no spread beyond rounding."""
    with np.errstate(over="ignore"):
        return np.asarray(high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high)))


def limits(name: str, constant: NDArray[np.bool_]) -> Values:
    """How far from 0 each scaled column may be, (K,)."""
    if name == "none":
        return np.full(constant.shape, np.inf)
    return np.where(constant, CONSTANT_LIMIT, ROBUST_LIMIT if name == "robust" else np.inf)


def _without_empty(values_NK: Values) -> Values:
    """A column without any value counts as constant 0."""
    empty = np.isnan(values_NK).all(0)
    return np.where(empty, 0.0, values_NK) if empty.any() else values_NK


def _minmax(values: Values) -> tuple[Values, Values]:
    low = np.nanmin(values, 0)
    return low, np.nanmax(values, 0) - low


def _standard(values: Values) -> tuple[Values, Values]:
    return np.nanmean(values, 0), np.nanstd(values, 0)


def _robust(values: Values) -> tuple[Values, Values]:
    rising = np.sort(values, 0)  # missing values last
    last = len(values) - 1 - np.isnan(values).sum(0)
    at = {percent: _percentile(rising, last, percent) for percent in {50, *(end for ends in _RANGES for end in ends)}}
    scale = np.zeros(values.shape[1])
    for first, end in _RANGES:
        found = np.where(is_constant(at[first], at[end]), 0.0, at[end] - at[first])
        scale = np.where(scale > 0, scale, found)
    return at[50], scale


def _percentile(rising_NK: Values, last_K: NDArray[np.int64], percent: int) -> Values:
    """Linear between two values, as numpy's; its own for missing values goes column by column, 7 s for 20,000."""
    place = last_K * (percent / 100)
    below = np.floor(place).astype(np.int64)
    low, high = (np.take_along_axis(rising_NK, row[None], 0)[0] for row in (below, np.minimum(below + 1, last_K)))
    return np.asarray(low + (high - low) * (place - below))


def _none(values: Values) -> tuple[Values, Values]:
    return np.zeros(values.shape[1]), np.ones(values.shape[1])


_LINEAR: Final[dict[str, Callable[[Values], tuple[Values, Values]]]] = {
    "minmax": _minmax,
    "standard": _standard,
    "robust": _robust,
    "none": _none,
}


@dataclass(frozen=True, slots=True)
class ColumnScaling:
    """A fitted column: a curve, then (curved - offset) / scale within [-limit, limit].

    The curve of log1p is sign(x) log(1 + |x|), that of quantile a table of places in [0, 1], and any other's, like that
    of a constant column, a straight line.

    Attributes:
        name: the scaling.
        offset, scale: of the curved values; the scale is never zero.
        limit: infinite where nothing is clipped; what is clipped cannot be inverted.
        constant: whether the column is; then it can be left out of the loss.
        low, high: the training values' range.
        knots: of quantile, rising values of the column, at most `MOST_KNOTS`.
        places: of quantile, each knot's place between 0 and 1, rising.
    """

    name: Scaling
    offset: float
    scale: float
    limit: float
    constant: bool
    low: float
    high: float
    knots: tuple[float, ...] = ()
    places: tuple[float, ...] = ()

    def forward(self, values_N: Values) -> Values:
        """Raw values (N,) to scaled ones, monotone; a missing value stays NaN."""
        scaled = (self._curved(np.asarray(values_N, np.float64)) - self.offset) / self.scale
        return np.clip(scaled, -self.limit, self.limit)

    def inverse(self, scaled_N: Values) -> Values:
        """Scaled values (N,) to raw ones, exact to rounding within the training values' range."""
        curved = np.asarray(scaled_N, np.float64) * self.scale + self.offset
        if self.constant or self.name not in _CURVES:
            return curved
        return _CURVES[self.name][1](curved, self)

    def _curved(self, values_N: Values) -> Values:
        if self.constant or self.name not in _CURVES:
            return values_N
        return _CURVES[self.name][0](values_N, self)

    def to_json(self) -> dict[str, Any]:
        """Plain values; an infinite limit, which JSON does not know, is null."""
        return {**asdict(self), "limit": self.limit if math.isfinite(self.limit) else None}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            DataError: it is something else.
        """
        try:
            limit = math.inf if known["limit"] is None else known["limit"]
            made = cls(**{**known, "limit": limit, "knots": tuple(known["knots"]), "places": tuple(known["places"])})
            made._check()
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"preprocessing: expected the scaling of a column, got: {str(error)[:200]}.") from None
        return made

    def _check(self) -> None:
        numbers = (self.offset, self.scale, self.low, self.high, *self.knots, *self.places)
        if self.name not in FITS or not isinstance(self.constant, bool) or not self.limit > 0:
            raise ValueError(f"{self.name!r} with constant {self.constant!r} and limit {self.limit!r}")
        if any(type(number) not in (int, float) or not math.isfinite(number) for number in numbers) or self.scale <= 0:
            raise ValueError("a number that is none, or a scale that is not above 0")
        needs_knots = self.name == "quantile" and not self.constant
        if len(self.knots) != len(self.places) or needs_knots != (len(self.knots) >= 2):
            raise ValueError("knots and places that do not belong together")
        if any((np.diff(part) <= 0).any() for part in (self.knots, self.places)):
            raise ValueError("knots or places that do not rise")


def fit(name: Scaling, values_N: Values) -> ColumnScaling:
    """Fit any scaling to one numeric column.

    Args:
        name: minmax, standard, robust, quantile, log1p or none.
        values_N: training values; NaN is a missing one, which the fit passes over.

    Raises:
        DataError: the values span a range that no float holds.
    """
    return FITS[name](name, np.asarray(values_N, np.float64).reshape(-1))


def _line(name: Scaling, values_N: Values) -> ColumnScaling:
    return _of(name, fit_columns(name, values_N[:, None]))


def _of(name: Scaling, made: LinearFit) -> ColumnScaling:
    offset, scale, limit, low, high = (
        float(part[0]) for part in (made.offset, made.scale, made.limit, made.low, made.high)
    )
    if not (math.isfinite(offset) and math.isfinite(scale)):
        raise DataError(f"must span a range that a float can hold, got {low:g} to {high:g}.")
    return ColumnScaling(name, offset, scale, limit, bool(made.constant[0]), low, high)


def _log(name: Scaling, values_N: Values) -> ColumnScaling:
    """The logarithms between 0 and 1: what is far out is near then, and a sign stays a sign."""
    raw = _line("minmax", values_N)
    curved = _line("minmax", _log_forward(values_N))
    if raw.constant:
        return replace(raw, name=name)
    if curved.constant:  # of numbers far below 1 the logarithm is the number, and less exact
        return raw
    return ColumnScaling(name, curved.offset, curved.scale, math.inf, False, raw.low, raw.high)


def _quantile(name: Scaling, values_N: Values) -> ColumnScaling:
    raw = _line("minmax", values_N)
    if raw.constant:
        return replace(raw, name=name)
    distinct, counts = np.unique(values_N[~np.isnan(values_N)], return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2  # equal values share the middle of their ranks
    places = (ranks - ranks[0]) / (ranks[-1] - ranks[0])
    chosen = _knots(places)
    knots, at = tuple(distinct[chosen].tolist()), tuple(places[chosen].tolist())
    return ColumnScaling(name, 0.0, 1.0, math.inf, False, raw.low, raw.high, knots, at)


def _knots(places: Values) -> NDArray[np.int64]:
    """Of rising places those nearest to an even spread, the ends included."""
    if len(places) <= MOST_KNOTS:
        return np.arange(len(places))
    wanted = np.linspace(0, 1, MOST_KNOTS)
    return np.unique([0, *np.searchsorted(places, wanted[1:-1]), len(places) - 1])


def _log_forward(values_N: Values, _: ColumnScaling | None = None) -> Values:
    return np.asarray(np.sign(values_N) * np.log1p(np.abs(values_N)))


def _log_inverse(curved_N: Values, _: ColumnScaling) -> Values:
    return np.asarray(np.sign(curved_N) * np.expm1(np.minimum(np.abs(curved_N), _LARGEST_LOG)))


def _quantile_forward(values_N: Values, fitted: ColumnScaling) -> Values:
    """Beyond the ends it goes on along the whole range's line, for one more range, and stays there."""
    inside = np.interp(values_N, fitted.knots, fitted.places)
    span = fitted.high - fitted.low
    beyond = np.clip((values_N - np.clip(values_N, fitted.low, fitted.high)) / span, -1, 1)
    return inside + beyond


def _quantile_inverse(places_N: Values, fitted: ColumnScaling) -> Values:
    inside = np.interp(places_N, fitted.places, fitted.knots)
    beyond = np.clip(places_N - np.clip(places_N, 0, 1), -1, 1)
    return inside + beyond * (fitted.high - fitted.low)


_Curve = Callable[[Values, ColumnScaling], Values]
_CURVES: Final[dict[str, tuple[_Curve, _Curve]]] = {
    "log1p": (_log_forward, _log_inverse),
    "quantile": (_quantile_forward, _quantile_inverse),
}
FITS: Final[dict[str, Callable[[Scaling, Values], ColumnScaling]]] = {
    **dict.fromkeys(_LINEAR, _line),
    "log1p": _log,
    "quantile": _quantile,
}

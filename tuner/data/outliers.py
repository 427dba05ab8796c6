"""Training values so far out that a scaling by range or deviation leaves almost nothing of all the others.

Far out is more than 30 times a column's robust range (see `tuner.data.scaling`) away from its median: minmax then puts
80 % of the column into a thirtieth of its range. A normal column reaches 2 such ranges, an exponential one of a million
rows 6.

Legend: N rows, U units that are scaled together: columns, channels, or all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.preprocess import Preprocessor
from tuner.data.scaling import LinearFit, fit, fit_columns
from tuner.spec.data import Scaling

FAR_OUT: Final = 30.0
_NEAR: Final = 4.0  # as far as a normal column may reach, and some
_FEW: Final = 0.02  # of a column: more than that is no outlier but its shape
_SQUEEZED: Final = ("minmax", "standard")
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScalingProposal:
    """A scaling that suits a column better than minmax, and why."""

    scaling: Scaling
    reason: str


def proposed_scaling(values_N: Values) -> ScalingProposal | None:
    """What a numeric column with values far out had better be scaled by; None where it has none.

    log1p where the logarithms have none, robust where few values do, else quantile.

    Args:
        values_N: training values; NaN is a missing one.
    """
    made = fit_columns("robust", values_N[:, None])
    furthest = float(_furthest(made)[0])
    if not furthest > FAR_OUT:
        return None
    curved = fit_columns("robust", (np.sign(values_N) * np.log1p(np.abs(values_N)))[:, None])
    reason = f"its furthest value is {furthest:,.0f} times the range of most values away from the median"
    if _furthest(curved)[0] <= _NEAR:
        return ScalingProposal("log1p", f"{reason}, and its logarithms lie together")
    robust = fit("robust", values_N)
    far = np.abs(values_N - robust.offset) > robust.limit * robust.scale
    count, known = int(far.sum()), int((~np.isnan(values_N)).sum())
    if count <= _FEW * known:
        return ScalingProposal("robust", f"{reason}; {count:,} of {known:,} values are outliers")
    return ScalingProposal("quantile", f"{reason}, as {count:,} of {known:,} values are, more than outliers would be")


def far_out(values_NK: Values) -> NDArray[np.bool_]:
    """Which columns have values far out, (K,), all at once: of most columns a proposal need not be asked for."""
    return np.asarray(_furthest(fit_columns("robust", values_NK)) > FAR_OUT)


def squeezed(fitted: Preprocessor, train_NF: Values) -> str | None:
    """A sentence on outliers among training rows that squeeze all others; None where a scaling bounds them or none is.

    Args:
        fitted: to these rows.
        train_NF: the raw training rows; NaN is a missing value.
    """
    extent = fitted.extent
    if extent is None or fitted.scaling not in _SQUEEZED:
        return None
    width = {"column": len(fitted.names), "channel": fitted.shape[-1], "image": 1}[extent.each]
    made = fit_columns("robust", train_NF.reshape(-1, width))
    furthest = _furthest(made)
    worst = int(furthest.argmax())
    if not furthest[worst] > FAR_OUT:
        return None
    count = int((furthest > FAR_OUT).sum())
    name = {"column": fitted.names[worst], "channel": f"channel {worst}", "image": "pixels"}[extent.each]
    low, high, middle = (
        f"{value:g}" if fitted.table is None else fitted.table.in_units(worst, float(value))
        for value in (made.low[worst], made.high[worst], made.offset[worst])
    )
    return (
        f"{count:,} of {width:,} {_units(extent.each, width)} in the training rows, {name} most, have values more than"
        f" {FAR_OUT:g} times the range of most values away ({low} to {high} around {middle}):"
        f" scaling {fitted.scaling} leaves little of all others; robust bounds them."
    )


def _units(each: str, width: int) -> str:
    return each + "s" * (width != 1)


def _furthest(made: LinearFit) -> Values:
    """How many ranges the furthest value is away from the median, for each column."""
    distance: Values = np.maximum(made.high - made.offset, made.offset - made.low) / made.scale
    return np.where(made.constant, 0.0, distance)

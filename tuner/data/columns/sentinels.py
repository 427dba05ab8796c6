"""Numbers that stand for a missing value, such as -999: at an end of a column, and far from all others.

Legend: N rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tuner.data.columns.cells import Values

SENTINELS: Final = (-9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0, -1e30, 1e30)
_LEAST: Final = 10  # other values: beside fewer nothing is known to be far away


def sentinels(values_N: Values, least: int = 2) -> dict[float, int]:
    """The sentinels of a column and how often each is there, the furthest first.

    Several are not measured by each other: -9999 beside -999, or -999 beside 999, are all far from what remains.

    Args:
        values_N: the column; NaN is a missing value.
        least: rows that must have one.
    """
    present = values_N[~np.isnan(values_N)]
    candidates = {one: int((present == one).sum()) for one in SENTINELS if (present == one).any()}
    while candidates:
        others = present[~np.isin(present, list(candidates))]
        near = [one for one in candidates if not _is_far(one, others)]
        if not near:
            break
        candidates = {one: count for one, count in candidates.items() if one not in near}
    return {one: candidates[one] for one in sorted(candidates, key=abs, reverse=True) if candidates[one] >= least}


def sentinel_before(values_N: Values) -> dict[float, int]:
    """The one, at most, that rules before 5 found: repeated, and far from all others, any second one included."""
    low, high = np.nanmin(values_N, initial=np.inf), np.nanmax(values_N, initial=-np.inf)
    for end in (low, high):
        here = values_N == end
        if end in SENTINELS and here.sum() >= 2 and _is_far(end, values_N[~here & ~np.isnan(values_N)]):
            return {float(end): int(here.sum())}
    return {}


def _is_far(end: float, others: Values) -> bool:
    """Whether a number lies beyond an end of the others, and far from all of them."""
    if len(others) < _LEAST or others.min() <= end <= others.max():
        return False
    first, last = np.quantile(others, (0.01, 0.99))
    away = min(abs(others - end))
    return bool(away > 2 * (last - first) and away > 0.5 * abs(end))

"""Whether a column's different numbers stay different as floats.

A 64-bit float represents every whole number up to 2**53, a 32-bit one up to 2**24: identifiers and times beyond that
may become a constant, or a few steps, of which nothing can be learnt. Rounding as such is no harm.

Legend: N rows, F columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tuner.data.preprocess import Preprocessor
from tuner.errors import DataError

LEAVE_OUT = "leave the column out with `exclude: [{name}]`, or write it less its smallest number"
STEPS = 1000  # a range that floats cut into so many values is fine enough for a few of them to merge
Values = NDArray[np.float64]
Kind = type[np.float32] | type[np.float64]


def refuse_merged(
    values_NF: Values, names: tuple[str, ...], distinct: Callable[[int], int], advice: str = "{name}"
) -> None:
    """Refuse a column of a file whose large numbers were different before they were read as 64-bit floats.

    Args:
        values_NF: what was read.
        names: of the columns.
        distinct: how many different numbers the file has in a column; asked where the numbers are large alone.
        advice: what to do; `{name}` in it is the column.

    Raises:
        DataError: numbers have merged.
    """
    for place in _large(values_NF):
        column = values_NF[:, place]
        _refuse(names[place], distinct(place), column, np.float64, advice.format(name=names[place]))


def refuse_flattened(train_NF: Values, fitted: Preprocessor) -> None:
    """Refuse a column whose different numbers are no longer different when they are scaled to 32-bit floats.

    What has one scale is looked at as one column: all pixels of images, or a channel.

    Args:
        train_NF: the training rows as they were read.
        fitted: the scaling.

    Raises:
        DataError: numbers have merged.
    """
    if fitted.scaling == "minmax" and fitted.table is None:
        return  # ends at 0 and 1, between which there are enough
    advice = "use scaling minmax" if fitted.scaling == "standard" else "use scaling minmax or standard"
    width, names = _units(fitted)
    values, offset, scale = train_NF.reshape(-1, width), fitted.offset[:width], fitted.scale[:width]
    low, high = ((ends - offset) / scale for ends in (values.min(0), values.max(0)))
    differs = low < high
    if fitted.extent is not None:
        differs &= ~fitted.extent.constant[:width]
    for place in np.flatnonzero(differs & (_is_large(low, high, np.float32) | _is_coarse(low, high, np.float32))):
        raw = values[:, place]
        scaled = (raw - offset[place]) / scale[place]
        _refuse(names(int(place)), len(np.unique(raw)), scaled, np.float32, advice, " in the training rows")


def _units(fitted: Preprocessor) -> tuple[int, Callable[[int], str]]:
    """How many columns have a scale of their own, and what each is called."""
    each = fitted.extent.each if fitted.extent else "column" if len(fitted.shape) == 1 else "image"
    if each == "image":
        return 1, lambda _: "all of its pixels"
    if each == "channel":
        return fitted.shape[-1], lambda place: f"channel {place}"
    return len(fitted.names), lambda place: fitted.names[place]


def _large(values_NF: Values) -> list[int]:
    if not len(values_NF):
        return []
    low, high = values_NF.min(0), values_NF.max(0)
    return [int(place) for place in np.flatnonzero(_is_large(low, high, np.float64))]


def _is_large(low: Values, high: Values, kind: Kind) -> NDArray[np.bool_]:
    """Whether there are numbers beyond which not every whole one is a float."""
    return np.maximum(np.abs(low), np.abs(high)) >= 2.0 ** (np.finfo(kind).nmant + 1)


def _is_coarse(low: Values, high: Values, kind: Kind) -> NDArray[np.bool_]:
    """Whether floats cut a range into fewer than STEPS values."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused elsewhere
        step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(kind))
        return np.asarray(high - low < STEPS * step.astype(np.float64))


def _refuse(name: str, before: int, column_N: Values, kind: Kind, advice: str, where: str = "") -> None:
    """Where the range is coarse one lost number is too many, elsewhere half of them are."""
    with np.errstate(over="ignore"):
        after = len(np.unique(column_N.astype(kind)))
    coarse = bool(_is_coarse(column_N.min(), column_N.max(), kind))
    if after < before and (coarse or 2 * after <= before):
        raise DataError(
            f"column {name}: its {before:,} different numbers{where} must stay different as"
            f" {np.dtype(kind).itemsize * 8}-bit floats, but become {after:,}; {advice}."
        )

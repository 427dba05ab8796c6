"""How each kind of column becomes columns of numbers, and is read back; fitted on training rows, and saved as JSON.

Legend: N rows, W encoded columns of a field.

A field's values are one float64 a row: a number, 0 or 1, seconds since 1970, or the place of a level. NaN is missing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from tuner.data.columns.cells import Format, Values
from tuner.data.columns.typed import TypedColumn
from tuner.data.scaling import ColumnScaling, fit
from tuner.errors import DataError
from tuner.spec.data import ColumnType, Scaling

OTHER: Final = "(other)"
DAY: Final = 86400.0
MOST_LEVELS: Final = 30  # told apart, unless the declaration says another number
RARE: Final = 2  # rows of training: a level with fewer is merged with others


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _read_scaling(known: object) -> ColumnScaling:
    if isinstance(known, ColumnScaling):
        return known
    try:
        return ColumnScaling.from_json(known)  # type: ignore[arg-type]  # it refuses what is no mapping
    except DataError as error:
        raise ValueError(str(error)) from None


Scaled = Annotated[ColumnScaling, PlainValidator(_read_scaling), PlainSerializer(ColumnScaling.to_json)]


class _Field(_Frozen):
    """What fields of one encoded column without a limit have; the others say otherwise."""

    name: str

    @property
    def width(self) -> int:
        """Encoded columns."""
        return 1

    @property
    def names(self) -> tuple[str, ...]:
        """Of the encoded columns."""
        return (self.name,)

    @property
    def limits(self) -> tuple[float, ...]:
        """How far from 0 the encoded columns may be."""
        return (math.inf,) * self.width


class NumberField(_Field):
    """A number: one encoded column, scaled.

    Attributes:
        scaling: fitted on the training values.
        whole: every training value was whole; rebuilt ones are rounded.
    """

    kind: Literal["number"] = "number"
    type: ColumnType = "numeric"
    format: Format
    scaling: Scaled
    whole: bool = False

    @property
    def limits(self) -> tuple[float, ...]:
        """How far from 0 the encoded column may be."""
        return (self.scaling.limit,)

    def encode(self, values_N: Values) -> Values:
        """(N,) to (N, 1), not yet within its limit."""
        return unbounded(self.scaling).forward(values_N)[:, None]

    def decode(self, encoded_NW: Values) -> NDArray[Any]:
        """(N, 1) to (N,)."""
        values = self.scaling.inverse(encoded_NW[:, 0])
        return np.round(values) if self.whole else values

    def written(self, values_N: NDArray[Any]) -> pd.Series[Any]:
        """Decoded values (N,) as the table has them."""
        if self.whole and np.isfinite(values_N).all() and (abs(values_N) < 2**53).all():
            return pd.Series(values_N.astype(np.int64), name=self.name)
        return pd.Series(values_N, name=self.name)


class YesNoField(_Field):
    """Yes or no: one encoded column, 0 or 1. `words` stand for no and yes in the table."""

    kind: Literal["yes_no"] = "yes_no"
    type: ColumnType = "boolean"
    format: Format
    words: tuple[str, str]

    def encode(self, values_N: Values) -> Values:
        """(N,) to (N, 1)."""
        return values_N[:, None]

    def decode(self, encoded_NW: Values) -> NDArray[Any]:
        """(N, 1), probabilities, to 0 and 1 (N,)."""
        return np.where(np.isnan(encoded_NW[:, 0]), np.nan, encoded_NW[:, 0] > 0.5)

    def written(self, values_N: NDArray[Any]) -> pd.Series[Any]:
        """Decoded values (N,) as the table has them: numbers, or its two words."""
        plain = {("0", "1"): np.int64, ("false", "true"): np.bool_}.get(self.words)
        if plain is not None and not np.isnan(values_N).any():
            return pd.Series(values_N.astype(plain), name=self.name)
        return _chosen(self.words, values_N, self.name)


class LevelField(_Field):
    """One of several levels: an encoded column for each, one-hot.

    Attributes:
        levels: those that are told apart; the last is `(other)`: levels that are rare in training, and all that were
            never seen there.
    """

    kind: Literal["level"] = "level"
    type: ColumnType = "categorical"
    format: Format
    levels: tuple[str, ...]

    @property
    def width(self) -> int:
        """Encoded columns."""
        return len(self.levels)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the encoded columns."""
        return tuple(f"{self.name}={level}" for level in self.levels)

    def encode(self, values_N: Values) -> Values:
        """(N,) places of levels to (N, W)."""
        encoded = np.zeros((len(values_N), self.width))
        here = ~np.isnan(values_N)
        encoded[np.flatnonzero(here), values_N[here].astype(np.int64)] = 1
        encoded[~here] = np.nan
        return encoded

    def decode(self, encoded_NW: Values) -> NDArray[Any]:
        """(N, W), probabilities, to the places (N,) of the likeliest level."""
        return np.where(np.isnan(encoded_NW[:, 0]), np.nan, encoded_NW.argmax(1))

    def written(self, values_N: NDArray[Any]) -> pd.Series[Any]:
        """Decoded values (N,) as the table has them."""
        return _chosen(self.levels, values_N, self.name)

    def places(self, levels: tuple[str, ...]) -> Values:
        """Where other levels lie among this field's, one place each."""
        known = {level: place for place, level in enumerate(self.levels)}
        return np.array([known.get(level, self.width - 1) for level in levels], np.float64)


Part = Literal["elapsed", "month", "weekday", "hour"]
_TURNS: Final[dict[str, float]] = {"month": 12, "weekday": 7, "hour": 24}


class MomentField(_Field):
    """A date or time: seconds since 1970, and for month, weekday and hour, where they vary, a point on a circle.

    Points are shifted into [0, 1]. Read back, a moment is its elapsed seconds alone, rounded to whole `resolution`s.
    """

    kind: Literal["moment"] = "moment"
    type: ColumnType = "datetime"
    format: Format
    parts: tuple[Part, ...]
    resolution: float
    scaling: Scaled

    @property
    def limits(self) -> tuple[float, ...]:
        """How far from 0 the encoded columns may be."""
        return (self.scaling.limit, *(math.inf,) * (self.width - 1))

    @property
    def width(self) -> int:
        """Encoded columns."""
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the encoded columns."""
        rest = [f"{self.name} ({part} {axis})" for part in self.parts[1:] for axis in ("cos", "sin")]
        return (self.name, *rest)

    def encode(self, values_N: Values) -> Values:
        """(N,) to (N, W)."""
        columns = [unbounded(self.scaling).forward(values_N)]
        for part in self.parts[1:]:
            angle = 2 * math.pi * _part(values_N, part) / _TURNS[part]
            columns += [(np.cos(angle) + 1) / 2, (np.sin(angle) + 1) / 2]
        return np.column_stack(columns)

    def decode(self, encoded_NW: Values) -> NDArray[Any]:
        """(N, W) to seconds since 1970, (N,)."""
        return np.round(self.scaling.inverse(encoded_NW[:, 0]) / self.resolution) * self.resolution

    def written(self, values_N: NDArray[Any]) -> pd.Series[Any]:
        """Decoded values (N,) as the table has them."""
        bounded = np.clip(values_N, -6.2e10, 2.5e11)  # years 5 to 9892, which timestamps can be
        micro = np.where(np.isnan(bounded), 0, np.round(bounded * 1e6)).astype(np.int64).astype("datetime64[us]")
        return pd.Series(np.where(np.isnan(bounded), np.datetime64("NaT"), micro), name=self.name)


class IndicatorField(_Field):
    """Whether another column's value is missing: read by the network, and no part of the loss."""

    kind: Literal["indicator"] = "indicator"
    type: ColumnType = "boolean"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the encoded columns."""
        return (f"{self.name} is missing",)

    def encode(self, values_N: Values) -> Values:
        """(N,) of the column that it tells of to (N, 1)."""
        return np.isnan(values_N).astype(np.float64)[:, None]


ReadField = NumberField | YesNoField | LevelField | MomentField  # those that are read from a column of their own
AnyField = Annotated[ReadField | IndicatorField, Field(discriminator="kind")]


def unbounded(scaling: ColumnScaling) -> ColumnScaling:
    """The same scaling without its limit, which is applied to the encoded rows."""
    return replace(scaling, limit=math.inf)


def fit_field(
    column: TypedColumn, train: NDArray[np.int64], scaling: Scaling, most_levels: int | None, is_rate: bool
) -> ReadField:
    """The field of a column.

    Args:
        column: the column.
        train: the numbers of the rows that it is fitted on.
        scaling: of a number.
        most_levels: that are told apart; None for the usual number.
        is_rate: it has Poisson's loss, and its scaling must not move 0.
    """
    values = column.values[train]
    present = values[~np.isnan(values)]
    if column.type == "boolean":
        return YesNoField(name=column.name, format=column.format, words=(column.levels[0], column.levels[1]))
    if column.type == "categorical":
        return _fit_levels(column, present, most_levels or MOST_LEVELS)
    if column.type == "datetime":
        return _fit_moments(column, present, scaling)
    whole = bool((present == np.floor(present)).all())
    made = _rate(present) if is_rate else _fitted(scaling, present)
    return NumberField(name=column.name, type=column.type, format=column.format, whole=whole, scaling=made)


def _fitted(scaling: Scaling, present: Values) -> ColumnScaling:
    return fit(scaling, present if len(present) else np.zeros(1))


def _rate(present: Values) -> ColumnScaling:
    """Divided by the largest value alone."""
    made = _fitted("minmax", np.append(present, 0.0))
    return replace(made, scale=made.scale if made.scale > 0 else 1.0)


def _fit_levels(column: TypedColumn, present: Values, most: int) -> LevelField:
    counts = np.bincount(present.astype(np.int64), minlength=len(column.levels))
    order = sorted(np.flatnonzero(counts >= RARE), key=lambda place: (-counts[place], column.levels[place]))
    if not order:
        order = list(np.flatnonzero(counts)[:1])
    kept = sorted(order[:most])
    levels = tuple(column.levels[place] for place in kept if column.levels[place] != OTHER)
    return LevelField(name=column.name, format=column.format, levels=(*levels, OTHER))


def _fit_moments(column: TypedColumn, present: Values, scaling: Scaling) -> MomentField:
    made = _fitted("standard" if scaling == "none" else scaling, present)
    if not len(present):
        return MomentField(name=column.name, format=column.format, parts=("elapsed",), resolution=1.0, scaling=made)
    span = float(present.max() - present.min())
    shortest: dict[Part, float] = {"month": 60 * DAY, "weekday": 7 * DAY, "hour": 0.0}
    parts = [
        part for part, least in shortest.items() if span >= least and len(np.unique(_part(present[:10_000], part))) > 1
    ]
    resolution = next(step for step in (DAY, 60.0, 1.0, 1e-6) if step == 1e-6 or (present % step == 0).all())
    every: tuple[Part, ...] = ("elapsed", *parts)
    return MomentField(name=column.name, format=column.format, parts=every, resolution=resolution, scaling=made)


def _chosen(words: tuple[str, ...], places_N: NDArray[Any], name: str) -> pd.Series[Any]:
    """The word at each place; none where the place is NaN."""
    known = np.array([*words, None], dtype=object)
    return pd.Series(known[np.where(np.isnan(places_N), len(words), places_N).astype(np.int64)], name=name)


def _part(seconds_N: Values, part: str) -> Values:
    """Months from 0 to 11, weekdays from Monday 0, hours with their fractions; NaN where the moment is missing."""
    if part == "hour":
        return seconds_N % DAY / 3600
    if part == "weekday":
        return (seconds_N // DAY + 3) % 7
    here = ~np.isnan(seconds_N)
    months = np.full(len(seconds_N), np.nan)
    days = (seconds_N[here] // DAY).astype("datetime64[D]")
    months[here] = days.astype("datetime64[M]").astype(np.int64) % 12
    return months

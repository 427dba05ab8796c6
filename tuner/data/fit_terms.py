"""The terms of a study's loss, from its columns and its prepared rows: `Terms` says what they mean.

What a cell is divided by is what the mean predictor loses on the training rows' observed cells: of a number its
variance (Huber's and Poisson's function around the mean where they are declared), of yes and no and of levels the
entropy of the shares. An entropy below that of one row in a hundred, 0.056 nats, counts as that, lest a level that
hardly ever comes rule the loss. A column that is the same in all training rows has no part in it.

Legend: N rows, F encoded columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.encoded import EncodedColumn
from tuner.data.terms import Kind, Terms
from tuner.errors import DataError
from tuner.spec.data import ColumnLoss
from tuner.spec.names import Loss

if TYPE_CHECKING:
    from tuner.data.columns.typed import TypedColumn

Matrix = NDArray[np.float32]
Values = NDArray[np.float64]

LEAST_ENTROPY: Final = float(-(0.01 * np.log(0.01) + 0.99 * np.log(0.99)))
HUBER: Final = 1.345  # standard deviations: 95 % of the mean's efficiency on normal data (Huber 1981)
ROWS_AT_ONCE: Final = 8192
_BY_LOSS: Final[dict[str, Kind]] = {"squared": Kind.SQUARE, "huber": Kind.HUBER, "poisson": Kind.POISSON}


def kind_of(column: EncodedColumn, loss: Loss, declared: ColumnLoss) -> Kind:
    """What an encoded column's output means under a study's loss.

    Raises:
        DataError: a column that is no count is to have Poisson's loss, or one is to have its own under mse or bce.
    """
    if loss in ("mse", "bce"):
        if declared not in ("auto", "squared"):
            raise DataError(
                f"data.columns.{column.name}: loss {declared} needs loss mixed or auto for the study, got {loss}."
            )
        return Kind.SQUARE if loss == "mse" else Kind.LOGIT
    if column.type in ("boolean", "categorical"):
        return Kind.LOGIT if column.type == "boolean" else Kind.SOFTMAX
    wanted = declared if declared != "auto" else {"huber": "huber", "poisson": "poisson"}.get(loss, "squared")
    if wanted == "poisson" and column.type != "count":
        if declared == "poisson":
            raise DataError(
                f"data.columns.{column.name}: loss poisson needs whole numbers from 0 on, got another kind."
            )
        return Kind.SQUARE
    return _BY_LOSS[wanted]


@dataclass(frozen=True, eq=False, slots=True)
class Wanted:
    """What a loss is made of.

    Attributes:
        columns: the declared columns, in the order of their encoded ones.
        kinds: of each declared column.
        loss: the study's.
        masked: missing values are left out, those of new rows as well, whether there is one already or not.
    """

    columns: Sequence[EncodedColumn]
    kinds: Sequence[Kind]
    loss: Loss
    masked: bool = False

    @classmethod
    def of(cls, columns: Sequence[EncodedColumn], loss: Loss, declared: Mapping[str, ColumnLoss]) -> Wanted:
        """By the study's loss and what is declared of single columns.

        Raises:
            DataError: as for `kind_of`.
        """
        return cls(columns, [kind_of(one, loss, declared.get(one.name, "auto")) for one in columns], loss)


def rates(columns: Sequence[TypedColumn], loss: Loss, declared: Mapping[str, ColumnLoss]) -> frozenset[str]:
    """The columns with Poisson's loss: their scaling must not move 0.

    Raises:
        DataError: as for `kind_of`.
    """
    found = ((c.name, EncodedColumn(c.name, c.type, 0, 1)) for c in columns)
    return frozenset(name for name, one in found if kind_of(one, loss, declared.get(name, "auto")) is Kind.POISSON)


def fit_terms(wanted: Wanted, train: Matrix, validation: Matrix, test: Matrix) -> Terms | None:
    """The terms for prepared splits, (rows, F) each; None where the loss is the plain mean over complete rows.

    Raises:
        DataError: no column varies and counts.
    """
    gaps = [np.isnan(part).any() if len(part) else False for part in (train, validation, test)]
    alike = all(column.weight == 1 for column in wanted.columns)
    if wanted.loss in ("mse", "bce") and alike and not wanted.masked and not any(gaps):
        return None
    kinds = np.repeat(np.array(wanted.kinds, np.int32), _widths(wanted.columns)).astype(np.int32)
    moments = _Moments.of(train)
    deltas = np.where(kinds == Kind.HUBER, HUBER * np.sqrt(moments.variance), 1.0)
    deltas = np.where(deltas > 0, deltas, 1.0)
    units = _units(wanted)
    if wanted.loss not in ("mse", "bce"):
        base = _bases(wanted, kinds, moments, deltas, train)
        units = np.where(base > 0, units / np.where(base > 0, base, 1.0), 0.0)
    counted = _cell_units(np.where(units > 0, _units(wanted), 0.0), wanted)
    total = float(counted.sum())
    if total <= 0:
        raise DataError("must have a column that varies in the training rows and has a weight above 0, got none.")
    shares = [_share(part, counted) for part in (train, validation, test)]
    weights = units * len(units) / total / shares[0]
    return Terms(
        kinds,
        _groups(wanted),
        weights.astype(np.float32),
        deltas.astype(np.float32),
        moments.mean.astype(np.float32),
        any(gaps),
        (shares[0], shares[1], shares[2]),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Moments:
    """Of the observed cells of each encoded column: how many, their mean and variance, (F,) each."""

    count: Values
    mean: Values
    variance: Values

    @classmethod
    def of(cls, rows: Matrix) -> _Moments:
        count, total = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
        for part in _parts(rows):
            here = ~np.isnan(part)
            count += here.sum(0)
            total += np.where(here, part, 0).sum(0)
        mean = total / np.maximum(count, 1)
        squares = np.zeros(rows.shape[1])
        for part in _parts(rows):
            squares += np.nansum((part - mean) ** 2, axis=0)
        return cls(count, mean, squares / np.maximum(count, 1))


def _parts(rows: Matrix) -> Iterator[Values]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE].astype(np.float64)


def _bases(wanted: Wanted, kinds: NDArray[np.int32], moments: _Moments, deltas: Values, train: Matrix) -> Values:
    """What the mean predictor loses per cell, (F,); 0 for a column that is the same in all training rows."""
    mean = moments.mean
    base = np.where(kinds == Kind.SQUARE, moments.variance, 0.0)
    rates = np.clip(mean, 1e-12, 1 - 1e-12)
    entropy = -(rates * np.log(rates) + (1 - rates) * np.log1p(-rates))
    varies = moments.variance > 1e-14
    base = np.where((kinds == Kind.LOGIT) & varies, np.maximum(entropy, LEAST_ENTROPY), base)
    for kind, cell in ((Kind.HUBER, _huber), (Kind.POISSON, _half_deviance)):
        if (kinds == kind).any():
            base = np.where(kinds == kind, _mean_cells(train, mean, deltas, cell) / np.maximum(moments.count, 1), base)
    for column, kind in zip(wanted.columns, wanted.kinds, strict=True):
        if kind is Kind.SOFTMAX:
            shares = np.clip(mean[column.first : column.last], 0, 1)
            whole = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
            base[column.first : column.last] = max(whole, LEAST_ENTROPY) if whole > 1e-12 else 0.0
    return np.where(varies | (kinds == Kind.SOFTMAX), base, 0.0)


_Cells = Callable[[Values, Values, Values], Values]


def _mean_cells(train: Matrix, mean: Values, deltas: Values, cell: _Cells) -> Values:
    total = np.zeros(train.shape[1])
    for part in _parts(train):
        total += np.nansum(cell(part, mean, deltas), axis=0)
    return total


def _huber(rows: Values, mean: Values, deltas: Values) -> Values:
    away = np.abs(rows - mean)
    return np.where(away <= deltas, 0.5 * away**2, deltas * (away - 0.5 * deltas))


def _half_deviance(rows: Values, mean: Values, _: Values) -> Values:
    mean = np.maximum(mean, 1e-12)
    counted = np.clip(rows, 0, None)
    return counted * np.log(np.maximum(counted, 1e-300) / mean) - (counted - mean)


def _units(wanted: Wanted) -> Values:
    """How much a cell of each encoded column counts, (F,): a declared column counts its weight in all.

    Of levels all columns are one cell, so each has the whole weight; of a moment's parts each has its share.
    """
    if wanted.loss in ("mse", "bce"):
        return np.repeat([column.weight for column in wanted.columns], _widths(wanted.columns)).astype(np.float64)
    weights = [
        column.weight if kind is Kind.SOFTMAX else column.weight / (column.last - column.first)
        for column, kind in zip(wanted.columns, wanted.kinds, strict=True)
    ]
    return np.repeat(weights, _widths(wanted.columns)).astype(np.float64)


def _cell_units(units: Values, wanted: Wanted) -> Values:
    """The same with the columns of levels counted once: their first column has it all."""
    counted = units.copy()
    for column, kind in zip(wanted.columns, wanted.kinds, strict=True):
        if kind is Kind.SOFTMAX:
            counted[column.first + 1 : column.last] = 0
    return counted


def _share(rows: Matrix, units: Values) -> float:
    """The observed cells' share of all, weighted; 1 for a split without any."""
    observed = sum((~np.isnan(part)).sum(0) for part in _parts(rows))
    share = float((observed * units).sum() / (max(1, len(rows)) * units.sum()))
    return share or 1.0


def _groups(wanted: Wanted) -> NDArray[np.int32]:
    found = [
        (column.first, column.last)
        for column, kind in zip(wanted.columns, wanted.kinds, strict=True)
        if kind is Kind.SOFTMAX
    ]
    return np.array(found, np.int32).reshape(-1, 2)


def _widths(columns: Sequence[EncodedColumn]) -> list[int]:
    return [column.last - column.first for column in columns]

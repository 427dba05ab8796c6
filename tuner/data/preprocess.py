"""Scaling: fitted on training rows alone, invertible, and saved as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuner.data.columns.encoder import TableEncoder
from tuner.data.memory import in_memory
from tuner.data.terms import Terms
from tuner.errors import DataError
from tuner.spec.study import DataSpec

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
TABLE_VERSION = 2  # of a table whose columns have types, or where values are missing
FORM = f"version {VERSION} or {TABLE_VERSION} of offsets and scales"
BLOCK_ROWS = 1024  # scaled at once
Values = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class Preprocessor:
    """scaled = (raw - offset) / scale, column by column.

    Attributes:
        scaling: minmax, standard or none.
        shape: a raw row's own shape, (F,) for a table, (8, 8) for an image.
        names: the columns, F of them.
        offset: (F,).
        scale: (F,), never zero.
        clip: scaled values are clipped to [0, 1], as bce needs; these alone cannot be inverted.
        table: how the columns of a table become raw rows; None where the rows are numbers as they are.
        terms: how a row's loss is made of its columns; None where it is the mean over all of them.
    """

    scaling: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    offset: Values
    scale: Values
    clip: bool
    table: TableEncoder | None = None
    terms: Terms | None = None

    @classmethod
    def of_table(cls, table: TableEncoder, train_NF: Values, spec: DataSpec, poisson_F: NDArray[np.bool_]) -> Self:
        """Fit to the encoded training rows of a table; NaN is a missing value.

        Numbers are scaled as they or `data.scaling` say; all else lies between 0 and 1 already. Columns whose loss is
        Poisson's are divided by their largest value alone.
        """
        offset, scale = np.zeros(train_NF.shape[1]), np.ones(train_NF.shape[1])
        for column in table.columns:
            if column.type not in ("numeric", "count", "datetime"):
                continue
            declared = spec.described.get(column.name)
            scaling = (declared.scaling if declared else None) or spec.scaling
            values = train_NF[:, column.first : column.first + 1]
            present = values[~np.isnan(values[:, 0])]
            if not len(present):
                continue
            if poisson_F[column.first]:
                scale[column.first] = present.max() or 1.0
                continue
            low, spread = _FITS["standard" if column.type == "datetime" and scaling == "none" else scaling](present)
            offset[column.first] = low[0]
            scale[column.first] = spread[0] if spread[0] > 0 else 1.0
        return cls(spec.scaling, (len(table.names),), table.names, offset, scale, False, table)

    @classmethod
    def fit(cls, train_NF: Values, shape: tuple[int, ...], names: tuple[str, ...], scaling: str, clip: bool) -> Self:
        """Fit to training rows (N, F).

        minmax maps each column of a table to [0, 1], and the pixels of images by one joint range; a column that is
        constant becomes 0. standard gives each column mean 0 and deviation 1, the pixels of images one joint mean and
        deviation.

        Raises:
            DataError: a column's range is more than a float can represent.
        """
        joint = train_NF.reshape(-1, 1) if len(shape) > 1 else train_NF
        columns = train_NF.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):
            offset, scale = (_column(values, columns) for values in _FITS[scaling](joint))
        odd = ~(np.isfinite(offset) & np.isfinite(scale))
        if odd.any():
            name = names[int(odd.argmax())]
            raise DataError(f"data: column {name}: must span a range that a float can hold, got a larger one.")
        return cls(scaling, shape, names, offset, np.where(scale > 0, scale, 1.0), clip)

    def transform(self, raw: Any, first: int = 0) -> NDArray[np.float32]:
        """Raw rows to scaled ones, (N, F) float32.

        Args:
            raw: (N, F) or (N, *shape) numbers, or a DataFrame that has the columns by name, in any order; of a table
                its encoded columns, as `rows` gives them.
            first: rows before them, where they are a part: for messages.

        Raises:
            DataError: other columns, or values that are no finite numbers.
        """
        rows = self.rows(raw) if self.table is None else np.asarray(raw, np.float64)
        narrow = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            self._transform_block(rows[start : start + BLOCK_ROWS], narrow[start : start + BLOCK_ROWS], first + start)
        return narrow

    def _transform_block(self, rows: Values, narrow: NDArray[np.float32], first: int) -> None:
        """Few rows at a time: temporaries as large as the data would take longer to allocate than to fill."""
        scaled = (rows - self.offset) / self.scale
        if self.clip:
            np.clip(scaled, 0, 1, out=scaled)
        with np.errstate(over="ignore"):
            narrow[:] = scaled
        finite = np.isfinite(narrow) if self.table is None else ~np.isinf(narrow)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise DataError(
                f"data: column {self.names[column]}, row {first + row + 1}: must be a finite number of a usable size,"
                f" got {rows[row, column]}."
            )

    def inverse(self, scaled_NF: NDArray[np.floating[Any]]) -> Values:
        """Scaled rows (N, F) to raw ones, (N, *shape) float64."""
        raw = np.asarray(scaled_NF, dtype=np.float64) * self.scale + self.offset
        return raw.reshape(len(raw), *self.shape)

    def to_json(self) -> str:
        """Everything, floats written so that they are read as the same value."""
        about: dict[str, Any] = {
            "version": TABLE_VERSION if self.table is not None or self.terms is not None else VERSION,
            "scaling": self.scaling,
            "shape": list(self.shape),
            "names": list(self.names),
            "offset": self.offset.tolist(),
            "scale": self.scale.tolist(),
            "clip": self.clip,
        }
        if self.table is not None:
            about["table"] = self.table.model_dump(mode="json")
        if self.terms is not None:
            about["terms"] = self.terms.to_json()
        return json.dumps(about, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            known = json.loads(text)
            if known["version"] not in (VERSION, TABLE_VERSION):
                raise ValueError(f"version {known['version']!r}")
            made = cls(
                known["scaling"],
                tuple(_all_of(int, known, "shape")),
                tuple(_all_of(str, known, "names")),
                numbers(known, "offset"),
                numbers(known, "scale"),
                known["clip"],
                TableEncoder.from_json(json.dumps(known["table"])) if "table" in known else None,
                Terms.from_json(known["terms"]) if "terms" in known else None,
            )
            made._check()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise DataError(f"preprocessing: expected {FORM}, got: {reason}") from None
        return made

    def _check(self) -> None:
        if self.scaling not in _FITS or not isinstance(self.clip, bool):
            raise ValueError(f"scaling {self.scaling!r} with clip {self.clip!r}")
        if len(set(self.names)) < len(self.names):
            raise ValueError("names that repeat")
        if min(self.shape, default=0) < 1:
            raise ValueError(f"the shape {self.shape}")
        columns = math.prod(self.shape)
        if not (self.offset.shape == self.scale.shape == (columns,) and len(self.names) == columns):
            raise ValueError("names, offset, scale and shape disagree")
        if self.table is not None and self.table.names != self.names:
            raise ValueError("the table's columns and the names disagree")
        if self.terms is not None:
            self.terms.check(columns)
        if not (np.isfinite(self.offset).all() and np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise ValueError("an offset or scale is out of range")

    def rows(self, raw: Any) -> Values:
        """Raw rows as they are, (N, F) float64; of a table its encoded columns.

        Raises:
            DataError: other columns, another shape, or values that are no numbers.
        """
        if self.table is not None:
            return self.table.read_table(in_memory(raw)).encoded_NF
        if hasattr(raw, "columns"):
            raw = _numbers(self._selected(raw))
        try:
            rows = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError("data: every value must be a number, got something else.") from None
        if rows.ndim >= 1 and rows.shape[1:] in (self.shape, (len(self.names),)):
            return rows.reshape(len(rows), len(self.names))
        expected = " or ".join(sorted({str(("N", *self.shape)), str(("N", len(self.names)))}))
        raise DataError(f"data: rows must have the shape {expected}, got {rows.shape}.".replace("'", ""))

    def _selected(self, frame: pd.DataFrame) -> pd.DataFrame:
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise DataError(
                f"data: the table must have the columns {', '.join(self.names[:20])};"
                f" missing: {', '.join(missing[:20])}."
            )
        return frame[list(self.names)]


def numbers(known: Mapping[str, Any], key: str) -> Values:
    """A key's numbers, however nested.

    Raises:
        ValueError: they are no numbers, or nested unevenly.
    """
    values = np.array(known[key])
    if values.size and values.dtype.kind not in "iuf":
        raise ValueError(f"{key} with something else than numbers")
    return values.astype(np.float64)


def _all_of(kind: type[T], known: Mapping[str, Any], key: str) -> list[T]:
    values = known[key]
    if not isinstance(values, list) or any(type(value) is not kind for value in values):
        raise ValueError(f"{key} with something else than {kind.__name__}")
    return values


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The table, if every value is a number.

    Raises:
        DataError: one is not; the message names its place.
    """
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        try:
            column.astype(np.float64)
        except (TypeError, ValueError):
            row, value = next((at for at in enumerate(column) if not _is_number(at[1])), (0, column.iloc[0]))
            raise DataError(f"data: column {name}, row {row + 1}: must be a number, got {str(value)[:50]!r}.") from None
    return frame


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]  # that is the question
    except (TypeError, ValueError):
        return False
    return True


def _minmax(values: Values) -> tuple[Values, Values]:
    low = values.min(0)
    return low, values.max(0) - low


def _standard(values: Values) -> tuple[Values, Values]:
    return values.mean(0), values.std(0)


def _none(values: Values) -> tuple[Values, Values]:
    return np.zeros(values.shape[1]), np.ones(values.shape[1])


_FITS = {"minmax": _minmax, "standard": _standard, "none": _none}


def _column(values: Values, columns: int) -> Values:
    """One value per column, for a joint fit as well."""
    return np.ascontiguousarray(np.broadcast_to(values, columns))

"""Scaling: fitted on training rows alone, invertible, and saved as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from tuner.data.plain_rows import frame_numbers, plain_rows
from tuner.data.scaling import fit_columns, is_constant, limits
from tuner.data.source_table import SourceTable
from tuner.data.terms import Terms
from tuner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from tuner.data.columns.encoder import TableEncoder

VERSIONS = (1, 2)  # 2 has an extent, and of a table its columns
FORM = "version 1 or 2 of offsets and scales"
BLOCK_ROWS = 1024  # scaled at once
Values = NDArray[np.float64]
Each = Literal["column", "channel", "image"]
T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class Extent:
    """What the training rows span, as it is known since rules 3.

    Attributes:
        each: what has a range of its own: a column, a channel (the last axis), or all pixels of all images together.
        constant: (F,), whether the training values are all equal, up to rounding.
        low, high: (F,), the training values' range; those of a channel or of all pixels are the same in each column.
    """

    each: Each
    constant: NDArray[np.bool_]
    low: Values
    high: Values


@dataclass(frozen=True, eq=False, slots=True)
class Preprocessor:
    """scaled = (raw - offset) / scale, column by column, within bounds where there are any.

    Attributes:
        scaling: minmax, standard, robust or none.
        shape: a raw row's own shape, (F,) for a table, (8, 8) for an image.
        names: the columns, F of them.
        offset: (F,).
        scale: (F,), never zero.
        clip: scaled values are clipped to [0, 1], as bce needs. What is clipped, by this or by a limit, cannot be
            inverted.
        extent: what the training rows span; None where they were fitted by rules before 3.
        table: how the columns of a table become raw rows; None where the rows are numbers as they are.
        terms: how a row's loss is made of its columns; None where it is the mean over all of them.
    """

    scaling: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    offset: Values
    scale: Values
    clip: bool
    extent: Extent | None = None
    table: TableEncoder | None = None
    terms: Terms | None = None

    @classmethod
    def of_table(cls, table: TableEncoder, train_NF: Values, scaling: str, clip: bool) -> Self:
        """Of a table, whose encoder scales its columns; the training rows (N, F) give their range."""
        columns = train_NF.shape[1]
        known = np.where(np.isnan(train_NF).all(0), 0.0, train_NF)
        low, high = np.nanmin(known, 0), np.nanmax(known, 0)
        extent = Extent("column", is_constant(low, high), low, high)
        offset, scale = np.zeros(columns), np.ones(columns)
        return cls(scaling, (columns,), table.names, offset, scale, clip, extent, table)

    @classmethod
    def fit(
        cls,
        train_NF: Values,
        shape: tuple[int, ...],
        names: tuple[str, ...],
        scaling: str,
        clip: bool,
        *,
        each: Each | None = None,
    ) -> Self:
        """Fit to training rows (N, F).

        minmax maps each column of a table to [0, 1], each channel of an array, and the pixels of images by one joint
        range; what is constant becomes 0. standard gives mean 0 and deviation 1, robust see `tuner.data.scaling`.

        Args:
            train_NF: the rows; NaN is a missing value, which the fit passes over where `each` is given.
            shape: a raw row's own shape.
            names: the columns.
            scaling: the scaling's name.
            clip: scaled values are to be clipped to [0, 1].
            each: what has a range of its own; None as by rules before 3: a column of a table, or a whole array.

        Raises:
            DataError: a column's range is more than a float can represent, or the scaling is not for such rows.
        """
        if clip and scaling == "robust":
            raise DataError("data: loss bce needs values between 0 and 1; use scaling minmax or none, not robust.")
        if each is None:
            offset, scale, extent = (*_fit_before(train_NF, shape, scaling), None)
        else:
            offset, scale, extent = _fit_each(train_NF, shape, scaling, each)
        odd = ~(np.isfinite(offset) & np.isfinite(scale))
        if odd.any():
            name = names[int(odd.argmax())]
            raise DataError(f"data: column {name}: must span a range that a float can hold, got a larger one.")
        return cls(scaling, shape, names, offset, np.where(scale > 0, scale, 1.0), clip, extent)

    @property
    def limit(self) -> Values | None:
        """(F,), how far from 0 scaled values may be; None where nothing but `clip` bounds them."""
        if self.extent is None or self.clip:
            return None
        if self.table is not None:
            return self.table.limits
        limit = limits(self.scaling, self.extent.constant)
        return limit if np.isfinite(limit).any() else None

    def limited(self, rows_NF: Values) -> Values:
        """Raw rows (N, F) with what lies beyond a limit moved onto it: they are scaled to the same values."""
        limit = self.limit
        if limit is None:
            return rows_NF
        return np.clip(rows_NF, self.offset - limit * self.scale, self.offset + limit * self.scale)

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
        limit = self.limit
        if self.clip:
            np.clip(scaled, 0, 1, out=scaled)
        elif limit is not None:
            np.clip(scaled, -limit, limit, out=scaled)
        with np.errstate(over="ignore"):
            narrow[:] = scaled
        finite = np.isfinite(narrow)
        if limit is not None:
            finite &= np.isfinite(rows)  # clipped, it would look like a number
        if self.table is not None:
            finite |= np.isnan(rows)  # is missing
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
            "version": 1 if self.extent is None else 2,
            "scaling": self.scaling,
            "shape": list(self.shape),
            "names": list(self.names),
            "offset": self.offset.tolist(),
            "scale": self.scale.tolist(),
            "clip": self.clip,
            **({} if self.extent is None else _extent_to_json(self.extent)),
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
            if known["version"] not in VERSIONS:
                raise ValueError(f"version {known['version']!r}")
            made = cls(
                known["scaling"],
                tuple(_all_of(int, known, "shape")),
                tuple(_all_of(str, known, "names")),
                numbers(known, "offset"),
                numbers(known, "scale"),
                known["clip"],
                None if known["version"] == 1 else _extent_from_json(known),
                _table_from_json(known["table"]) if "table" in known else None,
                Terms.from_json(known["terms"]) if "terms" in known else None,
            )
            made._check()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise DataError(f"preprocessing: expected {FORM}, got: {reason}") from None
        return made

    def _check(self) -> None:
        known = _FITS if self.extent is None else (*_FITS, "robust")
        if self.scaling not in known or not isinstance(self.clip, bool):
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
        if self.extent is not None:
            _check_extent(self.extent, columns)

    def rows(self, raw: Any) -> Values:
        """Raw rows as they are, (N, F) float64; of a table its encoded columns.

        Raises:
            DataError: other columns, another shape, or values that are no numbers.
        """
        if self.table is not None:
            from tuner.data.memory import in_memory  # noqa: PLC0415 - only tables need it

            given = in_memory(raw)
            taken = given if isinstance(given, SourceTable) else self._named(given, self.table)
            if taken is None:
                shape = getattr(given, "shape", ())
                raise DataError(f"data: must be a table with the model's columns, got an array of shape {shape}.")
            return self.table.read_table(taken).encoded_NF
        raw = plain_rows(raw)
        if hasattr(raw, "columns"):
            raw = frame_numbers(self._selected(raw))
        try:
            rows = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError("data: every value must be a number, got something else.") from None
        if rows.ndim >= 1 and rows.shape[1:] in (self.shape, (len(self.names),)):
            return rows.reshape(len(rows), len(self.names))
        expected = " or ".join(sorted({str(("N", *self.shape)), str(("N", len(self.names)))}))
        raise DataError(f"data: rows must have the shape {expected}, got {rows.shape}.".replace("'", ""))

    @staticmethod
    def _named(array: NDArray[np.generic], table: TableEncoder) -> SourceTable | None:
        """An array as the table's columns, by place; None where it has others than these."""
        if array.ndim == 2 and array.shape[1] == len(table.table_names):
            return SourceTable.of_array(array, "data", table.table_names)
        return SourceTable.of_array(array, "data") if array.ndim == 2 and table.is_of_array else None

    def _selected(self, frame: pd.DataFrame) -> pd.DataFrame:
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise DataError(
                f"data: the table must have the columns {', '.join(self.names[:20])};"
                f" missing: {', '.join(missing[:20])}."
            )
        return frame[list(self.names)]


def described(shape: tuple[int, ...], each: Each) -> str:
    """What is scaled by one range, for the user; rows have this shape."""
    if each == "column":
        return "column by column"
    if each == "channel":
        count = shape[-1]
        return f"the last axis' {count} channels each by its own range" if count > 1 else "all values by one range"
    return "all pixels by one range, as images"


def _fit_before(train_NF: Values, shape: tuple[int, ...], scaling: str) -> tuple[Values, Values]:
    """Offset and scale (F,) by the rules before 3, bit for bit."""
    joint = train_NF.reshape(-1, 1) if len(shape) > 1 else train_NF
    columns = train_NF.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        offset, scale = (_column(values, columns) for values in _FITS[scaling](joint))
    return offset, scale


def _fit_each(train_NF: Values, shape: tuple[int, ...], scaling: str, each: Each) -> tuple[Values, Values, Extent]:
    """Offset and scale (F,), and what was found."""
    columns = train_NF.shape[1]
    width = {"column": columns, "channel": shape[-1], "image": 1}[each]
    made = fit_columns(scaling, train_NF.reshape(-1, width))
    offset, scale, low, high = (
        np.tile(part, columns // width) for part in (made.offset, made.scale, made.low, made.high)
    )
    return offset, scale, Extent(each, np.tile(made.constant, columns // width), low, high)


def _table_from_json(known: object) -> TableEncoder:
    from tuner.data.columns.encoder import TableEncoder  # noqa: PLC0415 - pandas and Arrow, most of a second

    return TableEncoder.from_json(json.dumps(known))


def _extent_to_json(extent: Extent) -> dict[str, Any]:
    return {
        "each": extent.each,
        "constant": extent.constant.tolist(),
        "low": extent.low.tolist(),
        "high": extent.high.tolist(),
    }


def _extent_from_json(known: Mapping[str, Any]) -> Extent:
    constant = np.array(_all_of(bool, known, "constant"), np.bool_)
    return Extent(known["each"], constant, numbers(known, "low"), numbers(known, "high"))


def _check_extent(extent: Extent, columns: int) -> None:
    if extent.each not in get_args(Each):
        raise ValueError(f"each {extent.each!r}")
    if not extent.constant.shape == extent.low.shape == extent.high.shape == (columns,):
        raise ValueError("constant, low and high disagree with the names")
    if not (np.isfinite(extent.low) & np.isfinite(extent.high) & (extent.low <= extent.high)).all():
        raise ValueError("a range is none")


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

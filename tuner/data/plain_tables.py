"""Tables in .csv and .parquet files as rules 1 and 2 read them: chosen columns, each of numbers."""

from __future__ import annotations

import csv
import difflib
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner.data.arrays import Read
from tuner.data.distinct_numbers import distinct_numbers
from tuner.data.labels import Labels, refuse_missing
from tuner.data.precision import LEAVE_OUT, refuse_merged
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.rules import FIRST

DELIMITERS = ",;\t|"
LONGEST_HEADER = 10_000_000
ROWS_AT_ONCE = 65_536


def read_csv(path: Path, spec: DataSpec, rules: int) -> Read:
    """A CSV file with a header; comma, semicolon, tab or bar between the cells, whichever the header has most of."""
    delimiter, header = csv_header(path)
    chosen = _choose(header, spec)
    as_text = {} if spec.label is None or rules == FIRST else {spec.label: marked}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=delimiter,
                index_col=False,
                encoding="utf-8-sig",
                low_memory=False,
                skip_blank_lines=False,
                converters=as_text,
            )
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        UnicodeError,
        ValueError,
    ) as error:
        raise broken("CSV table", error) from None
    read = _numbers(table[chosen], "line", 2)
    if rules > FIRST:
        refuse_merged(read.values, read.names, lambda place: _distinct(path, delimiter, chosen[place]), LEAVE_OUT)
    if spec.label is None:
        return read
    found = table[spec.label]
    return read._replace(labels=_written(found, spec.label) if as_text else _labels(found, spec.label, "line", 2))


def marked(cell: str) -> str:
    """A cell that pandas takes for no missing value, also where it is empty or NA."""
    return f"={cell}"


def _distinct(path: Path, delimiter: str, name: str) -> int:
    """How many different numbers a column of a CSV file has as it is written; only the different ones are kept."""
    cells: set[str] = set()
    with pd.read_csv(
        path, sep=delimiter, usecols=[name], index_col=False, encoding="utf-8-sig", converters={name: cells.add},
        chunksize=ROWS_AT_ONCE,
    ) as tables:  # fmt: skip
        for _ in tables:
            pass
    return distinct_numbers(cells)


def read_parquet(path: Path, spec: DataSpec, rules: int) -> Read:
    """A Parquet file."""
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only this source needs it
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            chosen = _choose(file.schema_arrow.names, spec)
            table = file.read([*chosen, *([spec.label] if spec.label else [])]).to_pandas()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise broken("Parquet table", error) from None
    read = _numbers(table[chosen], "row", 1)
    if rules > FIRST:
        refuse_merged(read.values, read.names, lambda place: distinct_numbers(table[chosen[place]].unique()), LEAVE_OUT)
    return read if spec.label is None else read._replace(labels=_labels(table[spec.label], spec.label, "row", 1))


def csv_header(path: Path) -> tuple[str, list[str]]:
    """The delimiter and the column names of a CSV file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(LONGEST_HEADER)
            delimiter = max(DELIMITERS, key=first.count)
            file.seek(0)
            names = next(csv.reader(file, delimiter=delimiter, strict=True), [])
    except (csv.Error, UnicodeError) as error:
        raise broken("CSV table", error) from None
    if not any(name.strip() for name in names):
        raise DataError("must be a CSV table that begins with a header line, got an empty line or file.")
    if all(_is_number(name) for name in names):
        raise DataError(
            f"must begin with a header line that names its columns, got numbers ({', '.join(names[:4])}, ...)."
        )
    for place, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(
                f"its header must name every column, got none for column {place} (pandas: to_csv(index=False))."
            )
    return delimiter, names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _choose(names: Sequence[str], spec: DataSpec) -> list[str]:
    """The columns that the model sees, in the file's order: the label is none of them."""
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataError(f"its header must name every column once, got {repeated[0]} more than once.")
    named = ("columns", spec.selected), ("exclude", spec.exclude), ("label", spec.label and (spec.label,))
    there = set(names)  # tables may have many thousands of columns
    for key, asked in named:
        for name in asked or ():
            if name not in there:
                near = difflib.get_close_matches(name, names, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(names[:20])}."
                raise DataError(f"data.{key}: there is no column {name}{hint}")
    left_out, wanted = {*(spec.exclude or ()), spec.label}, set(spec.selected or names)
    chosen = [name for name in names if name in wanted and name not in left_out]
    if not chosen:
        which = "names them all" if spec.label is None else "and data.label name them all"
        raise DataError(f"must keep at least one column, but data.exclude {which}.")
    return chosen


def _numbers(table: pd.DataFrame, unit: str, first: int) -> Read:
    """The table as a matrix; a cell that is no number is named by column and place."""
    if table.empty:
        raise DataError("must have rows, got a table without any.")
    hint = "; leave the column out with `exclude: [{}]`."
    columns = [numbers(table[name], unit, first, hint.format(name)) for name in table.columns]
    return Read(np.column_stack(columns), tuple(map(str, table.columns)), (len(columns),))


def numbers(column: pd.Series, unit: str, first: int, hint: str = ".") -> NDArray[np.float64]:
    """A column as numbers.

    Args:
        column: with its name.
        unit: what the file's rows are called, for messages.
        first: the number of the column's first one.
        hint: ends the sentence about text.

    Raises:
        DataError: a cell is empty or holds no number; the message names the place.
    """
    name, missing = column.name, column.isna().to_numpy()
    if missing.any():
        place = int(missing.argmax()) + first
        raise DataError(
            f"column {name}, {unit} {place}: must be a number, got a missing value ({missing.sum()} in this column)."
        )
    if pd.api.types.is_bool_dtype(column) or (
        pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)
    ):
        return column.to_numpy(dtype=np.float64)
    is_time = pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column)
    text = column.astype(str)
    odd = np.ones(len(text), dtype=bool) if is_time else pd.to_numeric(text, errors="coerce").isna().to_numpy()
    if not odd.any():
        return pd.to_numeric(text).to_numpy(dtype=np.float64)
    place = int(odd.argmax())
    raise DataError(f"column {name}, {unit} {place + first}: must be a number, got {text.iloc[place][:40]!r}{hint}")


def _written(column: pd.Series, name: str) -> Labels:
    """A CSV file's labels as they are written there; an empty cell is missing, and one that a line ends before."""
    cells = column.map(lambda cell: cell[1:] if isinstance(cell, str) else "")
    refuse_missing(name, (cells == "").to_numpy(), "line", 2)
    codes, classes = pd.factorize(cells)
    return Labels.written(name, classes.tolist(), codes)


def _labels(column: pd.Series, name: str, unit: str, first: int) -> Labels:
    """Numbers as they are, all else as its text."""
    refuse_missing(name, column.isna().to_numpy(), unit, first)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return Labels.of(name, np.asarray(column.to_numpy()), unit, first)
    return Labels.of(name, np.array(column.astype(str).tolist()), unit, first)


def broken(what: str, error: Exception) -> DataError:
    """What a parser said of a file, as one sentence."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return DataError(f"must be a whole {what}, got: {reason}")

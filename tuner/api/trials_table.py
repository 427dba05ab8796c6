"""The trials table as pandas has it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from tuner.ledger.records import TrialRecord
from tuner.ledger.table import MEASURE, TIMES, Cell, rows
from tuner.spec.length import Length


def trials_table(trials: Iterable[TrialRecord], times: bool = False, length: Length | None = None) -> pd.DataFrame:
    """One row per trial; missing whole numbers are <NA>, times are UTC timestamps; parts of epochs are real numbers."""
    found = rows(trials, times, length)
    table = pd.DataFrame(found)
    if table.empty:
        return table
    kinds = {"number": "int64", "value": "float64"}
    for name in ("best_epoch", "epochs", "best_step", "steps"):
        if name in found[0]:
            whole = all(isinstance(row[name], int | None) for row in found)
            missing = name.startswith("best")
            kinds[name] = ("Int64" if missing else "int64") if whole else "float64"
    kinds |= {
        name: "Int64" for name in found[0] if name not in kinds and _whole_with_gaps([row[name] for row in found])
    }
    kinds |= {name: "float64" for name in table.columns if name.startswith(MEASURE)}
    dates = {name: pd.to_datetime(table[name], utc=True) for name in TIMES if times}
    return table.astype(kinds).assign(**dates)


def _whole_with_gaps(column: list[Cell]) -> bool:
    """Whether some of a column's values are missing and the others are whole numbers: pandas would make them real."""
    values = [value for value in column if value is not None]
    return len(values) < len(column) and bool(values) and all(type(value) is int for value in values)

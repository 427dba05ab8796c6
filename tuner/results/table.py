"""The trials table as pandas has it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from tuner.ledger.records import TrialRecord
from tuner.ledger.table import MEASURE, TIMES, rows


def trials_table(trials: Iterable[TrialRecord], times: bool = False) -> pd.DataFrame:
    """One row per trial; missing whole numbers are <NA>, times are UTC timestamps."""
    table = pd.DataFrame(rows(trials, times))
    if table.empty:
        return table
    kinds = {"number": "int64", "value": "float64", "best_epoch": "Int64", "epochs": "int64"}
    kinds |= {name: "float64" for name in table.columns if name.startswith(MEASURE)}
    dates = {name: pd.to_datetime(table[name], utc=True) for name in TIMES if times}
    return table.astype(kinds).assign(**dates)

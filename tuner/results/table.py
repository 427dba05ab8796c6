"""The trials table as pandas has it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from tuner.ledger.records import TrialRecord
from tuner.ledger.table import TIMES, rows


def trials_table(trials: Iterable[TrialRecord], times: bool = False) -> pd.DataFrame:
    """One row per trial; missing whole numbers are <NA>, times are UTC timestamps."""
    table = pd.DataFrame(rows(trials, times))
    if table.empty:
        return table
    kinds = {"number": "int64", "value": "float64", "best_epoch": "Int64", "epochs": "int64"}
    dates = {name: pd.to_datetime(table[name], utc=True) for name in TIMES if times}
    return table.astype(kinds).assign(**dates)

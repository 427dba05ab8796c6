"""Rows that a caller gives, whichever library made them, as NumPy or pandas have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.data.source_table import SourceTable
from tuner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def plain_rows(raw: Any) -> Any:
    """What another library made, as NumPy or pandas have it: masks are missing values, tensors leave their device.

    Raises:
        DataError: it holds complex numbers, or is of a kind that is not known.
    """
    made = type(raw).__module__.partition(".")[0]
    if isinstance(raw, np.ma.MaskedArray) or made in ("torch", "scipy", "polars", "pyarrow"):
        from tuner.data.memory import in_memory  # noqa: PLC0415 - Arrow, half a second, and most rows need it not

        taken = in_memory(raw)
        return taken.table.to_pandas() if isinstance(taken, SourceTable) else taken
    if isinstance(raw, np.ndarray) and raw.dtype.kind == "c":
        raise DataError(f"data: must hold real numbers, got an array of {raw.dtype}.")
    return raw


def frame_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The table as numbers, NaN for what is missing, however pandas writes that.

    Raises:
        DataError: a value is none; the message names its place.
    """
    import pandas as pd  # noqa: PLC0415 - a table is given, so it is there already

    made = {}
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        column = column.astype(object).where(column.notna().to_numpy(), np.nan)
        try:
            made[place] = column.astype(np.float64).to_numpy()
        except (TypeError, ValueError):
            row, value = next((at for at in enumerate(column) if not _is_number(at[1])), (0, column.iloc[0]))
            raise DataError(f"data: column {name}, row {row + 1}: must be a number, got {str(value)[:50]!r}.") from None
    return pd.DataFrame(made)


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]  # that is the question
    except (TypeError, ValueError):
        return False
    return True

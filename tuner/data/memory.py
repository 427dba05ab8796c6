"""Tables in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tuner.data.source_table import SourceTable
from tuner.spec.study import ReadSpec


def in_memory(data: Any) -> SourceTable:
    """A DataFrame as a table."""
    table = pa.Table.from_pandas(data, preserve_index=False)
    return SourceTable(table, "data", False, "row", np.arange(1, len(data) + 1), ReadSpec())

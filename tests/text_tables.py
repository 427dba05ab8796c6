"""Tables of text as a reader gives them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tuner.data.source_table import SourceTable
from tuner.spec.data import DataSpec, ReadSpec

N = 40


def source(columns: dict[str, Sequence[str]], **read: object) -> SourceTable:
    """A table of text, the first row on line 2."""
    rows = len(next(iter(columns.values())))
    table = pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})
    return SourceTable(table, "t.csv", True, "line", np.arange(2, rows + 2), ReadSpec(**read))


def spec(**data: object) -> DataSpec:
    return DataSpec.model_validate({"source": "t.csv", **data})


def repeated(*cells: str) -> list[str]:
    return [cells[n % len(cells)] for n in range(N)]

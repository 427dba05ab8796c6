"""Columns of a table whose numbers were different before they were read as floats, and are so no longer."""

from __future__ import annotations

from typing import Final

from tuner.data.columns.typed import TypedColumn, TypedTable, different_numbers
from tuner.data.precision import LEAVE_OUT, refuse_merged

_NUMBERS: Final = frozenset(("numeric", "count"))


def refuse_merged_columns(table: TypedTable) -> None:
    """Refuse a column that is modelled as numbers, of which floats make one, or half of them or more.

    Raises:
        DataError: numbers have merged; one sentence names the column and what to do.
    """
    for column in table.columns:
        if column.type in _NUMBERS:
            _refuse_merged_column(table, column)


def _refuse_merged_column(table: TypedTable, column: TypedColumn) -> None:
    present_N = ~column.missing
    cells = table.source.table.column(column.name)
    refuse_merged(
        column.values[present_N, None],
        (column.name,),
        lambda _: different_numbers(cells, column.format, present_N),
        LEAVE_OUT,
    )

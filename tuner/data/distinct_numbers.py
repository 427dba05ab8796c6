"""How many different numbers a column's cells represent, counted exactly, as floats cannot."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from typing import Any


def distinct_numbers(cells: Collection[Any]) -> int:
    """How many different numbers cells represent: 1, 1.0 and 1e0 are one."""
    return len({_exactly(str(cell)) for cell in cells})


def _exactly(cell: str) -> Decimal | str:
    try:
        return Decimal(cell)
    except InvalidOperation:
        return cell

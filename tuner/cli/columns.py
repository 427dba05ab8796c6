"""How well the columns of a table are reconstructed, as the command line says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tuner.answers.columns import HEAD, left_out, shown

if TYPE_CHECKING:
    from tuner.answers.parts import ColumnQuality

LONGEST_NAME: Final = 40


def columns(found: Sequence[ColumnQuality]) -> list[str]:
    """A table of the worst columns and what it leaves out; nothing where there are none."""
    if not found:
        return []
    rows = [HEAD, *((_cut(name), *others) for name, *others in shown(found))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    more = [f"  {left_out(found)}"] if left_out(found) else []
    return ["", "Columns of the test rows, the worst first:", *(line.rstrip() for line in lines), *more]


def _cut(name: str) -> str:
    """A name in one line, and not too long for it."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"

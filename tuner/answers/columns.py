"""The columns of a table as people read how well they are reconstructed: the worst first, and not too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tuner.answers.parts import ColumnQuality

MOST: Final = 20  # that are shown
HEAD: Final = ("column", "type", "reconstructed", "commonest", "rows")
MEANING: Final = (
    "R2 is the share of a column's variance that is reconstructed, as it is scaled: 1 is perfect, 0 no better than its"
    " mean. Accuracy is the share of right values; commonest is what always guessing the commonest one would reach."
)


def worst_first(columns: Sequence[ColumnQuality]) -> list[ColumnQuality]:
    """By `ColumnQuality.skill`; those of which nothing can be told come last."""
    return sorted(columns, key=lambda one: (one.skill is None, one.skill or 0.0))


def shown(columns: Sequence[ColumnQuality], most: int = MOST) -> list[tuple[str, str, str, str, str]]:
    """The worst columns, in the words of `HEAD`."""
    return [
        (one.name, one.type, _merit(one), _share(one.commonest), f"{one.observed:,}")
        for one in worst_first(columns)[:most]
    ]


def left_out(columns: Sequence[ColumnQuality], most: int = MOST) -> str:
    """How many columns `shown` leaves out; empty where it shows all."""
    count = len(columns) - most
    return f"{count:,} more column{'s are' if count > 1 else ' is'} reconstructed better." if count > 0 else ""


def _merit(one: ColumnQuality) -> str:
    if one.r2 is not None:
        return f"R2 {one.r2:.3f}"
    return "–" if one.accuracy is None else f"accuracy {one.accuracy:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

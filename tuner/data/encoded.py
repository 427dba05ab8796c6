"""Which columns of the matrix a column of the table became."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.spec.data import ColumnType


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """A column of the table among the columns of the matrix that is trained on.

    Attributes:
        name: the table's.
        type: what it holds.
        first, last: its encoded columns are first <= f < last.
        levels: of a categorical column, one for each encoded column; of a boolean one what stands for no and for yes.
        weight: how much it counts in the loss; 0 for one that is read and not rebuilt.
    """

    name: str
    type: ColumnType
    first: int
    last: int
    levels: tuple[str, ...] = ()
    weight: float = 1.0

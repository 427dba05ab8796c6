"""A table as its source has it: cells that no one has interpreted yet, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from tuner.spec.data import ReadSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False, slots=True)
class SourceTable:
    """Rows of a file, of several, or of a table in memory.

    Attributes:
        table: the columns, their names unique. Of a text file every column is of Arrow's type string, each cell exactly
            as it is written (quotes removed, blanks at its ends kept, an empty cell is ""); of other sources columns
            have the types that they have there, and a missing value is null.
        where: the source, for messages.
        is_text: whether the cells are text that is still to be interpreted.
        unit: what a row is called in messages, `line` or `row`.
        places: (N,) int64, the number of each row in messages: the physical line on which it begins.
        read: how the file was read: every key that applies to it, found or declared, so that it is read alike again.
        notes: what was decided while it was read, a sentence each, for the user.
        parts: of several files each one's name and the row of the table that it begins with, from 0.
    """

    table: pa.Table
    where: str
    is_text: bool
    unit: str
    places: NDArray[np.int64]
    read: ReadSpec
    notes: tuple[str, ...] = ()
    parts: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of_array(cls, values_NF: NDArray[np.generic], where: str, names: Sequence[str] | None = None) -> Self:
        """The columns of an array of two dimensions, x0, x1, ... where they have no names."""
        import pyarrow as pa  # noqa: PLC0415 - half a second, and only tables need it

        names = names or [f"x{place}" for place in range(values_NF.shape[1])]
        made = pa.table({name: np.ascontiguousarray(column) for name, column in zip(names, values_NF.T, strict=True)})
        return cls(made, where, False, "row", np.arange(1, len(values_NF) + 1), ReadSpec())

    def place(self, row: int) -> str:
        """A row in messages: `line 32`, or `part-2.csv, line 32`."""
        within = [name for name, first in self.parts if first <= row][-1:]
        return ", ".join((*within, f"{self.unit} {self.places[row]}"))

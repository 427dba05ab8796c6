"""The data of a study before it is scaled: rows of an array, or of a table whose columns have types.

Legend: N rows, F columns of the matrix that is trained on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.data.labels import Labels
from tuner.data.preprocess import Each

Values = NDArray[np.float64]
Numbers = NDArray[np.int64]


class Data(Protocol):
    """What is split, scaled and trained on."""

    @property
    def where(self) -> str:
        """The source, for messages."""

    @property
    def labels(self) -> Labels | None:
        """What the rows are known to be, where that is declared."""

    @property
    def rows(self) -> int:
        """N."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, F of them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """A row's own shape."""

    def raw(self, rows: Numbers) -> Values:
        """The rows of those numbers, unscaled, (len(rows), F); NaN is missing."""

    def plain_rows(self) -> Values:
        """All rows before they are encoded, (N, K): equal ones are equal here."""

    def digest(self, block: dict[str, Any]) -> str:
        """SHA-256 over the content and a declaration's data block."""


@dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """Rows of finite numbers.

    Attributes:
        values: (N, F) float64.
        names: F names.
        shape: a row's own shape: (F,) for a table, (8, 8) for an image.
        where: the source, for messages.
        labels: what the rows are known to be, where that is declared; the values do not hold it.
        each: what has a range of its own when it is scaled; None by rules before 3.
        notes: what was decided while it was read, a sentence each, for the user.
    """

    values: Values
    names: tuple[str, ...]
    shape: tuple[int, ...]
    where: str
    labels: Labels | None = None
    each: Each | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """N."""
        return len(self.values)

    def raw(self, rows: Numbers) -> Values:
        """See `Data`."""
        return self.values[rows]

    def plain_rows(self) -> Values:
        """See `Data`."""
        return self.values

    def digest(self, block: dict[str, Any]) -> str:
        """See `Data`."""
        about = {"names": self.names, "shape": self.shape, "rows": self.values.shape, "data": block}
        if self.each is not None:
            about["each"] = self.each
        if self.labels is not None:
            about["classes"] = self.labels.classes
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(self.values, dtype="<f8").data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels.codes, dtype="<i4").data)
        return digest.hexdigest()

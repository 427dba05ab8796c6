"""What runs an exported model: PyTorch, or onnxruntime. Both take the same raw rows and refuse the same ones.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuner.data.parts import row_parts
from tuner.data.preprocess import Preprocessor
from tuner.export.read import Exported

Values = NDArray[np.float64]
Results = TypeVar("Results", bound=NDArray[Any])


class Engine(Protocol):
    """Raw rows (N, F) to numbers; `first` rows come before them, for messages.

    A row with a missing value (NaN) gives NaN, unless the model was trained to leave missing values out. Every method
    raises DataError where a value is out of range, with its column and row.
    """

    def encode(self, rows: Values, first: int = 0) -> NDArray[np.float32]:
        """Codes, (N, C)."""

    def reconstruct(self, rows: Values, first: int = 0) -> Values:
        """Reconstructions in raw units, (N, *shape)."""

    def score(self, rows: Values, first: int = 0) -> Values:
        """Each row's mean loss over its features, in scaled space, (N,); infinite for a row too far out."""


@dataclass(frozen=True, eq=False, slots=True)
class Usable:
    """Rows that a model can take.

    Attributes:
        rows: (N, F); where a model takes no missing values, rows with one are filled.
        gone: (N,), which rows these are: what the model makes of them means nothing.
    """

    rows: Values
    gone: NDArray[np.bool_]

    @classmethod
    def of(cls, preprocessor: Preprocessor, rows: Values) -> Self:
        """Raw rows (N, F), NaN for a missing value."""
        missing = np.isnan(rows)
        table = preprocessor.table
        if table is not None and table.missing == "mask" and preprocessor.terms is not None:
            return cls(rows, np.zeros(len(rows), np.bool_))
        gone: NDArray[np.bool_] = np.any(missing, axis=1)
        return cls(np.where(missing, preprocessor.offset, rows) if gone.any() else rows, gone)

    def marked(self, results: Results) -> Results:
        """Results (N, ...) of the rows, NaN for those that are gone."""
        if self.gone.any():
            results[self.gone] = np.nan
        return results


class TorchEngine:
    """The network, run by torch."""

    def __init__(self, exported: Exported) -> None:
        self.network, self._preprocessor = exported.network(), exported.preprocessor

    def encode(self, rows: Values, first: int = 0) -> NDArray[np.float32]:
        """See `Engine`."""
        usable = Usable.of(self._preprocessor, rows)
        return usable.marked(self.network.encode(self._preprocessor.transform(usable.rows, first)))

    def reconstruct(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        usable = Usable.of(self._preprocessor, rows)
        scaled = self._preprocessor.transform(usable.rows, first)
        return usable.marked(self._preprocessor.inverse(self.network.reconstruct(scaled)))

    def parts(self, rows: Values, first: int = 0) -> Values:
        """What each column of a table or each feature adds to each row's score, (N, C); its parts sum to that."""
        usable, fitted = Usable.of(self._preprocessor, rows), self._preprocessor
        scaled = fitted.transform(usable.rows, first)
        cells, terms = self.network.cells(scaled), fitted.terms
        cells = np.where(np.isnan(cells), np.inf, cells)
        if fitted.table is None:
            return usable.marked(cells / cells.shape[1])
        return usable.marked(row_parts(fitted.table.declared, cells, scaled, terms))

    def score(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        usable = Usable.of(self._preprocessor, rows)
        losses = self.network.losses(self._preprocessor.transform(usable.rows, first))
        return usable.marked(np.where(np.isnan(losses), np.inf, losses))


class OnnxEngine:
    """The graph in model.onnx, run by onnxruntime."""

    def __init__(self, exported: Exported) -> None:
        self._network, self._preprocessor = exported.onnx(), exported.preprocessor

    def encode(self, rows: Values, first: int = 0) -> NDArray[np.float32]:
        """See `Engine`."""
        return self._run(rows, first, 0)

    def reconstruct(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        return self._run(rows, first, 1).reshape(-1, *self._preprocessor.shape)

    def score(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        return self._run(rows, first, 2)

    def _run(self, rows: Values, first: int, output: int) -> NDArray[Any]:
        usable = Usable.of(self._preprocessor, rows)
        self._preprocessor.transform(usable.rows, first)  # refuses what is out of range, with its place
        return usable.marked(self._network.run(self._preprocessor.limited(usable.rows))[output])

"""What runs an exported model: PyTorch, or onnxruntime. Both take the same raw rows and refuse the same ones.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.export.read import Exported

Values = NDArray[np.float64]


class Engine(Protocol):
    """Raw rows (N, F) to numbers; `first` rows come before them, for messages.

    Every method raises DataError where a value is out of range, with its column and row.
    """

    def encode(self, rows: Values, first: int = 0) -> NDArray[np.float32]:
        """Codes, (N, C)."""

    def reconstruct(self, rows: Values, first: int = 0) -> Values:
        """Reconstructions in raw units, (N, *shape)."""

    def score(self, rows: Values, first: int = 0) -> Values:
        """Each row's mean loss over its features, in scaled space, (N,); infinite for a row too far out."""


class TorchEngine:
    """The network, run by torch."""

    def __init__(self, exported: Exported) -> None:
        self.network, self._preprocessor = exported.network(), exported.preprocessor

    def encode(self, rows: Values, first: int = 0) -> NDArray[np.float32]:
        """See `Engine`."""
        return self.network.encode(self._preprocessor.transform(rows, first))

    def reconstruct(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        return self._preprocessor.inverse(self.network.reconstruct(self._preprocessor.transform(rows, first)))

    def score(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        losses = self.network.losses(self._preprocessor.transform(rows, first))
        return np.where(np.isnan(losses), np.inf, losses)


class OnnxEngine:
    """The graph in model.onnx, run by onnxruntime."""

    def __init__(self, exported: Exported) -> None:
        self._network, self._preprocessor = exported.onnx(), exported.preprocessor

    def encode(self, rows: Values, first: int = 0) -> NDArray[np.float32]:
        """See `Engine`."""
        return self._run(rows, first)[0]

    def reconstruct(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        return self._run(rows, first)[1].reshape(-1, *self._preprocessor.shape)

    def score(self, rows: Values, first: int = 0) -> Values:
        """See `Engine`."""
        return self._run(rows, first)[2]

    def _run(self, rows: Values, first: int) -> list[NDArray[Any]]:
        self._preprocessor.transform(rows, first)  # refuses what is out of range, with its place
        return self._network.run(self._preprocessor.limited(rows))

"""An exported ONNX graph, run by onnxruntime alone: torch is not needed here.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.errors import ExportError

ROWS = "rows"
OUTPUTS = ("code", "reconstruction", "score")


class OnnxNetwork:
    """A graph from raw rows to codes, reconstructions and scores.

    Args:
        content: the file's bytes.
        where: the file's name, for messages.

    Raises:
        ExportError: onnxruntime is missing, or the content is no such graph.
    """

    def __init__(self, content: bytes, where: str) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 - only who asks for it needs it
        except ImportError as error:
            raise ExportError(f"{where}: expected onnxruntime to be installed (pip install onnxruntime).") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes derive from nothing narrower
            reason = (str(error).splitlines() or [""])[0][:200]
            raise ExportError(f"{where}: expected an ONNX graph, got: {reason}") from error

    def run(self, rows: NDArray[np.float64]) -> list[NDArray[Any]]:
        """Raw rows (N, F) to codes (N, C) float32, reconstructions (N, F) float64 and scores (N,) float64."""
        return list(self._session.run(list(OUTPUTS), {ROWS: np.ascontiguousarray(rows)}))

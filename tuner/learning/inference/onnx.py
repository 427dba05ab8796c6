"""An exported ONNX graph, run by onnxruntime alone: torch is not needed here.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.errors import ExportError

ROWS = "rows"
_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
OUTPUTS = ("code", "reconstruction", "score")


class OnnxNetwork:
    """A graph from raw rows to codes, reconstructions and scores.

    Args:
        content: the file's bytes.
        where: the file's name, for messages.
        sizes: F and C.

    Raises:
        ExportError: onnxruntime is missing, or the content is no such graph.
    """

    def __init__(self, content: bytes, where: str, sizes: tuple[int, int] | None = None) -> None:
        self._where, onnxruntime = where, _onnxruntime(where)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        with _explained(where, "an ONNX graph"):
            _check_nodes(content)
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            _check_form(self._session, sizes)

    def run(self, rows: NDArray[np.float64]) -> list[NDArray[Any]]:
        """Raw rows (N, F) to codes (N, C) float32, reconstructions (N, F) float64 and scores (N,) float64.

        Raises:
            ExportError: the graph fails, or gives something else.
        """
        with _explained(self._where, "a graph that runs"):
            found = list(self._session.run(list(OUTPUTS), {ROWS: np.ascontiguousarray(rows)}))
            if any(len(output) != len(rows) for output in found):
                raise ValueError(f"{[len(output) for output in found]} results of {len(rows)} rows")
        return found


@contextmanager
def _explained(where: str, expected: str) -> Iterator[None]:
    """Whatever is wrong, as one sentence: onnxruntime's own classes derive from nothing narrower than Exception."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(f"{where}: expected {expected}, got: {reason}") from error


def _check_nodes(content: bytes) -> None:
    """Refuse what an exported graph never has: values in other files, and nodes that hold graphs, as loops do."""
    import onnx  # noqa: PLC0415 - a fifth of a second

    for part in _messages(onnx.load_model_from_string(content)):
        if isinstance(part, onnx.TensorProto) and (part.external_data or part.data_location):
            raise ValueError(f"values of {part.name[:50]!r} in another file")
        if isinstance(part, onnx.AttributeProto) and (part.graphs or part.HasField("g")):
            raise ValueError("a node that holds a graph")


def _messages(message: Any) -> Iterator[Any]:
    """All messages within one of protobuf's."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield part
                yield from _messages(part)


def _check_form(session: Any, sizes: tuple[int, int] | None) -> None:
    """Raw rows go in, and codes, reconstructions and scores come out, of these sizes."""
    features, code = sizes or (None, None)
    inputs = {ROWS: ("tensor(double)", [features])}
    kinds: tuple[tuple[str, list[int | None]], ...]
    kinds = ("tensor(float)", [code]), ("tensor(double)", [features]), ("tensor(double)", [])
    outputs = dict(zip(OUTPUTS, kinds, strict=True))
    for name, expected, found in (
        ("inputs", inputs, session.get_inputs()),
        ("outputs", outputs, session.get_outputs()),
    ):
        told = {each.name: (each.type, each.shape[1:]) for each in found}
        if told.keys() != expected.keys() or not all(_fits(told[key], expected[key]) for key in expected):
            raise ValueError(f"the {name} {told}")


def _fits(told: tuple[str, list[Any]], expected: tuple[str, list[int | None]]) -> bool:
    """A size that is not given may be any, if it is fixed."""
    (kind, shape), (expected_kind, expected_shape) = told, expected
    sizes = zip(shape, expected_shape, strict=False)
    return (
        kind == expected_kind
        and len(shape) == len(expected_shape)
        and all(isinstance(size, int) if wanted is None else size == wanted for size, wanted in sizes)
    )


def _onnxruntime(where: str) -> Any:
    """The library, without the telemetry that it sends from version 1.29 on, unless the user asked for it.

    It reads the variable while it is imported, and never again.
    """
    asked = _TELEMETRY in os.environ
    os.environ.setdefault(_TELEMETRY, "1")
    try:
        import onnxruntime  # noqa: PLC0415 - only who asks for it needs it
    except ImportError as error:
        raise ExportError(f"{where}: expected onnxruntime to be installed (pip install onnxruntime).") from error
    finally:
        if not asked:
            del os.environ[_TELEMETRY]
    return onnxruntime

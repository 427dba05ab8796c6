"""A model as a graph that runs without this package: ONNX for any language, torch.export for PyTorch.

Neither file holds a pickle, a time, or a path of the machine that wrote it.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram

from tuner.errors import ExportError
from tuner.learning.inference.onnx import OUTPUTS, ROWS, OnnxNetwork
from tuner.learning.inference.raw import RawModel
from tuner.learning.inference.rounding import Rounding

TOLERANCE = 1e-4  # of an output's largest value: far above what the order of sums changes in single precision
EXAMPLE_ROWS = 3  # one would be taken for a fixed size


def write_graphs(model: RawModel, onnx: Path, pt2: Path, notes: Mapping[str, str]) -> None:
    """Write both graphs of a model; their number of rows is free.

    Args:
        model: what takes raw rows.
        onnx: the ONNX file; the weights are in it.
        pt2: what `torch.export.load` reads.
        notes: kept in the ONNX file's metadata.
    """
    example = (model.offset.repeat(EXAMPLE_ROWS, 1),)
    sizes = {ROWS: {0: Dim("rows")}}
    with torch.no_grad(), _quiet():
        program = torch.export.export(model.eval(), example, dynamic_shapes=sizes)
        made = torch.onnx.export(
            program,
            example,
            dynamo=True,
            verbose=False,
            input_names=[ROWS],
            output_names=list(OUTPUTS),
            dynamic_shapes=sizes,
        )
    if made is None:  # only without dynamo
        raise ExportError(f"{onnx}: expected torch to make an ONNX graph, got none.")
    for value in made.model.graph:
        value.metadata_props.clear()  # the source's lines, with paths of this machine
    made.model.metadata_props.update(notes)
    made.save(onnx)
    _save_program(program, pt2)


def _save_program(program: ExportedProgram, path: Path) -> None:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None  # the one part that torch would pickle
    archive = io.BytesIO()  # torch's own writer does not say what the disk refuses
    torch.export.save(program, archive)
    path.write_bytes(archive.getvalue())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says to its own programmers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_onnx(path: Path, model: RawModel, rows: NDArray[np.float64]) -> None:
    """Compare the ONNX file, run by onnxruntime, with the module that it was made of.

    Codes, reconstructions and scores must agree within `TOLERANCE` of the largest value that the module gives, and
    beyond what single precision makes of these rows (see `Rounding`): a score of 1e-15 is rounding and nothing else.
    Reconstructions are compared scaled, so that a large offset hides nothing.

    Args:
        path: the file.
        model: the module.
        rows: raw rows (N, F); the first is also run alone.

    Raises:
        ExportError: they do not agree; the message says by how much.
    """
    network, rounding = OnnxNetwork(path.read_bytes(), str(path)), Rounding.of(model, rows)
    offset, scale = model.offset.numpy(), model.scale.numpy()
    for part in (rows, rows[:1]):
        with torch.no_grad():
            expected = [output.numpy() for output in model(torch.from_numpy(part))]
        for name, got, value in zip(OUTPUTS, network.run(part), expected, strict=True):
            unit = (offset, scale) if name == "reconstruction" else (0.0, 1.0)
            room = getattr(rounding, name)[: len(part)]
            off = _deviation((got - unit[0]) / unit[1], (value - unit[0]) / unit[1], room, rounding.near[: len(part)])
            if not off <= TOLERANCE:
                raise ExportError(
                    f"{path.name}: expected onnxruntime to give PyTorch's {name} to {TOLERANCE:g}, got {off:.2g} off."
                )


def _deviation(
    got: NDArray[np.floating], expected: NDArray[np.floating], room: NDArray[np.float64], near: NDArray[np.bool_]
) -> float:
    """The largest difference beyond `room`, as a share of the largest value; infinite where only one of both is finite.

    Whether a row that is not near is finite may depend on the last bit, so only what is finite of it is compared.
    """
    if got.shape != expected.shape or (np.isfinite(got) != np.isfinite(expected))[near].any():
        return float("inf")
    both = np.isfinite(got) & np.isfinite(expected)
    if not both.any():
        return 0.0
    room = np.broadcast_to(room, got.shape)[both]
    beyond = np.abs(got[both].astype(np.float64) - expected[both]) - np.where(np.isfinite(room), room, 0.0)
    return max(0.0, float(beyond.max())) / (float(np.abs(expected[both]).max()) or 1.0)

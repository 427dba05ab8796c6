"""A trial's whole training state as one safetensors file, named by its digest: nothing in it can run code."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from tuner.learning.layout import Layout, padded_sizes
from tuner.spec.work import Checkpoint


@dataclass(slots=True)
class TrialTraining:
    """All that training one trial carries from one epoch to the next; every array is a row (P,).

    Attributes:
        parameters: the weights now.
        first_moments, second_moments: AdamW's.
        best: the weights of the best epoch so far.
        best_value: its validation loss, infinity before the first epoch.
        best_epoch: its number, 0 before the first.
        epoch: epochs trained.
        steps: optimizer steps taken.
    """

    parameters: NDArray[np.float32]
    first_moments: NDArray[np.float32]
    second_moments: NDArray[np.float32]
    best: NDArray[np.float32]
    best_value: float
    best_epoch: int
    epoch: int
    steps: int


_ROWS = ("parameters", "first_moments", "second_moments", "best")
_SLACK = 2**24  # for all that is small beside a state


def write(path: Path, training: TrialTraining, sizes: tuple[int, ...]) -> Checkpoint:
    """Write a state beside its place and rename it there.

    No fsync, for none belongs on the training path: a file that a power cut tore fails its digest and is trained again.

    Raises:
        MemoryError: there is no room for the content.
    """
    header = {
        "sizes": json.dumps(sizes),
        "best_value": training.best_value.hex(),
        "counts": json.dumps([training.best_epoch, training.epoch, training.steps]),
    }
    rows = {name: getattr(training, name) for name in _ROWS}
    _expect_memory(2 * sum(row.nbytes for row in rows.values()))
    content = save(rows, header)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None  # a write does not say to which file
    return Checkpoint(str(path), hashlib.sha256(content).hexdigest(), training.epoch)


def read(checkpoint: Checkpoint) -> TrialTraining | None:
    """The state, or None where the file is missing or is not what was written.

    Raises:
        MemoryError: there is no room for it.
    """
    content = _content(checkpoint)
    if content is None:
        return None
    _expect_memory(len(content))
    header = _header(content)
    best_epoch, epoch, steps = json.loads(header["counts"])
    rows = load(content)
    return TrialTraining(
        rows["parameters"],
        rows["first_moments"],
        rows["second_moments"],
        rows["best"],
        float.fromhex(header["best_value"]),
        best_epoch,
        epoch,
        steps,
    )


def _expect_memory(size: int) -> None:
    """Raise MemoryError where so many bytes cannot be had: safetensors' allocations end the process where they fail."""
    np.empty(size + _SLACK, np.uint8)


def best_weights(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]] | None:
    """The best epoch's weights by the plain module's names, or None as for `read`."""
    content = _content(checkpoint)
    if content is None:
        return None
    return plain_weights(load(content)["best"], tuple(json.loads(_header(content)["sizes"])))


def plain_weights(row_P: NDArray[np.float32], sizes: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    """A row's weights without padding, by the names they have in `Autoencoder`."""
    named: dict[str, NDArray[np.float32]] = {}
    for name, weight, bias in _places(row_P, sizes):
        named[f"{name}.weight"], named[f"{name}.bias"] = np.ascontiguousarray(weight.T), bias.copy()
    return named


def padded_row(weights: dict[str, NDArray[np.float32]], sizes: tuple[int, ...]) -> NDArray[np.float32]:
    """The row (P,) with these weights: what `plain_weights` undoes."""
    row_P = np.zeros(Layout.of(padded_sizes(sizes)).length, np.float32)
    for name, weight, bias in _places(row_P, sizes):
        weight[:], bias[:] = weights[f"{name}.weight"].T, weights[f"{name}.bias"]
    return row_P


def _places(
    row_P: NDArray[np.float32], sizes: tuple[int, ...]
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Each layer's name in the plain module, and views of its weight (inputs, outputs) and bias in the row."""
    layout, code = Layout.of(padded_sizes(sizes)), len(sizes) // 2
    for layer, (weight, bias) in enumerate(zip(layout.weights(row_P[None]), layout.biases(row_P[None]), strict=True)):
        half, place = ("encoder", layer) if layer < code else ("decoder", layer - code)
        inputs, outputs = sizes[layer], sizes[layer + 1]
        yield f"{half}.{2 * place}", weight[0, :inputs, :outputs], bias[0, 0, :outputs]


def _content(checkpoint: Checkpoint) -> bytes | None:
    try:
        content = Path(checkpoint.path).read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == checkpoint.sha256 else None


def _header(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    header: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return header

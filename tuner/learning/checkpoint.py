"""A trial's whole training state as the bytes of a safetensors file: nothing in it can run code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from tuner.learning.layout import Layout, skip_inputs
from tuner.spec.architecture import Architecture


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
NORM_NAMES = {"gain": "weight", "shift": "bias"}  # a layout's to nn.LayerNorm's
_SLACK = 2**24  # bytes for what is small compared with a state


def dumps(training: TrialTraining, shape: Architecture) -> bytes:
    """A state as bytes.

    Raises:
        MemoryError: there is no room for them.
    """
    header = {
        "sizes": json.dumps(shape.sizes),
        "parts": json.dumps({"variational": shape.variational, "norm": shape.norm, "skip": shape.skip}),
        "best_value": training.best_value.hex(),
        "counts": json.dumps([training.best_epoch, training.epoch, training.steps]),
    }
    rows = {name: getattr(training, name) for name in _ROWS}
    _expect_memory(2 * sum(row.nbytes for row in rows.values()))
    content: bytes = save(rows, header)
    return content


def loads(content: bytes) -> TrialTraining:
    """The state that `dumps` gave these bytes; a store hands out no others.

    Raises:
        MemoryError: there is no room for it.
    """
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


def best_row(content: bytes) -> tuple[NDArray[np.float32], Architecture]:
    """The best epoch's weights of a state, padded, and what they are of."""
    header = _header(content)
    parts = json.loads(header.get("parts", "{}"))  # the version before had none
    return load(content)["best"], Architecture(tuple(json.loads(header["sizes"])), **parts)


def plain_weights(row_P: NDArray[np.float32], shape: Architecture) -> dict[str, NDArray[np.float32]]:
    """A row's weights without padding, by the names they have in `Autoencoder`."""
    return {name: np.ascontiguousarray(view.T).copy() for name, view in _tensors(row_P, shape)}


def padded_row(weights: dict[str, NDArray[np.float32]], shape: Architecture) -> NDArray[np.float32]:
    """The row (P,) with these weights: what `plain_weights` undoes."""
    row_P = np.zeros(Layout.own(shape).length, np.float32)
    for name, view in _tensors(row_P, shape):
        view[:] = weights[name].T
    return row_P


def _tensors(row_P: NDArray[np.float32], shape: Architecture) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tensor's name in the plain module, and a view of its real values in the row, (inputs, units) or (units,)."""
    layers = 3 if shape.norm else 2  # modules to a hidden layer: linear, its normalisation, activation
    for name, layer, view in Layout.own(shape).tensors(row_P[None]):
        half, place = ("encoder", layer) if layer < shape.code else ("decoder", layer - shape.code)
        real = view[0, :, : shape.sizes[layer + 1]]
        inputs = skip_inputs(name, shape) or shape.sizes[layer]
        values = real[:inputs] if name.endswith("weight") else real[0]
        if name in NORM_NAMES:
            yield f"{half}.{layers * place + 1}.{NORM_NAMES[name]}", values
        else:
            own = name.startswith(("log_variance", "skip"))
            yield name if own else f"{half}.{layers * place}.{name}", values


def _header(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    header: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return header

"""What single precision leaves uncertain of a model's outputs: the least that two correct runtimes may differ by.

Legend: N rows, F features, C units of the code.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuner.learning.inference.raw import RawModel

ROOM: Final = 16.0  # times the error that was measured: another order of sums makes another error of the same size
PROBES: Final = 256  # passes that it is measured on at least, so that it is not zero by chance
FAR: Final = 1e15  # from here on squares of values come near the end of single precision
SINGLE, DOUBLE = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Rounding:
    """By how much a correct runtime's outputs may differ for some rows, in scaled space.

    The network is run in single and in double precision. The single precision pass repeats the rows with each value
    moved by one unit in its last place, which is what the rows' own rounding leaves open. Measured like this, a network
    in which large values cancel has a larger uncertainty than one in which they do not.

    Attributes:
        near: (N,) whether nothing of the row is beyond `FAR`; of other rows it may depend on the last bit whether they
            are infinite.
        code: (N, 1).
        reconstruction: (N, F).
        score: (N,).
    """

    near: NDArray[np.bool_]
    code: Values
    reconstruction: Values
    score: Values

    @classmethod
    def of(cls, model: RawModel, rows: NDArray[np.float64]) -> Rounding:
        """Measure it.

        Args:
            model: what gives the outputs.
            rows: raw rows (N, F).
        """
        with torch.no_grad():
            narrow = model.scaled(torch.from_numpy(rows))
            exact_code, exact = _passed(copy.deepcopy(model).double(), narrow.double())
            probes = _probes(narrow)
            codes, outputs = (part.double() for part in _passed(model, probes))
        largest = torch.cat([narrow.double(), exact_code, exact], 1).abs().amax(1)
        near = largest < FAR  # false for NaN
        if near.any():
            largest = largest.maximum(largest[near].median())  # a row of zeros is as uncertain as its neighbours
        code = _uncertain(codes, exact_code, largest, near)
        output = _uncertain(outputs, exact, largest, near)
        known = narrow.double()
        if model.model.loss == "bce":
            slope, linked, least = (torch.sigmoid(exact) - known).abs(), output / 4, SINGLE
        else:
            slope, linked, least = 2 * (exact - known).abs(), output, 0.0
        unit = (model.offset / model.scale).abs() + known.abs()  # raw units are double, and are scaled once more
        score = (slope * output + output**2).mean(1) + least
        return cls(near.numpy(), code.numpy(), (linked + ROOM * DOUBLE * unit).numpy(), score.numpy())


def _passed(model: RawModel, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled rows (N, F) to codes (N, C) and to what the decoder gives (N, F), logits for bce."""
    code = model.model.encoder(scaled)
    return code, model.model.decoder(code)


def _probes(narrow: Tensor) -> Tensor:
    """The rows (N, F), and copies moved by one unit in the last place until there are `PROBES` rows: (K N, F)."""
    copies = 1 + -(-PROBES // len(narrow))
    signs = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (copies - 1, *narrow.shape)).astype(np.float32)
    moved = narrow * (1 + SINGLE * torch.from_numpy(signs))
    return torch.cat([narrow[None], moved]).flatten(0, 1)


def _uncertain(got: Tensor, exact: Tensor, largest: Tensor, near: Tensor) -> Tensor:
    """Of some rows' values (K N, C), exactly (N, C): the absolute uncertainty of each row, (N, 1)."""
    errors = (got.reshape(-1, *exact.shape) - exact).abs().amax((0, 2)) / largest
    measured = float(errors[near & errors.isfinite()].max()) if (near & errors.isfinite()).any() else 0.0
    return (ROOM * (measured + SINGLE) * largest)[:, None]

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

from tuner.learning.inference.model import Autoencoder
from tuner.learning.inference.raw import RawModel
from tuner.learning.inference.terms import TermModule

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
            scaled = model.scaled(torch.from_numpy(rows))
            narrow = model.model.filled(scaled)
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
        linked, score = _of_loss(model.model, exact, scaled.double(), output)
        unit = (model.offset / model.scale).abs() + known.abs()  # raw units are double, and are scaled once more
        return cls(near.numpy(), code.numpy(), (linked + ROOM * DOUBLE * unit).numpy(), score.numpy())


def _of_loss(model: Autoencoder, exact: Tensor, rows: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """What an uncertainty (N, 1) of the outputs (N, F) makes uncertain: of reconstructions (N, F), and scores (N,)."""
    if model.terms is not None:
        return _by_terms(model.terms, exact, rows, output)
    if model.loss == "bce":
        return output / 4, ((torch.sigmoid(exact) - rows).abs() * output + output**2).mean(1) + SINGLE
    return output, (2 * (exact - rows).abs() * output + output**2).mean(1)


def _by_terms(terms: TermModule, exact: Tensor, rows: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """The same; a loss curves by its weight at most, a count's by its rate, and loses digits of what it is a sum of."""
    with torch.enable_grad():
        outputs = exact.clone().requires_grad_()
        (slope,) = torch.autograd.grad(terms.cells(outputs, rows).sum(), outputs)
    means, moved = terms.link(exact), torch.maximum(output, torch.full_like(exact, SINGLE))
    rate = torch.where(terms.get_buffer("is_POISSON"), means, torch.ones_like(means))
    lost = SINGLE * (1 + exact.abs()) * torch.maximum(rate, terms.filled(rows).abs())
    cells = slope.abs() * output + terms.weights * (rate * output**2 + lost)
    # Levels move together, each by at most half of what its group's outputs do.
    linked = torch.maximum((terms.link(exact + moved) - means).abs(), moved * rate)
    return linked, terms.scores(torch.where(torch.isnan(rows), torch.zeros_like(cells), cells), rows)


def _passed(model: RawModel, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Complete scaled rows (N, F) to codes (N, C) and to what the decoder gives (N, F), logits for bce."""
    code = model.model.code(scaled)
    return code, model.model.output(code)


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

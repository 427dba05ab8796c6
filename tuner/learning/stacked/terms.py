"""The loss by terms (`tuner/data/terms.py`) of a stack's outputs, and its gradient, written by hand.

Nothing here waits for the device or depends on values in its shape, so that a graph can hold it. A model has the same
bits with any neighbours: what is elementwise works on slabs of whole vectors, and a softmax on one group at a time.

Shapes: M models, B rows of a batch (even), F padded features, G groups of L levels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from tuner.data.terms import MOST_LOG_RATE, Kind, Terms
from tuner.learning.groups import buckets, places
from tuner.learning.layout import LINE

LEAST_COUNT = 1e-30  # what a logarithm is taken of in place of a count of 0, whose loss does not need it


class TermLoss:
    """The terms on a device, padded with columns of weight 0.

    Args:
        terms: of the loss.
        columns: F.
        device: where the rows are.

    Attributes:
        missing: whether rows hold NaN.
    """

    def __init__(self, terms: Terms, columns: int, device: torch.device) -> None:
        def padded(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.pad(values, (0, columns - len(values)))).to(device)

        self.missing = terms.missing
        self._weights, self._fill, self.deltas = padded(terms.weights), padded(terms.fill), padded(terms.deltas)
        kinds = np.pad(terms.kinds, (0, columns - len(terms.kinds)))
        self._masks = [(kind, torch.from_numpy(kinds == kind).to(device)) for kind in Kind if kind in terms.kinds]
        found = buckets(terms, LINE)
        self._place = torch.from_numpy(places(found, columns)).to(device)
        self._groups = [_Group(bucket.columns, bucket.real, device) for bucket in found]

    def filled(self, rows: Tensor) -> Tensor:
        """What the network reads of rows (..., F)."""
        return torch.where(rows.isnan(), self._fill, rows) if self.missing else rows

    def losses(self, y_MBF: Tensor, target_MBF: Tensor) -> tuple[Tensor, Tensor]:
        """Each value's loss (M, B, F) and its slope, both weighted; 0 where the target is missing."""
        gone = target_MBF.isnan() if self.missing else None
        target = target_MBF if gone is None else target_MBF.masked_fill(gone, 0)
        loss, slope = torch.zeros_like(y_MBF), torch.zeros_like(y_MBF)
        for kind, mask in self._masks:
            cell, rise = _CELLS[kind](self, y_MBF, target)
            loss, slope = torch.where(mask, cell, loss), torch.where(mask, rise, slope)
        for found in (loss, slope):
            found.mul_(self._weights)
            if gone is not None:
                found.masked_fill_(gone, 0)
        return loss, slope

    def log_softmax(self, y_MBF: Tensor) -> Tensor:
        """Each column's log-probability within its group; where there is none, the output."""
        return self._laid_out([y_MBF, *(group.log_softmax(y_MBF) for group in self._groups)])

    def sums(self, target_MBF: Tensor) -> Tensor:
        """Of each column the sum of its group's targets, which is 1; where there is no group, the target."""
        return self._laid_out([target_MBF, *(group.sums(target_MBF) for group in self._groups)])

    def _laid_out(self, parts: list[Tensor]) -> Tensor:
        """Values by column, and behind them those of all buckets, to one value for each column."""
        return torch.cat(parts, 2).index_select(2, self._place)


class _Group:
    """One bucket of groups on the device."""

    def __init__(self, columns_GL: np.ndarray, real_GL: np.ndarray, device: torch.device) -> None:
        self._shape = columns_GL.shape
        self._columns = torch.from_numpy(columns_GL.ravel()).to(device)
        self._real = torch.from_numpy(real_GL).to(device)
        real = real_GL | ~real_GL.any(1, keepdims=True)  # a group of padding alone would give NaN
        self._outside = torch.from_numpy(np.where(real, np.float32(0), np.float32(-np.inf))).to(device)

    def log_softmax(self, y_MBF: Tensor) -> Tensor:
        """(M, B, G * L)."""
        levels = self._taken(y_MBF).add_(self._outside)
        return torch.log_softmax(levels, 3).flatten(2)

    def sums(self, target_MBF: Tensor) -> Tensor:
        """The same shape, each group's sum for all of its levels."""
        levels = self._taken(target_MBF).mul_(self._real)
        return levels.sum(3, keepdim=True).expand(levels.shape).flatten(2)

    def _taken(self, values_MBF: Tensor) -> Tensor:
        return values_MBF.index_select(2, self._columns).reshape(*values_MBF.shape[:2], *self._shape)


Cell = Callable[[TermLoss, Tensor, Tensor], tuple[Tensor, Tensor]]


def _square(_: TermLoss, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    d = y - target
    return d * d, 2 * d


def _logit(_: TermLoss, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.aten.softplus(y).addcmul_(y, target, value=-1), torch.sigmoid(y).sub_(target)


def _softmax(terms: TermLoss, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    likely = terms.log_softmax(y)
    return (likely * target).neg_(), likely.exp().mul_(terms.sums(target)).sub_(target)


def _huber(terms: TermLoss, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    d = y - target
    within = torch.minimum(torch.maximum(d, -terms.deltas), terms.deltas)
    return within * (d - within / 2), within


def _poisson(_: TermLoss, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the deviance, as t (exp(u) - 1 - u) with u = y - log t: its own sum loses a large count's digits."""
    low = y.clamp(max=MOST_LOG_RATE)
    rate, u = low.exp(), low - target.clamp(min=LEAST_COUNT).log()
    loss = torch.where(target > 0, target * (u.expm1() - u), rate)
    return loss + (rate - target) * (y - low), rate - target


_CELLS: Final[dict[Kind, Cell]] = {
    Kind.SQUARE: _square,
    Kind.LOGIT: _logit,
    Kind.SOFTMAX: _softmax,
    Kind.HUBER: _huber,
    Kind.POISSON: _poisson,
}

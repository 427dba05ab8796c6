"""The loss by terms (`tuner/data/terms.py`) as a plain module: what is read, what outputs mean, and what they cost.

Shapes: rows, outputs and losses are (N, F); G groups of L levels. Everything is a graph that can be exported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from tuner.data.terms import MOST_LOG_RATE, Kind, Terms
from tuner.learning.groups import buckets, places


class TermModule(nn.Module):
    """The terms of a loss.

    Args:
        terms: their declaration.
    """

    fill: Tensor
    weights: Tensor
    deltas: Tensor
    heads: Tensor

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self.terms, found = terms, buckets(terms)
        for name, values in {
            "fill": terms.fill,
            "weights": terms.weights,
            "deltas": terms.deltas,
            "heads": terms.heads(),
            "place": places(found, len(terms.kinds)),
            **{f"columns_{at}": bucket.columns for at, bucket in enumerate(found)},
            **{f"padding_{at}": ~bucket.real for at, bucket in enumerate(found)},
            **{f"is_{kind.name}": terms.kinds == kind for kind in Kind},
        }.items():
            # Not persistent: weights are saved without them, for the declaration has them.
            self.register_buffer(name, torch.from_numpy(values.copy()), persistent=False)
        self._buckets = len(found)
        self._kinds = [kind for kind in Kind if kind in terms.kinds]

    def filled(self, rows: Tensor) -> Tensor:
        """What the network reads of rows."""
        return torch.where(torch.isnan(rows), self.fill.to(rows.dtype), rows)

    def link(self, outputs: Tensor) -> Tensor:
        """Outputs to values, probabilities and rates."""
        found = outputs
        for kind in self._kinds:
            if kind in _LINKS:
                found = torch.where(self.get_buffer(f"is_{kind.name}"), _LINKS[kind](self, outputs), found)
        return found

    def cells(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """What each value adds to the loss, weighted: 0 where it is missing."""
        missing = torch.isnan(rows)
        target, found = torch.where(missing, torch.zeros_like(rows), rows), torch.zeros_like(outputs)
        for kind in self._kinds:
            cell = _CELLS[kind](self, outputs, target)
            found = torch.where(self.get_buffer(f"is_{kind.name}"), cell, found)
        return torch.where(missing, torch.zeros_like(found), found * self.weights.to(found.dtype))

    def scores(self, cells: Tensor, rows: Tensor) -> Tensor:
        """Each row's score (N,) in double precision; see `Terms.scores`."""
        observed = (self.heads & ~torch.isnan(rows)).double().sum(1)
        return cells.double().mean(1) * (self.heads.double().sum() / observed.clamp(min=1))

    def log_softmax(self, outputs: Tensor) -> Tensor:
        """Each level's log-probability within its group; of other columns the output."""
        parts = [outputs]
        for at in range(self._buckets):
            columns, padding = self.get_buffer(f"columns_{at}"), self.get_buffer(f"padding_{at}")
            levels = outputs.index_select(1, columns.flatten()).reshape(-1, *columns.shape)
            parts.append(torch.log_softmax(levels.masked_fill(padding, -torch.inf), 2).flatten(1))
        return torch.cat(parts, 1).index_select(1, self.get_buffer("place"))


def cross_entropy(logits: Tensor, rows: Tensor) -> Tensor:
    """The cross-entropy of each value between 0 and 1, from its logit: -y log s(x) - (1 - y) log(1 - s(x)).

    It is (1 - y) x - log s(x) with log s(x) = min(x, 0) - log(1 + exp(-|x|)), finite for every finite logit. It is
    what `binary_cross_entropy_with_logits` computes, written out because torch's exporter translates that function to
    the logarithm of a sigmoid, which is infinite where the sigmoid is 0.
    """
    log_sigmoid = logits.clamp(max=0) - torch.log1p(torch.exp(-logits.abs()))
    return (1 - rows) * logits - log_sigmoid


Link = Callable[[TermModule, Tensor], Tensor]
Cell = Callable[[TermModule, Tensor, Tensor], Tensor]


def _huber(terms: TermModule, outputs: Tensor, target: Tensor) -> Tensor:
    size, deltas = (outputs - target).abs(), terms.deltas.to(outputs.dtype)
    within = torch.minimum(size, deltas)
    return within * (size - within / 2)


def _poisson(_: TermModule, outputs: Tensor, target: Tensor) -> Tensor:
    """Half of the deviance, as t (exp(u) - 1 - u) with u = y - log t: its own sum loses a large count's digits."""
    low = outputs.clamp(max=MOST_LOG_RATE)
    rate, u = low.exp(), low - target.clamp(min=1e-30).log()
    loss = torch.where(target > 0, target * (u.expm1() - u), rate)
    return loss + (rate - target) * (outputs - low)


_LINKS: Final[dict[Kind, Link]] = {
    Kind.LOGIT: lambda _, outputs: torch.sigmoid(outputs),
    Kind.SOFTMAX: lambda terms, outputs: terms.log_softmax(outputs).exp(),
    Kind.POISSON: lambda _, outputs: outputs.clamp(max=MOST_LOG_RATE).exp(),
}
_CELLS: Final[dict[Kind, Cell]] = {
    Kind.SQUARE: lambda _, outputs, target: (outputs - target) ** 2,
    Kind.LOGIT: lambda _, outputs, target: cross_entropy(outputs, target),
    Kind.SOFTMAX: lambda terms, outputs, target: -target * terms.log_softmax(outputs),
    Kind.HUBER: _huber,
    Kind.POISSON: _poisson,
}

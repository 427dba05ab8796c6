"""Whether a training and an ordinary PyTorch loop on the same batches come to the same losses.

Both compute in single precision and round differently, and training makes small differences grow: with a high learning
rate within some epochs to several per cent, between any two correct programs. So the bound of an epoch is LEAST, or
where it is more, FACTOR times what rounding alone has made of the plain loop so far: its difference from the same loop
in double precision, which is run only where LEAST is passed. Where that is more than 1, rounding decides what is
learned, and nothing is asked. (Of 17 random trials with learning rates up to 0.1 the worst needed a factor of 23.)
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tuner.data.rows import Rows
from tuner.ledger.trainers import step_in_words
from tuner.spec.work import Curve, TrainingPlan, Trial

LEAST: Final = 1e-5  # relative
FACTOR: Final = 100.0
MOST_SHOWN: Final = 20  # epochs in the table
_CACHE: Final = "TORCHINDUCTOR_CACHE_DIR"  # torch.optim sets it, and every child of the caller's would have it


@dataclass(frozen=True, slots=True)
class Epoch:
    """The losses of one epoch, each as (training, validation).

    Attributes:
        ours: the tuner's.
        plain: the ordinary loop's.
        bound: the largest relative difference of the two that rounding explains.
    """

    number: int
    ours: tuple[float, float]
    plain: tuple[float, float]
    bound: float

    @property
    def difference(self) -> float:
        """The larger of the two relative differences."""
        return _difference(self.ours, self.plain)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Every epoch's losses side by side."""

    epochs: tuple[Epoch, ...]

    @property
    def worst(self) -> Epoch:
        """The epoch with the largest relative difference."""
        return max(self.epochs, key=lambda epoch: epoch.difference)

    @property
    def holds(self) -> bool:
        """Whether every epoch is within its bound."""
        return all(epoch.difference <= epoch.bound for epoch in self.epochs)


def agreement(trial: Trial, rows: Rows, loss: str, curve: Curve, device: str, plan: TrainingPlan) -> Agreement:
    """Train a trial by the plain loop as well, and set its losses beside those of the curve.

    Args:
        trial: that was trained.
        rows: its scaled rows.
        loss: `mse` or `bce`.
        curve: of its training, from the first epoch.
        device: where it was trained; the plain loop runs there too.
        plan: of the whole training, of which the curve may be a part.
    """
    from tuner.learning.plain import plain_losses  # noqa: PLC0415 (torch, 0.8 s)

    ours = list(zip(curve.train_loss, curve.val_loss, strict=True))
    data = (trial, rows.train, rows.validation, loss, len(ours))
    with _cache_as_it_was():
        plain = plain_losses(*data, device=device, plan=plan, terms=rows.terms, start=rows.start).epochs
        bounds = [LEAST] * len(ours)
        if any(_difference(*pair) > LEAST for pair in zip(ours, plain, strict=True)):
            bounds = rounding_bounds(
                plain, plain_losses(*data, double=True, plan=plan, terms=rows.terms, start=rows.start).epochs
            )
    numbered = enumerate(zip(ours, plain, bounds, strict=True), start=1)
    return Agreement(tuple(Epoch(number, *one) for number, one in numbered))


@contextmanager
def _cache_as_it_was() -> Iterator[None]:
    was_set = _CACHE in os.environ
    try:
        yield
    finally:
        if not was_set:
            os.environ.pop(_CACHE, None)


def rounding_bounds(plain: Sequence[tuple[float, float]], double: Sequence[tuple[float, float]]) -> list[float]:
    """Each epoch's bound from the plain loop's losses in single and in double precision."""
    bounds, grown = [], 0.0
    for pair in zip(plain, double, strict=True):
        grown = max(grown, _difference(*pair))
        bounds.append(max(LEAST, FACTOR * grown) if FACTOR * grown < 1 else math.inf)
    return bounds


def _difference(losses: tuple[float, float], others: tuple[float, float]) -> float:
    """The larger relative difference of two pairs; 0 for two that are not finite, infinite where one alone is not."""
    return max(_relative(*pair) for pair in zip(losses, others, strict=True))


def _relative(loss: float, other: float) -> float:
    if not (math.isfinite(loss) and math.isfinite(other)):
        return 0.0 if math.isfinite(loss) == math.isfinite(other) else math.inf
    return abs(loss - other) / abs(other) if other else abs(loss)


def as_text(found: Agreement, step: str) -> str:
    """Every epoch's losses side by side, a choice of them where they are many, and whether they agree.

    Args:
        found: the losses.
        step: what trained: a build of the compiled step, or `torch`.
    """
    worst = found.worst
    what = f"tuner: {step_in_words(step)}; plain: nn.Module, autograd and torch.optim.AdamW on the same batches"
    largest = f"Largest relative difference {worst.difference:.1e}, in epoch {worst.number}. {_verdict(found)}"
    return "\n".join([what, *_table(found), largest])


def _table(found: Agreement) -> list[str]:
    epochs = found.epochs
    every = -(-len(epochs) // MOST_SHOWN)
    lines = [
        f"{'':>5}  {'training loss':^27}  {'validation loss':^27}  {'relative':>10}",
        f"{'epoch':>5}" + f"  {'tuner':<13} {'plain':<13}" * 2 + f"  {'difference':>10}",
    ]
    for epoch in epochs:
        if epoch.number % every == 0 or epoch in (epochs[0], epochs[-1], found.worst):
            pairs = zip(epoch.ours, epoch.plain, strict=True)
            losses = "".join(f"  {ours:<13.9g} {plain:<13.9g}" for ours, plain in pairs)
            lines.append(f"{epoch.number:>5}{losses}  {epoch.difference:>10.1e}")
    return lines


def _verdict(found: Agreement) -> str:
    first = next((epoch for epoch in found.epochs if epoch.difference > epoch.bound), None)
    lost = next((epoch for epoch in found.epochs if math.isinf(epoch.bound)), None)
    if first is None and lost is not None:
        return f"Equal before epoch {lost.number}; from there on rounding decides the losses of any program."
    if first is None:
        return f"Equal as far as rounding lets them be (there up to {found.worst.bound:.1e})."
    differ = f"in epoch {first.number} they differ by {first.difference:.1e}"
    return f"Not equal: {differ}, and rounding explains at most {first.bound:.1e}."

"""What is measured of each trial so far, and which trials were given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from tuner.ledger.records import Event
from tuner.spec.final import is_final
from tuner.spec.length import Length
from tuner.spec.work import Curve, TrialState

if TYPE_CHECKING:
    from tuner.search.loop import Round

GIVEN_UP: Final = {"infeasible": TrialState.INFEASIBLE, "failed": TrialState.FAILED}  # events that end a trial


@final
class Results:
    """The record's curves, which grow as segments are trained.

    Args:
        curves: each trial's, from its first epoch on.
        events: the study's.
        length: how long its trials train.

    Attributes:
        curves: the same.
        given_up: how the trials end that cannot be trained, and why.
        amount: epochs or steps that were trained since this was made; see `Length`.
    """

    def __init__(self, curves: dict[int, Curve], events: Sequence[Event], length: Length) -> None:
        self.curves, self._length = curves, length
        ends = [(e.body["trial"], GIVEN_UP[e.kind], e.body["reason"]) for e in events if e.kind in GIVEN_UP]
        self.given_up = {number: (state, reason) for number, state, reason in ends}
        self.amount = 0.0

    def add(self, curve: Curve) -> None:
        """Take what a segment measured of a trial."""
        known = self.curves.get(curve.number)
        self.curves[curve.number] = curve if known is None else known.joined(curve)
        length = self._length.of_final if is_final(curve.number) else self._length
        self.amount += length.amount(curve.last) - length.amount(curve.first)

    def give_up(self, number: int, kind: str, reason: str) -> None:
        """A trial cannot be trained; `kind` is the event's that says so."""
        self.given_up[number] = (GIVEN_UP[kind], reason)

    def reached(self, number: int, epoch: int) -> bool:
        """Whether a trial was trained to that epoch, or diverged before."""
        curve = self.curves.get(number)
        return curve is not None and (curve.last >= epoch or curve.diverged)

    def has(self, number: int, epoch: int) -> bool:
        """Whether nothing is left to be trained of a trial up to that epoch."""
        return number in self.given_up or self.reached(number, epoch)

    def is_whole(self, begun: Round) -> bool:
        """Whether nothing is left to be trained of a round."""
        return all(self.has(trial.number, begun.last) for trial in begun.trials)

    def curves_of(self, begun: Round) -> dict[int, Curve]:
        """The curves of a round's trials as they stood at its end."""
        known = [trial.number for trial in begun.trials if trial.number in self.curves]
        return {number: self.curves[number].until(begun.last) for number in known}

    def lowest(self, numbers: Sequence[int], epoch: int) -> tuple[tuple[int, float], ...]:
        """Number and lowest loss up to that epoch, of those of the trials that have curves."""
        known = [number for number in numbers if number in self.curves]
        return tuple((number, self.curves[number].until(epoch).lowest) for number in known)

    def lost(self, numbers: Sequence[int], epoch: int) -> dict[int, tuple[TrialState, str]]:
        """Those of the trials that could not be trained so far; another machine may have trained them before."""
        given_up = [number for number in numbers if number in self.given_up]
        return {number: self.given_up[number] for number in given_up if not self.reached(number, epoch)}

"""How long the trials of a study train: resolved when it begins, recorded, and from then on read from the record.

So a later version may resolve it otherwise, and changes no study that was begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from tuner.spec.plateau import LEAST_GAIN, is_flat
from tuner.spec.work import TrainingPlan

if TYPE_CHECKING:
    from tuner.spec.study import SearchSpec

EVENT: Final = "length"
GROWTH: Final = 1.5  # a training that is not flat yet goes on to so many times its length
INTERVALS: Final = 27  # that declared steps are cut into: the shortest rung is one of them
Unit = Literal["epochs", "steps"]


class Recorded(Protocol):
    """An event of the record."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def body(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Length:
    """How long trials train, and when they are compared.

    Attributes:
        plan: what a training is cut into. Where `is_open`, its intervals are the most that a trial trains.
        rungs: intervals, rising, after which the trials of a cohort are compared. At the last one a trial is complete,
            or where `is_open` goes on, by itself, until it has become flat.
        growth: how much longer it then is trained, again and again.
        least: what the newest part of a training must have lowered its best loss by, relative, for it to go on.
    """

    plan: TrainingPlan
    rungs: tuple[int, ...]
    growth: float = GROWTH
    least: float = LEAST_GAIN

    @classmethod
    def of(cls, plan: TrainingPlan) -> Self:
        """Of trainings that are compared when they are complete."""
        return cls(plan, (plan.intervals,))

    @property
    def top(self) -> int:
        """The interval at which a trial that was never pruned can be complete."""
        return self.rungs[-1]

    @property
    def is_open(self) -> bool:
        """Whether a trial's length follows from its losses."""
        return self.top < self.plan.intervals

    @property
    def of_final(self) -> Length:
        """Of the final stage's runs, which have whole epochs, or as many steps an interval: for `amount` and `at`."""
        return Length.of(self.plan.lengthened(self.plan.intervals))

    @property
    def unit(self) -> Unit:
        """What `amount` counts."""
        return "epochs" if self.plan.steps is None else "steps"

    def is_complete(self, last: int, before: float, best: float) -> bool:
        """Whether a trial that was never pruned is complete.

        Args:
            last: intervals trained.
            before: the lowest validation loss before the newest segment; infinity where there is none.
            best: the lowest one.
        """
        return last >= self.plan.intervals or (last >= self.top and is_flat((before, best), 1 / 2, self.least))

    def following(self, interval: int) -> int:
        """The interval up to which a trial is trained next."""
        above = next((rung for rung in self.rungs if rung > interval), None)
        if above is not None:
            return above
        whole = interval - self.plan.thirds  # epochs; below 1 amid the first
        longer = max(whole + 1, ceil(self.growth * whole)) + self.plan.thirds if whole > 0 else interval + 1
        return min(longer, self.plan.intervals)

    def amount(self, interval: int) -> int | float:
        """What a trial has trained when an interval ends: epochs, amid the first one a part of it, or steps."""
        if self.plan.steps is None and 0 < interval <= self.plan.thirds:
            return round(3.0 ** (interval - self.plan.thirds - 1), 4)
        return self.plan.done(interval, 1) if interval else 0

    def shown(self, interval: int) -> str:
        """The same in words: `12 epochs`, `0.1111 epochs`, `640 steps`."""
        amount = self.amount(interval)
        return f"{amount:,} {self.unit[:-1] if amount == 1 else self.unit}"

    def at(self, interval: int, word: str = "at") -> str:
        """When that was: `at epoch 12`, `at epoch 0.1111`, `after 640 steps`."""
        amount = self.amount(interval)
        if self.unit == "steps":
            return f"after {amount:,} steps"
        return f"{word if interval > self.plan.thirds else 'at'} epoch {amount}"

    def body(self) -> dict[str, Any]:
        """As an event keeps it."""
        plan = {"intervals": self.plan.intervals, "thirds": self.plan.thirds, "steps": self.plan.steps}
        return {**plan, "rungs": list(self.rungs), "growth": self.growth, "least": self.least}

    @classmethod
    def recorded(cls, body: Mapping[str, Any]) -> Self:
        """From an event."""
        plan = TrainingPlan(body["intervals"], body["thirds"], body["steps"])
        return cls(plan, tuple(body["rungs"]), body["growth"], body["least"])


def recorded_length(events: Iterable[Recorded]) -> Length | None:
    """The length that a study was begun with; None where older rules left it to the declaration."""
    return next((Length.recorded(event.body) for event in events if event.kind == EVENT), None)


def known_length(search: SearchSpec, events: Iterable[Recorded]) -> Length:
    """The length that a study was begun with; older rules recorded none, and their rungs below the last are left out.

    Raises:
        ValueError: nothing is recorded of it, nor declared.
    """
    known = recorded_length(events)
    if known is not None:
        return known
    return Length.of(declared_plan(search))


def study_plan(search: SearchSpec, events: Iterable[Recorded]) -> TrainingPlan:
    """How the trainings of a study are cut.

    Raises:
        ValueError: nothing is recorded of it, nor declared.
    """
    return known_length(search, events).plan


def declared_plan(search: SearchSpec) -> TrainingPlan:
    """A plan that follows from the declaration alone.

    Raises:
        ValueError: it needs the data's rows.
    """
    if search.steps is not None:
        return TrainingPlan(min(search.intervals or INTERVALS, search.steps), steps=search.steps)
    if search.epochs is None:
        raise ValueError("how long trials train follows from the rows, and is recorded when a study begins")
    thirds = search.thirds or 0
    return TrainingPlan(search.epochs + thirds, thirds)

"""Conditional hyperparameters: which are active at a point, and what of their conditions cannot be meant.

A condition holds where each hyperparameter that it names is itself active and has one of the values that it lists:
as in ConfigSpace, a hyperparameter below one that is left out is left out as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tuner.spec.distributions import Scalar

When: TypeAlias = "Mapping[str, Sequence[Scalar]]"  # name to the values that it may have
Values: TypeAlias = "Sequence[Scalar] | None"  # all that a hyperparameter can be; None for a range of real numbers
Counted: TypeAlias = "Sequence[tuple[Scalar, int]]"
MOST_LISTED = 8


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which hyperparameters depend on which values of others.

    Attributes:
        order: all hyperparameters, none before one that it depends on.
        when: the conditions of those that have one.
    """

    order: tuple[str, ...]
    when: Mapping[str, When]

    def holds(self, name: str, values: Mapping[str, Scalar]) -> bool:
        """Whether a hyperparameter is active where exactly what is active has a value."""
        return all(other in values and values[other] in listed for other, listed in self.when.get(name, {}).items())

    def active(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Those of the values that are of active hyperparameters, in order."""
        found: dict[str, Scalar] = {}
        for name in self.order:
            if name in values and (name not in self.when or self.holds(name, found)):
                found[name] = values[name]
        return found

    def points(self, values: Mapping[str, Sequence[Scalar]]) -> Iterator[dict[str, Scalar]]:
        """Every distinct point of a finite space: the values of what is active there."""
        return self._points(tuple(name for name in self.order if name in values), values, {})

    def _points(
        self, names: tuple[str, ...], values: Mapping[str, Sequence[Scalar]], chosen: dict[str, Scalar]
    ) -> Iterator[dict[str, Scalar]]:
        if not names:
            yield chosen
        elif not self.holds(names[0], chosen):
            yield from self._points(names[1:], values, chosen)
        else:
            for value in values[names[0]]:
                yield from self._points(names[1:], values, {**chosen, names[0]: value})

    def count(self, values: Mapping[str, Sequence[Scalar]], most: int) -> int:
        """How many distinct points there are, or some number above `most` where there are more.

        Values that no condition distinguishes are counted together.
        """
        names = tuple(name for name in self.order if name in values)
        return self._count(names, {name: self._told_apart(name, values[name]) for name in names}, {}, most)

    def _count(
        self, names: tuple[str, ...], told_apart: Mapping[str, Counted], chosen: dict[str, Scalar], most: int
    ) -> int:
        if not names:
            return 1
        if not self.holds(names[0], chosen):
            return self._count(names[1:], told_apart, chosen, most)
        total = 0
        for value, times in told_apart[names[0]]:
            total += times * self._count(names[1:], told_apart, {**chosen, names[0]: value}, most)
            if total > most:
                break
        return total

    def _told_apart(self, name: str, values: Sequence[Scalar]) -> Counted:
        """One of each kind of value that conditions distinguish, and how many there are of it."""
        listed = [set(when[name]) for when in self.when.values() if name in when]
        if not listed:
            return [(values[0], len(values))]
        kinds = Counter[tuple[bool, ...]]()
        first: dict[tuple[bool, ...], Scalar] = {}
        for value in values:
            kind = tuple(value in each for each in listed)
            kinds[kind] += 1
            first.setdefault(kind, value)
        return [(first[kind], times) for kind, times in kinds.items()]


def ordered(names: Sequence[str], when: Mapping[str, When]) -> tuple[str, ...]:
    """The names as they came, but none before one that it depends on; without those that depend on themselves."""
    done: dict[str, None] = {}
    left = list(names)
    while ready := [name for name in left if all(other in done for other in when.get(name, ()))]:
        done[ready[0]] = None  # the first alone: what it sets free may have come before the others
        left.remove(ready[0])
    return tuple(done)


def problems(when: Mapping[str, When], values: Mapping[str, Values]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Conditions that go round in circles, never hold or always do; each with its key and one sentence.

    Args:
        when: the conditions.
        values: what every hyperparameter can be where it is active.
    """
    for name, condition in when.items():
        for other, listed in condition.items():
            if message := _single(name, other, listed, values[other], other in when):
                yield (name, "when", other), message
    order = ordered(tuple(values), when)
    for name in when:
        if name not in order:
            yield (name, "when"), "must not depend on itself, by way of others either"
    for name in order:
        for other in [other for other, listed in _needed(name, when).items() if not listed]:
            yield (
                (name, "when"),
                f"can never hold, for where all that it depends on is active {other} has other values",
            )


def _single(name: str, other: str, listed: Sequence[Scalar], possible: Values, conditional: bool) -> str | None:
    """What is wrong with the part of a condition that names `other`."""
    if other == name:
        return "must be another hyperparameter, got the one that depends on it"
    if possible is None:
        return f"must be fixed, categorical or int to be depended on, but {other} is a range of real numbers"
    known = possible if isinstance(possible, range) else set(possible)
    if wrong := [value for value in listed if value not in known]:
        return f"can never hold with {str(wrong[0])[:40]}, for {other} is {_listed(possible)}"
    if not conditional and len(listed) == len(possible):
        return f"always holds, for {other} is {_listed(possible)}; leave it out"
    return None


def _needed(name: str, when: Mapping[str, When]) -> dict[str, set[Scalar]]:
    """The values that all above a name must have for it to be active."""
    needed: dict[str, set[Scalar]] = {}
    waiting, seen = [name], {name}
    while waiting:
        for other, listed in when.get(waiting.pop(), {}).items():
            needed[other] = needed.get(other, set(listed)) & set(listed)
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return needed


def _listed(values: Sequence[Scalar]) -> str:
    if isinstance(values, range):
        return f"{values[0]} to {values[-1]}" + (f" by {values.step}" if values.step > 1 else "")
    shown = " | ".join(str(value)[:40] for value in values[:MOST_LISTED])
    return shown + (" | ..." if len(values) > MOST_LISTED else "")

"""Whether a configuration from elsewhere is one that a space could yield, and which of the space's is nearest to it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from tuner.spec.distributions import Categorical, Distribution, FloatDistribution, IntDistribution, Scalar
from tuner.spec.hyperparameters import BY_NAME, OF_KIND
from tuner.spec.space import SearchSpace

_OFF_STEP = 1e-8  # of a step: what Optuna forgives as well


def misfit(space: SearchSpace, values: Mapping[str, Scalar]) -> str | None:
    """Why the space cannot yield these values, the first reason; None where it can.

    Args:
        space: what is searched; what it fixes has to be equal.
        values: a value for every hyperparameter.
    """
    searched, active = space.searched(), space.conditions.active(values)
    for name, allowed in searched.items():
        if name in active and not contains(allowed, values[name]):
            return f"its {name} is {values[name]}, which space.{name} does not reach"
    there = space.point({name: active[name] for name in searched if name in active}).as_dict()
    for name, value in there.items():
        if values[name] != value:
            return f"its {name} is {values[name]}, where space.{name} is {value}"
    return None


def own_misfit(space: SearchSpace, own: Mapping[str, Any]) -> str | None:
    """Why a user's own set of values is none of the space's, the first reason; None where it is.

    Args:
        space: what is searched; what it fixes may be left out of the set, what it searches may not.
        own: values by name.
    """
    if unknown := next((name for name in own if name not in BY_NAME), None):
        near = difflib.get_close_matches(unknown, BY_NAME, 1)
        return f"its {unknown} is no hyperparameter" + (f"; did you mean {near[0]}?" if near else "")
    if odd := next((name for name, value in own.items() if not _is_of(name, value)), None):
        kinds = {int: "a whole number", float: "a number"}
        return f"its {odd} is {own[odd]}, which must be {kinds.get(BY_NAME[odd].type, 'a word')}"
    active = space.conditions.active({**space.fixed(), **own})
    order, searched = space.conditions.order, space.searched()
    lacking = [name for name in order if name in searched and name not in own and space.conditions.holds(name, active)]
    if lacking:
        return f"it has no {', '.join(lacking)}, which the space searches"
    return misfit(space, {**space.point(own).as_dict(), **own})


def _is_of(name: str, value: Any) -> bool:
    kind = BY_NAME[name].type
    if kind is int or kind is float:
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def own_point(space: SearchSpace, own: Mapping[str, Any]) -> dict[str, Scalar]:
    """A value for every hyperparameter, from a user's own set that fits: what the space fixes is filled in."""
    typed = {name: float(value) if BY_NAME[name].type is float else value for name, value in own.items()}
    return space.point(typed).as_dict()


def contains(allowed: Distribution, value: Scalar) -> bool:
    """Whether a distribution can yield a value: between its ends, on its steps, among its choices."""
    if not isinstance(allowed, FloatDistribution | IntDistribution):
        return value in allowed.choices
    if isinstance(value, str) or not allowed.low <= value <= allowed.high:
        return False
    if isinstance(allowed, IntDistribution):
        return (value - allowed.low) % allowed.step == 0
    steps = 0.0 if allowed.step is None else (value - allowed.low) / allowed.step
    return abs(steps - round(steps)) < _OFF_STEP


def nearest_point(space: SearchSpace, values: Mapping[str, Scalar], share: float) -> dict[str, Scalar]:
    """The space's point nearest to values from elsewhere: a value for every hyperparameter.

    What the space fixes has its value there, whatever it was elsewhere.

    Args:
        space: what is searched.
        values: by name; a hyperparameter that is not among them has its default.
        share: where one that has no default either stands in its range, 0 for the lower end and 1 for the upper one.
    """
    searched, fixed = space.searched(), space.fixed()
    active: dict[str, Scalar] = {}
    for name in space.conditions.order:
        if space.conditions.holds(name, active):
            wanted = values.get(name, _usual(name))
            active[name] = nearest(searched[name], wanted, share) if name in searched else fixed[name]
    return space.point(active).as_dict()


def _usual(name: str) -> Scalar | None:
    """A hyperparameter's default, where it is in use; None for the code's length, which every space declares."""
    return OF_KIND[name].default if name in OF_KIND else BY_NAME[name].default


def nearest(allowed: Distribution, value: Scalar | None, share: float) -> Scalar:
    """The value of a distribution that is nearest to another one; without one, that at a share of it.

    Among words that it has not, none is nearer than another: its first is taken.
    """
    if value is None:
        return at_share(allowed, share)
    if isinstance(allowed, FloatDistribution | IntDistribution):
        return _in_range(allowed, float(value))
    return _among(allowed, value)


def at_share(allowed: Distribution, share: float) -> Scalar:
    """The value at a share of a distribution's range, 0 to 1, on the scale that it is searched on."""
    if isinstance(allowed, FloatDistribution | IntDistribution):
        return _in_range(allowed, _at(allowed, share))
    choices: tuple[Scalar, ...] = allowed.choices
    return choices[min(int(share * len(choices)), len(choices) - 1)]


def _at(allowed: FloatDistribution | IntDistribution, share: float) -> float:
    low, high = float(allowed.low), float(allowed.high)
    return low * (high / low) ** share if allowed.log else low + share * (high - low)


def _in_range(allowed: FloatDistribution | IntDistribution, value: float) -> float | int:
    inside = min(max(value, allowed.low), allowed.high)
    if allowed.step is None:
        return float(inside)
    most = int((allowed.high - allowed.low) / allowed.step + _OFF_STEP)
    stepped = allowed.low + min(round((inside - allowed.low) / allowed.step), most) * allowed.step
    return int(stepped) if isinstance(allowed, IntDistribution) else float(stepped)


def _among(allowed: Categorical, value: Scalar) -> Scalar:
    choices: tuple[Scalar, ...] = allowed.choices
    if value in choices:
        return value
    if isinstance(value, str):
        return choices[0]
    return min(choices, key=lambda choice: _apart(float(choice), float(value)))


def _apart(one: float, other: float) -> float:
    """By their ratio, as sizes and rates are; by their difference where one of them has none."""
    return abs(math.log(one / other)) if one > 0 and other > 0 else abs(one - other)

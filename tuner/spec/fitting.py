"""Whether a configuration from elsewhere is one that a space could yield."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from tuner.spec.distributions import Distribution, FloatDistribution, IntDistribution, Scalar
from tuner.spec.hyperparameters import BY_NAME
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

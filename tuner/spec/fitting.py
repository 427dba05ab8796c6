"""Whether a configuration from elsewhere is one that a space could yield."""

from __future__ import annotations

from collections.abc import Mapping

from tuner.spec.distributions import Distribution, FloatDistribution, IntDistribution, Scalar
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

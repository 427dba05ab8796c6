"""Claims about whether a configuration fits a space, against Optuna's own answer."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from tuner.spec import distributions as ours
from tuner.spec.fitting import contains, misfit
from tuner.spec.space import SearchSpace

FIXED = SearchSpace(bottleneck=4)
VALUES = dict(FIXED.fixed())


@given(st.integers(-20, 20), st.integers(0, 30), st.integers(1, 7), st.integers(-25, 60))
def test_whole_numbers_fit_as_in_optuna(low: int, span: int, step: int, value: int) -> None:
    """Between the ends and on a step, for ends that are no whole number of steps apart as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = IntDistribution(low, low + span, step=step)
    fits = contains(ours.IntDistribution(type="int", low=low, high=low + span, step=step), value)
    assert fits == (theirs._contains(value) and value <= low + span)


@given(st.integers(0, 40), st.sampled_from([0.1, 0.25, 0.3]), st.booleans())
def test_numbers_on_a_step_fit_however_they_are_rounded(k: int, step: float, off: bool) -> None:
    """low + k step fits up to the end, half a step beside it does not, as in Optuna."""
    mine = ours.FloatDistribution(type="float", low=0.5, high=0.5 + 30 * step, step=step)
    theirs = FloatDistribution(0.5, 0.5 + 30 * step, step=step)
    value = 0.5 + (k + 0.5 * off) * step
    assert contains(mine, value) == theirs._contains(value)


@pytest.mark.parametrize(
    ("allowed", "value", "reason"),
    [
        ({"width": {"type": "int", "low": 8, "high": 64}}, {"width": 128}, "its width is 128, which space.width"),
        ({"activation": {"type": "categorical", "choices": ["tanh"]}}, {}, "its activation is relu"),
        ({"learning_rate": {"type": "float", "low": 1e-3, "high": 1e-2}}, {"learning_rate": 1e-2}, None),
        ({"learning_rate": {"type": "float", "low": 1e-3, "high": 1e-2}}, {"learning_rate": 0.1}, "its learning_rate"),
        ({"depth": 3}, {}, "its depth is 2, where space.depth is 3"),
        ({}, {}, None),
    ],
)
def test_the_first_reason_is_said(allowed: dict[str, object], value: dict[str, object], reason: str | None) -> None:
    """Searched: within the distribution; fixed: equal."""
    space = SearchSpace.model_validate({"bottleneck": 4, "width": 128, **allowed})
    found = misfit(space, {**VALUES, **value})
    assert found is None if reason is None else found is not None and found.startswith(reason)

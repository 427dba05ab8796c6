"""Claims about the configurations that a new study begins with unless it is told."""

from __future__ import annotations

from typing import Any

import pytest
from searches import spec

from tuner.search.portfolio import configurations, portfolio
from tuner.search.rungs import cohort_size
from tuner.spec.distributions import FloatDistribution, IntDistribution
from tuner.spec.fitting import misfit, nearest
from tuner.spec.hyperparameters import BOUNDS, BY_NAME
from tuner.spec.rules import ANSWERS, NEWEST, TYPED

CHOICE = "categorical"
ODD: dict[str, dict[str, Any]] = {
    "one number": {"bottleneck": 3, "learning_rate": {"type": "float", "low": 0.5, "high": 0.9}},
    "steps": {
        "bottleneck": 3,
        "learning_rate": {"type": "float", "low": 0.001, "high": 0.0122, "step": 0.002},
        "width": {"type": "int", "low": 5, "high": 96, "step": 9},
    },
    "choices that it has not": {
        "bottleneck": 3,
        "batch_size": {"type": CHOICE, "choices": [7, 1000]},
        "activation": {"type": CHOICE, "choices": ["elu", "selu"]},
        "depth": {"type": CHOICE, "choices": [0, 9]},
    },
    "all but one thing fixed": {
        "bottleneck": 3,
        "width": 20,
        "activation": "elu",
        "depth": {"type": "int", "low": 0, "high": 1},
    },
    "kinds": {
        "bottleneck": {"type": "int", "low": 2, "high": 9},
        "kind": {"type": CHOICE, "choices": ["variational", "sparse"]},
        "beta": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "depth": {"type": "int", "low": 0, "high": 2},
        "width": {"type": "int", "low": 16, "high": 64, "log": True, "when": {"depth": [1, 2]}},
        "dropout": {"value": 0.1, "when": {"depth": [1, 2]}},
    },
    "what the portfolio does not know": {
        "bottleneck": 3,
        "taper": {"type": "float", "low": 0.0, "high": 0.5},
        "norm": {"type": CHOICE, "choices": ["layer", "none"]},
        "schedule": {"type": CHOICE, "choices": ["cosine", "linear"]},
        "clip_norm": {"type": "float", "low": 0.5, "high": 2.0, "log": True},
    },
}


@pytest.mark.parametrize("name", ODD)
def test_its_points_are_the_spaces_own(name: str) -> None:
    """Whatever the space: each point is one that it can yield, and occurs once."""
    declared = spec(space=ODD[name], trials=200, cohort=81)
    points = portfolio(declared, NEWEST)
    assert points
    assert [misfit(declared.space, point) for point in points] == [None] * len(points)
    assert all(point not in points[:place] for place, point in enumerate(points))


def test_a_searched_code_has_many_lengths() -> None:
    """On the way to a front each configuration tries another part of the range, whose ends are far apart."""
    space = {"bottleneck": {"type": "int", "low": 2, "high": 32, "log": True}, "learning_rate": 0.01}
    declared = spec(space=space, trials=200, cohort=81)
    declared = declared.model_copy(update={"objective": ("val_loss", "bottleneck")})
    lengths = [point["bottleneck"] for point in portfolio(declared, NEWEST)]
    assert min(lengths) <= 3 and max(lengths) >= 20 and len(set(lengths)) == len(lengths) >= 6


@pytest.mark.parametrize(
    ("search", "most"),
    [
        ({"trials": 200, "cohort": 9}, 3),
        ({"trials": 7, "cohort": 81}, 2),
        ({"trials": 2}, 0),
        ({"trials": 200, "portfolio": False}, 0),
        ({"trials": 1, "first": [{"learning_rate": 0.1, "width": 20, "activation": "relu"}]}, 0),
    ],
)
def test_it_is_at_most_a_third(search: dict[str, Any], most: int) -> None:
    """Of the first cohort, and of all trials; none where the user says what to begin with, or does not want it."""
    assert len(portfolio(spec(**search), NEWEST)) == most


def test_nothing_to_choose_needs_none() -> None:
    """A grid visits every point once; a space without ranges has one; older studies began without."""
    grid = {"bottleneck": 3, "width": {"type": "int", "low": 4, "high": 40}}
    assert portfolio(spec(space=grid, sampler="grid", trials=30), NEWEST) == ()
    assert portfolio(spec(space={"bottleneck": 3}), NEWEST) == ()
    assert portfolio(spec(), TYPED) == () != portfolio(spec(), ANSWERS)


def test_what_is_packaged_are_configurations() -> None:
    """Of hyperparameters that there are, within their bounds, each once, 8 to 12 of them, with no code's length."""
    known = configurations()
    assert 8 <= len(known) <= 12
    assert all(one not in known[:place] for place, one in enumerate(known))
    for name, value in ((name, value) for one in known for name, value in one.items()):
        row = BY_NAME[name]
        assert name != "bottleneck"
        assert value in row.words if row.words else value in BOUNDS[name]


@pytest.mark.parametrize(
    ("allowed", "value", "expected"),
    [
        (FloatDistribution(type="float", low=0.1, high=1.0), 0.01, 0.1),
        (FloatDistribution(type="float", low=0.1, high=1.0, log=True), 0.7, 0.7),
        (FloatDistribution(type="float", low=0.0, high=1.0, step=0.3), 1.0, 0.9),
        (IntDistribution(type="int", low=5, high=30, step=10), 30, 25),
        (IntDistribution(type="int", low=5, high=30, log=True), 8.6, 9),
    ],
)
def test_the_nearest_value(allowed: Any, value: float, expected: float) -> None:
    """Clipped, on a step, and whole where numbers are; a step that would pass the end is not taken."""
    found = nearest(allowed, value, 0.5)
    assert found == pytest.approx(expected) and type(found) is type(expected)


def test_the_whole_first_cohort_is_not_the_portfolios() -> None:
    """With the sizes that a study has by default two thirds of it are the sampler's."""
    declared = spec(trials=108)
    assert 8 <= len(portfolio(declared, NEWEST)) <= cohort_size(declared.search) // 3

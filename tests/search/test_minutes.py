"""Claims about what a study does with its minutes: a pure function of its declaration and of one reading of speed."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from studies import tiny

from tuner.search.lengths import declared_length, resolved
from tuner.search.minutes import (
    MOST_COHORTS,
    SEARCHING,
    SEARCHING_ALONE,
    Budgeted,
    Costs,
    Lasting,
    Planned,
    Reading,
    Work,
    budgeted,
    lasting_epochs,
    share,
    with_plan,
)
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import StudySpec

ROWS = (105, 30)
COSTS = Costs(epoch=0.1, step=0.01, validation=0.02)
MINUTES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 6000)


def spec(minutes: float, final: Any = "none", space: Any = None, **search: Any) -> StudySpec:
    """Iris in cohorts of 9, trained until flat unless a length is given."""
    declared = tiny(final=final)
    wanted = {"minutes": minutes, "cohort": 9, "seed": 3, **search}
    return spec_from_mapping({**declared, "search": wanted, "space": space or declared["space"]})


def test_the_plan_is_what_a_hand_computes() -> None:
    """Rungs 1, 3, 9: a cohort of 9 trains 9 + 3 x 2 + 6 epochs of 0.1 s, each with a validation of 0.02 s, and has
    9 x 0.05 s of its own: 2.97 s. Of a minute without a final stage the search has 51 s, 17 cohorts; with one 36 s, 12;
    and in 1.02 s there is time for 3 of 9 trials."""
    declared = spec(1, epochs=9)
    assert COSTS.of_cohort(declared, declared_length(declared.search), 9) == pytest.approx(2.97)
    assert (SEARCHING_ALONE, SEARCHING) == (0.85, 0.6)
    assert budgeted(declared, ROWS, COSTS) == Budgeted(153)
    assert budgeted(spec(1, final={}, epochs=9), ROWS, COSTS) == Budgeted(108)
    assert budgeted(spec(0.02, epochs=9), ROWS, COSTS) == Budgeted(3)
    assert budgeted(declared, ROWS, COSTS, spent=30) == budgeted(spec(0.5, epochs=9), ROWS, COSTS)


def test_costs_follow_from_a_reading() -> None:
    """Twice as slow as the model says, three workers that do the work of 2.4: each estimate times 5 / 6."""
    found = Costs.of([Work(10, 0.2, 0.1), Work(5, 0.4, 0.1)], Reading(2.0, 1.0, 3))
    assert (found.epoch, found.step, found.validation) == pytest.approx((0.25, 0.25 / 6, 0.5 / 6))
    assert (found.dear, found.workers) == (pytest.approx(2 * 0.5), 3)  # on one worker alone
    assert Costs.of([Work(10, 0.2, 0.1)], Reading(1.0, 1.0, 1)) == Costs(0.2, 0.02, 0.1, pytest.approx(0.3), 1)


@pytest.mark.parametrize("search", [{}, {"epochs": 9}, {"steps": 270}, {"pruner": "none"}, {"pruner": "median"}])
@pytest.mark.parametrize("final", ["none", {}])
def test_more_minutes_are_never_fewer_trials(search: dict[str, Any], final: Any) -> None:
    """Nor shorter ones, and there is an end to them."""
    plans = [budgeted(spec(minutes, final, **search), ROWS, COSTS) for minutes in MINUTES]
    for less, more in pairwise(plans):
        assert less.trials <= more.trials
        if more.steps is not None:
            assert less.steps is not None and less.steps <= more.steps
    assert plans[0].trials >= 1
    assert plans[-1] == Budgeted(9 * MOST_COHORTS)


@pytest.mark.parametrize(("pruner", "minutes"), [("halving", 0.1), ("median", 0.3), ("none", 0.3)])
def test_where_time_is_short_a_cohort_trains_for_what_there_is(pruner: str, minutes: float) -> None:
    """As many steps as fit, by the same costs, and a tenth more would not."""
    declared = spec(minutes, pruner=pruner)
    found = budgeted(declared, ROWS, COSTS)
    assert found.trials == 9
    assert found.steps is not None and found.steps > 27

    def cost(steps: int) -> float:
        length = declared_length(with_plan(declared, Budgeted(9, steps)).search)
        return COSTS.of_cohort(declared, length, 9)

    assert cost(found.steps) <= minutes * 60 * SEARCHING_ALONE * 1.01 < cost(int(1.1 * found.steps))


MANY = (9000, 1000)  # rungs at a ninth of an epoch, a third, 1 and 3; until flat, three times as many


def test_where_the_final_stage_has_no_time_the_search_is_short_and_one_training_long() -> None:
    """Five trainings until flat of a dear configuration, one after the other, have to fit into 40 % of the time; else
    the search has 25 %, and its trials end at the last rung. Few rows are left to the other plan."""
    dear = replace(COSTS, epoch=2.0, dear=5.0)
    length = resolved(spec(1, final={}), *MANY)
    assert [length.amount(rung) for rung in length.rungs] == [0.1111, 0.3333, 1, 3]
    enough = 5 * 9 * 5.0 / 0.4 / 60
    assert budgeted(spec(1.01 * enough, final={}), MANY, dear).lasting is None
    short = spec(0.99 * enough, final={})
    cohort = 9 * 0.05 + (9 * 0.1111 + 3 * 0.2222 + 1 * 0.6667 + 1 * 2) * 2.0 + (9 + 3 + 1 + 2 * 1) * 0.02
    found = budgeted(short, MANY, dear)
    assert found == Budgeted(9 * int(0.99 * enough * 60 * 0.25 / cohort), None, Lasting(3, 2, 2))
    assert share(short, found) == 0.25
    planned = with_plan(short, found)
    assert (planned.search.epochs, planned.search.thirds) == (3, 2)
    assert declared_length(planned.search).rungs == length.rungs
    assert planned.final_stage is not None and (planned.final_stage.top, planned.final_stage.seeds) == (1, 2)
    assert budgeted(short, MANY, replace(dear, workers=4)).lasting is None  # seeds side by side: three trainings
    assert budgeted(short, MANY, replace(dear, dear=50.0, workers=9)).lasting == Lasting(3, 2, 5)
    assert budgeted(short, ROWS, replace(dear, dear=50.0)).lasting is None


@pytest.mark.parametrize(
    ("final", "search"), [("none", {}), ({"top": 2}, {}), ({}, {"epochs": 9}), ({}, {"trials": 9}), ({}, {"steps": 99})]
)
def test_what_the_user_says_of_the_stage_or_the_length_is_kept(final: Any, search: dict[str, Any]) -> None:
    """No long training in its place."""
    assert budgeted(spec(5, final=final, **search), MANY, replace(COSTS, dear=100.0)).lasting is None


def test_a_long_training_fits_into_the_time_that_is_left() -> None:
    """Runs that do not train at once train one after the other; there is one epoch at least."""
    assert lasting_epochs(100.0, 1.0, 2, 2) == 75
    assert lasting_epochs(100.0, 1.0, 2, 1) == lasting_epochs(100.0, 1.0, 5, 3) == 37
    assert lasting_epochs(-5.0, 1.0, 2, 2) == 1


def test_what_is_declared_stays() -> None:
    """Trials and length, however short the time; trials alone train for as many steps as there is time for."""
    assert budgeted(spec(0.01, trials=500, epochs=50), ROWS, COSTS) == Budgeted(500)
    assert budgeted(spec(600, trials=20), ROWS, COSTS) == Budgeted(20)
    found = budgeted(spec(0.5, trials=90), ROWS, COSTS)
    assert found.trials == 90
    assert found.steps == budgeted(spec(0.05), ROWS, COSTS).steps


def test_a_plan_fits_the_space_and_the_users_sets() -> None:
    """No more trials than a grid has points, and no fewer than search.first has sets."""
    grid = {"width": {"type": "categorical", "choices": [4, 8, 16]}, "bottleneck": 2, "batch_size": 16}
    assert budgeted(spec(600, sampler="grid", space=grid), ROWS, COSTS) == Budgeted(3)
    sets = [{"width": width} for width in (4, 8, 16)] * 2
    own = spec(0.001, space=grid, first=sets, epochs=50)
    assert budgeted(own, ROWS, COSTS) == Budgeted(6)


def test_an_event_keeps_it_all() -> None:
    """What is read from the record is what was written."""
    planned = Planned(5.0, Reading(0.5, 0.25, 2, 1.5), Budgeted(135, None))
    assert Planned.of_body(planned.body()) == planned
    assert planned.words(spec(5).search) == "planned for 5 minutes: 135 trials, until flat"
    assert "lasting" not in planned.body()
    long = Planned(10.0, Reading(0.5, 0.25, 2, 1.5), Budgeted(54, None, Lasting(3, 2, 2)))
    assert Planned.of_body(json.loads(json.dumps(long.body()))) == long
    assert long.words(spec(5).search) == (
        "planned for 10 minutes: 54 trials, of at most 3 epochs, then the best one as long as there is time for"
    )
    assert planned.words(spec(5, epochs=9).search) == "planned for 5 minutes: 135 trials, as long as declared"
    short = Planned(1.0, planned.reading, Budgeted(1, 1200))
    assert short.words(spec(1).search) == "planned for 1 minute: 1 trial, of at most 1,200 steps"

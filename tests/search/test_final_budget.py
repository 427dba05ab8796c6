"""Claims about what the final stage may spend: at most a third of the study, from the declaration alone."""

from __future__ import annotations

from typing import Any

import pytest
from studies import tiny

from tuner.search.final_budget import LONG_ENOUGH, LONGEST, STAGES, allotment, final_amount
from tuner.search.lengths import declared_length, resolved
from tuner.search.rungs import expected_amount
from tuner.spec.final import Allotment
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import NEWEST
from tuner.spec.study import StudySpec


def spec(final: Any = None, epochs: int = 50, trials: int = 108, **changes: Any) -> StudySpec:
    search = {"trials": trials, "epochs": epochs, "cohort": 27}
    return spec_from_mapping(tiny(search=search, final=final if final is not None else {}, **changes))


def searched(declared: StudySpec) -> int:
    length = declared_length(declared.search)
    return int(expected_amount(declared.search, length, declared.search.trials, len(declared.objective)))


def final_epochs(declared: StudySpec, rules: int = NEWEST) -> float:
    return final_amount(declared, declared_length(declared.search), rules)


@pytest.mark.parametrize("trials", [108, 135, 216, 324, 540, 1080, 27_000])
@pytest.mark.parametrize("epochs", [9, 50, 243])
def test_by_default_it_is_at_most_a_third_of_the_study(trials: int, epochs: int) -> None:
    """From four cohorts on; with a larger budget there is never less of anything."""
    declared = spec(epochs=epochs, trials=trials)
    spent = final_epochs(declared)
    assert spent <= (spent + searched(declared)) / 3
    smaller, larger = allotment(declared), allotment(spec(epochs=epochs, trials=2 * trials))
    assert smaller is not None and larger is not None
    assert epochs <= smaller.most <= LONGEST * epochs
    assert (smaller.top, smaller.choosing, smaller.seeds) <= (larger.top, larger.choosing, larger.seeds)


def test_the_length_comes_before_more_runs() -> None:
    """The stage is the smallest one until runs of a larger one could be three times the search's longest training."""
    for trials in range(27, 2700, 27):
        declared = spec(trials=trials)
        found, half = allotment(declared), searched(declared) // 2
        assert found is not None
        stage = (found.top, found.choosing, found.seeds)
        assert stage == STAGES[0] or found.most >= LONG_ENOUGH * 50
        fitting = [one for one in STAGES if (one[0] * one[1] + 1 + one[2]) * LONG_ENOUGH * 50 <= half]
        assert stage == (fitting or STAGES)[-1 if fitting else 0]


def test_a_short_search_is_confirmed_all_the_same() -> None:
    """Never shorter than the search's own longest training, though that is more than a third."""
    assert allotment(spec(trials=1)) == Allotment(2, 1, 3, 50, 50)


def test_what_is_declared_is_kept() -> None:
    """Configurations and seeds, whatever the budget; the length follows from it."""
    found = allotment(spec({"top": 4, "seeds": 7}, trials=1080))
    assert found is not None
    assert (found.top, found.seeds) == (4, 7)
    assert found.runs * found.most <= searched(spec(trials=1080)) // 2
    assert allotment(spec("none")) is None
    assert final_epochs(spec("none")) == 0


def test_of_a_front_the_knee_alone_is_trained() -> None:
    """One configuration, whose length is to be found and whose schedule is to be chosen, and its seeds."""
    front = spec(
        space={**tiny()["space"], "bottleneck": {"type": "int", "low": 1, "high": 3}},
        objective=["val_loss", "bottleneck"],
    )
    found = allotment(front)
    assert found is not None
    assert (found.top, found.choosing) == (1, 1)


def test_older_rules_count_as_they_did() -> None:
    """All seeds of all configurations, as long as the search's longest training."""
    assert final_epochs(spec({"top": 3, "seeds": 5}, epochs=120), rules=3) == 3 * 5 * 120
    assert final_epochs(spec(epochs=120), rules=3) == 3 * 5 * 120, "the defaults of then"


def test_steps_and_trials_that_train_until_flat_have_a_stage_as_well() -> None:
    """In intervals of the declared steps, at least all of them; or in whole epochs, up to the search's own most."""
    open_ended = spec_from_mapping(tiny(search={"trials": 108, "epochs": None, "cohort": 27}, final={}))
    length = resolved(open_ended, 40_000, 10_000)
    found = allotment(open_ended, length)
    assert found is not None
    assert (length.plan.thirds > 0, found.least) == (True, length.amount(length.top))
    assert found.least <= found.most <= length.amount(length.plan.intervals)
    steps = spec_from_mapping(tiny(search={"trials": 108, "epochs": None, "steps": 2700, "cohort": 27}, final={}))
    found = allotment(steps)
    assert found is not None
    assert (found.least, found.most <= LONGEST * 27) == (27, True)
    assert final_amount(steps, declared_length(steps.search)) == found.runs * found.most * 100

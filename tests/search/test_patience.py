"""Claims about when a study is flat, with made-up results."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from tuner.search.patience import Budget, Plateau, stopped_early
from tuner.spec.study import SearchSpec


def flat_after(losses: list[float], least: float = 0.1) -> list[int]:
    """Flat cohorts in a row after each cohort, where each completes one trial."""
    flatness, counts = Plateau(), []
    for position, loss in enumerate(losses, start=1):
        flatness.tell(position, [(0.0, loss)], least)
        counts.append(flatness.since(0))
    return counts


def test_only_more_than_the_least_improvement_counts() -> None:
    """With 10 %: 1.0, then 0.91 is nothing, 0.89 is an improvement, 0.89 again is nothing."""
    assert flat_after([1.0, 0.91, 0.89, 0.89]) == [0, 1, 0, 1]


def test_small_steps_count_as_the_large_one_that_they_make() -> None:
    """Three steps of 4 % are more than 10 % below the mark, which stood still meanwhile."""
    assert flat_after([1.0, 0.96, 0.92, 0.88, 0.85]) == [0, 1, 2, 0, 1]


def test_a_cohort_that_completes_nothing_is_flat() -> None:
    """All trials diverged: neither an error nor an improvement."""
    flatness = Plateau()
    flatness.tell(1, [], 0.0)
    assert flatness.since(0) == 1


def test_a_new_budget_begins_to_wait_anew() -> None:
    """Cohorts that ended before its position do not count against it."""
    flatness = Plateau()
    for position in range(1, 6):
        flatness.tell(position, [(0.0, 1.0)], 0.0)
    assert [flatness.since(position) for position in (0, 1, 3, 5)] == [4, 4, 2, 0]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), st.floats(0, 0.5))
def test_flat_cohorts_together_brought_less_than_the_least(losses: list[float], least: float) -> None:
    """Whatever the losses: none of the flat cohorts in a row is beyond the share of the lowest loss before them."""
    count = flat_after(losses, least)[-1]
    before, flat = losses[: len(losses) - count], losses[len(losses) - count :]
    assert all(loss >= (1 - least) * min(before) * (1 - least) for loss in flat)


def test_with_several_objectives_sizes_are_compared_with_their_like() -> None:
    """A worse loss at a smaller size is an improvement of the front; the same at a larger size is none."""
    flatness = Plateau()
    flatness.tell(1, [(8.0, 1.0)], 0.0)
    flatness.tell(2, [(4.0, 2.0)], 0.0)
    assert flatness.since(0) == 0
    flatness.tell(3, [(6.0, 2.0), (9.0, 1.0)], 0.0)
    assert flatness.since(0) == 1


def test_the_record_says_whether_a_study_was_flat_last() -> None:
    """A newer budget lifts it; a budget of the time before patience has none."""
    budget = Budget.of(SearchSpec(trials=9, epochs=1, patience=2))
    first, flat = (SimpleNamespace(kind=kind, body=body) for kind, body in (("budget", budget.body(0)), ("flat", {})))
    assert stopped_early([first, flat]) == budget
    assert stopped_early([first, flat, first]) is None
    assert stopped_early([first]) is None
    old = Budget.recorded({"position": 0, "trials": 9})
    assert old.same_as(Budget.of(SearchSpec(trials=9, epochs=1)))
    assert not old.same_as(budget)

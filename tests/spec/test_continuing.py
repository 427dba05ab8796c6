"""Claims about what may change in a declaration when its study goes on."""

from __future__ import annotations

import pytest

from tuner.spec.canonical import to_keys
from tuner.spec.continuing import fixed_changes, may_change
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import StudySpec


def spec(**search: object) -> StudySpec:
    return spec_from_mapping(
        {
            "name": "s",
            "data": {"source": "sklearn:iris"},
            "space": {"bottleneck": 2},
            "search": {"trials": 3, "epochs": 2, **search},
        }
    )


def test_of_all_keys_these_may_change() -> None:
    """Whatever is not listed here makes another table of trials; a new key has to be put on one side."""
    assert {key for key in to_keys(spec()) if may_change(key)} == {
        "search.trials",
        "search.minutes",  # where trials are left to them, `as_planned` compares them
        "search.timeout",
        "search.patience",
        "search.min_improvement",
        "device",
        "final.top",
        "final.seeds",
        "rules",  # it is compared with the record's number
    }


@pytest.mark.parametrize("key", ["device_count", "search.trials_kept", "search.timeout.hard", "finalist", "final_top"])
def test_a_key_that_begins_like_one_that_may_change_is_another_key(key: str) -> None:
    """Whole keys count: one that is added later is checked as long as nobody says otherwise."""
    assert not may_change(key)


def test_the_final_stage_is_a_block() -> None:
    """It may be switched off and on, and its keys may change."""
    assert may_change("final")
    assert may_change("final.seeds")


def test_how_long_the_final_stage_trains_may_not_change() -> None:
    """Its runs have it, as trials have search.epochs; a stage that is switched on or off has none to compare with."""
    none, short, long = (
        spec_from_mapping({**spec().model_dump(mode="json"), "final": final})
        for final in ("none", {"epochs": 9}, {"epochs": 20, "top": 2})
    )
    assert [change.key for change in fixed_changes(short, long)] == ["final.epochs"]
    assert [change.key for change in fixed_changes(spec(), long)] == ["final.epochs"]
    assert fixed_changes(none, long) == fixed_changes(long, none) == []


def test_the_splits_seed_may_be_written_out() -> None:
    """What it is by default changes no row; any other seed does."""
    same, other = (spec().model_copy(update={"data": spec().data.model_copy(update={"seed": seed})}) for seed in (0, 1))
    assert fixed_changes(spec(), same) == fixed_changes(same, spec()) == []
    assert [change.key for change in fixed_changes(spec(), other)] == ["data.seed"]


def test_changes_that_a_study_cannot_take_are_named() -> None:
    """Those that it can are left out."""
    changes = fixed_changes(spec(), spec(trials=9, timeout="1h", sampler="random"))
    assert [change.key for change in changes] == ["search.sampler"]

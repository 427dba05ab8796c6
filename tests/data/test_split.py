"""Claims about declared splits, equal rows across splits, and proposed groups."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from tuner.data.split import (
    Key,
    Split,
    few_of_a_class,
    split_by_column,
    split_by_group,
    split_by_time,
    split_rows,
    split_stratified,
)
from tuner.data.tabular import moments_or_numbers
from tuner.data.together import duplicates_across, proposed_groups, row_hashes
from tuner.errors import DataError


def key(values, option: str = "group") -> Key:
    return Key(f"data.split.{option}", "kind", np.asarray(values))


def texts(values) -> Key:
    return key(np.array(values, dtype=object))


def whole(made: Split, rows: int) -> bool:
    parts = (made.train, made.validation, made.test)
    return sorted(np.concatenate(parts).tolist()) == list(range(rows)) and all(len(part) for part in parts)


def test_a_column_says_which_rows_are_held_out() -> None:
    """In any case, short or long."""
    made = split_by_column(texts(["Train", "val", "TEST", "training", "Valid", "validation", "train "]))
    assert [part.tolist() for part in (made.train, made.validation, made.test)] == [[0, 3, 6], [1, 4, 5], [2]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["train", "val", "dev", "fit", "dev"], r"row 3: must be train, validation or test, got 'dev', 'fit' \(3 such"),
        (["train", "train", "val"], "must say test of some rows, but never does"),
        (["train", None, "val", None], r"row 2: must have a value in every row, got a missing one \(2 in all\)"),
    ],
)
def test_a_column_that_says_something_else_is_one_sentence(values, said: str) -> None:
    with pytest.raises(DataError, match=rf"^data\.split\.column: kind.* {said}"):
        split_by_column(Key("data.split.column", "kind", np.array(values, dtype=object)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=3, max_size=7), st.sampled_from([(0.2, 0.1), (0.1, 0.1), (0.3, 0.3)]),
       st.integers(0, 99))  # fmt: skip
def test_groups_stay_whole_and_shares_are_kept(sizes: list[int], shares: tuple[float, float], seed: int) -> None:
    """Every row once, no group torn; the test split is the nearest to its share that some groups make, or one group."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    made = split_by_group(key(groups), *shares, seed)
    assert whole(made, len(groups))
    homes = [set(groups[part]) for part in (made.train, made.validation, made.test)]
    assert not homes[0] & homes[1] | homes[0] & homes[2] | homes[1] & homes[2]
    wanted = shares[1] * len(groups)
    best = min(abs(wanted - np.dot(chosen, sizes)) for chosen in product((0, 1), repeat=len(sizes)) if any(chosen))
    alone = 0 in (len(homes[0]) - 1, len(homes[1]) - 1, len(homes[2]) - 1)
    assert alone or abs(len(made.test) - wanted) <= best + 1e-9
    again = split_by_group(key(groups), *shares, seed)
    assert (again.test == made.test).all()


def test_twelve_patients_are_split_by_patient() -> None:
    """50 visits each: 8 or 9 train, 2 or 3 validate, 1 tests; another seed draws others."""
    patients = np.repeat([f"p{n}" for n in range(12)], 50)
    made = split_by_group(key(patients), 0.2, 0.1, 0)
    assert (len(made.validation), len(made.test)) == (100, 50)
    tested = {patients[split_by_group(key(patients), 0.2, 0.1, seed).test[0]] for seed in range(20)}
    assert len(tested) > 5


def test_many_groups_meet_their_shares_to_a_row() -> None:
    """20,000 groups of 1 to 30 rows in a second."""
    sizes = np.random.default_rng(0).integers(1, 31, 20_000)
    groups, began = np.repeat(np.arange(20_000), sizes), time.process_time()
    made = split_by_group(key(groups), 0.2, 0.1, 3)
    assert abs(len(made.validation) - 0.2 * len(groups)) <= 1
    assert abs(len(made.test) - 0.1 * len(groups)) <= 1
    assert time.process_time() - began < 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=3, max_size=200).filter(lambda times: len(set(times)) > 2))
def test_time_goes_from_training_to_test(times: list[int]) -> None:
    """Training before validation before test, equal times together, in whatever order the rows lie."""
    at = np.array(times)
    made = split_by_time(key(at, "time"), 0.2, 0.1)
    assert whole(made, len(times))
    assert at[made.train].max() < at[made.validation].min()
    assert at[made.validation].max() < at[made.test].min()


def test_times_are_cut_at_their_shares() -> None:
    """1,000 distinct days: 700, 200 and 100 of them."""
    days = np.datetime64("2020-01-01") + np.random.default_rng(0).permutation(1000)
    made = split_by_time(key(days, "time"), 0.2, 0.1)
    assert (len(made.train), len(made.validation), len(made.test)) == (700, 200, 100)
    with pytest.raises(DataError, match="must have a value in every row"):
        split_by_time(key(np.append(days, np.datetime64("NaT")), "time"), 0.2, 0.1)
    with pytest.raises(DataError, match="must hold times or numbers, got 'monday'"):
        split_by_time(texts(["monday", "tuesday"]), 0.2, 0.1)
    with pytest.raises(DataError, match="at least 3 different times, one for each split, got 2"):
        split_by_time(key([1, 1, 2], "time"), 0.2, 0.1)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["2024-01-05", "soon", "2024-01-06", "2024-01-07", "late"],
            "row 2: must be a time (ISO8601) in every row, got",
        ),
        (["1.5", "2", "3", "n.d."], "row 4: must be a number in every row, got 'n.d.' (1 such in all)."),
    ],
)
def test_the_first_bad_time_is_named(cells: list[str], said: str) -> None:
    """Not the first cell, which is a good one."""
    with pytest.raises(DataError) as refused:
        moments_or_numbers(Key("data.split.time", "kind", np.array(cells, dtype=object)))
    assert str(refused.value).startswith(f"data.split.time: kind, {said}")
    good = [cell for cell in cells if cell[0].isdigit()]
    assert len(split_by_time(key(moments_or_numbers(texts(good)), "time"), 0.2, 0.1).train) == len(good) - 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 80), min_size=2, max_size=6).filter(lambda sizes: sum(sizes) > 40), st.integers(0, 50))
def test_classes_have_their_shares_as_scikit_learn_gives_them(sizes: list[int], seed: int) -> None:
    """Within one row of each class's share, as StratifiedShuffleSplit is, and each class trains."""
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    made = split_stratified(key(classes, "stratify"), 0.2, 0.1, seed)
    assert whole(made, len(classes))
    assert (np.bincount(classes[made.train], minlength=len(sizes)) > 0).all()
    oracle = StratifiedShuffleSplit(1, test_size=len(made.test), random_state=seed)
    theirs = next(oracle.split(classes, classes))[1] if len(made.test) >= len(sizes) else made.test
    for part, share in ((made.validation, 0.2), (made.test, 0.1)):
        assert (abs(np.bincount(classes[part], minlength=len(sizes)) - share * np.array(sizes)) < 1 + 1e-9).all()
    ours = np.bincount(classes[made.test], minlength=len(sizes))
    assert abs(ours - np.bincount(classes[theirs], minlength=len(sizes))).max() <= 1 + abs(
        len(made.test) - 0.1 * sum(sizes)
    )


def test_small_classes_train_and_are_said() -> None:
    """A class of one row, and one of two, are in the training split."""
    classes = np.array(["a"] * 40 + ["b"] * 40 + ["c"] + ["d"] * 2)
    made = split_stratified(key(classes, "stratify"), 0.2, 0.1, 0)
    assert {"c", "d"} <= set(classes[made.train])
    assert few_of_a_class(key(classes, "stratify")) == (
        "data.split.group: 2 of 4 classes have fewer than 3 rows, one a split: 'c', 'd'."
    ).replace("group", "stratify")
    assert few_of_a_class(key(classes[:80], "stratify")) is None
    with pytest.raises(DataError, match="must leave rows for each split, got 3 to train on, 0 for validation and 0"):
        split_stratified(key([1, 2, 3], "stratify"), 0.2, 0.1, 0)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match="at least 3 different values, one for each split, got 2"):
        split_by_group(key([1, 1, 2]), 0.2, 0.1, 0)


def test_equal_rows_across_splits_are_counted() -> None:
    """600 rows of which 60 are distinct, missing values and signed zeros among them, against a count by sets."""
    distinct = np.random.default_rng(0).normal(size=(60, 4))
    distinct[3, 1], distinct[4, 2] = np.nan, 0.0
    rows = np.tile(distinct, (10, 1))
    rows[4::60, 2] *= np.resize([1, -1], 10)
    split = split_rows(600, 0.2, 0.1, 0)
    made = duplicates_across(rows, split)
    names = [str([*row]) for row in rows + 0.0]
    train, validation = ({names[row] for row in part} for part in (split.train, split.validation))
    assert (made.rows, made.distinct) == (600, 60)
    assert made.validation == sum(names[row] in train for row in split.validation)
    assert made.test == sum(names[row] in train | validation for row in split.test)
    assert made.sentence is not None
    assert "180 held-out rows equal a row of an earlier split (60 of 600 rows are distinct)" in made.sentence
    assert duplicates_across(np.arange(1800.0).reshape(600, 3), split).sentence is None


def test_flights_are_compared_in_two_seconds() -> None:
    """336,776 rows of 19 columns, whole numbers that differ little; as many hashes as distinct rows."""
    rows = np.random.default_rng(0).integers(0, 12, (336_776, 19)).astype(float)
    rows[1000:2000] = rows[:1000]
    began = time.process_time()
    made = duplicates_across(rows, split_rows(len(rows), 0.2, 0.1, 0))
    assert time.process_time() - began < 2
    assert made.distinct == len(rows) - 1000
    assert len(np.unique(row_hashes(np.eye(64)))) == 64


@pytest.mark.parametrize(
    ("name", "values", "proposed"),
    [
        ("patient_id", np.repeat(["a", "b", "c"], 4), True),
        ("SubjectID", np.repeat([1.0, 2, 3], 4), True),
        ("userid", np.repeat([1, 2, 3], 4), True),
        ("patients", np.array(["a", None, "b", "b", "a", "c", "c"], dtype=object), True),
        ("id", np.arange(12), False),
        ("price", np.repeat([1, 2, 3], 4), False),
        ("device", np.repeat([1.5, 2, 3], 4), False),
        ("solid", np.repeat([1, 2, 3], 4), False),
        ("session", np.repeat([1, 2], 6), False),
    ],
)
def test_what_rows_belong_to_is_proposed(name: str, values, proposed: bool) -> None:
    """A telling name with values that repeat; the stronger of two names comes first."""
    made = proposed_groups({name: values})
    assert [one.name for one in made] == [name] * proposed
    both = proposed_groups({"site_id": np.repeat([1, 2, 3], 4), "Patient": np.repeat([1, 2, 3, 4], 3)})
    assert [one.name for one in both] == ["Patient", "site_id"]

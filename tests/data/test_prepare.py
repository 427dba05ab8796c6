"""Claims about the split, the fingerprint and the prepared file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.data.dataset import Dataset
from tuner.data.examine import fingerprint
from tuner.data.labels import Labels
from tuner.data.prepare import Prepared, prepare, prepared_path
from tuner.data.readers import load
from tuner.data.rows import open_rows
from tuner.data.sources import Sources
from tuner.data.split import split_rows
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import StudySpec


def spec(data: dict[str, Any] | None = None, **changes: Any) -> StudySpec:
    return spec_from_mapping(
        {
            "name": "x",
            "data": data or {"source": "sklearn:iris"},
            "space": {"bottleneck": 2, "batch_size": changes.pop("batch_size", 16)},
            "search": {"trials": 1, "epochs": 1, "seed": changes.pop("seed", 0)},
            **changes,
        }
    )


def rows_of(made: Prepared) -> Any:
    return open_rows(made.path, made.sha256, (made.train, made.validation, made.test))


@given(st.integers(12, 3000), st.floats(0.01, 0.6), st.floats(0.01, 0.3), st.integers(0, 2**62))
def test_every_row_is_in_exactly_one_split(rows: int, validation: float, test: float, seed: int) -> None:
    """Disjoint, complete, of the declared shares, and the same for the same seed."""
    made, again = split_rows(rows, validation, test, seed), split_rows(rows, validation, test, seed)
    together = np.concatenate([made.train, made.validation, made.test])
    assert sorted(together.tolist()) == list(range(rows))
    assert len(made.validation) == max(1, round(rows * validation))
    assert len(made.test) == max(1, round(rows * test))
    assert (made.train == again.train).all()


def test_the_split_is_drawn_from_the_seed() -> None:
    """Another seed, other rows; too few rows are refused."""
    assert (split_rows(100, 0.2, 0.1, 0).test != split_rows(100, 0.2, 0.1, 1).test).any()
    with pytest.raises(DataError, match="2 rows must leave some to train on, but 2 are held out"):
        split_rows(2, 0.2, 0.1, 0)


def test_the_split_has_a_seed_of_its_own(tmp_path: Path) -> None:
    """By default it is the search's; with another one the rows stay where they are, whatever the search's is."""
    data = {"source": "sklearn:iris", "seed": 5}
    fixed = [prepare(spec(data, seed=seed), Sources(tmp_path), tmp_path) for seed in (5, 6)]
    default = prepare(spec(seed=5), Sources(tmp_path), tmp_path)
    assert fixed[0].path == fixed[1].path == default.path
    assert fixed[0].sha256 == default.sha256
    assert prepare(spec({**data, "seed": 6}, seed=5), Sources(tmp_path), tmp_path).sha256 != default.sha256


def test_scaling_is_fitted_on_training_rows_alone(tmp_path: Path) -> None:
    """A wild value in a test row changes neither the scaling nor any training or validation row."""
    values = np.random.default_rng(0).normal(size=(50, 3))
    np.save(tmp_path / "a.npy", values)
    values[split_rows(50, 0.2, 0.1, 0).test[2]] = 1e6
    np.save(tmp_path / "b.npy", values)
    first, second = (prepare(spec({"source": f"{name}.npy"}), Sources(tmp_path), tmp_path) for name in "ab")
    assert (first.preprocessor.offset == second.preprocessor.offset).all()
    assert (first.preprocessor.scale == second.preprocessor.scale).all()
    assert (rows_of(first).train == rows_of(second).train).all()
    assert (rows_of(first).validation == rows_of(second).validation).all()
    assert rows_of(second).test.max() > 1e4


def test_the_file_holds_the_scaled_splits(tmp_path: Path) -> None:
    """Row for row what the preprocessor makes of the raw rows."""
    made = prepare(spec(), Sources(tmp_path), tmp_path)
    raw = load(DataSpec(source="sklearn:iris"), Sources(tmp_path)).values
    split = split_rows(150, 0.2, 0.1, 0)
    for part, index in zip(("train", "validation", "test"), (split.train, split.validation, split.test), strict=True):
        assert (getattr(rows_of(made), part) == made.preprocessor.transform(raw[index])).all()
    assert rows_of(made).train.dtype == np.float32


def test_preparing_again_reuses_the_file_and_mends_a_damaged_one(tmp_path: Path) -> None:
    """The same path and digest; a flipped bit is noticed and the file written again."""
    made = prepare(spec(), Sources(tmp_path), tmp_path)
    before = Path(made.path).stat().st_mtime_ns
    assert prepare(spec(), Sources(tmp_path), tmp_path).sha256 == made.sha256
    assert Path(made.path).stat().st_mtime_ns == before
    content = bytearray(Path(made.path).read_bytes())
    content[-3] ^= 1
    Path(made.path).write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        rows_of(made)
    assert prepare(spec(), Sources(tmp_path), tmp_path).sha256 == made.sha256
    rows_of(made)


def test_what_the_file_depends_on_is_in_its_name(tmp_path: Path) -> None:
    """Another seed, scaling or loss gives another file beside it."""
    variants = [spec(), spec(seed=1), spec(loss="bce"), spec({"source": "sklearn:iris", "scaling": "standard"})]
    assert len({prepare(one, Sources(tmp_path), tmp_path).path for one in variants}) == 4


def test_the_fingerprint_is_stable_and_sensitive() -> None:
    """A fixed value for fixed rows; one bit, a name, the shape or the data block change it."""
    rows = np.arange(12.0).reshape(4, 3)
    data, block = Dataset(rows, ("a", "b", "c"), (3,), "x"), DataSpec(source="x.npy")
    known = fingerprint(data, block)
    assert known == "f18f989a9845a277c764f12bcaf86cd2b8c2f455429856320566ea078155c692"
    other = rows.copy()
    other[2, 1] = np.nextafter(other[2, 1], 9)
    changed = [
        fingerprint(Dataset(other, data.names, data.shape, "x"), block),
        fingerprint(Dataset(rows, ("a", "b", "d"), data.shape, "x"), block),
        fingerprint(data, DataSpec(source="x.npy", test=0.2)),
    ]
    assert len({known, *changed}) == 4
    assert fingerprint(data, DataSpec(source="moved/x.npy")) == known


def test_a_key_that_is_left_out_changes_no_fingerprint_and_no_file() -> None:
    """Values of the version of 2026-11-26, which had fewer keys; the split's seed is in the file's name alone."""
    rows, names = np.arange(12.0).reshape(4, 3), ("a", "b", "c")
    block = {"source": "x.csv", "columns": names, "scaling": "standard", "validation": 0.3, "test": 0.2}
    known = "2d885859f18b94fee5b093f75df6d142dc76685213010978ed055d85be118117"
    for seed in (None, 4):
        assert fingerprint(Dataset(rows, names, (3,), "x"), DataSpec(**block, seed=seed)) == known
    labels = Labels.of("kind", np.array([1, 0, 1, 2]), "row", 1)
    labelled = fingerprint(Dataset(rows, names, (3,), "x", labels), DataSpec(source="x.csv", label="kind"))
    assert labelled == "7d9f9f25708cc8de116afa36a3284f9dcaab10daacea1a6a8284f5efd681600a"
    for declared in (spec({"source": "x.csv"}, seed=7), spec({"source": "x.csv", "seed": 7}, seed=8)):
        assert prepared_path(Path("/f"), "ab", declared).name == "3e822f6beb18c95930667ca848ef7109.npy"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 200}, "space.batch_size must be at most 105, the rows to train on, got 200"),
        ({"batch_size": {"type": "int", "low": 1, "high": 106}}, "space.batch_size.high must be at most 105"),
        (
            {"loss": "bce", "data": {"source": "sklearn:iris", "scaling": "none"}},
            "loss bce needs values between 0 and 1",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_any_trial(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Batch sizes above the training rows, bce on other values."""
    with pytest.raises(DataError, match=said):
        prepare(spec(changes.pop("data", None), **changes), Sources(tmp_path), tmp_path)


def test_bce_rows_are_between_0_and_1(tmp_path: Path) -> None:
    """Validation and test rows beyond the training range are clipped."""
    made = rows_of(prepare(spec(loss="bce"), Sources(tmp_path), tmp_path))
    for part in (made.train, made.validation, made.test):
        assert part.min() >= 0
        assert part.max() <= 1

"""Claims about what is said of data that is not refused: rows far out, codes that copy, equal rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tuner.data.outliers import proposed_scaling, squeezed
from tuner.data.outside import Outside, outside
from tuner.data.prepare import examine
from tuner.data.preprocess import Preprocessor
from tuner.data.sources import Sources
from tuner.data.split import split_rows
from tuner.errors import DataError
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import TYPED
from tuner.spec.study import StudySpec

ROWS = np.random.default_rng(0).normal(size=(200, 4))
SPLIT = split_rows(200, 0.2, 0.1, 0)


def spec(source: str = "a.npy", **space: Any) -> StudySpec:
    return spec_from_mapping(
        {
            "name": "x",
            "data": {"source": source},
            "space": {"bottleneck": 2, "batch_size": 16, **space},
            "search": {"trials": 1, "epochs": 1, "seed": 0},
        }
    )


def said(folder: Path, rows: np.ndarray, rules: int = TYPED, **space: Any) -> tuple[str, ...]:
    np.save(folder / "a.npy", rows)
    return examine(spec(**space), Sources(folder), rules).notes


def fitted(rows: np.ndarray, scaling: str = "minmax") -> Preprocessor:
    return Preprocessor.fit(rows, (rows.shape[1],), tuple("abcd")[: rows.shape[1]], scaling, False, each="column")


def test_rows_of_other_orders_of_magnitude_are_said(tmp_path: Path) -> None:
    """The reported case: 0 in every training row, 3,000 in one of validation; by older rules without a word."""
    rows = ROWS.copy()
    rows[:, 1] = 0
    rows[SPLIT.validation[3], 1] = 3000
    rows[SPLIT.test[:2], 2] = -500
    made = said(tmp_path, rows)
    assert len(made) == 2
    assert made[0].startswith(
        "1 of 40 validation rows lies far outside the training rows' range, by more than 10 times"
    )
    assert "x1 has 3000 where training has 0;" in made[0]
    assert "2 of 20 test rows lie far outside" in made[1]
    assert "x2 has -500 where training has -" in made[1]
    assert said(tmp_path, rows, TYPED - 1) == ()
    assert said(tmp_path, ROWS) == ()


def test_a_code_with_a_unit_for_each_training_row_is_said(tmp_path: Path) -> None:
    """Of 40 rows of 400 columns 28 train; they lie in 27 directions whatever they are."""
    rows = np.random.default_rng(2).normal(size=(40, 400))
    made = said(tmp_path, rows, bottleneck={"type": "int", "low": 2, "high": 32})
    assert made == (
        "space.bottleneck reaches 32, but there are 28 training rows: a code of 27 or more can hold each of them, and"
        " training losses near 0 then say nothing.",
    )
    assert said(tmp_path, rows, bottleneck=26) == ()


@pytest.mark.parametrize("scaling", ["minmax", "standard", "robust", "none"])
def test_what_is_far_does_not_depend_on_the_scaling(scaling: str) -> None:
    """It is the training rows' range that counts, to ten times its width beyond; a missing value is nowhere."""
    made = fitted(np.array([[0.0, 101_325.0], [2.0, 101_325.0]]), scaling)
    assert outside(made, np.array([[22.0, 101_326.0], [-20.0, 0.0], [np.nan, np.nan]])) is None
    assert outside(made, np.array([[22.1, 1.0]])) is not None
    assert outside(made, np.array([[-20.1, 1.0]])) is not None
    assert outside(Preprocessor.fit(ROWS, (4,), tuple("abcd"), "minmax", False), ROWS * 1e9) is None


def test_many_columns_and_blocks_are_summed_up() -> None:
    """As all at once; columns with most such rows first, five by name, with the worst value."""
    rows = np.random.default_rng(1).normal(size=(3000, 8))
    made = Preprocessor.fit(rows, (8,), tuple("abcdefgh"), "minmax", False, each="column")
    wild = rows.copy()
    wild[:7, :] *= 1e6
    wild[7, 3] = 1e9
    found = Outside(made)
    for start in range(0, 3000, 700):
        found.add(wild[start : start + 700])
    assert found.sentence() == outside(made, wild)
    text = str(found.sentence())
    assert text.startswith("8 of 3,000 rows lie far outside")
    assert "d has 1e+09 where training has" in text
    assert "and 3 more" in text


def test_images_are_told_as_pixels() -> None:
    """Not one by one."""
    images = np.random.default_rng(2).integers(0, 2, (30, 16)).astype(float)
    made = Preprocessor.fit(images, (4, 4), tuple("abcdefghijklmnop"), "minmax", False, each="image")
    text = str(outside(made, images * 255, "test rows"))
    assert "pixels has 255 where training has 0 to 1;" in text


def test_a_code_that_copies_its_row_is_refused(tmp_path: Path) -> None:
    """8 for rows of 4, and 4 as well; a space that reaches so far is warned of, and so is a code that noise bounds."""
    for bottleneck in (4, 8):
        with pytest.raises(DataError, match=r"a.npy: space.bottleneck must be less than the 4 features of a row, got"):
            said(tmp_path, ROWS, bottleneck=bottleneck, width=16)
    reaching = {"type": "int", "low": 2, "high": 8}
    (made,) = said(tmp_path, ROWS, bottleneck=reaching, width=16)
    assert made.startswith("space.bottleneck reaches 8, but a row has 4 features: a code of 4 or more can copy its row")
    assert said(tmp_path, ROWS, bottleneck=8, width=16, input_noise=0.1)[0] == made
    assert said(tmp_path, ROWS, bottleneck=8, width=16, kind="sparse")[0] == made
    assert said(tmp_path, ROWS, TYPED - 1, bottleneck=8, width=16) == ()


def test_rows_that_repeat_are_said(tmp_path: Path) -> None:
    """60 distinct rows of 600; a single pair across two splits, and none within one."""
    (made,) = said(tmp_path, np.tile(ROWS[:60], (10, 1)))
    assert "of 180 held-out rows equal a row of an earlier split (60 of 600 rows are distinct)" in made
    within, across = ROWS.copy(), ROWS.copy()
    within[SPLIT.train[0]], across[SPLIT.test[0]] = ROWS[SPLIT.train[1]], ROWS[SPLIT.train[1]]
    assert said(tmp_path, within) == ()
    (made,) = said(tmp_path, across)
    assert made.startswith("1 of 60 held-out rows equals a row of an earlier split (199 of 200 rows are distinct)")


def test_outliers_that_squeeze_the_others_are_said(tmp_path: Path) -> None:
    """Three cells of training rows: minmax is warned of, robust is not, nor are ordinary heavy tails."""
    rows = ROWS.copy()
    rows[SPLIT.train[[3, 50, 90]], [0, 1, 2]] = 1e6
    (made,) = said(tmp_path, rows)
    assert made.startswith("3 of 4 columns in the training rows, x")
    assert made.endswith("scaling minmax leaves little of all others; robust bounds them.")
    assert squeezed(fitted(rows, "robust"), rows) is None
    assert squeezed(fitted(rows, "standard"), rows) is not None
    table = pd.DataFrame({"a": ROWS[:, 0].round(3), "far": np.append(np.arange(199) % 37 + 1000, 9e9)})
    table.to_csv(tmp_path / "t.csv", index=False)
    made = " ".join(examine(spec("t.csv", bottleneck=1), Sources(tmp_path)).notes)
    assert "far most" in made and "(1000 to 9e+09 around 101" in made
    tails = np.random.default_rng(0).exponential(size=(20_000, 4))
    assert squeezed(fitted(tails), tails) is None
    assert squeezed(fitted(np.zeros((9, 2))), np.zeros((9, 2))) is None


@pytest.mark.parametrize(
    ("values", "scaling"),
    [
        (ROWS[:, 0], None),
        (np.exp(np.random.default_rng(0).normal(0, 3, 1000)), "log1p"),
        (np.append(ROWS[:, 0], [1e6, -1e6, np.nan]), "robust"),
        (np.append(np.random.default_rng(0).normal(0, 1e-3, 1000), 10.0 ** -np.arange(2.0, 0.0, -0.05)), "quantile"),
        (np.zeros(5), None),
    ],
)
def test_a_scaling_is_proposed_for_columns_with_values_far_out(values: np.ndarray, scaling: str | None) -> None:
    """With a reason; none for ordinary and constant columns."""
    made = proposed_scaling(values)
    assert (made and made.scaling) == scaling
    assert made is None or "times the range of most values away" in made.reason

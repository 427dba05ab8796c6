"""Claims about baselines under the loss by terms, and about what is said of columns of a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, r2_score

from tuner.analysis import columns
from tuner.analysis.baselines import baselines, pca_losses, value_losses
from tuner.analysis.columns import column_quality
from tuner.answers.parts import ColumnQuality
from tuner.data import pca
from tuner.data.encoded import EncodedColumn
from tuner.data.parts import row_parts
from tuner.data.rows import Rows
from tuner.data.terms import EPSILON, TEST, VALIDATION, Kind, Terms

Found = dict[str, ColumnQuality]
COLUMNS = (
    EncodedColumn("height", "numeric", 0, 1),
    EncodedColumn("moment", "datetime", 1, 3),
    EncodedColumn("ill", "boolean", 3, 4, ("no", "yes")),
    EncodedColumn("town", "categorical", 4, 8, ("a", "b", "c", "d")),
    EncodedColumn("visits", "count", 8, 9),
)
KINDS = np.array([Kind.SQUARE] * 3 + [Kind.LOGIT] + [Kind.SOFTMAX] * 4 + [Kind.POISSON], np.int32)


def table(count: int, missing: bool, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows = draw.random((count, 9)).astype(np.float32)
    rows[:, 3] = rows[:, 0] > 0.7
    rows[:, 4:8] = np.eye(4)[np.minimum((4 * rows[:, 1] ** 2).astype(int), 3)]
    rows[:, 8] = draw.poisson(3, count)
    if missing:
        for column in COLUMNS:
            rows[draw.random(count) < 0.2, column.first : column.last] = np.nan
    return rows


def weighed(rows: np.ndarray, missing: bool) -> Terms:
    """Each column divided by what the mean predictor loses on these rows, so that all count alike."""
    ones = np.ones(9, np.float32)
    plain = Terms(KINDS, np.array([[4, 8]], np.int32), ones, ones, 0 * ones, missing, (1.0, 1.0, 1.0))
    guess = np.broadcast_to(np.nanmean(rows.astype(np.float64), 0), rows.shape)
    lost = plain.cells(plain.outputs(guess), rows).sum(0)
    weights = np.empty(9, np.float32)
    for column in COLUMNS:
        span = slice(column.first, column.last)
        weights[span] = rows.size / lost[span].sum() / len(COLUMNS)
    return replace(plain, weights=weights)


@pytest.mark.parametrize("missing", [False, True])
def test_the_mean_predictors_training_loss_is_one(missing: bool) -> None:
    """Where the weights are chosen so; PCA with as long a code as there are columns loses hardly anything."""
    rows = table(400, missing)
    found = baselines(Rows(rows, rows, rows, weighed(rows, missing)), 9, "mixed").validation
    assert found.mean == pytest.approx(1, rel=1e-6)
    assert 0 <= found.pca < (0.35 if missing else 1e-3)


@pytest.mark.parametrize("exact", [True, False])
def test_pca_is_scikit_learns_of_the_filled_columns(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filled by the training means; its guesses become probabilities and rates, and meet numpy's cells."""
    if not exact:
        monkeypatch.setattr(pca, "EXACT_VALUES", 0)
    train, held_out = table(300, True), table(80, True, 1)
    terms = replace(weighed(train, True), shares=(0.9, 0.8, 0.7))
    means = np.nanmean(train.astype(np.float64), 0)
    fitted = PCA(3).fit(np.where(np.isnan(train), means, train).astype(np.float64))
    guess = fitted.inverse_transform(fitted.transform(np.where(np.isnan(held_out), means, held_out).astype(np.float64)))
    likely = np.clip(guess[:, 4:8], EPSILON, 1)
    outputs = guess.copy()
    outputs[:, 3] = np.log(np.clip(guess[:, 3], EPSILON, 1 - EPSILON)) - np.log1p(
        -np.clip(guess[:, 3], EPSILON, 1 - EPSILON)
    )
    outputs[:, 4:8] = np.log(likely / likely.sum(1, keepdims=True))
    outputs[:, 8] = np.log(np.maximum(guess[:, 8], EPSILON))
    expected = terms.cells(outputs, held_out).sum() / held_out.size
    rows = Rows(train, held_out, held_out, terms)
    found = baselines(rows, 3, "mixed")
    tolerance = 1e-9 if exact else 0.02
    assert found.validation.pca == pytest.approx(expected * terms.scale(VALIDATION), rel=tolerance)
    assert found.test.pca == pytest.approx(expected * terms.scale(TEST), rel=tolerance)
    assert pca_losses(rows, [3], "mixed")[3] == pytest.approx(found.validation.pca, rel=1e-9 if exact else 0.02)


def quality(terms: Terms, rows: np.ndarray, rebuilt: np.ndarray, among: tuple[EncodedColumn, ...] = COLUMNS) -> Found:
    """By name; what is rebuilt is taken from an array, in order."""
    left = iter(rebuilt)

    def rebuild(part: np.ndarray) -> np.ndarray:
        return np.stack([next(left) for _ in part])

    return {one.name: one for one in column_quality(among, value_losses("mixed", terms), rows, rebuild)}


@pytest.mark.parametrize("exact", [True, False])
def test_a_columns_quality_is_scikit_learns_over_what_is_observed(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2 of numbers, accuracy beside the commonest level of the others, and shares of the loss that sum to 1.

    All rows at once, and block by block.
    """
    rows = table(500, True)
    terms = weighed(rows, True)
    outputs = np.random.default_rng(1).standard_normal((500, 9)) / 3
    rebuilt = terms.link(outputs)
    if not exact:
        monkeypatch.setattr(columns, "rows_at_once", lambda _: 64)
    found = quality(terms, rows, rebuilt)
    known = {column.name: ~np.isnan(rows[:, column.first]) for column in COLUMNS}
    assert {name: one.observed for name, one in found.items()} == {name: each.sum() for name, each in known.items()}
    for name, at in (("height", 0), ("visits", 8)):
        assert found[name].r2 == pytest.approx(r2_score(rows[known[name], at], rebuilt[known[name], at]), rel=1e-6)
        assert found[name].accuracy is None
    levels, guess = rows[known["town"], 4:8].argmax(1), rebuilt[known["town"], 4:8].argmax(1)
    assert found["town"].accuracy == pytest.approx(accuracy_score(levels, guess))
    assert found["town"].commonest == pytest.approx(np.bincount(levels).max() / len(levels))
    ill = rows[known["ill"], 3]
    assert found["ill"].accuracy == pytest.approx(accuracy_score(ill, rebuilt[known["ill"], 3] >= 0.5))
    assert found["ill"].commonest == pytest.approx(max(ill.mean(), 1 - ill.mean()))
    assert sum(one.share for one in found.values()) == pytest.approx(1)
    cells = terms.cells(outputs, rows).sum(0)
    assert found["town"].share == pytest.approx(cells[4:8].sum() / cells.sum(), rel=1e-3)


def test_a_column_without_values_or_spread_has_no_quality() -> None:
    """None where there is nothing to tell; never a number that means nothing."""
    rows = table(20, False)
    rows[:, 0], rows[:, 3:8] = 0.25, np.nan
    terms = replace(weighed(table(400, False), False), missing=True)
    found = quality(terms, rows, terms.link(np.zeros((20, 9))))
    assert found["height"].r2 is None
    assert (found["town"].observed, found["town"].accuracy, found["town"].commonest) == (0, None, None)
    assert found["town"].share == 0


def test_the_parts_of_a_row_sum_to_its_score() -> None:
    """With missing cells too, whose parts are 0."""
    rows = table(100, True)
    terms = weighed(rows, True)
    rebuilt = terms.link(np.random.default_rng(1).standard_normal((100, 9)) / 3)
    cells = terms.cells(terms.outputs(rebuilt), rows)
    parts, scores = row_parts(COLUMNS, cells, rows, terms), terms.scores(cells, rows)
    assert parts.shape == (100, 5)
    np.testing.assert_allclose(parts.sum(1), scores, rtol=1e-9)
    assert not parts[:, 3][np.isnan(rows[:, 4])].any()


def test_a_column_that_is_read_and_not_rebuilt_has_no_quality() -> None:
    """Nor has an indicator; a categorical column of one level is always right."""
    rows = table(30, False)
    terms = weighed(rows, False)
    among = (replace(COLUMNS[0], weight=0.0), EncodedColumn("one", "categorical", 3, 4, ("(other)",)), *COLUMNS[3:])
    rows[:, 3] = 1
    found = quality(terms, rows, terms.link(np.full((30, 9), -1.0)), among)
    assert list(found) == ["one", "town", "visits"]
    assert (found["one"].accuracy, found["one"].commonest) == (1, 1)

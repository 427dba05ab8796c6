"""What the loss of a row is made of: 1 for whoever knows nothing but the means."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tuner.data.encoded import EncodedColumn
from tuner.data.fit_terms import HUBER, LEAST_ENTROPY, Wanted, fit_terms
from tuner.data.terms import Kind, Terms
from tuner.errors import DataError
from tuner.spec.names import Loss

COLUMNS = (
    EncodedColumn("x", "numeric", 0, 1),
    EncodedColumn("n", "count", 1, 2, weight=2.0),
    EncodedColumn("ok", "boolean", 2, 3, ("no", "yes")),
    EncodedColumn("l", "categorical", 3, 6, ("a", "b", "(other)")),
    EncodedColumn("t", "datetime", 6, 8),
    EncodedColumn("x is missing", "boolean", 8, 9, weight=0.0),
)


def rows(count: int, seed: int, gaps: float) -> np.ndarray:
    draw = np.random.default_rng(seed)
    made = np.zeros((count, 9), np.float32)
    made[:, 0], made[:, 1] = draw.normal(3, 2, count), draw.poisson(4, count) / 7
    made[:, 2] = draw.random(count) < 0.3
    made[np.arange(count), 3 + draw.choice(2, count, p=[0.8, 0.2])] = 1
    made[:, 6:8] = draw.random((count, 2))
    for column in COLUMNS[:5]:
        made[draw.random(count) < gaps, column.first : column.last] = np.nan
    made[:, 8] = np.isnan(made[:, 0])
    return made


def cell_losses(terms: Terms, part: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The mean predictor's loss of each cell, by other functions than the ones that are judged."""
    losses = np.zeros(part.shape)
    for f, kind in enumerate(terms.kinds):
        x, m = part[:, f].astype(float), float(mean[f])
        if kind == Kind.SQUARE:
            losses[:, f] = (x - m) ** 2
        elif kind == Kind.LOGIT:
            losses[:, f] = -np.where(x == 1, math.log(m), math.log1p(-m)) if 0 < m < 1 else 0
        elif kind == Kind.SOFTMAX:
            losses[:, f] = np.where(x > 0, -math.log(m), 0) if m > 0 else 0
        elif kind == Kind.HUBER:
            d, away = float(terms.deltas[f]), np.abs(x - m)
            losses[:, f] = np.where(away < d, away**2 / 2, d * away - d * d / 2)
        else:
            losses[:, f] = m - x + np.where(x > 0, x * np.log(np.where(x > 0, x, 1) / m), 0)
    return np.where(np.isnan(part), 0, losses)


def reported(terms: Terms, part: np.ndarray, mean: np.ndarray, split: int) -> float:
    total = float((terms.weights * cell_losses(terms, part, mean)).sum())
    return total / part.size * terms.shares[0] / terms.shares[split]


@pytest.mark.parametrize("gaps", [0.0, 0.2])
@pytest.mark.parametrize("loss", ["mixed", "huber", "poisson"])
def test_who_knows_the_means_alone_loses_1(loss: Loss, gaps: float) -> None:
    """On the training rows exactly, on others about; with columns of every kind and weight, complete or not."""
    train, other = rows(2000, 1, gaps), rows(1000, 2, gaps)
    terms = fit_terms(Wanted.of(COLUMNS, loss, {}), train, other, train[:0])
    assert terms is not None
    mean = np.nanmean(train.astype(float), 0)
    assert reported(terms, train, mean, 0) == pytest.approx(1, rel=1e-5)
    assert reported(terms, other, mean, 1) == pytest.approx(1, rel=0.1)
    assert terms.missing == (gaps > 0)
    np.testing.assert_allclose(terms.fill, mean, rtol=1e-6)


def test_a_column_counts_as_one_times_its_weight() -> None:
    """Of the mean predictor's loss each column has its weight's share: levels no more than a number, a weight of 2
    twice as much, a moment's two parts as much as one number, an indicator nothing."""
    train = rows(5000, 3, 0)
    terms = fit_terms(Wanted.of(COLUMNS, "mixed", {}), train, train[:10], train[:10])
    assert terms is not None
    each = (terms.weights * cell_losses(terms, train, np.nanmean(train.astype(float), 0))).mean(0)
    shares = [each[column.first : column.last].sum() / each.sum() for column in COLUMNS]
    np.testing.assert_allclose(shares, np.array([1, 2, 1, 1, 1, 0]) / 6, rtol=1e-5)


def test_kinds_follow_from_types_and_declarations() -> None:
    """Huber's bend lies at 1.345 deviations; Poisson's loss is for counts."""
    train = rows(500, 4, 0)
    terms = fit_terms(Wanted.of(COLUMNS, "mixed", {"x": "huber", "n": "poisson"}), train, train, train)
    assert terms is not None
    square, logit, softmax = Kind.SQUARE, Kind.LOGIT, Kind.SOFTMAX
    assert terms.kinds.tolist() == [Kind.HUBER, Kind.POISSON, logit, softmax, softmax, softmax, square, square, logit]
    assert terms.groups.tolist() == [[3, 6]]
    assert terms.deltas[0] == pytest.approx(HUBER * train[:, 0].std(), rel=1e-5)
    with pytest.raises(DataError, match=r"data.columns.x: loss poisson needs whole numbers from 0 on"):
        Wanted.of(COLUMNS, "mixed", {"x": "poisson"})


def test_complete_rows_under_mse_need_no_terms_and_gaps_do() -> None:
    """Then a cell counts the same in every column, and the mean is over those that are there."""
    columns = [EncodedColumn(name, "numeric", n, n + 1) for n, name in enumerate("abc")]
    draw = np.random.default_rng(5)
    train = draw.normal(size=(100, 3)).astype(np.float32)
    wanted = Wanted.of(columns, "mse", {})
    assert fit_terms(wanted, train, train, train) is None
    train[draw.random(train.shape) < 0.3] = np.nan
    terms = fit_terms(wanted, train, train[:50], train[:0])
    assert terms is not None
    guess = np.zeros(3)
    for part, split in ((train, 0), (train[:50], 1)):
        expected = np.nanmean(part.astype(float) ** 2)
        assert reported(terms, part, guess, split) == pytest.approx(expected, rel=1e-5)


def test_weights_and_masks_need_terms_under_mse_too() -> None:
    """A weight of 2 counts twice, an indicator nothing, and a model that leaves out what is missing can do so later."""
    train = np.random.default_rng(5).normal(size=(100, 3)).astype(np.float32)
    columns = [
        EncodedColumn(name, "numeric", n, n + 1, (), w)
        for n, (name, w) in enumerate(zip("abc", (1, 2, 0), strict=True))
    ]
    terms = fit_terms(Wanted.of(columns, "mse", {}), train, train, train)
    assert terms is not None
    np.testing.assert_allclose(terms.weights, [1, 2, 0])
    alike = Wanted.of([replace(column, weight=1) for column in columns], "mse", {})
    assert fit_terms(alike, train, train, train) is None
    masked = fit_terms(replace(alike, masked=True), train, train, train)
    assert masked is not None
    np.testing.assert_allclose(masked.weights, [1, 1, 1])
    with pytest.raises(DataError, match=r"data.columns.a: loss huber needs loss mixed or auto for the study, got mse"):
        Wanted.of(columns, "mse", {"a": "huber"})


def test_a_rare_level_is_worth_no_more_than_one_in_a_hundred() -> None:
    """One yes in 5,000 rows: its column's entropy counts as that of one row in a hundred; a constant has no part."""
    columns = [
        EncodedColumn("ok", "boolean", 0, 1),
        EncodedColumn("x", "numeric", 1, 2),
        EncodedColumn("c", "numeric", 2, 3),
    ]
    train = np.zeros((5000, 3), np.float32)
    train[0, 0], train[:, 1], train[:, 2] = 1, np.random.default_rng(6).normal(size=5000), 0.25
    terms = fit_terms(Wanted.of(columns, "mixed", {}), train, train, train)
    assert terms is not None
    assert terms.weights[2] == 0
    assert terms.weights[0] == pytest.approx(3 / 2 / LEAST_ENTROPY, rel=1e-6)
    with pytest.raises(DataError, match="must have a column that varies in the training rows"):
        fit_terms(Wanted.of(columns[2:], "mixed", {}), train[:, 2:], train[:, 2:], train[:, 2:])


def test_terms_survive_json_and_other_json_is_refused() -> None:
    """Bit for bit; damaged ones raise what a reader of the folder turns into a sentence."""
    terms = fit_terms(Wanted.of(COLUMNS, "mixed", {}), rows(50, 7, 0.1), rows(50, 8, 0), rows(50, 9, 0))
    assert terms is not None
    known = terms.to_json()
    assert Terms.from_json(known).to_json() == known
    for damage in (
        {"weights": known["weights"][1:]}, {"shares": [1, 1]}, {"kinds": [9] * 9}, {"groups": [[3, 5]]},
        {"deltas": [0.0] * 9}, {"fill": [math.nan] * 9}, {"groups": [[0, 1], [3, 6]]}, {"weights": [-1.0] * 9},
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError, KeyError)):
            Terms.from_json({**known, **damage})

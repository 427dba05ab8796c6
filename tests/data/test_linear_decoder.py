"""Claims about the decoder that a skip starts at where the loss is no squared error."""

from __future__ import annotations

import numpy as np
import pytest
from mixed import mixed_rows, mixed_terms
from sklearn.linear_model import LogisticRegression

from tuner.data import linear_decoder
from tuner.data.terms import Kind
from tuner.errors import StoppedError


def test_slopes_are_finite_differences_of_the_losses() -> None:
    """Every kind of term, missing cells included: the gradient that the fit goes by is that of what it minimises."""
    terms = mixed_terms(3, 30, missing=True)
    rows = mixed_rows(3, terms, 6).astype(np.float64)
    outputs = np.random.default_rng(0).normal(size=rows.shape)
    loss, slopes = linear_decoder._fit_of(rows, terms)(outputs)
    assert np.isfinite(loss)
    draw = np.random.default_rng(1)
    for _ in range(20):
        way = draw.normal(size=rows.shape)
        moved = [linear_decoder._fit_of(rows, terms)(outputs + step * way)[0] for step in (1e-5, -1e-5)]
        assert (moved[0] - moved[1]) / 2e-5 == pytest.approx(float((slopes * way).sum()), rel=1e-5, abs=1e-5)


def test_of_yes_and_no_it_is_logistic_regression() -> None:
    """scikit-learn's with the same ridge: the same probabilities for each column, to a thousandth."""
    draw = np.random.default_rng(0)
    codes = draw.normal(size=(400, 3)) * [3.0, 1.0, 0.2]
    rows = (draw.random((400, 2)) < 1 / (1 + np.exp(-codes @ draw.normal(size=(3, 2))))).astype(float)
    decoder, bias = linear_decoder.fit_decoder(codes, rows, np.zeros(2), None)
    size = np.sqrt((codes**2).mean(axis=0))
    for column in range(2):
        known = LogisticRegression(C=1 / (linear_decoder.RIDGE * len(rows))).fit(codes / size, rows[:, column])
        found = 1 / (1 + np.exp(-(codes @ decoder + bias)[:, column]))
        np.testing.assert_allclose(found, known.predict_proba(codes / size)[:, 1], atol=1e-3)


def test_of_squares_it_is_least_squares() -> None:
    """numpy's, but for the ridge, in every column that counts."""
    terms = mixed_terms(5, 8, kinds=[Kind.SQUARE])
    draw = np.random.default_rng(0)
    codes = draw.normal(size=(300, 3))
    rows = codes @ draw.normal(size=(3, 8)) + draw.normal(size=(300, 8)) / 10
    decoder, bias = linear_decoder.fit_decoder(codes, rows, np.zeros(8), terms)
    whole = np.hstack([codes, np.ones((300, 1))])
    found, known, counts = np.vstack([decoder, bias]), np.linalg.lstsq(whole, rows)[0], terms.weights > 0
    assert counts.any()
    np.testing.assert_allclose(found[:, counts], known[:, counts], atol=5e-3)


def test_what_a_tick_raises_ends_the_fit_and_ticks_change_no_bit() -> None:
    """Each evaluation of the loss is told: a stop waits for one, where rows are wide not for minutes."""
    terms, draw, told = mixed_terms(5, 8), np.random.default_rng(0), list[str]()
    given = draw.normal(size=(300, 3)), mixed_rows(3, terms, 300).astype(np.float64), np.zeros(8), terms

    def third(what: str) -> None:
        told.append(what)
        if len(told) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        linear_decoder.fit_decoder(*given, third)
    assert told == ["linear decoder of 3 units"] * 3
    for quiet, ticked in zip(
        linear_decoder.fit_decoder(*given), linear_decoder.fit_decoder(*given, told.append), strict=True
    ):
        np.testing.assert_array_equal(quiet, ticked)
    assert len(told) > 10


@pytest.mark.parametrize(("codes", "fitted"), [((3,), (3,)), ((2, 4, 4), (2, 4)), (tuple(range(1, 33)), None)])
def test_few_lengths_are_fitted_each_and_many_evenly(codes: tuple[int, ...], fitted: tuple[int, ...] | None) -> None:
    """The shortest and the longest are always among them."""
    found = linear_decoder.lengths(codes)
    assert fitted is None or found == fitted
    assert len(found) <= linear_decoder.MOST_LENGTHS and {min(codes), max(codes)} <= set(found) <= set(codes)

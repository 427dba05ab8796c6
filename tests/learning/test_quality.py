"""Claims about the measures of codes: each is what scikit-learn, or its definition written out, says it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifier
from sklearn.manifold import trustworthiness as of_sklearn
from sklearn.metrics import roc_auc_score

from tuner.learning import quality
from tuner.learning.quality import Moments, Probe

SEEDS = st.integers(0, 2**32 - 1)


def moments(codes: np.ndarray, parts: int = 3) -> Moments:
    made = Moments.about(codes[0].astype(np.float64))
    for part in np.array_split(codes, parts):
        made.add(part)
    return made


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.integers(2, 300), st.integers(1, 20), st.sampled_from([0.0, 1e4]))
def test_effective_dimensions_are_the_participation_ratio_of_the_covariances_eigenvalues(
    seed: int, rows: int, units: int, far: float
) -> None:
    """(sum l)^2 / sum l^2, from numpy's covariance and eigenvalues; wherever the codes lie, and in whatever parts."""
    draw = np.random.default_rng(seed)
    codes = draw.normal(size=(rows, units)) * draw.uniform(0.1, 3, units) + far
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(codes.T)))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert quality.effective_dims(moments(codes).scatter()) == pytest.approx(expected, rel=1e-6)


def test_effective_dimensions_count_what_is_filled() -> None:
    """3 for white noise in 3 of 8 units, 1 for a line through all of them, 0 for a code that never changes."""
    draw = np.random.default_rng(0)
    noise = np.zeros((100_000, 8))
    noise[:, :3] = draw.normal(size=(100_000, 3))
    assert quality.effective_dims(moments(noise).scatter()) == pytest.approx(3, abs=0.01)
    assert quality.effective_dims(moments(np.outer(np.arange(9.0), np.ones(8))).scatter()) == pytest.approx(1)
    assert quality.effective_dims(moments(np.ones((9, 8))).scatter()) == 0


def test_units_that_hardly_vary_are_dead() -> None:
    """Below a thousandth of the largest unit's variance, whatever the scale; all where nothing varies."""
    codes = np.random.default_rng(0).normal(size=(5000, 5)) * [1, 0.1, 0.02, 0.0, 0.05]
    assert quality.dead_units(moments(codes).scatter()) == 2
    assert quality.dead_units(moments(codes * 1e-6).scatter()) == 2
    assert quality.dead_units(moments(np.ones((9, 4))).scatter()) == 4


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.integers(11, 120), st.integers(1, 12), st.integers(1, 6))
def test_trustworthiness_is_scikit_learns(seed: int, rows: int, features: int, units: int) -> None:
    """On rows without ties the same value."""
    draw = np.random.default_rng(seed)
    data, codes = draw.normal(size=(rows, features)), draw.normal(size=(rows, units))
    ours = quality.trustworthiness(quality.neighbour_ranks(data), codes)
    assert ours == pytest.approx(of_sklearn(data, codes, n_neighbors=quality.NEIGHBOURS), abs=1e-12)


def test_trustworthiness_with_few_rows_looks_at_fewer_neighbours() -> None:
    """With 10 rows 4 neighbours; with 2 it cannot be told; a code that is the data is worth 1, equal rows included."""
    draw = np.random.default_rng(0)
    data, codes = draw.normal(size=(10, 3)), draw.normal(size=(10, 2))
    ours = quality.trustworthiness(quality.neighbour_ranks(data), codes)
    assert ours == pytest.approx(of_sklearn(data, codes, n_neighbors=4))
    assert math.isnan(quality.trustworthiness(quality.neighbour_ranks(data[:2]), codes[:2]))
    twice = np.concatenate([data, data])
    assert quality.trustworthiness(quality.neighbour_ranks(data), data) == 1
    assert quality.trustworthiness(quality.neighbour_ranks(twice), twice) > 0.98


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("far", [0.0, 300.0])
def test_the_probe_is_scikit_learns_ridge_classifier(classes: int, far: float) -> None:
    """The same class for every row, fitted in parts; weights to 1e-6."""
    draw = np.random.default_rng(classes)
    labels = draw.integers(0, classes, 1200).astype(np.int32)
    codes = (draw.normal(size=(1200, 6)) + 0.7 * draw.normal(size=(classes, 6))[labels] + far).astype(np.float32)
    probe = Probe(codes[0].astype(np.float64), classes)
    for part in (slice(0, 300), slice(300, 301), slice(301, 800)):
        probe.add(codes[part], labels[part])
    fitted = probe.fit()
    theirs = RidgeClassifier().fit(codes[:800].astype(np.float64), labels[:800])
    assert fitted is not None
    assert (fitted.predict(codes[800:]) == theirs.predict(codes[800:].astype(np.float64))).all()
    weights = fitted.weights_CK.T if classes > 2 else fitted.weights_CK.T[1:]
    np.testing.assert_allclose(weights, np.atleast_2d(theirs.coef_), rtol=1e-6, atol=1e-9)


def test_the_probe_knows_the_classes_that_it_was_shown() -> None:
    """One that occurs in no training row is never told; with one class alone there is nothing to tell."""
    draw = np.random.default_rng(0)
    codes, labels = draw.normal(size=(90, 3)), np.array([0, 2, 4] * 30, np.int32)
    probe, single = Probe(np.zeros(3), 5), Probe(np.zeros(3), 5)
    probe.add(codes + labels[:, None], labels)
    fitted = probe.fit()
    assert fitted is not None
    expected = RidgeClassifier().fit(codes + labels[:, None], labels).predict(codes)
    assert fitted.predict(codes).tolist() == expected.tolist()
    single.add(codes, np.full(90, 3, np.int32))
    assert single.fit() is None


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.integers(2, 300), st.integers(1, 40))
def test_auroc_is_scikit_learns_ties_included(seed: int, rows: int, values: int) -> None:
    """On scores of few different values and on many."""
    draw = np.random.default_rng(seed)
    positive = draw.random(rows) < 0.2
    positive[:2] = False, True
    scores = draw.integers(0, values, rows) / 7
    assert quality.auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_auroc_of_one_class_or_of_infinite_scores() -> None:
    """No number where all rows are of one class; what is no number, or infinite, ranks highest."""
    assert math.isnan(quality.auroc(np.arange(3.0), np.ones(3, bool)))
    assert math.isnan(quality.auroc(np.arange(3.0), np.zeros(3, bool)))
    scores, positive = np.array([1.0, math.nan, 2.0, math.inf]), np.array([False, True, False, True])
    assert quality.auroc(scores, positive) == 1

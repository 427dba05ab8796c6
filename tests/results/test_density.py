"""Claims about the density of the codes: found again where it is known, the same draws for the same seed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from tuner.errors import DataError
from tuner.export import density
from tuner.export.density import Density


def draw(density: Density, count: int, seed: int = 0) -> np.ndarray:
    return np.concatenate([np.empty((0, density.means.shape[1])), *density.samples(count, seed)])


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """Three clouds, far from each other and of very different scales, and a dead unit."""
    chance = np.random.default_rng(2)
    of = chance.choice(3, 3000, p=[0.5, 0.3, 0.2])
    centres = np.array([[0.0, 500.0], [8.0, -500.0], [-8.0, 0.0]])
    cloud = centres[of] + chance.normal(size=(3000, 2)) * [0.5, 20.0]
    return np.column_stack([cloud, np.full(3000, 4.5)]).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(codes: np.ndarray) -> Density:
    return Density.fit(codes, 1)


def test_a_mixture_is_found_again(fitted: Density) -> None:
    """BIC finds three components with their weights, centres and deviations."""
    order = np.argsort(fitted.means[:, 0])
    np.testing.assert_allclose(fitted.weights[order], [0.2, 0.5, 0.3], atol=0.03)
    np.testing.assert_allclose(fitted.means[order, 0], [-8, 0, 8], atol=0.1)
    deviations = np.sqrt(np.diagonal(fitted.covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(deviations[:, :2], np.tile([0.5, 20.0], (3, 1)), rtol=0.1)


def test_the_fit_is_no_worse_than_scikit_learns(fitted: Density, codes: np.ndarray) -> None:
    """The likelihood of the living units' codes is that of scikit-learn's own mixture of three, to a thousandth."""
    living = codes[:, :2].astype(float)
    oracle = GaussianMixture(3, random_state=0, n_init=3).fit(living)
    logs = [
        np.log(weight) + multivariate_normal.logpdf(living, mean[:2], covariance[:2, :2])
        for weight, mean, covariance in zip(fitted.weights, fitted.means, fitted.covariances, strict=True)
    ]
    assert np.logaddexp.reduce(logs).mean() == pytest.approx(oracle.score(living), rel=1e-3)


def test_draws_are_spread_as_the_codes(fitted: Density, codes: np.ndarray) -> None:
    """Mean and deviation of many draws; the dead unit stays dead."""
    drawn = draw(fitted, 20_000)
    np.testing.assert_allclose(drawn.mean(0)[:2], codes.mean(0)[:2], atol=0.05 * codes.std(0)[:2].max())
    np.testing.assert_allclose(drawn.std(0)[:2], codes.std(0)[:2], rtol=0.05)
    np.testing.assert_allclose(drawn[:, 2], 4.5)


def test_the_first_of_many_draws_are_those_of_few(fitted: Density) -> None:
    """One seed, one sequence, however many are taken; another seed, another."""
    many = draw(fitted, density.BLOCK_ROWS + 10, 5)
    np.testing.assert_array_equal(draw(fitted, 10, 5), many[:10])
    assert many.shape == (density.BLOCK_ROWS + 10, 3)
    assert len(np.unique(many[:, 0])) == len(many)
    assert (draw(fitted, 10, 6)[:, 0] != many[:10, 0]).all()


def test_the_same_codes_and_seed_give_the_same_density(fitted: Density, codes: np.ndarray) -> None:
    """Bit for bit."""
    assert Density.fit(codes, 1).to_json() == fitted.to_json()


def test_many_rows_are_drawn_from(codes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a part of the rows, taken from everywhere, gives nearly the same density."""
    monkeypatch.setattr(density, "MOST_ROWS", 1000)
    part = Density.fit(codes, 1)
    assert len(part.weights) == 3
    np.testing.assert_allclose(np.sort(part.means[:, 0]), [-8, 0, 8], atol=0.2)


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_few_rows_have_a_density_too(rows: int) -> None:
    """Down to one, which is then drawn again and again."""
    codes = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    drawn = draw(Density.fit(codes, 0), 100)
    assert np.isfinite(drawn).all()
    if rows == 1:
        np.testing.assert_allclose(drawn, np.tile(codes, (100, 1)), atol=0.01)


def test_the_prior_is_standard_normal() -> None:
    """Mean 0, deviation 1, no correlation."""
    drawn = draw(Density.prior(3), 20_000)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(3), atol=0.05)
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.05)


def test_it_is_read_as_it_was_written(fitted: Density) -> None:
    """Every float the same, so every draw."""
    np.testing.assert_array_equal(draw(Density.from_json(fitted.to_json(), 3), 50), draw(fitted, 50))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 3},
        {"version": 2},
        {"weights": []},
        {"weights": [-1, 1, 1]},
        {"means": [[0, 0]]},
        {"covariances": None},
        {"means": "x"},
    ],
)
def test_another_content_is_refused(changes: dict[str, object], fitted: Density) -> None:
    """Another version, other shapes, negative weights: one sentence."""
    text = json.dumps({**json.loads(fitted.to_json()), **changes})
    with pytest.raises(DataError, match=r"density: expected version 1 or 2 of a mixture, got: "):
        Density.from_json(text, 3)


def test_a_long_code_has_independent_units() -> None:
    """Beyond the stated length the mixture is diagonal: quick, small, found again, read as written, and drawn from."""
    chance = np.random.default_rng(3)
    units = density.FULL_UNITS + 1
    deviations = np.where(np.arange(units) == 5, 0.0, np.linspace(0.1, 3.0, units))
    codes = (chance.normal(size=(900, units)) * deviations + 7).astype(np.float32)
    made = Density.fit(codes, 1)
    assert made.covariances.shape == (len(made.weights), units)
    drawn = draw(made, 20_000)
    np.testing.assert_allclose(drawn.std(0), codes.std(0), rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(drawn[:, 5], 7.0)
    again = Density.from_json(made.to_json(), units)
    np.testing.assert_array_equal(draw(again, 50), draw(made, 50))
    assert Density.fit(codes[:, : density.FULL_UNITS], 1).covariances.ndim == 3


def test_a_code_of_1024_units_has_a_small_file() -> None:
    """Of a mixture and of the prior: less than a megabyte, where full covariances take twenty a component."""
    codes = np.random.default_rng(0).normal(size=(2000, 1024)).astype(np.float32)
    for made in (Density.fit(codes, 0), Density.prior(1024)):
        assert len(made.to_json()) < 1e6
        assert draw(made, 3).shape == (3, 1024)


def test_negative_variances_are_refused() -> None:
    """In the file of a long code as elsewhere."""
    text = Density.prior(density.FULL_UNITS + 1).to_json().replace('"covariances": [[1.0', '"covariances": [[-1.0')
    with pytest.raises(DataError, match="out of range"):
        Density.from_json(text, density.FULL_UNITS + 1)

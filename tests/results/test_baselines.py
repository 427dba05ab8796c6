"""Claims about the baselines: fitted on the training rows alone, scored like a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tuner.analysis.baselines import EPSILON, baselines
from tuner.data.pca import ROWS_AT_ONCE
from tuner.data.rows import Rows

Values = NDArray[np.float32]


def splits(train: int, features: int, held_out: int = 30, seed: int = 0) -> Rows:
    draw = np.random.default_rng(seed)
    mixing = draw.normal(size=(features, features))
    parts = [draw.uniform(size=(rows, features)) @ mixing for rows in (train, held_out, held_out + 7)]
    low, high = parts[0].min(), parts[0].max()
    return Rows(*(((part - low) / (high - low)).astype(np.float32) for part in parts))


def svd_reconstruction(train: Values, rows: Values, code: int) -> NDArray[np.float64]:
    """PCA written out: project on the leading right singular vectors of the centred training rows."""
    mean = train.astype(np.float64).mean(axis=0)
    _, _, directions = np.linalg.svd(train - mean, full_matrices=False)
    return (rows - mean) @ directions[:code].T @ directions[:code] + mean


def cross_entropy(rows: Values, guess: NDArray[np.float64]) -> float:
    guess = np.minimum(np.maximum(guess, EPSILON), 1 - EPSILON)
    terms = [-(x * np.log(p) + (1 - x) * np.log(1 - p)) for x, p in zip(rows.flat, guess.flat, strict=True)]
    return float(np.mean(terms, dtype=np.float64))


@pytest.mark.parametrize(("train", "features", "code"), [(200, 12, 4), (20, 50, 4), (200, 12, 1), (50, 50, 20)])
def test_pca_and_mean_are_those_of_an_explicit_svd(train: int, features: int, code: int) -> None:
    """Tall, wide and square data: the mean squared errors of numpy's SVD and of the column means."""
    rows = splits(train, features)
    losses = baselines(rows, code, "mse")
    for split, part in (("validation", rows.validation), ("test", rows.test)):
        assert getattr(losses, split).pca == pytest.approx(
            np.mean((part - svd_reconstruction(rows.train, part, code)) ** 2), rel=1e-9
        )
        assert getattr(losses, split).mean == pytest.approx(np.mean((part - rows.train.mean(axis=0, dtype=float)) ** 2))


def test_pca_is_that_of_scikit_learn() -> None:
    """The loss of sklearn's PCA with its full SVD, within float64."""
    rows = splits(300, 20)
    pca = PCA(5, svd_solver="full").fit(rows.train.astype(np.float64))
    guess = pca.inverse_transform(pca.transform(rows.test.astype(np.float64)))
    assert baselines(rows, 5, "mse").test.pca == pytest.approx(np.mean((rows.test - guess) ** 2), rel=1e-9)


def test_the_cross_entropy_is_that_of_the_clipped_reconstruction() -> None:
    """For bce, each value's cross-entropy written out, with reconstructions clipped into [1e-6, 1 - 1e-6]."""
    rows = splits(100, 10)
    clipped = Rows(*(np.clip(part * 1.2 - 0.1, 0, 1) for part in (rows.train, rows.validation, rows.test)))
    losses = baselines(clipped, 3, "bce")
    for split, part in (("validation", clipped.validation), ("test", clipped.test)):
        guess = svd_reconstruction(clipped.train, part, 3)
        mean = np.broadcast_to(clipped.train.mean(axis=0, dtype=float), part.shape)
        assert getattr(losses, split).pca == pytest.approx(cross_entropy(part, guess), rel=1e-6)
        assert getattr(losses, split).mean == pytest.approx(cross_entropy(part, mean), rel=1e-6)


def test_a_wrong_certainty_costs_a_finite_loss() -> None:
    """A mean of 0 costs -log(1e-6) for every 1 that comes."""
    dark, lit = np.zeros((8, 2), np.float32), np.ones((4, 2), np.float32)
    assert baselines(Rows(dark, lit, lit), 1, "bce").test.mean == pytest.approx(-np.log(EPSILON))


def test_nothing_is_fitted_on_the_rows_that_are_scored() -> None:
    """Other validation rows leave the test losses as they were, bit for bit."""
    rows = splits(80, 9)
    other = Rows(rows.train, rows.validation[::-1] * 3, rows.test)
    assert baselines(rows, 2, "mse").test == baselines(other, 2, "mse").test


def test_a_code_as_long_as_the_row_loses_nothing() -> None:
    """With as many components as features the reconstruction is exact; asking for more changes nothing."""
    rows = splits(80, 6)
    assert baselines(rows, 6, "mse").test.pca == pytest.approx(0, abs=1e-20)
    assert baselines(rows, 60, "mse") == baselines(rows, 6, "mse")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("train", [1, 2, 3])
def test_a_few_training_rows_are_enough(train: int) -> None:
    """With fewer training rows than components PCA has as many as there are rows, without a warning."""
    losses = baselines(splits(train, 10), 8, "mse")
    assert all(np.isfinite(value) for split in (losses.validation, losses.test) for value in (split.mean, split.pca))
    if train == 1:
        assert losses.test.pca <= losses.test.mean


def test_many_rows_are_scored_as_few(tmp_path: Path) -> None:
    """More rows than are scored at once, read from a memory map: the mean over all of them."""
    rows = splits(50, 4, held_out=ROWS_AT_ONCE + 3)
    np.save(tmp_path / "rows.npy", np.concatenate([rows.train, rows.validation, rows.test]))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="c")
    a, b = len(rows.train), len(rows.train) + len(rows.validation)
    losses = baselines(Rows(mapped[:a], mapped[a:b], mapped[b:]), 2, "mse")
    error = np.mean((rows.validation - svd_reconstruction(rows.train, rows.validation, 2)) ** 2)
    assert losses.validation.pca == pytest.approx(error, rel=1e-9)


def test_digits_with_eight_components() -> None:
    """On the digits, eight components reach the .025 a pixel that is known of them."""
    pixels = np.random.default_rng(0).permutation(load_digits().data / 16).astype(np.float32)
    losses = baselines(Rows(pixels[:1257], pixels[1257:1617], pixels[1617:]), 8, "mse")
    assert losses.test.pca == pytest.approx(0.0253, rel=0.05)
    assert losses.test.mean == pytest.approx(0.0733, rel=0.05)

"""Claims about PCA of large data: as honest as the exact one, in bounded memory, told about and stopped between."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tuner.analysis.baselines import baselines, pca_losses
from tuner.data import pca
from tuner.data.rows import Rows

Spectrum = Callable[[NDArray[np.float64]], NDArray[np.float64]]
SPECTRA: dict[str, Spectrum] = {
    "flat": np.ones_like,
    "slow": lambda place: 1 / np.sqrt(place),
    "power": lambda place: 1 / place,
    "fast": lambda place: 0.7**place,
    "few and noise": lambda place: np.where(place <= 10, 30.0, 1.0),
}


def splits(spectrum: Spectrum, train: int, features: int, seed: int = 0) -> Rows:
    """Rows whose covariance has that spectrum, in a random basis."""
    draw = np.random.default_rng(seed)
    basis = np.linalg.qr(draw.normal(size=(features, features))).Q * spectrum(np.arange(1.0, features + 1))
    return Rows(*((draw.normal(size=(n, features)) @ basis.T + 3).astype(np.float32) for n in (train, 60, 60)))


@pytest.fixture
def approximated(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on nothing is small enough for the exact way, and the rows come in many blocks."""

    def set_limits() -> None:
        monkeypatch.setattr(pca, "EXACT_SIDE", 20)
        monkeypatch.setattr(pca, "ROWS_AT_ONCE", 300)

    return set_limits


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize(("train", "features"), [(500, 200), (150, 300)])
@pytest.mark.parametrize("code", [1, 10, 60])
def test_the_approximate_loss_is_the_exact_one_within_a_hundredth(
    spectrum: str, train: int, features: int, code: int, approximated: Callable[[], None]
) -> None:
    """For tall and wide rows, codes short and long, spectra with and without a gap, on both splits."""
    rows = splits(SPECTRA[spectrum], train, features)
    exact = baselines(rows, code, "mse")
    approximated()
    found = baselines(rows, code, "mse")
    for split in ("validation", "test"):
        assert getattr(found, split).pca == pytest.approx(getattr(exact, split).pca, rel=0.01)
        assert getattr(found, split).mean == pytest.approx(getattr(exact, split).mean, rel=1e-9)


def test_data_that_is_linear_is_seen_to_be_linear(approximated: Callable[[], None]) -> None:
    """Of rank 5 up to rounding: the loss is rounding too, not the approximation's."""
    draw = np.random.default_rng(1)
    mixing = draw.normal(size=(5, 120))
    rows = Rows(*((draw.normal(size=(n, 5)) @ mixing).astype(np.float32) for n in (200, 50, 50)))
    approximated()
    losses = baselines(rows, 5, "mse").test
    assert losses.pca < 1e-12 * losses.mean


def test_one_fit_serves_every_length_of_a_front(approximated: Callable[[], None]) -> None:
    """Each length's loss is within a hundredth of its own exact one; longer codes lose less."""
    rows = splits(SPECTRA["slow"], 300, 100)
    exact = pca_losses(rows, [2, 8, 30], "mse")
    approximated()
    found = pca_losses(rows, [30, 2, 8, 8], "mse")
    assert list(found) == [2, 8, 30]
    assert sorted(found.values(), reverse=True) == list(found.values())
    assert found == pytest.approx(exact, rel=0.01)


def test_a_code_longer_than_the_rows_or_features_is_exact(approximated: Callable[[], None]) -> None:
    """All directions there are: on the training rows nothing is lost."""
    rows = splits(SPECTRA["slow"], 40, 90)
    approximated()
    own = Rows(rows.train, rows.train, rows.train)
    assert baselines(own, 64, "mse").test.pca < 1e-12


def test_the_same_rows_give_the_same_loss(approximated: Callable[[], None]) -> None:
    """The start is drawn by a fixed seed: bit for bit."""
    rows = splits(SPECTRA["slow"], 200, 100)
    approximated()
    assert baselines(rows, 7, "mse") == baselines(rows, 7, "mse")


def test_ordinary_sizes_keep_their_bits() -> None:
    """Up to the stated limits the directions are those of the written-out eigenvectors, bit for bit."""
    rows = splits(SPECTRA["slow"], 200, 40)
    train = rows.train.astype(np.float64)
    mean = train.mean(axis=0)
    centred = train - mean
    found_mean, found = pca.principal(rows.train, 3)
    np.testing.assert_array_equal(found_mean, mean)
    np.testing.assert_array_equal(found, np.linalg.eigh(centred.T @ centred).eigenvectors[:, ::-1])


def test_what_is_done_is_told_and_can_be_ended(approximated: Callable[[], None]) -> None:
    """The passes are counted with a share, and what the listener raises comes out at once."""
    told: list[str] = []
    rows = splits(SPECTRA["slow"], 400, 60)
    approximated()
    baselines(rows, 4, "mse", told.append)
    assert "PCA of 4 components, pass 2 of 4, 50 %" in told

    class StoppedError(Exception):
        pass

    def stop(what: str) -> None:
        if "pass 1" in what:
            raise StoppedError

    with pytest.raises(StoppedError):
        baselines(rows, 4, "mse", stop)


def test_memory_is_bounded_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 16 MB in single precision are never copied whole: that would be 32 MB, and the exact way has three."""
    monkeypatch.setattr(pca, "EXACT_SIDE", 20)
    rows = splits(SPECTRA["few and noise"], 20_000, 200)
    tracemalloc.start()
    try:
        pca.principal(rows.train, 2)
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()


def test_long_rows_are_worked_on_fewer_at_once() -> None:
    """A block holds as many values for 20,000 columns as for 1,024."""
    assert pca.rows_at_once(10) == pca.rows_at_once(1024) == 16_384
    assert pca.rows_at_once(20_000) * 20_000 <= 16_384 * 1024
    assert pca.rows_at_once(10**9) == 1

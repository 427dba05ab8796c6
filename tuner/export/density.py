"""Where codes lie: a density that new rows are drawn from.

A deterministic autoencoder says nothing about which codes are likely, so a Gaussian mixture is fitted to the training
rows' codes afterwards (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4); a variational
one has its prior.

The components of a code of up to FULL_UNITS units have full covariances; those of a longer one vary in each unit
independently, for a full covariance's time and room grow with the square of the code's length.

Legend: N rows, C units of the code, K components.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tuner.data.preprocess import numbers
from tuner.errors import DataError
from tuner.spec.work import derive_seed

FULL, DIAGONAL = 1, 2  # versions of the file: by what a component's covariances are
FULL_UNITS = 128
KINDS = ("mixture", "prior")
MOST_COMPONENTS = 10
MOST_ROWS = 10_000  # codes that a mixture is fitted to
PATIENCE = 2  # numbers of components tried in vain before the search ends
MOST_STEPS = 50  # of expectation and maximisation, in a fit
BLOCK_ROWS = 4096  # codes drawn at once
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Density:
    """A Gaussian mixture.

    Attributes:
        kind: mixture, or prior where nothing was fitted.
        weights: (K,), positive, with sum 1.
        means: (K, C).
        covariances: (K, C, C), or the variances (K, C) where units vary independently.
    """

    kind: str
    weights: Values
    means: Values
    covariances: Values

    @classmethod
    def prior(cls, units: int) -> Self:
        """The standard normal density of so many units: a variational autoencoder's."""
        covariance = np.eye(units) if units <= FULL_UNITS else np.ones(units)
        return cls("prior", np.ones(1), np.zeros((1, units)), covariance[None])

    @classmethod
    def fit(cls, codes_NC: NDArray[np.floating[Any]], seed: int) -> Self:
        """Fit mixtures of 1, 2, ... components, and take the one with the lowest BIC (Schwarz 1978).

        Args:
            codes_NC: training rows' codes; 10,000 of them drawn by chance where there are more.
            seed: of those draws, and of the fits' starts.
        """
        codes = np.asarray(codes_NC, dtype=np.float64)
        codes = codes[np.isfinite(codes).all(1)]  # a row may be too far out for single precision
        if len(codes) > MOST_ROWS:
            chosen = np.random.default_rng(derive_seed(seed, "density", "rows")).permutation(len(codes))[:MOST_ROWS]
            codes = codes[np.sort(chosen)]
        offset, deviation = codes.mean(0), codes.std(0)
        scale = np.where(deviation > 0, deviation, 1.0)  # a dead unit has one value
        mixture = _mixture((codes - offset) / scale, derive_seed(seed, "density", "fit"))
        if mixture.covariance_type == "diag":
            spread = scale**2 * (deviation > 0)
        else:
            spread = np.outer(scale, scale) * (np.outer(deviation, deviation) > 0)
        return cls("mixture", mixture.weights_, mixture.means_ * scale + offset, mixture.covariances_ * spread)

    def samples(self, count: int, seed: int) -> Iterator[NDArray[np.float32]]:
        """Draw `count` codes, in blocks (B, C) of at most 4,096; the first of many are those of few."""
        spreads = [_spread(covariance) for covariance in self.covariances]
        for block, first in enumerate(range(0, count, BLOCK_ROWS)):
            draw = np.random.default_rng(derive_seed(seed, "sample", block))
            chosen = draw.choice(len(self.weights), BLOCK_ROWS, p=self.weights / self.weights.sum())
            normal_BC = draw.standard_normal((BLOCK_ROWS, self.means.shape[1]))
            codes = self.means[chosen]
            for component, spread in enumerate(spreads):
                of_it = chosen == component
                codes[of_it] += spread(normal_BC[of_it])
            yield codes[: count - first].astype(np.float32)

    def to_json(self) -> str:
        """Everything, floats written so that they are read as the same value."""
        parts = {name: getattr(self, name).tolist() for name in ("weights", "means", "covariances")}
        version = FULL if self.covariances.ndim == 3 else DIAGONAL
        return json.dumps({"version": version, "kind": self.kind, **parts}) + "\n"

    @classmethod
    def from_json(cls, text: str, units: int) -> Self:
        """What `to_json` wrote, of a code of so many units.

        Raises:
            DataError: it is something else.
        """
        try:
            known = json.loads(text)
            if known["version"] not in (FULL, DIAGONAL):
                raise ValueError(f"version {known['version']!r}")
            if known["kind"] not in KINDS:
                raise ValueError(f"kind {known['kind']!r}")
            parts = [numbers(known, name) for name in ("weights", "means", "covariances")]
            made = cls(known["kind"], *parts)
            made._check(units, known["version"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise DataError(f"density: expected version {FULL} or {DIAGONAL} of a mixture, got: {reason}") from None
        return made

    def _check(self, units: int, version: int) -> None:
        count = self.weights.size
        form = (count, units, units) if version == FULL else (count, units)
        if not (
            count
            and self.weights.shape == (count,)
            and self.means.shape == (count, units)
            and self.covariances.shape == form
        ):
            raise ValueError(f"weights, means and covariances must be of {units} units")
        finite = all(np.isfinite(part).all() for part in (self.weights, self.means, self.covariances))
        finite = finite and (version == FULL or not (self.covariances < 0).any())
        if (
            not finite
            or np.abs(self.means).max() > np.finfo(np.float32).max
            or (self.weights < 0).any()
            or not self.weights.sum() > 0
        ):
            raise ValueError("weights, means or covariances are out of range")


def _mixture(codes: Values, seed: int) -> Any:
    """The best mixture of few components: the search ends where more do not better it."""
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - a second to import
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    form = "full" if codes.shape[1] <= FULL_UNITS else "diag"
    best, lowest, since = None, np.inf, 0
    for components in range(1, max(1, min(MOST_COMPONENTS, len(codes) // 2)) + 1):
        made = GaussianMixture(
            components, covariance_type=form, init_params="k-means++", max_iter=MOST_STEPS, random_state=seed % 2**32
        )
        with warnings.catch_warnings(), threadpool_limits(1):  # many small products: threads wait
            warnings.simplefilter("ignore")  # a fit that has not quite converged is compared by BIC all the same
            fitted = made.fit(codes if len(codes) > 1 else codes.repeat(2, 0))
        bic = fitted.bic(codes)
        best, lowest, since = (fitted, bic, 0) if bic < lowest else (best, lowest, since + 1)
        if since == PATIENCE:
            break
    return best


def _spread(covariance: Values) -> Callable[[Values], Values]:
    """What gives standard normal rows (B, C) this covariance (C, C), or these variances (C,).

    A covariance may be singular: a dead unit does not vary.
    """
    if covariance.ndim == 1:
        deviations = np.sqrt(covariance)
        return lambda normal_BC: normal_BC * deviations
    values, vectors = np.linalg.eigh(covariance)
    root = np.asarray(vectors * np.sqrt(np.maximum(values, 0)))
    return lambda normal_BC: normal_BC @ root.T

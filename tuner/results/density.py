"""Where codes lie: a density that new rows are drawn from.

A deterministic autoencoder says nothing about which codes are likely, so a Gaussian mixture is fitted to the training
rows' codes afterwards (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4); a variational
one has its prior.

Legend: N rows, C units of the code, K components.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tuner.data.preprocess import numbers
from tuner.errors import DataError
from tuner.spec.work import derive_seed

VERSION = 1
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
        covariances: (K, C, C).
    """

    kind: str
    weights: Values
    means: Values
    covariances: Values

    @classmethod
    def prior(cls, units: int) -> Self:
        """The standard normal density of so many units: a variational autoencoder's."""
        return cls("prior", np.ones(1), np.zeros((1, units)), np.eye(units)[None])

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
        spread = np.outer(scale, scale) * (np.outer(deviation, deviation) > 0)
        return cls("mixture", mixture.weights_, mixture.means_ * scale + offset, mixture.covariances_ * spread)

    def samples(self, count: int, seed: int) -> Iterator[NDArray[np.float32]]:
        """Draw `count` codes, in blocks (B, C) of at most 4,096; the first of many are those of few."""
        roots = np.stack([_root(covariance) for covariance in self.covariances])
        for block, first in enumerate(range(0, count, BLOCK_ROWS)):
            draw = np.random.default_rng(derive_seed(seed, "sample", block))
            chosen = draw.choice(len(self.weights), BLOCK_ROWS, p=self.weights / self.weights.sum())
            normal_BC = draw.standard_normal((BLOCK_ROWS, self.means.shape[1]))
            codes = self.means[chosen]
            for component, root in enumerate(roots):
                of_it = chosen == component
                codes[of_it] += normal_BC[of_it] @ root.T
            yield codes[: count - first].astype(np.float32)

    def to_json(self) -> str:
        """Everything, floats written so that they are read as the same value."""
        parts = {name: getattr(self, name).tolist() for name in ("weights", "means", "covariances")}
        return json.dumps({"version": VERSION, "kind": self.kind, **parts}) + "\n"

    @classmethod
    def from_json(cls, text: str, units: int) -> Self:
        """What `to_json` wrote, of a code of so many units.

        Raises:
            DataError: it is something else.
        """
        try:
            known = json.loads(text)
            if known["version"] != VERSION:
                raise ValueError(f"version {known['version']!r}")
            if known["kind"] not in KINDS:
                raise ValueError(f"kind {known['kind']!r}")
            parts = [numbers(known, name) for name in ("weights", "means", "covariances")]
            made = cls(known["kind"], *parts)
            made._check(units)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise DataError(f"density: expected version {VERSION} of a mixture, got: {reason}") from None
        return made

    def _check(self, units: int) -> None:
        count = self.weights.size
        if not (
            count
            and self.weights.shape == (count,)
            and self.means.shape == (count, units)
            and self.covariances.shape == (count, units, units)
        ):
            raise ValueError(f"weights, means and covariances must be of {units} units")
        finite = all(np.isfinite(part).all() for part in (self.weights, self.means, self.covariances))
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

    best, lowest, since = None, np.inf, 0
    for components in range(1, max(1, min(MOST_COMPONENTS, len(codes) // 2)) + 1):
        made = GaussianMixture(components, init_params="k-means++", max_iter=MOST_STEPS, random_state=seed % 2**32)
        with warnings.catch_warnings(), threadpool_limits(1):  # many small products: threads wait
            warnings.simplefilter("ignore")  # a fit that has not quite converged is compared by BIC all the same
            fitted = made.fit(codes if len(codes) > 1 else codes.repeat(2, 0))
        bic = fitted.bic(codes)
        best, lowest, since = (fitted, bic, 0) if bic < lowest else (best, lowest, since + 1)
        if since == PATIENCE:
            break
    return best


def _root(covariance: Values) -> Values:
    """R with R R' = covariance, which may be singular: a dead unit does not vary."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))

"""Random terms of a loss and rows that fit them, for the tests of every way of training by terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.data.terms import Kind, Terms

NUMBERS = tuple(kind for kind in Kind if kind != Kind.SOFTMAX)


def mixed_terms(
    seed: int, features: int, missing: bool = True, kinds: Sequence[Kind] = tuple(Kind), most: int = 9
) -> Terms:
    """Terms of `features` columns; groups have 2 to `most` levels, and some columns weigh nothing."""
    draw = np.random.default_rng(seed)
    found: list[Kind] = []
    groups: list[tuple[int, int]] = []
    while len(found) < features:
        kind, left = Kind(int(draw.choice([int(kind) for kind in kinds]))), features - len(found)
        if kind == Kind.SOFTMAX and left < 2:
            kind = Kind.LOGIT
        count = min(int(draw.integers(2, most + 1)), left) if kind == Kind.SOFTMAX else 1
        groups += [(len(found), len(found) + count)] * (kind == Kind.SOFTMAX)
        found += [kind] * count
    weights = draw.uniform(0.2, 3, features).astype(np.float32) * (draw.random(features) < 0.9)
    for first, last in groups:
        weights[first:last] = weights[first]
    weights[-1 if not groups else slice(*groups[0])] = 1  # something counts
    huber = np.array(found) == Kind.HUBER
    return Terms(
        np.array(found, np.int32),
        np.array(groups, np.int32).reshape(-1, 2),
        weights.astype(np.float32),
        np.where(huber, draw.uniform(0.1, 1, features), 1).astype(np.float32),
        draw.random(features).astype(np.float32),
        missing,
        (0.9, 0.8, 0.85) if missing else (1.0, 1.0, 1.0),
    )


def mixed_rows(seed: int, terms: Terms, count: int, share: float = 0.2) -> np.ndarray:
    """Rows (N, F) of these kinds, a share of their cells missing if any is."""
    draw, features = np.random.default_rng(seed), len(terms.kinds)
    rows = draw.random((count, features)).astype(np.float32)
    logit, poisson = terms.kinds == Kind.LOGIT, terms.kinds == Kind.POISSON
    rows[:, logit] = rows[:, logit] > 0.6
    rows[:, poisson] = np.floor(5 * rows[:, poisson])
    gone = draw.random((count, features)) < share * terms.missing
    for first, last in terms.groups:
        rows[:, first:last] = np.eye(last - first)[draw.integers(0, last - first, count)]
        gone[:, first:last] = gone[:, first : first + 1]
    rows[gone] = np.nan
    return rows


def mixed(seed: int, features: int, missing: bool = True) -> tuple[Terms, tuple[np.ndarray, np.ndarray]]:
    """Terms, 150 training and 61 validation rows."""
    terms = mixed_terms(seed, features, missing)
    return terms, (mixed_rows(seed + 1, terms, 150), mixed_rows(seed + 2, terms, 61))

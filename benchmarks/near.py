"""Local refinement, as `replayed.py samplers` judges it: some trials are proposed near the best that have ended so far.

It is no part of the product, for it did not pay (docs/search.md).

What is proposed follows from the study's seed, the trial's number and the trials that have ended: law 2. Every
hyperparameter is moved by a normal step on the scale that it is searched on, one of the range's length wide; what is
one of some values is drawn anew now and then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial

from tuner.search.history import rank
from tuner.spec.distributions import Categorical, Distribution, FloatDistribution, IntDistribution, Scalar
from tuner.spec.fitting import at_share
from tuner.spec.space import SearchSpace
from tuner.spec.work import derive_seed


@dataclass(frozen=True, slots=True)
class Refinement:
    """How trials near the best are made.

    Attributes:
        share: of the trials that are asked for once some have ended.
        parents: the best so many trials, one of which each is near to.
        spread: standard deviation of a step, as a share of the range.
        redrawn: chance that one of some values is drawn anew.
    """

    share: float
    parents: int
    spread: float
    redrawn: float


def near_best(
    refinement: Refinement, space: SearchSpace, seed: int, number: int, ended: list[FrozenTrial]
) -> dict[str, Scalar] | None:
    """Values for what is searched and active near one of the best trials; None where the sampler is to propose.

    Args:
        refinement: how.
        space: what is searched.
        seed: the study's.
        number: the trial's.
        ended: the trials that have ended and came to something.
    """
    draw = np.random.default_rng(derive_seed(seed, "refine", number))
    if len(ended) < refinement.parents or draw.random() >= refinement.share:
        return None
    best = sorted(ended, key=rank)[: refinement.parents]
    parent = best[int(draw.integers(len(best)))].params
    active: dict[str, Scalar] = {}
    searched, fixed = space.searched(), space.fixed()
    for name in space.conditions.order:
        if not space.conditions.holds(name, active):
            continue
        active[name] = fixed[name] if name in fixed else _moved(refinement, searched[name], parent, name, draw)
    return {name: active[name] for name in searched if name in active}


def _moved(
    refinement: Refinement, allowed: Distribution, parent: Mapping[str, Scalar], name: str, draw: np.random.Generator
) -> Scalar:
    """Two numbers are drawn whatever comes of them, so that one hyperparameter's value moves no other's."""
    step, anew = float(draw.standard_normal()), float(draw.random())
    if name not in parent:
        return at_share(allowed, anew)
    if isinstance(allowed, Categorical):
        redrawn = anew < refinement.redrawn
        return at_share(allowed, anew / refinement.redrawn) if redrawn else parent[name]
    assert isinstance(allowed, FloatDistribution | IntDistribution)
    share = _share(allowed, float(parent[name])) + refinement.spread * step
    return at_share(allowed, min(max(share, 0.0), 1.0))


def _share(allowed: FloatDistribution | IntDistribution, value: float) -> float:
    """Where a value stands in a range, 0 to 1, on the scale that it is searched on."""
    low, high = float(allowed.low), float(allowed.high)
    return math.log(value / low) / math.log(high / low) if allowed.log else (value - low) / (high - low)

"""Configurations that together were good on many data sets: what a new study begins with unless it is told.

`portfolio.json` beside this module is made by `benchmarks/make_portfolio.py`, from losses on data that packages ship
(Feurer et al. 2015, "Efficient and robust automated machine learning", begin so as well; the choice is greedy as in
Seipp et al. 2015, "Automatic configuration of sequential planning portfolios"). A study records what it began with, so
another version's portfolio changes no study.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

from tuner.search.rungs import cohort_size
from tuner.spec.distributions import Scalar
from tuner.spec.fitting import nearest_point
from tuner.spec.rules import ANSWERS
from tuner.spec.study import StudySpec

FILE: Final = "portfolio.json"
SHARE: Final = 3  # at most one in so many of the first cohort, and of all trials, is the portfolio's


def portfolio(spec: StudySpec, rules: int) -> tuple[dict[str, Scalar], ...]:
    """The points that a new study begins with, each a value for every hyperparameter; the best on average first.

    Each is the space's own point nearest to a configuration of the portfolio, and occurs once.

    Args:
        spec: the study's declaration.
        rules: its number of rules.
    """
    search, space = spec.search, spec.space
    if rules < ANSWERS or not search.portfolio or search.sampler == "grid" or search.first or not space.searched():
        return ()
    known = configurations()
    shares = [(place + 0.5) / len(known) for place in range(len(known))]
    points = [nearest_point(space, values, share) for values, share in zip(known, shares, strict=True)]
    distinct = [point for place, point in enumerate(points) if point not in points[:place]]
    return tuple(distinct[: min(cohort_size(search), search.trials) // SHARE])


def configurations() -> list[dict[str, Any]]:
    """The portfolio as it is packaged: values by name."""
    known = json.loads(files("tuner.search").joinpath(FILE).read_text(encoding="utf-8"))
    return list(known["configurations"])

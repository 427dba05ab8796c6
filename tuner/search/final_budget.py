"""What the final stage may spend: at most half of what the search does, so a third of the study.

All of it follows from the declaration, in epochs, and never from the clock. Where the budget is small, the length
comes first, for it is what lowers the loss; then come more configurations, and more seeds for the winner's interval.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from tuner.search.lengths import declared_length
from tuner.search.rungs import expected_amount
from tuner.spec.final import SEEDS, TOP, Allotment
from tuner.spec.length import Length
from tuner.spec.objectives import is_front
from tuner.spec.rules import ANSWERS, NEWEST
from tuner.spec.study import StudySpec

LONGEST: Final = 4  # times the search's longest training
LONG_ENOUGH: Final = 3  # so many times, before there are more runs
# top, choosing and seeds of a stage, the smallest first
STAGES: Final = ((2, 1, 3), (3, 1, 3), (3, 1, 5), (3, 2, 5))


def allotment(spec: StudySpec, length: Length | None = None) -> Allotment | None:
    """The final stage's part, in epochs, or in intervals of steps; None where it is switched off.

    Of the stages above, the largest whose runs may be `LONG_ENOUGH`; the smallest where none may, and then runs are as
    long as the budget lets them be. What is declared is kept. No run is shorter than the search's longest training, so
    that a search of few trials, or a declaration with many seeds, spends more than a third.

    Args:
        spec: the declaration.
        length: how long the search's trials train; by default as it is declared.
    """
    if spec.final_stage is None:
        return None
    length = declared_length(spec.search) if length is None else length
    each = 1 if length.plan.steps is None else length.plan.steps / length.plan.intervals
    least = max(1, ceil(length.amount(length.top) / each))
    budget = int(expected_amount(spec.search, length, spec.search.trials, len(spec.objective)) / each) // 2
    most = ceil(length.amount(length.plan.intervals) / each) if length.is_open else LONGEST * least
    stages = [_stage(spec, stage, least) for stage in STAGES]
    fitting = [stage for stage in stages if stage.runs * LONG_ENOUGH * least <= budget]
    chosen = fitting[-1] if fitting else stages[0]
    if spec.final_stage.epochs is not None:
        return Allotment(chosen.top, chosen.choosing, chosen.seeds, least, spec.final_stage.epochs, falls=True)
    longest = min(max(budget // chosen.runs, least), most)
    return Allotment(chosen.top, chosen.choosing, chosen.seeds, least, longest)


def _stage(spec: StudySpec, stage: tuple[int, int, int], least: int) -> Allotment:
    """One of the stages, with what is declared in place of its own numbers; of a front the knee alone is trained."""
    top, choosing, seeds = stage
    declared = spec.final_stage
    if declared is not None:
        top, seeds = declared.top or top, declared.seeds or seeds
    top = 1 if is_front(spec) else top
    return Allotment(top, choosing if top > 1 else 1, seeds, least, least)


def final_amount(spec: StudySpec, length: Length, rules: int = NEWEST) -> float:
    """Epochs or steps that the final stage trains in all; by rules 4 at most."""
    stage, found = spec.final_stage, allotment(spec, length)
    if stage is None or found is None:
        return 0
    if rules >= ANSWERS:
        return found.runs * length.of_final.amount(found.most)
    return (1 if is_front(spec) else stage.top or TOP) * (stage.seeds or SEEDS) * length.amount(length.plan.intervals)

"""At which epochs a trial is looked at, and which trials climb on."""

from __future__ import annotations

from collections.abc import Mapping

from tuner.spec.length import Length
from tuner.spec.pareto import Point, ranked
from tuner.spec.rules import ANSWERS
from tuner.spec.study import SearchSpec

ETA = 3
LEARNING = ("tpe", "gp")  # samplers that propose by what was told
COHORT = 16  # TPE lost nothing in batches of 16 (FACTS.md)
CLIMBING_COHORT = ETA**3  # fills four rungs: 27, 9, 3, 1
WITHOUT_RECORD = 50  # epochs that an unpruned trial may run before what it has is recorded


def rungs(search: SearchSpec, intervals: int) -> tuple[int, ...]:
    """Intervals, rising, after which a cohort's trials are compared; the last is that of the longest trial.

    halving (Jamieson & Talwalkar 2016) and hyperband (Li et al. 2018): r, 3 r, 9 r, ... with r = intervals / 27.
    median: ten equal parts. none: no comparison, but a record every 50 epochs.
    """
    if search.pruner in ("halving", "hyperband"):
        least = -(-intervals // CLIMBING_COHORT)
        powers = [least * ETA**k for k in range(4)]
        below = [interval for interval in powers if interval < intervals]
    else:
        step = -(-intervals // 10) if search.pruner == "median" else WITHOUT_RECORD
        below = list(range(step, intervals, step))
    return (*below, intervals)


def records(intervals: int) -> tuple[int, ...]:
    """Intervals, rising, after which a trial that is not compared is recorded; the last is that of its end."""
    return (*range(WITHOUT_RECORD, intervals, WITHOUT_RECORD), intervals)


def cohort_size(search: SearchSpec) -> int:
    """Trials asked for together."""
    if search.cohort is not None:
        return search.cohort
    return CLIMBING_COHORT if search.pruner in ("halving", "hyperband") else COHORT


def at_once(search: SearchSpec, rules: int, asked: int) -> int:
    """How many cohorts may climb at the same time.

    By rules from 4 on a sampler that learns has seen the whole first cohort when it proposes the second.

    Args:
        search: what is declared.
        rules: the study's number of rules.
        asked: cohorts that were asked for so far.
    """
    learns = rules >= ANSWERS and search.sampler in LEARNING
    return 1 if learns and asked == 1 else search.in_flight


def halve(values: Mapping[int, float]) -> dict[int, int]:
    """Synchronous successive halving: the trials that end here, each with its rank; a third climbs, at least one.

    Args:
        values: each trial's best validation loss so far; among equals the earlier trial ranks first.
    """
    ranked = sorted(values, key=lambda number: (values[number], number))
    climbing = max(1, len(ranked) // ETA)
    return {number: rank for rank, number in enumerate(ranked, start=1) if rank > climbing}


def halve_front(values: Mapping[int, Point]) -> dict[int, tuple[int, int]]:
    """As `halve` with several objectives: the trials that end here, each with its rank and its front.

    The best third climbs, and with it every trial that nothing in its cohort dominates: by domination a trial ends only
    for a better one that is no larger, and what a study looks for is the whole front and not its ends.

    Args:
        values: each trial's best validation loss so far and its size.
    """
    numbers = sorted(values)
    order = ranked([values[number] for number in numbers])
    climbing = max(sum(front == 1 for _, front in order), len(order) // ETA)
    return {numbers[i]: (rank, front) for rank, (i, front) in enumerate(order, start=1) if rank > climbing}


def expected_amount(search: SearchSpec, length: Length, trials: int, objectives: int = 1) -> float:
    """Epochs (or steps: `length.unit`) that so many trials train in all.

    Exact for halving without divergence where the length is declared, else an upper bound.
    """
    if search.pruner != "halving" or objectives > 1:
        return trials * length.amount(length.plan.intervals)
    full, rest = divmod(trials, cohort_size(search))
    return full * _climb(length, cohort_size(search)) + _climb(length, rest)


def _climb(length: Length, size: int) -> float:
    amount, before = 0.0, 0.0
    for rung in dict.fromkeys((*length.rungs, length.plan.intervals)):
        amount += size * (length.amount(rung) - before)
        size, before = max(1, size // ETA) if size and rung < length.top else size, length.amount(rung)
    return amount

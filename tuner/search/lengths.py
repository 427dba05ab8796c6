"""How long a study's trials train, and when they are compared, from its declaration and its number of training rows.

Where the declaration leaves it open, both follow from the optimizer steps that a trial takes, since a choice among
configurations is worth about the same after as many steps, on 200 rows and on 60,000. Rungs are equal rows for all
batch sizes: a trial with small batches takes more steps by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor, log, sqrt
from typing import Final

from tuner.errors import Problem, SpecError
from tuner.search.rungs import ETA, rungs
from tuner.spec.length import Length, Recorded, declared_plan, recorded_length
from tuner.spec.space import SearchSpace
from tuner.spec.study import SearchSpec, StudySpec
from tuner.spec.work import TrainingPlan

FIRST_STEPS: Final = 64  # of the first rung, at the space's middle batch size: the best third holds the winner by then
RUNGS: Final = 4  # 1, 3, 9 and 27 times the first
MOST: Final = 9  # times the last rung: a trial that is not flat by then is complete all the same
LEAST_EPOCHS: Final = 3  # a trial that climbs has seen all rows


def length_of(search: SearchSpec, events: Iterable[Recorded]) -> Length:
    """The length that a study was begun with, or that its declaration says.

    Raises:
        ValueError: nothing is recorded of it, nor declared.
    """
    return recorded_length(events) or declared_length(search)


def declared_length(search: SearchSpec) -> Length:
    """The length that a declaration says.

    Raises:
        ValueError: it leaves the length to the data.
    """
    plan = declared_plan(search)
    if not plan.thirds:
        return Length(plan, rungs(search, plan.intervals))
    whole = rungs(search, plan.intervals - plan.thirds)
    if search.pruner in ("halving", "hyperband"):
        whole = (*(ETA**k for k in range(20) if ETA**k < whole[-1]), whole[-1])
        return Length(plan, (*range(1, plan.thirds + 1), *(epoch + plan.thirds for epoch in whole)))
    return Length(plan, tuple(epoch + plan.thirds for epoch in whole))


def resolved(spec: StudySpec, rows: int, validation: int) -> Length:
    """The length that a study begins with.

    Args:
        spec: its declaration.
        rows: training rows.
        validation: validation rows.
    """
    search = spec.search
    if search.epochs is not None or search.steps is not None:
        _check_thirds(spec, rows)
        return declared_length(search)
    thirds, first = _first_rung(spec.space, rows, validation)
    marks = [ETA ** (k - thirds) * first for k in range(RUNGS)]  # epochs
    most = max(LEAST_EPOCHS, ceil(MOST * marks[-1]))
    compared = [k + 1 if mark < 1 else round(mark) + thirds for k, mark in enumerate(marks)]
    if search.pruner in ("median", "none"):
        compared = [interval for interval in rungs(search, compared[-1]) if interval > thirds] or compared[-1:]
    return Length(TrainingPlan(most + thirds, thirds), tuple(compared))


def _check_thirds(spec: StudySpec, rows: int) -> None:
    """Refuse a first epoch that is divided into parts without a step."""
    thirds, largest = spec.search.thirds or 0, spec.space.largest("batch_size")
    steps = ceil(rows / largest)
    if 3**thirds > steps:
        most = floor(log(steps, ETA) + 1e-9)
        message = f"must be at most {most}, for an epoch has {steps} steps at batch size {largest}, got {thirds}"
        raise SpecError([Problem("search.thirds", message, None, "spec")])


def _first_rung(space: SearchSpace, rows: int, validation: int) -> tuple[int, int]:
    """How often the first epoch is divided by three, and the epochs of the first rung where it is not (else 1).

    Each interval has a step at every batch size, and takes no less time than the validation after it, which is a third
    of the work on as many rows.
    """
    smallest, largest = space.smallest("batch_size"), space.largest("batch_size")
    steps = ceil(rows / sqrt(smallest * largest))
    most = min(ceil(rows / largest), 3 * rows / validation)
    thirds = min(round(log(steps / FIRST_STEPS, ETA)), floor(log(max(1, most), ETA) + 1e-9))
    thirds = max(0, thirds)
    return thirds, 1 if thirds else max(1, round(FIRST_STEPS / steps))

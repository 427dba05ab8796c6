"""How trials are split into packs for the compiled step, and in which order the packs run.

Nothing is gained by training models of one shape together here, so a pack is a second of work: as little as a kill may
cost, and enough that handing it out costs nothing. The longest trials are dealt first, each to the pack that has least.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from tuner.learning.layout import Layout, padded_sizes
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Trial

PACK_SECONDS = 1.0
# Measured on one AVX-512 core on 2026-11-24 with `python benchmarks/planner.py`, which fits them to 70 random trials;
# they then tell each of those trials' time to within a fifth.
MULTIPLY_ADD_SECONDS = 9.7e-12  # one multiply-add of a product
PARAMETER_SECONDS = 3.4e-10  # one parameter's share of a step: AdamW, and its gradient written and read
VALUE_SECONDS = 2.8e-10  # one unit's value of one row: its activation, there and back
LAYER_SECONDS = 6.2e-8  # one layer's share of a step that does not depend on its size
EPOCH_SECONDS = 3.9e-5  # one epoch's share in Python: seeds, the shuffle, two calls


def plan(
    trials: Sequence[Trial], features: int, rows: tuple[int, int], epochs: int, workers: int
) -> list[tuple[Trial, ...]]:
    """Packs for training these trials, longest first.

    Args:
        trials: any trials that are to be trained for the same epochs.
        features: real features of a row.
        rows: training rows and validation rows.
        epochs: epochs of the segment.
        workers: how many packs can run at once.
    """
    costs = {trial.number: seconds(trial, features, rows, epochs) for trial in trials}
    lanes = max(1, workers)
    each = ceil(sum(costs.values()) / lanes / PACK_SECONDS)  # packs for every worker, so that all end together
    count = min(len(trials), lanes * max(1, each))
    packs: list[tuple[float, int, list[Trial]]] = [(0.0, place, []) for place in range(count)]
    for trial in sorted(trials, key=lambda trial: -costs[trial.number]):
        load, place, members = packs[0]
        members.append(trial)
        heapq.heapreplace(packs, (load + costs[trial.number], place, members))
    return [tuple(members) for _, _, members in sorted(packs, key=lambda pack: (-pack[0], pack[1]))]


def seconds(trial: Trial, features: int, rows: tuple[int, int], epochs: int) -> float:
    """Estimated time to train one trial on one core."""
    train, validation = rows
    sizes = padded_sizes(layer_sizes(features, trial.point))
    steps = ceil(train / trial.point.batch_size)
    products = sum(inputs * outputs for inputs, outputs in pairwise(sizes)) * (3 * train + validation)
    values = sum(sizes[1:]) * (train + validation)
    return epochs * (
        products * MULTIPLY_ADD_SECONDS
        + Layout.of(sizes).length * steps * PARAMETER_SECONDS
        + values * VALUE_SECONDS
        + (len(sizes) - 1) * steps * LAYER_SECONDS
        + EPOCH_SECONDS
    )

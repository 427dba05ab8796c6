"""How trials are split into packs for the compiled step, and in which order the packs run.

Nothing is gained by training models of one shape together here, so a pack is a second of work: as little as a kill may
cost, and enough that handing it out costs nothing. The longest trials are dealt first, each to the pack that has least.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import ceil

from tuner.learning.layout import Layout
from tuner.learning.memory import hidden_units
from tuner.spec.architecture import Architecture
from tuner.spec.work import Trial

PACK_SECONDS = 1.0
# Measured on one AVX-512 core on 2026-11-24 with `python benchmarks/planner.py`, which fits them to 70 random trials;
# they then predict each of those trials' time to within a fifth.
MULTIPLY_ADD_SECONDS = 9.7e-12  # one multiply-add of a product
PARAMETER_SECONDS = 3.4e-10  # one parameter's share of a step: AdamW, and its gradient written and read
VALUE_SECONDS = 2.8e-10  # one unit's value of one row: its activation, there and back
LAYER_SECONDS = 6.2e-8  # one layer's share of a step that does not depend on its size
# What digits (64-112-30-8, batch 64) took more than a plain trial, on the same core and day.
NORM_SECONDS = 6.9e-10  # one hidden value of a training row: normalised, there and back
DROPOUT_SECONDS = 1.8e-10  # one hidden value of a training row: its share of a mask
NOISE_SECONDS = 8.3e-9  # one normal value drawn by numpy
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
    point, layout = trial.point, Layout.own(Architecture.of(features, trial.point))
    steps = ceil(train / point.batch_size)
    products = sum(place.inputs * place.outputs for place in layout.places) * (3 * train + validation)
    values = sum(layout.sizes[1:]) * (train + validation)
    hidden = hidden_units(layout) * train
    drawn = (features * (point.input_noise > 0) + point.bottleneck * (point.kind == "variational")) * train
    return epochs * (
        products * MULTIPLY_ADD_SECONDS
        + layout.length * steps * PARAMETER_SECONDS
        + values * VALUE_SECONDS
        + hidden * (NORM_SECONDS * (point.norm == "layer") + DROPOUT_SECONDS * (point.dropout > 0))
        + drawn * NOISE_SECONDS
        + len(layout.places) * steps * LAYER_SECONDS
        + EPOCH_SECONDS
    )

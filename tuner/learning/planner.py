"""How trials are split into packs, and in which order the packs run.

The split never changes what is trained (law 1), only how long it takes. A pack holds trials of one `pack_key`, as many
as stay in a core's cache, and few enough that every worker gets some; the longest runs first, so that no worker ends
alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from tuner.learning.layout import Layout, pack_key, padded_sizes
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Trial

CACHE_BYTES = 10e6  # stacks beyond it fell out of cache and were slower (DESIGN.md, "The pack")
# Measured on one AVX-512 core on 2026-11-24 with `python benchmarks/planner.py`; only their ratios matter here.
CALL_SECONDS = 6e-7  # one library call from Python, output buffers given
MULTIPLY_ADD_SECONDS = 1.6e-11  # one multiply-add inside a layer's product
PARAMETER_SECONDS = 5.4e-10  # one parameter's share of the fused AdamW pass


def plan(trials: Sequence[Trial], features: int, rows: int, epochs: int, workers: int) -> list[tuple[Trial, ...]]:
    """Packs for training these trials, longest first.

    Args:
        trials: any trials that are to be trained for the same epochs.
        features: real features of a row.
        rows: training rows.
        epochs: epochs of the segment.
        workers: how many packs can run at once.
    """
    groups: dict[object, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[pack_key(trial.point, features)].append(trial)
    alone = {key: sum(seconds([trial], features, rows, epochs) for trial in group) for key, group in groups.items()}
    share = sum(alone.values()) / max(1, workers)
    packs = [pack for key, group in groups.items() for pack in _split(group, features, ceil(alone[key] / share))]
    return sorted(packs, key=lambda pack: -seconds(pack, features, rows, epochs))


def _split(group: list[Trial], features: int, count: int) -> list[tuple[Trial, ...]]:
    """A group of one key cut into at least `count` equal packs, each of which fits the cache."""
    by_cache = max(1, int(CACHE_BYTES // _bytes(group[0], features)))
    size = ceil(len(group) / max(count, ceil(len(group) / by_cache)))
    return [tuple(group[start : start + size]) for start in range(0, len(group), size)]


def _bytes(trial: Trial, features: int) -> float:
    """Bytes that one model moves in a step: four parameter buffers, and the values and gradients of a batch."""
    sizes = padded_sizes(layer_sizes(features, trial.point))
    return 16 * Layout.of(sizes).length + 8 * trial.point.batch_size * sum(sizes)


def seconds(pack: Sequence[Trial], features: int, rows: int, epochs: int) -> float:
    """Estimated time to train a pack: calls, multiply-adds with their padding, and the optimizer's pass."""
    point = pack[0].point
    sizes = padded_sizes(layer_sizes(features, point))
    steps = epochs * -(-rows // point.batch_size)
    calls = 6 * (len(sizes) - 1) + 10 + 2 * len(pack)
    products = 3 * sum(inputs * outputs for inputs, outputs in pairwise(sizes)) * rows * epochs * len(pack)
    optimizer = Layout.of(sizes).length * steps * len(pack)
    return steps * calls * CALL_SECONDS + products * MULTIPLY_ADD_SECONDS + optimizer * PARAMETER_SECONDS

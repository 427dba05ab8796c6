"""How trials are split into packs for torch's stack of tensors, and in which order the packs run.

On the CPU a pack holds trials of one `pack_key`, as many as stay in a core's cache, and the split never changes what is
trained (law 1). On a GPU it holds trials of one depth and batch size whose layers differ by less than a factor of two,
as many as fit into its memory; there the neighbours change a loss by rounding, and the split is on record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from math import ceil

from tuner.learning.layout import Layout, merged_key, pack_key, padded_sizes
from tuner.learning.memory import packed
from tuner.spec.architecture import Architecture, layer_sizes
from tuner.spec.work import Trial

CACHE_BYTES = 10e6  # stacks beyond it fell out of cache and were slower (DESIGN.md, "The pack")
GPU_SHARE = 0.7  # of the free memory that a pack may take: the rest is for the libraries and the graph
# Measured on one AVX-512 core on 2026-11-24 with `python benchmarks/planner.py`; only their ratios matter here.
CALL_SECONDS = 6e-7  # one library call from Python, output buffers given
NORM_CALLS, DROPOUT_CALLS = 20, 16  # of one hidden layer in a step
VARIATIONAL_CALLS = 24  # of a step
MULTIPLY_ADD_SECONDS = 1.6e-11  # one multiply-add inside a layer's product
PARAMETER_SECONDS = 5.4e-10  # one parameter's share of the fused AdamW pass


def plan(trials: Sequence[Trial], features: int, rows: int, epochs: int, workers: int) -> list[tuple[Trial, ...]]:
    """Packs for training these trials on the CPU, longest first.

    Args:
        trials: any trials that are to be trained for the same epochs.
        features: real features of a row.
        rows: training rows.
        epochs: epochs of the segment.
        workers: how many packs can run at once.
    """
    groups = _grouped(trials, lambda trial: pack_key(trial.point, features))
    alone = [sum(seconds([trial], features, rows, epochs) for trial in group) for group in groups]
    share = sum(alone) / max(1, workers)
    packs = [
        pack
        for group, took in zip(groups, alone, strict=True)
        for pack in _split(group, ceil(took / share), CACHE_BYTES / _bytes(group[0], features))
    ]
    return sorted(packs, key=lambda pack: -seconds(pack, features, rows, epochs))


def plan_for_gpu(
    trials: Sequence[Trial], features: int, rows: tuple[int, int], workers: int, free: int | None
) -> list[tuple[Trial, ...]]:
    """Packs for training these trials on GPUs, the largest first.

    Args:
        trials: any trials that are to be trained for the same epochs.
        features: real features of a row.
        rows: training rows and validation rows.
        workers: how many packs can run at once.
        free: bytes of memory that can be had; None where it is unknown.
    """

    def wanted(trial: Trial) -> int:
        return packed([trial], features, rows)

    groups = _grouped(trials, lambda trial: (*merged_key(trial.point, features), *_octaves(trial, features)))
    packs = []
    for group in groups:
        room = len(group) if free is None else GPU_SHARE * free * len(group) / packed(group, features, rows)
        packs += _split(sorted(group, key=wanted), workers if len(groups) < workers else 1, room)
    return sorted(packs, key=lambda pack: -packed(pack, features, rows))


def deal(trials: Sequence[Trial], features: int, rows: int, workers: int) -> list[tuple[Trial, ...]]:
    """One load of about equal work for each GPU's worker, the heaviest first; the worker cuts it into packs.

    Args:
        trials: any trials that are to be trained for the same epochs.
        features: real features of a row.
        rows: training rows.
        workers: how many there are.
    """
    costs = {trial.number: seconds([trial], features, rows, 1) for trial in trials}
    loads: list[list[Trial]] = [[] for _ in range(max(1, min(workers, len(trials))))]

    def cost(load: list[Trial]) -> float:
        return sum(costs[trial.number] for trial in load)

    for trial in sorted(trials, key=lambda trial: (-costs[trial.number], trial.number)):
        min(loads, key=cost).append(trial)
    return [tuple(load) for load in sorted(loads, key=cost, reverse=True)]


def _octaves(trial: Trial, features: int) -> tuple[int, ...]:
    """The power of two below each layer's padded size."""
    return tuple(size.bit_length() for size in padded_sizes(layer_sizes(features, trial.point)))


def _grouped(trials: Sequence[Trial], key: Callable[[Trial], Hashable]) -> list[list[Trial]]:
    groups: dict[Hashable, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[key(trial)].append(trial)
    return list(groups.values())


def _split(group: list[Trial], count: int, room: float) -> list[tuple[Trial, ...]]:
    """A group cut into at least `count` equal packs of at most `room` trials."""
    size = ceil(len(group) / max(count, ceil(len(group) / max(1, int(room)))))
    return [tuple(group[start : start + size]) for start in range(0, len(group), size)]


def _bytes(trial: Trial, features: int) -> float:
    """Bytes that one model moves in a step: four parameter buffers, and the values and gradients of a batch."""
    layout = Layout.own(Architecture.of(features, trial.point))
    return 16 * layout.length + 8 * trial.point.batch_size * sum(layout.sizes)


def seconds(pack: Sequence[Trial], features: int, rows: int, epochs: int) -> float:
    """Estimated time to train a pack: calls, multiply-adds with their padding, and the optimizer's pass."""
    point = pack[0].point
    layout = Layout.own(Architecture.of(features, point))
    steps = epochs * -(-rows // point.batch_size)
    calls = 6 * len(layout.places) + 10 + 2 * len(pack) + _calls(pack)
    products = 3 * sum(place.inputs * place.outputs for place in layout.places) * rows * epochs * len(pack)
    optimizer = layout.length * steps * len(pack)
    return steps * calls * CALL_SECONDS + products * MULTIPLY_ADD_SECONDS + optimizer * PARAMETER_SECONDS


def _calls(pack: Sequence[Trial]) -> int:
    """Library calls of a step that only some kinds have."""
    hidden = 2 * pack[0].point.depth
    calls = NORM_CALLS * hidden if pack[0].point.norm == "layer" else 0
    calls += DROPOUT_CALLS * hidden if any(trial.point.dropout > 0 for trial in pack) else 0
    return calls + (VARIATIONAL_CALLS + len(pack) if pack[0].point.kind == "variational" else 0)

"""Launches, bytes and operations of a training step on a GPU, counted on the CPU; and the least time they could take.

usage: python benchmarks/launches.py [FILE] [--trials 108] [--features 64] [--rows 1258] [--held-out 360]

The trials of a space file, drawn at random, are put into packs as on a GPU. One real step of each pack is run, merged
as there, and every call that reaches torch's kernels is counted (views are not). On a GPU each is one launch at least.
Bytes: each parameter's weight, gradient and moments, and each layer's values and gradients, once for every pass that
must read or write them. Operations: the products' multiplications and additions, without padding.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from tuner.learning.layout import padded_sizes
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.planner import plan_for_gpu
from tuner.learning.stacked.training_data import TrainingData
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Trial

VIEWS = ("view", "transpose", "slice", "select", "expand", "as_strided", "detach", "alias", "unsqueeze", "_unsafe_view")
PARAMETER_BYTES = (
    4 * 10
)  # read twice as a weight, gradient written and read, AdamW: weight and moments read and written
VALUE_BYTES = 4 * 6  # of a unit and row: product written and read, value written and read, gradient written and read
H100 = {"bytes": 3e12, "operations": 67e12}  # a second: HBM3, and fp32 outside the tensor cores
LAUNCH = 1.5e-6  # seconds between two kernels of a replayed graph, at best; an assumption until a device says


class Count(TorchDispatchMode):
    """What reaches torch's kernels meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            self.calls[name] += 1
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Step:
    """One training step of a pack."""

    models: int
    batch: int
    depth: int
    steps: int
    calls: Counter[str]
    measured: int
    bytes: float
    operations: float
    padded: float

    @property
    def launches(self) -> int:
        """At least so many."""
        return self.calls.total()

    @property
    def floor(self) -> float:
        """Seconds that an H100 needs for it, however it is launched."""
        return max(self.bytes / H100["bytes"], self.operations / H100["operations"])


def cost(sizes: tuple[int, ...], batch: int) -> tuple[float, float]:
    """Bytes and operations of one model's step."""
    products = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
    parameters = products + sum(sizes[1:])
    operations = 2 * batch * (3 * products - sizes[0] * sizes[1])  # the first layer's inputs have no gradient
    return PARAMETER_BYTES * parameters + VALUE_BYTES * batch * sum(sizes[1:]), operations


def counted(trials: tuple[Trial, ...], data: TrainingData) -> Step:
    """One pack's step, run and counted."""
    with reproducible():
        pack = Pack(trials, data, "mse", merged=True)
        pack.train_epoch()
        order_MN = pack._orders.take(2)
        start, count = pack._batches[0]
        with Count() as step:
            pack._training[count].train(order_MN[:, start : start + count])
        with Count() as measured:
            pack._measure()
    point, features = trials[0].point, data.features
    real = [cost(layer_sizes(features, trial.point), count) for trial in trials]
    padded = cost(pack.layout.sizes, count)[1] * len(trials)
    sums = np.sum(real, axis=0)
    return Step(
        len(trials),
        count,
        point.depth,
        len(pack._batches),
        step.calls,
        measured.calls.total(),
        sums[0],
        sums[1],
        padded / sums[1],
    )


def drawn(path: str, count: int) -> list[Trial]:
    """Trials of the space, as a random search draws them."""
    from tuner.search.loop import Search  # Optuna, which `gpu.py` does without
    from tuner.spec.reader import read_spec

    return list(Search(read_spec(path, ["search.sampler=random"])).ask(0, count).trials)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default="search_spaces/digits.yaml")
    for name, value in (("--trials", 108), ("--features", 64), ("--rows", 1258), ("--held-out", 360)):
        parser.add_argument(name, type=int, default=value)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = [rng.random((count, options.features), dtype=np.float32) for count in (options.rows, options.held_out)]
    trials = drawn(options.file, options.trials)
    packs = plan_for_gpu(trials, options.features, (options.rows, options.held_out), 1, None)
    steps = [counted(pack, TrainingData.of(*rows)) for pack in packs]
    print("| packs | models | batch | depth | launches | MB | MFLOP | padding | floor, us | launched at 1.5 us, us |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for key in sorted({(one.batch, one.depth) for one in steps}):
        same = [one for one in steps if (one.batch, one.depth) == key]
        _print(same, *key)
    _print(steps, "all", "all")
    epoch = sum(one.steps * (one.launches + 1) + one.measured for one in steps)
    floor = sum(one.steps * one.floor for one in steps)
    launched = LAUNCH * epoch
    print(
        f"an epoch of all: {epoch} launches, {1e3 * launched:.2f} ms at {LAUNCH * 1e6} us; floor {1e3 * floor:.3f} ms"
    )
    print(f"models a pack: {len(trials) / len(packs):.1f}")
    print("the calls of one step:", dict(max(steps, key=lambda one: one.models).calls.most_common()))
    shape = padded_sizes(layer_sizes(options.features, trials[0].point))
    print(f"trial 0 is {layer_sizes(options.features, trials[0].point)}, padded to {shape}")


def _print(steps: list[Step], batch: object, depth: object) -> None:
    models, launches = sum(one.models for one in steps), sum(one.launches for one in steps)
    total, operations = sum(one.bytes for one in steps), sum(one.operations for one in steps)
    padding = sum(one.padded * one.operations for one in steps) / operations
    floor = sum(one.floor for one in steps)
    print(
        f"| {len(steps)} | {models} | {batch} | {depth} | {launches} | {total / 1e6:.1f} | {operations / 1e6:.0f}"
        f" | {padding:.2f} | {floor * 1e6:.1f} | {launches * LAUNCH * 1e6:.0f} |"
    )


if __name__ == "__main__":
    main()

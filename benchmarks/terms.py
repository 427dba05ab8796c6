"""What a loss by terms costs a training step of the compiled step: epochs by mse and by terms in turn.

    python benchmarks/terms.py [BUILD]

Half of the columns are numbers, the others lie in softmax groups of 2 to 30 levels. Printed are the medians of the
ratios to the mse epoch of the same round, in processor time, so that a busy machine matters little.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np

from tuner.data.terms import Kind, Terms
from tuner.learning.compiled.library import Library, build_path, library
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.rows import PaddedRows
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Trial

ROUNDS, GONE = 30, 0.1
SHAPES = ((64, 112, 64), (64, 64, 128), (64, 32, 32), (256, 256, 64), (256, 128, 128))  # features, width, batch


def squares(features: int) -> Terms:
    ones = np.ones(features, np.float32)
    none = np.zeros((0, 2), np.int32)
    return Terms(np.zeros(features, np.int32), none, ones, ones, ones / np.float32(2), False, (1.0, 1.0, 1.0))


def grouped(features: int, first: int, draw: np.random.Generator) -> Terms:
    """The columns from `first` on in groups."""
    kinds, groups = np.zeros(features, np.int32), []
    while first < features:
        last = min(features, first + int(draw.integers(2, 31)))
        kinds[first:last] = Kind.SOFTMAX
        groups.append((first, last))
        first = last
    return replace(squares(features), kinds=kinds, groups=np.array(groups, np.int32))


def cases(features: int, draw: np.random.Generator) -> dict[str, Terms | None]:
    half = grouped(features, features // 2, draw)
    mixed = half.kinds.copy()
    mixed[: features // 2 : 2] = Kind.LOGIT
    found: dict[str, Terms | None] = {"mse": None, "squares": squares(features), "half in groups": half}
    found["half in groups, a quarter yes or no"] = replace(half, kinds=mixed)
    masked = {f"{name}, a tenth missing": replace(one, missing=True) for name, one in found.items() if one}
    return found | masked


def rows(terms: Terms | None, features: int, count: int, draw: np.random.Generator) -> np.ndarray:
    made = draw.random((count, features)).astype(np.float32)
    if terms is None:
        return made
    made[:, terms.kinds == Kind.LOGIT] = made[:, terms.kinds == Kind.LOGIT] > 0.5
    gone = draw.random(made.shape) < GONE * terms.missing
    for first, last in terms.groups:
        made[:, first:last] = np.eye(last - first)[draw.integers(0, last - first, count)]
        gone[:, first:last] = gone[:, first : first + 1]
    made[gone] = np.nan
    return made


def main(step: Library) -> None:
    draw = np.random.default_rng(0)
    for features, width, batch in SHAPES:
        point = Hyperparameters(
            learning_rate=1e-3, batch_size=batch, depth=1, width=width, activation="relu", bottleneck=8,
            weight_decay=0.0, input_noise=0.0,
        )  # fmt: skip
        count, packs = 256_000 // features, {}
        for name, terms in cases(features, draw).items():
            made = rows(terms, features, count, draw)
            packs[name] = CompiledPack(step, [Trial(0, point, 0)], PaddedRows.of(made, made[:20], terms), "mse")
        seconds = np.array([[timed(pack) for pack in packs.values()] for _ in range(ROUNDS)])
        row = 1e6 * np.median(seconds[:, 0]) / count
        print(f"{step.name}, {features} columns, width {width}, batch {batch}: mse takes {row:.2f} us a row")
        for place, name in enumerate(packs):
            print(f"  {np.median(seconds[:, place] / seconds[:, 0]):.3f}  {name}")


def timed(pack: CompiledPack) -> float:
    began = time.process_time()
    pack.train_epoch()
    return time.process_time() - began


if __name__ == "__main__":
    named = build_path(sys.argv[1]) if len(sys.argv) > 1 else None
    chosen = Library(named) if named else library()
    if chosen is None:
        sys.exit("there is no build of the compiled step here")
    main(chosen)

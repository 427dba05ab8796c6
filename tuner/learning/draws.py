"""All that is drawn at random while a trial is trained, by numpy and from the trial's seed by name.

The same draws serve every kind of pack, and none needs torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.spec.work import derive_seed

AT_ONCE = 2**20  # values drawn at once: 4 MB
LOG_VARIANCES = (-30.0, 20.0)  # of a variational code: one outside is taken for the nearer one, and has no gradient


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the thing of that name."""
    return np.random.Generator(np.random.PCG64DXSM(derive_seed(seed, *names)))


def uniform(draw: np.random.Generator, bound: float, *shape: int) -> NDArray[np.float32]:
    """Values from U(-bound, bound)."""
    values = draw.random(shape, dtype=np.float32)
    values *= np.float32(2 * bound)
    values -= np.float32(bound)
    return values


def permutation(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    """The order (N,) in which a trial visits the training rows in an epoch."""
    return generator(seed, "shuffle", epoch).permutation(rows)


def noise(seed: int, epoch: int) -> np.random.Generator:
    """The generator of an epoch's input noise: standard normal float32 values, visited row after visited row."""
    return generator(seed, "noise", epoch)


def behind(draw: np.random.Generator, values: int) -> np.random.Generator:
    """The generator after so many standard normal float32 values: how far each moves it is known once it is drawn."""
    for start in range(0, values, AT_ONCE):
        draw.standard_normal(min(AT_ONCE, values - start), dtype=np.float32)
    return draw


def code_noise(seed: int, epoch: int) -> np.random.Generator:
    """The generator of an epoch's noise on a variational code: standard normal float32, visited row after row."""
    return generator(seed, "code noise", epoch)


def dropout_key(seed: int, epoch: int) -> int:
    """What an epoch's dropout masks follow from.

    They are not drawn by numpy: a hidden unit's 16 bits are a function of this key, the number of the visited row in
    the epoch and the unit's place in its row, so that nothing is stored. A row has a word of 64 bits for every four
    units of its trial's padded hidden layers, layer after layer; word w of all rows, counted from 0, is the (w + 1)th
    value of splitmix64 begun at the key (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"),
    and its lowest bits are the first unit's. `compiled/step.cpp` and `dropout.py` compute it.
    """
    return derive_seed(seed, "dropout", epoch)


def dropped(rate: float) -> int:
    """How many of the 65,536 values of 16 bits leave a unit out; the others are scaled by 65,536 over their number."""
    return min(65_535, int(rate * 65_536 + 0.5))

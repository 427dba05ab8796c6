"""All that is drawn at random while a trial is trained, by numpy and from the trial's seed by name.

The same draws serve every kind of pack, and none needs torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.spec.work import derive_seed


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the thing of that name."""
    return np.random.Generator(np.random.PCG64DXSM(derive_seed(seed, *names)))


def uniform(draw: np.random.Generator, bound: float, *shape: int) -> NDArray[np.float32]:
    """Values from U(-bound, bound)."""
    values = draw.random(shape, dtype=np.float32)
    values *= np.float32(2 * bound)
    values -= np.float32(bound)
    return values


def order(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    """The order (N,) in which a trial visits the training rows in an epoch."""
    return generator(seed, "shuffle", epoch).permutation(rows)


def noise(seed: int, epoch: int) -> np.random.Generator:
    """The generator of an epoch's input noise: standard normal float32 values, visited row after visited row."""
    return generator(seed, "noise", epoch)

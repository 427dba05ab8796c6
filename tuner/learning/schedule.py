"""The learning rate of every step: a share of the trial's own, from the planned length of the whole training.

Whichever segment a step is trained in, its rate follows from its place in the whole training. Held to PyTorch's
`SequentialLR([LinearLR(start_factor=1 / (W + 1), total_iters=W), main], milestones=[W])` by test, where W is the number
of steps of the warm-up and `main`, which goes on over the T - W others, is `CosineAnnealingLR(T_max=T - W)`
(Loshchilov & Hutter 2017, without restarts), `LinearLR(1, 0, total_iters=T - W)`, or the rate as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import TrainingPlan

Shares = NDArray[np.float64]

SCHEDULES: Final[dict[str, Callable[[Shares], Shares]]] = {  # from the share of the steps after the warm-up
    "constant": np.ones_like,
    "cosine": lambda share: (1 + np.cos(np.pi * share)) / 2,
    "linear": lambda share: 1 - share,
}


def rates(point: Hyperparameters, plan: TrainingPlan | None, steps: int, epoch: int) -> Shares | None:
    """The learning rate of each step (S,) of an epoch; None where it is the same in every step of the training.

    Args:
        point: the hyperparameters.
        plan: of the whole training.
        steps: S, of an epoch.
        epoch: counted from 1.

    Raises:
        ValueError: the rate depends on the length of the training, which is not given.
    """
    if not point.scheduled:
        return None
    if plan is None:
        raise ValueError("a learning-rate schedule needs the plan of the whole training")
    total = plan.total(steps)
    warm = round(point.warmup * total)
    step = np.arange((epoch - 1) * steps, epoch * steps, dtype=np.float64)
    share = np.clip((step - warm) / max(1, total - warm), 0, 1)
    main = SCHEDULES[point.schedule](share)
    return point.learning_rate * np.where(step < warm, (step + 1) / (warm + 1), main)

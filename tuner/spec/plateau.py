"""When a training has come to its end: a pure function of the losses that were recorded of it.

The rule looks at shares of the training and not at epochs, so it says the same of one that is measured every epoch and
of one that is measured every 64 steps, and a long training has to be flat for longer than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

NEWEST_SHARE: Final = 1 / 3  # of the training: what half as much training again has brought
LEAST_GAIN: Final = 0.02  # relative; less than a seed's luck, which is 3 to 6 %


def is_flat(losses: Sequence[float], share: float = NEWEST_SHARE, least: float = LEAST_GAIN) -> bool:
    """Whether the newest part of a training lowered the best loss by less than `least`, relative.

    Flat is where `min(losses) > (1 - least) * min(losses[:-n])` for the n newest losses, n = ceil(share * len(losses)).
    A loss that is not finite counts as none; a best loss of 0 or below cannot be compared by shares, and is flat only
    where nothing lower came. One loss alone is not flat, nor is a training without a finite one before the newest part.

    Args:
        losses: validation losses at equal distances, the oldest first.
        share: of them, those that count as the newest part.
        least: relative gain that is worth going on for.
    """
    newest = math.ceil(share * len(losses))
    before = min((loss for loss in losses[: len(losses) - newest] if math.isfinite(loss)), default=None)
    if before is None:
        return False
    best = min((loss for loss in losses if math.isfinite(loss)), default=before)
    return best >= before if before <= 0 else best > (1 - least) * before

"""Where a batch's rows come from: gathered on the device, or on the host while the device trains the batch before.

Shapes: M models, B rows of a batch (even), F features (padded), N training rows.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

BUFFERS = 2  # on the host: one is filled while the other one is copied


class Gather(Protocol):
    """Fills the rows (M * B, F) of one batch after the other."""

    def prepare(self, order_MB: Tensor) -> None:
        """What comes before a step; `order_MB` lies where the training rows do."""

    def gather(self) -> None:
        """What a step itself begins with, which a graph can hold."""


class Resident(Gather):
    """Rows that lie on the device.

    Args:
        train_NF: training rows.
        rows_BF: what is filled.
        models: M.
    """

    def __init__(self, train_NF: Tensor, rows_BF: Tensor, models: int) -> None:
        self._train_NF, self._rows_BF = train_NF, rows_BF
        even = rows_BF.shape[0] // models
        self._index_MB = torch.zeros(models, even, dtype=torch.int64, device=rows_BF.device)

    def prepare(self, order_MB: Tensor) -> None:
        """Take the order; an added row stays row 0, which has no gradient."""
        self._index_MB[:, : order_MB.shape[1]] = order_MB

    def gather(self) -> None:
        """The batch's rows."""
        torch.index_select(self._train_NF, 0, self._index_MB.view(-1), out=self._rows_BF)


class Streamed(Gather):
    """Rows that lie on the host: gathered there into pinned buffers and copied behind the steps that were launched.

    Args:
        train_NF: training rows.
        rows_BF: what is filled, on the device.
        models: M.

    A copy is launched in the order of the steps, so it begins when the step before has read its rows; what the host
    does for it is done meanwhile. A buffer is filled again once its own copy is over.
    """

    def __init__(self, train_NF: Tensor, rows_BF: Tensor, models: int) -> None:
        self._train_NF, self._rows_BF = train_NF, rows_BF
        self._index_MB = torch.zeros(models, rows_BF.shape[0] // models, dtype=torch.int64)
        cuda = rows_BF.device.type == "cuda"
        self._buffers = [torch.zeros(rows_BF.shape, pin_memory=cuda) for _ in range(BUFFERS)]
        self._copied = [torch.cuda.Event() for _ in range(BUFFERS)] if cuda else []  # type: ignore[no-untyped-call]
        self._place = 0

    def prepare(self, order_MB: Tensor) -> None:
        """Gather on the host, and launch the copy."""
        self._place = (self._place + 1) % BUFFERS
        if self._copied:
            self._copied[self._place].synchronize()  # one that was never recorded does not wait
        self._index_MB[:, : order_MB.shape[1]] = order_MB
        buffer_BF = self._buffers[self._place]
        torch.index_select(self._train_NF, 0, self._index_MB.view(-1), out=buffer_BF)
        self._rows_BF.copy_(buffer_BF, non_blocking=True)
        if self._copied:
            self._copied[self._place].record()

    def gather(self) -> None:
        """Nothing: the copy is launched before the step."""

"""Where a batch's rows come from: gathered on the device, or on the host while the device trains the batches before.

Shapes: M models, B rows of a batch (even), F features (padded), N training rows.

Experimental on CUDA: streamed rows have not run on a device yet; see docs/gpu.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tuner.learning import draws
from tuner.learning.stacked.staged import Staged, pinned


class Orders:
    """The orders (M, N) in which the models visit the rows, epoch by epoch.

    Args:
        seeds: of the models' trials.
        rows: N.
        device: where the orders are read, which is where the training rows lie.

    Two buffers, so that the next epoch's order can be drawn while the device has this one's still to read.
    """

    def __init__(self, seeds: Sequence[int], rows: int, device: torch.device) -> None:
        self._seeds, self._rows = seeds, rows
        self._device_MN = torch.zeros(len(seeds), rows, dtype=torch.int32, device=device)
        self._buffers = [pinned(self._device_MN) for _ in range(2)]
        self._drawn = [0, 0]
        self._cuda = device.type == "cuda"
        self._copied = [torch.cuda.Event() for _ in range(2)] if self._cuda else []  # type: ignore[no-untyped-call]

    def draw(self, epoch: int) -> Tensor:
        """An epoch's order on the host, drawn unless it was already."""
        order_MN = self._buffers[epoch % 2]
        if self._drawn[epoch % 2] != epoch:
            if self._cuda:
                self._copied[epoch % 2].synchronize()  # an interval may go over more than two epochs
            for m, seed in enumerate(self._seeds):
                order_MN[m] = torch.from_numpy(draws.permutation(seed, epoch, self._rows))
            self._drawn[epoch % 2] = epoch
        return order_MN

    def take(self, epoch: int) -> Tensor:
        """An epoch's order where it is read."""
        order_MN = self.draw(epoch)
        if self._device_MN.device.type == "cpu":
            return order_MN
        self._device_MN.copy_(order_MN, non_blocking=True)
        if self._cuda:
            self._copied[epoch % 2].record(torch.cuda.current_stream(self._device_MN.device))
        return self._device_MN


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
        self._index_MB = torch.zeros(models, even, dtype=torch.int32, device=rows_BF.device)

    def prepare(self, order_MB: Tensor) -> None:
        """Take the order; an added row stays row 0, which has no gradient."""
        self._index_MB[:, : order_MB.shape[1]] = order_MB

    def gather(self) -> None:
        """The batch's rows."""
        torch.index_select(self._train_NF, 0, self._index_MB.view(-1), out=self._rows_BF)


class Streamed(Gather):
    """Rows that lie on the host: gathered there, and copied while the device trains what was launched before.

    Args:
        train_NF: training rows.
        rows_BF: what is filled, on the device.
        models: M.
    """

    def __init__(self, train_NF: Tensor, rows_BF: Tensor, models: int) -> None:
        self._train_NF, self._staged = train_NF, Staged(rows_BF)
        self._index_MB = torch.zeros(models, rows_BF.shape[0] // models, dtype=torch.int32)

    def prepare(self, order_MB: Tensor) -> None:
        """Gather on the host, and launch the copy."""
        self._index_MB[:, : order_MB.shape[1]] = order_MB
        torch.index_select(self._train_NF, 0, self._index_MB.view(-1), out=self._staged.buffer())
        self._staged.send()

    def gather(self) -> None:
        """Nothing: the copy is launched before the step."""

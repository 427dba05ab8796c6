"""The data that packs are trained on: both splits, where the stack's tensors are.

Shapes: F features (padded), N training rows, V validation rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuner.data.linear_start import LinearStart
from tuner.data.terms import Terms
from tuner.learning import memory
from tuner.learning.rows import padded, targets

DATA_SHARE = 0.5  # of a GPU's free memory that the training rows may take


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Both splits, features padded with zeros to whole cache lines.

    Attributes:
        train_NF: training rows: on the device, or where they would fill it on the host.
        validation_VF: validation rows, and a row of zeros where their number is odd.
        features: real features.
        validation_rows: real validation rows.
        precision: of the products on them: fp32, tf32 or bf16.
        streamed: the training rows stay on the host, and each batch is copied.
        terms: of the loss on them; None where it is the mean of one function over all values.
        start: where trainings start; None where networks read the rows as they are. Where its targets are in the
            network's units, so are these rows.
    """

    train_NF: Tensor
    validation_VF: Tensor
    features: int
    validation_rows: int
    precision: str = "fp32"
    streamed: bool = False
    terms: Terms | None = None
    start: LinearStart | None = None

    @property
    def device(self) -> torch.device:
        """Where the models are trained."""
        return self.validation_VF.device

    @property
    def centre(self) -> tuple[Tensor, float] | None:
        """What is taken from the rows (F,) before networks read them, and what the rest is multiplied by."""
        if self.start is None or self.start.targets:
            return None
        room = self.train_NF.shape[1] - self.features
        return torch.from_numpy(np.pad(self.start.centre_F, (0, room))).to(self.device), 1 / self.start.unit

    @property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """Between which the outputs are, (F,) each."""
        known, room = None if self.start is None else self.start.output_bounds, self.train_NF.shape[1] - self.features
        if known is None:
            return None
        low_F, high_F = (torch.from_numpy(np.pad(side, (0, room))) for side in (known.low_F, known.high_F))
        return low_F.to(self.device), high_F.to(self.device)

    @classmethod
    def of(  # noqa: PLR0913 - the data's and the loss' own parts, by name
        cls,
        train: NDArray[np.float32],
        validation: NDArray[np.float32],
        device: str = "cpu",
        precision: str = "fp32",
        free: int | None = None,
        *,
        terms: Terms | None = None,
        start: LinearStart | None = None,
    ) -> TrainingData:
        """From (N, F) and (V, F) scaled rows.

        On the CPU those that need neither padding nor the network's units are not copied.

        Args:
            train: training rows; on a GPU they stay in the host's memory where they need more than half of what is
                free.
            validation: validation rows.
            device: a resolved device.
            precision: of the products.
            free: bytes that may be taken; None for what a GPU has free, and for all that it takes on the CPU.
            terms: of the loss on them.
            start: where trainings start; None where networks read the rows as they are.
        """
        rows_NF = torch.from_numpy(padded(targets(train, start)))
        there = memory.free(device) if free is None and device.startswith("cuda") else free
        streamed = there is not None and rows_NF.nbytes > DATA_SHARE * there
        held_out_VF = torch.from_numpy(padded(targets(validation, start), 2)).to(device)
        rows_NF = rows_NF if streamed else rows_NF.to(device)
        return cls(rows_NF, held_out_VF, train.shape[1], len(validation), precision, streamed, terms, start)

"""What a segment needs to know apart from its trials, the same for all segments of a study."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.data.rows import RowsSource
from tuner.learning.checkpoint_store import CheckpointStore
from tuner.learning.packs import compiled
from tuner.spec.length import Length
from tuner.spec.work import TrainingPlan


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all segments of a study share. It is pickled and hashed, and so are its rows and checkpoints.

    Attributes:
        rows: the prepared rows.
        checkpoints: where states are kept.
        loss: `mse` or `bce`; where the rows have terms, these are the loss whatever it is called.
        device: a resolved device.
        length: how long trials train.
        precision: of the products.
        seed: draws the rows that codes are measured on: the split's.
        step: `compiled` or `torch`, as the driver chose, so that all workers train by the same; `auto` chooses here.
    """

    rows: RowsSource
    checkpoints: CheckpointStore
    loss: str
    device: str
    length: Length
    precision: str
    seed: int = 0
    step: str = "auto"

    @property
    def plan(self) -> TrainingPlan:
        """What every trial's whole training is planned by; a segment is a part of it."""
        return self.length.plan

    @property
    def compiled(self) -> bool:
        """Whether the compiled step trains; see `compiled_step`."""
        return compiled(self.device, self.step)

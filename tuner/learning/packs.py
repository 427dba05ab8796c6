"""Which kind of pack trains where: the compiled step on the CPU unless `step: torch`, torch's stack on anything else.

Where the compiled step trains, torch is not even imported: a worker starts in a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.data.linear_start import LinearStart
from tuner.data.terms import Terms
from tuner.errors import DeviceError
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.compiled.library import Library, found, library
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.epoch import Epoch
from tuner.learning.rows import PaddedRows
from tuner.spec.work import TrainingPlan, Trial

if TYPE_CHECKING:
    from tuner.learning.stacked.training_data import TrainingData


class TrainablePack(Protocol):
    """Trials that have trained the same number of epochs, and are trained together.

    Attributes:
        trials: in no particular order.
        numbers: their numbers, in the order in which they were given.
        epoch: epochs trained.
        before: each new trial's validation loss before its first epoch, if it starts at a solution.
    """

    trials: list[Trial]
    numbers: list[int]
    epoch: int
    before: list[float | None]

    def train_epoch(self) -> Epoch:
        """Train every trial one epoch, then measure the validation loss."""

    def states(self) -> list[TrialTraining]:
        """Each trial's whole state, in the order in which the trials were given."""


def compiled_step(device: str, wanted: str) -> Library | None:
    """The build of the compiled step that trains; None where torch's functions do.

    Args:
        device: a resolved device.
        wanted: `auto`, `compiled` or `torch`, as declared under `step`.

    Raises:
        DeviceError: the compiled step is wanted, and cannot train here.
    """
    if wanted == "torch" or (wanted == "auto" and device != "cpu"):
        return None
    if device != "cpu":
        raise DeviceError(
            f"step: compiled trains on the CPU alone, and this study trains on {device}; say auto or torch."
        )
    builds = found()
    if builds.step is None and wanted == "compiled":
        raise DeviceError(
            f"step: compiled cannot train here, for {builds.why.rstrip('.')}. Or say step: auto or torch."
        )
    return builds.step


def compiled(device: str, wanted: str) -> bool:
    """Whether the compiled step trains; see `compiled_step`."""
    return compiled_step(device, wanted) is not None


def runs_compiled(device: str, wanted: str) -> bool:
    """Whether the compiled step runs weights that are trained already; where it is not there, torch does as well."""
    return wanted != "torch" and device == "cpu" and library() is not None


def step_name(device: str, wanted: str) -> str:
    """What trains, for the record: two kinds differ in the last bits of a loss; see `compiled_step`."""
    step = compiled_step(device, wanted)
    return "torch" if step is None else step.name


def training_data(  # noqa: PLR0913 - the data's and the step's own parts
    train: NDArray[np.float32],
    validation: NDArray[np.float32],
    device: str,
    precision: str,
    wanted: str,
    terms: Terms | None = None,
    *,
    start: LinearStart | None = None,
) -> PaddedRows | TrainingData:
    """Both splits, (N, F) and (V, F), as the kind of pack reads them that trains here.

    Args:
        train: training rows.
        validation: validation rows.
        device: a resolved device.
        precision: of the products.
        wanted: as declared under `step`.
        terms: of the loss on them; None where it is the mean of one function over all values.
        start: where trainings start; None where networks read the rows as they are.

    Raises:
        DeviceError: see `compiled_step`.
    """
    if compiled(device, wanted):
        return PaddedRows.of(train, validation, terms, start)
    from tuner.learning.stacked.training_data import TrainingData  # noqa: PLC0415  (torch, 0.8 s)

    return TrainingData.of(train, validation, device, precision, terms=terms, start=start)


def make_pack(
    trials: Sequence[Trial],
    data: PaddedRows | TrainingData,
    loss: str,
    plan: TrainingPlan,
    states: Sequence[TrialTraining] | None = None,
) -> TrainablePack:
    """A pack of the kind that reads these data.

    Args:
        trials: at least one; for torch's stack all of one `pack_key`.
        data: from `training_data`.
        loss: `mse` or `bce`; where the data has terms, they are the loss whatever it is called.
        plan: of the trials' whole training.
        states: the trials' states after the same number of epochs; None to start them.
    """
    step = library()
    if isinstance(data, PaddedRows) and step is not None:
        return CompiledPack(step, trials, data, loss, states, plan)
    from tuner.learning.stacked.pack import Pack  # noqa: PLC0415
    from tuner.learning.stacked.training_data import TrainingData  # noqa: PLC0415

    if not isinstance(data, TrainingData):
        raise TypeError("these rows are the compiled step's, which is not there")
    return Pack(trials, data, loss, states, plan=plan)


def reproducibly(data: PaddedRows | TrainingData) -> AbstractContextManager[None]:
    """The settings under which a pack gives the same bits in every process."""
    if isinstance(data, PaddedRows):
        return nullcontext()
    from tuner.learning.stacked.pack import reproducible  # noqa: PLC0415

    return reproducible(data.precision)

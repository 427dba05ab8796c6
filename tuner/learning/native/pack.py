"""A pack on the CPU: trials trained one epoch each in turn, an epoch being one call.

Stacking models is what makes calls of a library worth their price. Here an epoch is one call already, so the trials of
a pack share nothing but the data: their shapes, depths and batch sizes may differ, and none can change another (law 1).

Shapes: N training rows, F features (padded), P a model's padded parameters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from tuner.learning.checkpoint import TrialTraining
from tuner.learning.layout import Layout, padded_sizes
from tuner.learning.native.library import Library, Visit, model
from tuner.learning.pack import Epoch, TrainingData
from tuner.learning.start import initial_state
from tuner.spec.architecture import layer_sizes
from tuner.spec.work import Trial, derive_seed

CHUNK_ROWS = 128  # validation rows measured at once: their values stay in a core's cache


class NativePack:
    """Any trials that stand at the same epoch.

    Args:
        library: the compiled step.
        trials: at least one.
        data: both splits in memory.
        loss: `mse` or `bce`.
        states: the trials' states after the same number of epochs; None to start them.

    Attributes:
        work: the work space that the trials use in turn.
    """

    def __init__(
        self,
        library: Library,
        trials: Sequence[Trial],
        data: TrainingData,
        loss: str,
        states: Sequence[TrialTraining] | None = None,
    ) -> None:
        self.trials, self.numbers = list(trials), [trial.number for trial in trials]
        begun = states or [initial_state(trial, data.features) for trial in trials]
        self.epoch = begun[0].epoch
        self._members = [_Member(library, trial, data, loss, state) for trial, state in zip(trials, begun, strict=True)]
        self.work = torch.empty(max(member.room for member in self._members))

    def train_epoch(self) -> Epoch:
        """Train every model one epoch, the last, smaller batch included; then measure the validation loss.

        Each trial visits the rows in an order of its own, drawn from its seed and the epoch. One that has diverged is
        left as it is.
        """
        self.epoch += 1
        losses = [member.train_epoch(self.epoch, self.work) for member in self._members]
        return Epoch([train for train, _ in losses], [val for _, val in losses], time.time())

    def states(self) -> list[TrialTraining]:
        """Each trial's whole state, in the order in which the trials were given."""
        return [member.state for member in self._members]


class _Member:
    """One trial of the pack."""

    def __init__(self, library: Library, trial: Trial, data: TrainingData, loss: str, state: TrialTraining) -> None:
        self._library, self._trial, self._data = library, trial, data
        sizes = layer_sizes(data.features, trial.point)
        self._model = model(sizes, Layout.of(padded_sizes(sizes)), trial.point, loss)
        self.state = state
        self.state.parameters, self.state.first_moments, self.state.second_moments = (
            row.clone() for row in (state.parameters, state.first_moments, state.second_moments)
        )
        rows = len(data.train_NF)
        self._steps = -(-rows // trial.point.batch_size)
        self.room = library.room(self._model, max(min(rows, trial.point.batch_size), CHUNK_ROWS))
        self._order_N = torch.empty(rows, dtype=torch.int64)
        self._noise = _Noise(trial, rows, data.features) if trial.point.input_noise > 0 else None
        self._diverged = False

    def train_epoch(self, epoch: int, work: Tensor) -> tuple[float, float]:
        """The epoch's mean training loss and the mean validation loss after it."""
        if self._diverged:
            return math.nan, math.nan
        state, data = self.state, self._data
        generator = torch.Generator().manual_seed(derive_seed(self._trial.seed, "shuffle", epoch))
        torch.randperm(len(self._order_N), generator=generator, out=self._order_N)
        noise_NF = self._noise.draw(epoch) if self._noise else None
        total = self._library.train(self._model, Visit(data.train_NF, self._order_N, noise_NF), state, work)
        held_out = self._library.measure(
            self._model, data.validation_VF, data.validation_rows, CHUNK_ROWS, state.parameters, work
        )
        state.steps += self._steps
        state.epoch = epoch
        train_loss = total / (len(data.train_NF) * data.features)
        return self._keep_best(train_loss, held_out / (data.validation_rows * data.features))

    def _keep_best(self, train_loss: float, val_loss: float) -> tuple[float, float]:
        self._diverged = not (math.isfinite(train_loss) and math.isfinite(val_loss))
        if val_loss < self.state.best_value:
            self.state.best_value, self.state.best_epoch = val_loss, self.state.epoch
            self.state.best = self.state.parameters.clone()
        return train_loss, val_loss


class _Noise:
    """A trial's input noise for one epoch, one row for each row that is visited."""

    def __init__(self, trial: Trial, rows: int, features: int) -> None:
        self._trial, self._noise_NF = trial, torch.empty(rows, features)

    def draw(self, epoch: int) -> Tensor:
        """Standard normal values, told apart by the batches' size as well."""
        seed, generators = derive_seed(self._trial.seed, "noise", epoch), dict[int, torch.Generator]()
        for batch_BF in torch.split(self._noise_NF, self._trial.point.batch_size):
            count = len(batch_BF)
            if count not in generators:
                generators[count] = torch.Generator().manual_seed(derive_seed(seed, count))
            batch_BF.normal_(generator=generators[count])
        return self._noise_NF

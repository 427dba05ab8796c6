"""A pack on the CPU: trials trained one epoch each in turn, an epoch being one call.

Stacking models is what makes calls of a library worth their price. Here an epoch is one call already, so the trials of
a pack share nothing but the data: their shapes, depths and batch sizes may differ, and none can change another (law 1).

Shapes: N training rows, F features (padded), P a model's padded parameters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tuner.data.terms import VALIDATION, split_scale
from tuner.learning import draws
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.compiled.border import Model, Visit, aligned, aligned_copy, model
from tuner.learning.compiled.library import Library
from tuner.learning.epoch import Epoch
from tuner.learning.initialization import initial_state, starts_at_solution
from tuner.learning.rows import PaddedRows
from tuner.learning.schedule import rates
from tuner.spec.work import Slice, TrainingPlan, Trial

CHUNK_ROWS = 128  # validation rows measured at once: their values stay in a core's cache
NOISE_VALUES = 2**20  # of input noise drawn at once: 4 MB


class CompiledPack:
    """Trials that have trained the same number of epochs; an epoch is an interval of their plan.

    Args:
        library: the compiled step.
        trials: at least one.
        data: both splits in memory.
        loss: `mse` or `bce`.
        states: the trials' states after the same number of epochs; None to start them.
        plan: of the trials' whole training; None where it is cut into epochs and none has a learning-rate schedule.

    Attributes:
        work: the work space that the trials use in turn.
        before: each new trial's validation loss before its first epoch, if it starts at a solution.
    """

    def __init__(
        self,
        library: Library,
        trials: Sequence[Trial],
        data: PaddedRows,
        loss: str,
        states: Sequence[TrialTraining] | None = None,
        plan: TrainingPlan | None = None,
    ) -> None:
        self.trials, self.numbers = list(trials), [trial.number for trial in trials]
        begun = states or [initial_state(trial, data.features, data.start) for trial in trials]
        self.epoch = begun[0].epoch
        models = (model(data.features, trial.point, loss, data.terms, data.start) for trial in trials)
        self._members = [
            _Member(library, one, data, trial, state, plan)
            for one, trial, state in zip(models, trials, begun, strict=True)
        ]
        self.work = aligned(max(member.room for member in self._members))
        self.before = [member.measured_before(self.work) if states is None else None for member in self._members]

    def train_epoch(self) -> Epoch:
        """Train every model one interval of the plan, an epoch's last, smaller batch included; then validate.

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

    def __init__(
        self,
        library: Library,
        model: Model,
        data: PaddedRows,
        trial: Trial,
        state: TrialTraining,
        plan: TrainingPlan | None,
    ) -> None:
        self._library, self._model, self._data = library, model, data
        self._trial, self._plan = trial, plan
        self.state = replace(
            state,
            parameters=aligned_copy(state.parameters),
            first_moments=aligned_copy(state.first_moments),
            second_moments=aligned_copy(state.second_moments),
        )
        self._steps = -(-len(data.train_NF) // trial.point.batch_size)
        self._cut = plan or TrainingPlan(1)
        self._next = 0, 0  # the epoch and the step that the noise is drawn up to
        self._noise: list[np.random.Generator | None] = []
        self.room = library.room(self._model, max(min(len(data.train_NF), trial.point.batch_size), CHUNK_ROWS))
        self._diverged = False
        self._loss_unit = 1.0 if data.start is None else data.start.loss_unit

    def train_epoch(self, epoch: int, work: NDArray[np.float32]) -> tuple[float, float]:
        """The interval's mean training loss and the mean validation loss after it."""
        if self._diverged:
            return math.nan, math.nan
        state, data = self.state, self._data
        total, visited = 0.0, 0
        for part in self._cut.slices(epoch, self._steps):
            loss, rows = self._train(part, work)
            total, visited = total + loss, visited + rows
        train_loss = total / (visited * data.features) * self._loss_unit
        val_loss = self._measured(work)
        state.epoch = epoch
        self._keep_best(val_loss)
        self._diverged = not (math.isfinite(train_loss) and math.isfinite(val_loss))
        return train_loss, val_loss

    def measured_before(self, work: NDArray[np.float32]) -> float | None:
        """The validation loss before the first epoch, where the trial starts at a solution; then it is the best one."""
        if not starts_at_solution(self._trial.point, self._data.start):
            return None
        val_loss = self._measured(work)
        self._keep_best(val_loss)
        return val_loss

    def _measured(self, work: NDArray[np.float32]) -> float:
        """The mean validation loss."""
        data = self._data
        total = self._library.measure(self._model, data.validation_VF, CHUNK_ROWS, self.state.parameters, work)
        mean = total / (len(data.validation_VF) * data.features)
        return mean * split_scale(data.terms, VALIDATION) * self._loss_unit

    def _train(self, part: Slice, work: NDArray[np.float32]) -> tuple[float, int]:
        """One call for a slice of an epoch; with noise one for as many batches as NOISE_VALUES allows.

        Returns:
            The sum of its rows' losses, and how many these are.
        """
        seed, point, epoch = self._trial.seed, self._trial.point, part.epoch
        width = self._data.features * (point.input_noise > 0), point.bottleneck * self._model.variational
        from_row, to_row = (min(step * point.batch_size, len(self._data.train_NF)) for step in part[1:])
        at_once = max(1, NOISE_VALUES // (point.batch_size * max(width))) * point.batch_size if any(width) else to_row
        order_N = draws.permutation(seed, epoch, len(self._data.train_NF))
        draw = self._noise_from(part, from_row, width)
        key, total = draws.dropout_key(seed, epoch) if self._model.dropped else 0, 0.0
        rates_S = self._rates(epoch)
        for start in range(from_row, to_row, at_once):
            part_N = order_N[start : min(start + at_once, to_row)]
            noise_NF, code_noise_NC = (
                None if one is None else one.standard_normal((len(part_N), count), dtype=np.float32)
                for one, count in zip(draw, width, strict=True)
            )
            first = start // point.batch_size
            visit = Visit(
                self._data.train_NF,
                part_N,
                noise_NF,
                code_noise_NC,
                key,
                start,
                None if rates_S is None else rates_S[first : first - (-len(part_N) // point.batch_size)],
            )
            total += self._library.train(self._model, visit, self.state, work)
            self.state.steps += -(-len(part_N) // point.batch_size)
        return total, to_row - from_row

    def _noise_from(self, part: Slice, row: int, width: tuple[int, int]) -> list[np.random.Generator | None]:
        """Where a slice's noise on inputs and codes comes from, None where there is none.

        It is drawn row after visited row, so that of the rows before the slice's first one is left out.
        """
        if (part.epoch, part.first) != self._next:
            sources = (draws.noise, draws.code_noise)
            self._noise = [
                draws.behind(source(self._trial.seed, part.epoch), row * count) if count else None
                for source, count in zip(sources, width, strict=True)
            ]
        self._next = part.epoch, part.last
        return self._noise

    def _rates(self, epoch: int) -> NDArray[np.float32] | None:
        """The learning rates of the epoch's steps; None where they are the model's own."""
        point = self._trial.point
        found = rates(point, self._plan, self._steps, epoch)
        return None if found is None else found.astype(np.float32)

    def _keep_best(self, val_loss: float) -> None:
        if val_loss < self.state.best_value:
            self.state.best_value, self.state.best_epoch = val_loss, self.state.epoch
            self.state.best = self.state.parameters.copy()

"""A pack: some trials whose models are trained as one stack.

Shapes: M models, B rows of a batch, F features (padded), N training rows, V validation rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuner.data.terms import VALIDATION, split_scale
from tuner.learning import draws
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.epoch import Epoch
from tuner.learning.initialization import initial_state, starts_at_solution
from tuner.learning.layout import Layout, chunk_rows, merged_key, pack_key, pieces
from tuner.learning.stacked.captured import Replay
from tuner.learning.stacked.codes import CodeNoise
from tuner.learning.stacked.gather import Gather, Orders, Resident, Streamed
from tuner.learning.stacked.optimizers import Elementwise, FusedByModel
from tuner.learning.stacked.stack import Members, Passes, Stack
from tuner.learning.stacked.staged import Fetched, Staged
from tuner.learning.stacked.terms import TermLoss
from tuner.learning.stacked.training_data import TrainingData
from tuner.spec.work import TrainingPlan, Trial

T = TypeVar("T")

_SUBNORMAL = torch.tensor([1e-40])


@contextmanager
def reproducible(precision: str = "fp32") -> Iterator[None]:
    """One thread and no subnormal numbers: the same bits in every process, and none of the thread pool's waits."""
    threads, tf32 = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32
    flushed = not (_SUBNORMAL * 1).item()  # torch has no function that says so
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


class Pack:
    """Trials of one `pack_key`, trained together; each exactly as if it were alone. An epoch is an interval of a plan.

    Args:
        trials: at least one, all of one key.
        data: both splits on the device.
        loss: `mse` or `bce`.
        states: the trials' states after the same number of epochs; None to start them.
        merged: pack as on a GPU: trials need only share batch size and depth, the smaller ones are padded to the
            largest, and the optimizer is elementwise. Then neighbours change a trial's losses by rounding (1e-6), no
            more. By default on anything but the CPU.
        plan: of the trials' whole training; None where it is cut into epochs and none has a learning-rate schedule.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        data: TrainingData,
        loss: str,
        states: Sequence[TrialTraining] | None = None,
        merged: bool | None = None,
        plan: TrainingPlan | None = None,
    ) -> None:
        merged = data.device.type != "cpu" if merged is None else merged
        shared = merged_key if merged else pack_key
        if len({shared(trial.point, data.features) for trial in trials}) != 1:
            what = "depth" if merged else "padded layer sizes"
            raise ValueError(f"a pack's trials must share batch size and {what}")
        self._order = sorted(range(len(trials)), key=lambda i: trials[i].point.activation)
        self.trials = [trials[i] for i in self._order]
        self.numbers = [trial.number for trial in trials]
        self.points = [trial.point for trial in self.trials]
        self.data, self.loss = data, loss
        self.members = Members.of(self.trials, data.features)
        self.layout = self.members.layout
        self.stack = Stack(self.layout, len(trials), data.device, data.precision)
        begins = states is None
        if states is None:
            states = [initial_state(trial, data.features, data.start) for trial in trials]
        states = [states[i] for i in self._order]
        self.epoch = states[0].epoch
        self.best_MP = torch.zeros_like(self.stack.parameters_MP)
        self.best_values = [state.best_value for state in states]
        self.best_epochs = [state.best_epoch for state in states]
        self._best_values_M = torch.tensor(self.best_values, dtype=self.stack.wide, device=data.device)
        self._losses_2M = torch.zeros(2, len(trials), dtype=self.stack.wide, device=data.device)
        self._fetched = Fetched(self._losses_2M)
        self._merged = merged
        self._restore(states)
        steps = len(pieces(data.train_NF.shape[0], self.points[0].batch_size))
        self._optimizer = (Elementwise if merged else FusedByModel)(self.stack, self.points, plan, steps)
        self._cut = plan or TrainingPlan(1)
        self._noise = _Noise(self.trials, data.features)
        self._prepare_passes()
        self.before = self._in_given_order(self._measured_before(begins))

    def _restore(self, states: Sequence[TrialTraining]) -> None:
        """One copy for each buffer, in the stream in which the pack is made and trained."""
        stack = self.stack
        for rows_MP, name in (
            (stack.parameters_MP, "parameters"),
            (stack.first_moments_MP, "first_moments"),
            (stack.second_moments_MP, "second_moments"),
            (self.best_MP, "best"),
        ):
            host_MP = torch.zeros(rows_MP.shape)
            for m, state in enumerate(states):
                for to, values in self._pairs(host_MP[m : m + 1], getattr(state, name), m):
                    to.copy_(torch.from_numpy(values))
            rows_MP.copy_(host_MP)
        stack.steps.fill_(states[0].steps)

    def _row(self, host_MP: Tensor, m: int) -> NDArray[np.float32]:
        """A trial's row, padded as its own sizes are."""
        row_P = np.zeros(Layout.own(self.members.shapes[m]).length, np.float32)
        for values, to in self._pairs(host_MP[m : m + 1], row_P, m):
            to[:] = values.numpy()
        return row_P

    def _pairs(
        self, row_1P: Tensor, row_P: NDArray[np.float32], m: int
    ) -> Iterator[tuple[Tensor, NDArray[np.float32]]]:
        """Each of the trial's tensors in the pack's row and in the trial's own, as views of the same shape."""
        own = Layout.own(self.members.shapes[m])
        for (_, _, ours), (_, _, theirs) in zip(self.layout.tensors(row_1P), own.tensors(row_P[None]), strict=True):
            inputs, outputs = theirs.shape[1:]
            yield ours[0, :inputs, :outputs], theirs[0]

    def _prepare_passes(self) -> None:
        rows, batch = self.data.train_NF.shape[0], self.points[0].batch_size
        self._batches = pieces(rows, batch)
        self._chunks = pieces(self.data.validation_rows, chunk_rows(self.data.validation_VF.shape[1]))
        known, columns = self.data.terms, self.data.validation_VF.shape[1]
        terms = None if known is None else TermLoss(known, columns, self.stack.device)
        centre, bounds = self.data.centre, self.data.bounds
        make = partial(Passes, self.stack, self.members, self.loss, terms=terms, centre=centre, bounds=bounds)
        batch_of = partial(_Batch, trials=self.trials, optimizer=self._optimizer, data=self.data)
        self._training = {count: batch_of(make(count, training=True)) for _, count in self._batches}
        self._validation = {count: make(count, training=False) for _, count in self._chunks}
        self._orders = Orders([trial.seed for trial in self.trials], rows, self.data.train_NF.device)
        self._finish = Replay(self.stack.device)

    def train_epoch(self) -> Epoch:
        """Train every model one interval of the plan, an epoch's last, smaller batch included; then validate.

        Each trial visits the rows in an order of its own, drawn from its seed and the epoch.
        """
        deque(self.launch(), maxlen=0)
        return self.collect()

    def launch(self) -> Iterator[None]:
        """Launch an interval, step by step, so that other packs' steps can be launched between.

        On a GPU nothing here waits for what is launched: what the host brings (the order, noise, rows that stay on the
        host) comes from pinned memory, and what it takes (the losses) waits for `collect`, once an epoch.
        """
        self.epoch += 1
        self._visited, epoch = 0, 0
        for epoch, first, last in self._cut.slices(self.epoch, len(self._batches)):
            yield from self._launch(epoch, self._batches[first:last], first)
        self._finish(self._measure)
        self._fetched.send()
        if self._merged:
            self._orders.draw(epoch + 1)  # while the device is at work

    def _launch(self, epoch: int, batches: list[tuple[int, int]], first: int) -> Iterator[None]:
        """Launch some batches of an epoch, the first of which is its step `first`, counted from 0."""
        self._optimizer.begin(epoch, first)
        order_MN = self._orders.take(epoch)
        self._noise.begin(epoch, batches[0][0])
        for start, count in batches:
            batch = self._training[count]
            batch.prepare(epoch, start, self._noise)
            batch.train(order_MN[:, start : start + count])
            yield
        self._visited += sum(count for _, count in batches)
        self._noise.end(epoch, start + count)

    def collect(self) -> Epoch:
        """Wait for the epoch that was launched."""
        train_loss, val_loss = self._fetched.wait().tolist()
        if self._visited != (rows := self.data.train_NF.shape[0]):  # a graph divides by the rows of an epoch
            train_loss = [value * rows / self._visited for value in train_loss]
        for m, value in enumerate(val_loss):
            if value < self.best_values[m]:
                self.best_values[m], self.best_epochs[m] = value, self.epoch
        return Epoch(self._in_given_order(train_loss), self._in_given_order(val_loss), time.time())

    def _measure(self) -> None:
        """The validation, both mean losses of every model, and the weights of new best epochs."""
        val_loss_M = self._validated()
        train_loss_M = self._mean([batch.passes for batch in self._training.values()], self.data.train_NF.shape[0])
        torch.stack([train_loss_M, val_loss_M], out=self._losses_2M)
        self._keep_best(val_loss_M, val_loss_M < self._best_values_M)

    def _measured_before(self, begins: bool) -> list[float | None]:
        """The validation losses before the first epoch of the models that start at a solution, their best so far."""
        starts = [begins and starts_at_solution(point, self.data.start) for point in self.points]
        if not any(starts):
            return [None for _ in starts]
        val_loss_M = self._validated()
        self._keep_best(val_loss_M, torch.tensor(starts, device=self.stack.device))
        found = [value if known else None for known, value in zip(starts, val_loss_M.tolist(), strict=True)]
        self.best_values = [
            best if value is None else value for best, value in zip(self.best_values, found, strict=True)
        ]
        return found

    def _validated(self) -> Tensor:
        """Every model's mean validation loss (M,)."""
        for start, count in self._chunks:
            passes = self._validation[count]
            chunk_MVF = self.data.validation_VF[start : start + passes.even].expand(len(self.trials), -1, -1)
            passes.forward(passes.read(chunk_MVF))
            passes.add_loss(chunk_MVF)
        val_loss_M = self._mean(list(self._validation.values()), self.data.validation_rows)
        return val_loss_M if self.data.terms is None else val_loss_M * split_scale(self.data.terms, VALIDATION)

    def _keep_best(self, val_loss_M: Tensor, better_M: Tensor) -> None:
        torch.where(better_M, val_loss_M, self._best_values_M, out=self._best_values_M)
        torch.where(better_M.unsqueeze(1), self.stack.parameters_MP, self.best_MP, out=self.best_MP)

    def _mean(self, passes: list[Passes], rows: int) -> Tensor:
        unit = 1.0 if self.data.start is None else self.data.start.loss_unit
        return torch.stack([one.losses(self._merged) for one in passes]).sum(0) / (rows * self.data.features) * unit

    def states(self) -> list[TrialTraining]:
        """Each trial's whole state, in the order in which the trials were given."""
        stack, steps = self.stack, int(self.stack.steps)
        buffers = (stack.parameters_MP, stack.first_moments_MP, stack.second_moments_MP, self.best_MP)
        host = [rows_MP.cpu() for rows_MP in buffers]
        return self._in_given_order([self._state(host, m, steps) for m in range(len(self.trials))])

    def _state(self, host: list[Tensor], m: int, steps: int) -> TrialTraining:
        parameters, first, second, best = (self._row(host_MP, m) for host_MP in host)
        return TrialTraining(
            parameters, first, second, best, self.best_values[m], self.best_epochs[m], self.epoch, steps
        )

    def _in_given_order(self, values: list[T]) -> list[T]:
        return [value for _, value in sorted(zip(self._order, values, strict=True), key=lambda pair: pair[0])]


class _Noise:
    """Where an epoch's noise comes from, drawn row after visited row.

    Attributes:
        of_inputs: by model, of those that ask for it.
        of_codes: of variational models, in their order.
    """

    def __init__(self, trials: Sequence[Trial], features: int) -> None:
        self._trials, self._features = trials, features
        self._drawn = 0, 0  # epoch, and rows of it
        self.of_inputs: dict[int, np.random.Generator] = {}
        self.of_codes: list[np.random.Generator] = []

    def begin(self, epoch: int, row: int) -> None:
        """The next rows are an epoch's from that one on."""
        if self._drawn == (epoch, row):
            return
        self.of_inputs = {
            m: draws.behind(draws.noise(trial.seed, epoch), row * self._features)
            for m, trial in enumerate(self._trials)
            if trial.point.input_noise > 0
        }
        self.of_codes = [
            draws.behind(draws.code_noise(trial.seed, epoch), row * trial.point.bottleneck)
            for trial in self._trials
            if trial.point.kind == "variational"
        ]

    def end(self, epoch: int, row: int) -> None:
        """The rows before that one are drawn."""
        self._drawn = epoch, row


class _Batch:
    """The batches of one size: gathered rows, a copy with noise or without missing values, and the step on them."""

    def __init__(
        self,
        passes: Passes,
        trials: Sequence[Trial],
        optimizer: Elementwise | FusedByModel,
        data: TrainingData,
    ) -> None:
        self.passes, self._optimizer = passes, optimizer
        models, columns, device = len(trials), passes.stack.layout.sizes[0], passes.stack.device
        rows_BF = torch.zeros(models * passes.even, columns, device=device)
        self._gather: Gather = (Streamed if data.streamed else Resident)(data.train_NF, rows_BF, models)
        self.target_MBF = rows_BF.view(models, passes.even, columns)
        unit = 1.0 if data.start is None else data.start.unit  # noise is declared in units of scaled rows
        self._deviations = [trial.point.input_noise / unit for trial in trials]
        self._noise_MBF = torch.zeros_like(self.target_MBF) if any(self._deviations) else None
        self._noise = None if self._noise_MBF is None else Staged(self._noise_MBF)
        same = self._noise_MBF is None and passes.reads_targets
        self.input_MBF = self.target_MBF if same else torch.zeros_like(self.target_MBF)
        self._code_noise = None
        if passes.variational is not None:
            self._code_noise = CodeNoise(trials, passes.variational.noise, passes.rows)
        self._step = Replay(device)

    def prepare(self, epoch: int, position: int, noise: _Noise) -> None:
        """What is drawn for a step.

        Args:
            epoch: its epoch.
            position: rows of the epoch that come before its own.
            noise: where noise comes from, shared by the batches of both sizes.
        """
        if self._noise is not None:
            self._draw_noise(self._noise, noise.of_inputs)
        if self._code_noise is not None:
            self._code_noise.send(noise.of_codes)
        if self.passes.dropout is not None:
            self.passes.dropout.prepare(epoch, position)

    def train(self, order_MB: Tensor) -> None:
        """One step of every model on the rows of these numbers."""
        self._gather.prepare(order_MB)
        self._step(self._train)

    def _draw_noise(self, staged: Staged, noise: dict[int, np.random.Generator]) -> None:
        rows, features, buffer_MBF = self.passes.rows, self.passes.features, staged.buffer()
        for m, draw in noise.items():
            noise_BF = draw.standard_normal((rows, features), dtype=np.float32) * np.float32(self._deviations[m])
            buffer_MBF[m, :rows, :features] = torch.from_numpy(noise_BF)
        staged.send()

    def _train(self) -> None:
        self._gather.gather()
        read_MBF = self.passes.read(self.target_MBF)
        if self._noise_MBF is not None:
            torch.add(read_MBF, self._noise_MBF, out=self.input_MBF)
        elif not self.passes.reads_targets:
            self.input_MBF.copy_(read_MBF)
        self.passes.forward(self.input_MBF)
        self.passes.add_loss(self.target_MBF)
        self.passes.backward(self.input_MBF)
        self._optimizer.step()

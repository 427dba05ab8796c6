"""The plain loop: a trial trained as anyone would write it in PyTorch, which the tuner's training is held equal to.

`nn.Linear`, `nn.LayerNorm`, PyTorch's activations, autograd, `torch.optim.AdamW`, one batch after the other. It is an
oracle, for the tests and for `tuner train --plain`, so it shares no code with what it judges: of this project it knows
the meaning of a declaration (`tuner.spec`: layer sizes, the seed of the thing of a name; `tuner.data.terms`: what a
loss is made of) and nothing else. What follows from a seed is written out again: first weights, the order of rows,
noise and masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tuner.data.linear_start import LinearStart
from tuner.data.terms import MOST_LOG_RATE, Kind, Terms
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.work import TrainingPlan, Trial, derive_seed

ACTIVATIONS: Final = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
ROWS_AT_ONCE: Final = 4096  # validation rows

Loss = Callable[[Tensor, Tensor], Tensor]  # outputs and targets (N, F) to their mean loss
Cell = Callable[[Tensor, Tensor, float], Tensor]  # outputs, targets and Huber's delta to the losses of cells


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the thing of that name."""
    return np.random.Generator(np.random.PCG64DXSM(derive_seed(seed, *names)))


class PlainAutoencoder(nn.Module):
    """An encoder to a linear code and a mirrored decoder to a linear output, logits where the loss is bce.

    Args:
        point: the hyperparameters.
        features: of a row.

    Shapes: rows are (N, F), codes (N, C).
    """

    def __init__(self, point: Hyperparameters, features: int) -> None:
        super().__init__()
        self._point, sizes = point, layer_sizes(features, point)
        self.encoder = self._layers(sizes[: point.depth + 2])
        self.decoder = self._layers(sizes[point.depth + 1 :])
        widest, code = sizes[point.depth], sizes[point.depth + 1]
        self.log_variance = nn.Linear(widest, code) if point.kind == "variational" else None
        around = point.skip != "none"
        self.skip_encoder = nn.Linear(features, code, bias=False) if around else None
        self.skip_decoder = nn.Linear(code, features, bias=False) if around else None

    def _layers(self, sizes: tuple[int, ...]) -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes[:-1]):
            layers.append(nn.Linear(inputs, outputs))
            layers += [nn.LayerNorm(outputs)] if self._point.norm == "layer" else []
            layers.append(ACTIVATIONS[self._point.activation]())
        return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows to outputs as they are used: no dropout, no noise, the mean of a variational code."""
        code = self._around(self.skip_encoder, rows, self.encoder(rows))
        return self._around(self.skip_decoder, code, self.decoder(code))

    @staticmethod
    def _around(skip: nn.Linear | None, read: Tensor, given: Tensor) -> Tensor:
        """What layers give, with what goes around them."""
        return given if skip is None else given + skip(read)

    def posterior(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows to the means and log-variances of a variational code."""
        hidden = self.encoder[:-1](rows)
        return self._distribution(rows, hidden)

    def _distribution(self, rows: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        if self.log_variance is None:
            raise TypeError("only a variational autoencoder's code has a log-variance")
        mean = self._around(self.skip_encoder, rows, self.encoder[-1](hidden))
        return mean, self.log_variance(hidden).clamp(-30, 20)

    def trained(self, rows: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """A batch's outputs as they are trained, with dropout and a code's noise, and what is added to their loss."""
        point, penalty = self._point, rows.new_zeros(())
        hidden = self._dropped(list(self.encoder)[:-1], rows, draws, 0)
        if self.log_variance is None:
            code = self._around(self.skip_encoder, rows, self.encoder[-1](hidden))
            if point.kind == "sparse":
                penalty = point.sparsity * code.abs().mean()
        else:
            mean, log_variance = self._distribution(rows, hidden)
            code = mean + (log_variance / 2).exp() * draws.code_noise(mean)
            divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
            penalty = point.beta * divergence / rows.shape[1]
        outputs = self._dropped(list(self.decoder), code, draws, point.depth + 1)
        return self._around(self.skip_decoder, code, outputs), penalty

    def _dropped(self, modules: list[nn.Module], h: Tensor, draws: Draws, layer: int) -> Tensor:
        """Values through some modules, with inverted dropout behind every activation; `layer` is the first one."""
        for module in modules:
            h = module(h)
            if not isinstance(module, nn.Linear | nn.LayerNorm):
                h = h * draws.factors(layer).to(h) if self._point.dropout else h
                layer += 1
        return h


def network(one: Trial, features: int, start: LinearStart | None = None) -> PlainAutoencoder:
    """The trial's module before its first epoch: nn.Linear's default distribution, layer by layer, weight before bias.

    A variational code's means come before its log-variances; a normalisation's gain is 1 and its shift 0. The matrices
    of a skip come last. With a `start` the outputs' biases begin at what it says, and a skip that begins at PCA, beside
    layers that give zero, is PCA.
    """
    with torch.random.fork_rng(devices=[]):  # what the layers draw by themselves is replaced
        model = PlainAutoencoder(one.point, features)
    draw = numpy_generator(one.seed, "init")
    layers = [module for module in model.encoder if isinstance(module, nn.Linear)]
    layers += [model.log_variance] if model.log_variance is not None else []
    layers += [module for module in model.decoder if isinstance(module, nn.Linear)]
    layers += [layer for layer in (model.skip_encoder, model.skip_decoder) if layer is not None]
    for layer in layers:
        bound = np.float32(1 / np.sqrt(layer.in_features))
        for values in (layer.weight, layer.bias):
            if values is None:
                continue
            drawn = draw.random(tuple(values.shape), dtype=np.float32) * (2 * bound) - bound
            values.data = torch.from_numpy(drawn)
    if start is not None:
        _begin(model, one.point, start)
    return model


def _begin(model: PlainAutoencoder, point: Hyperparameters, start: LinearStart) -> None:
    decoder_CF, outputs = start.decoder(point.bottleneck)
    (*_, code), (*_, output) = (
        [layer for layer in half if isinstance(layer, nn.Linear)] for half in (model.encoder, model.decoder)
    )
    output.bias.data = torch.tensor(start.outputs_F)
    if point.skip == "pca" and model.skip_encoder is not None and model.skip_decoder is not None:
        for values in (code.weight, code.bias, output.weight):
            values.data = torch.zeros_like(values.data)
        output.bias.data = torch.tensor(outputs)
        model.skip_encoder.weight.data = torch.tensor(start.encoder_FK[:, : point.bottleneck].T)
        model.skip_decoder.weight.data = torch.tensor(decoder_CF.T)


def dropout_factors(one: Trial, epoch: int, rows: range, layer: int) -> Tensor:
    """Inverted dropout's factors for those visited rows and a hidden layer's units, from splitmix64 written out.

    Args:
        one: the trial.
        epoch: counted from 1.
        rows: the visited rows' places in the epoch.
        layer: its place among all layers between input and output, counted from 0.
    """
    sizes = layer_sizes(1, one.point)[1:-1]
    words = [0 if place == one.point.depth else -(-size // 16) * 4 for place, size in enumerate(sizes)]
    dropped, key = round(one.point.dropout * 65536), derive_seed(one.seed, "dropout", epoch)
    row, unit = np.ix_(np.array(rows, np.uint64), np.arange(sizes[layer], dtype=np.uint64))
    word = row * np.uint64(sum(words)) + np.uint64(sum(words[:layer])) + unit // np.uint64(4)
    z = np.uint64(key) + (word + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # all modulo 2**64
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn = ((z ^ (z >> np.uint64(31))) >> (np.uint64(16) * (unit % np.uint64(4)))) % np.uint64(65536)
    return torch.from_numpy(np.where(drawn < dropped, 0, 65536 / (65536 - dropped)).astype(np.float32))


class Draws:
    """An epoch's random draws other than the order of its rows.

    Args:
        one: the trial.
        epoch: counted from 1.

    Attributes:
        rows: the places in the epoch of the batch's rows.
    """

    def __init__(self, one: Trial, epoch: int) -> None:
        self._one, self._epoch, self.rows = one, epoch, range(0)
        self._noise, self._code_noise = (numpy_generator(one.seed, name, epoch) for name in ("noise", "code noise"))

    def inputs(self, target: Tensor, unit: float = 1.0) -> Tensor:
        """A batch with the input noise that its kind has, which is declared in units of scaled rows."""
        deviation = self._one.point.input_noise / unit
        return target + deviation * _normal(self._noise, target) if deviation > 0 else target

    def code_noise(self, code: Tensor) -> Tensor:
        """Standard normal noise like a code."""
        return _normal(self._code_noise, code)

    def factors(self, layer: int) -> Tensor:
        """Dropout's factors behind a hidden layer."""
        return dropout_factors(self._one, self._epoch, self.rows, layer)


def _normal(generator: np.random.Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(generator.standard_normal(tuple(like.shape), np.float32)).to(like)


@dataclass(frozen=True, slots=True)
class PlainLosses:
    """Mean losses over rows and features, interval by interval: epoch by epoch, unless the plan says otherwise.

    Attributes:
        train: of the batches as they were trained.
        validation: of all validation rows after the epoch.
        before: of all validation rows before the first.
    """

    train: list[float]
    validation: list[float]
    before: float

    @property
    def epochs(self) -> list[tuple[float, float]]:
        """Each epoch's pair."""
        return list(zip(self.train, self.validation, strict=True))


def plain_losses(  # noqa: PLR0913 - all but the last four are what training is a function of
    one: Trial,
    train: NDArray[np.float32],
    validation: NDArray[np.float32],
    loss: str,
    epochs: int,
    *,
    device: str = "cpu",
    double: bool = False,
    model: PlainAutoencoder | None = None,
    plan: TrainingPlan | None = None,
    terms: Terms | None = None,
    start: LinearStart | None = None,
) -> PlainLosses:
    """Train a trial by the plain loop.

    Args:
        one: hyperparameters and seed.
        train: scaled training rows (N, F).
        validation: scaled validation rows (V, F).
        loss: `mse` or `bce`.
        epochs: how many intervals of the plan.
        device: PyTorch's name of one.
        double: compute everything in double precision; what is drawn is single precision all the same.
        model: with other first weights than the trial's own.
        plan: of the whole training; by default it has as many epochs as are trained.
        terms: of the loss, whatever that is called.
        start: where trainings start; None where networks read the rows as they are.
    """
    dtype = torch.float64 if double else torch.float32
    model = (network(one, train.shape[1], start) if model is None else model).to(device, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=one.point.learning_rate, weight_decay=one.point.weight_decay)
    batches = -(-len(train) // one.point.batch_size)
    plan = plan or TrainingPlan(epochs)
    schedule = _schedule(optimizer, one.point, plan.total(batches))
    share = 1.0 if terms is None else terms.shares[0] / terms.shares[1]
    inputs = _Inputs(terms, start)
    criterion = _bounded(_criterion(loss, terms), inputs)
    back = start.unit**2 if start is not None and start.targets else 1.0
    x, held_out = (inputs.targets(torch.tensor(rows, device=device, dtype=dtype)) for rows in (train, validation))
    held = held_out, inputs.read(held_out)
    losses = PlainLosses([], [], _mean_loss(model, held, criterion) * share * back)
    measured_after = [plan.done(interval, batches) for interval in range(1, epochs + 1)]
    total, visited = 0.0, 0
    for step, (index, draws) in enumerate(_visits(one, len(x), measured_after[-1]), start=1):
        target = x[index.to(device)]
        optimizer.zero_grad()
        outputs, penalty = model.trained(draws.inputs(inputs.read(target), inputs.unit), draws)
        value = criterion(outputs, target)
        (value + penalty).backward()  # type: ignore[no-untyped-call]
        if one.point.clip_norm > 0:
            nn.utils.clip_grad_norm_(model.parameters(), one.point.clip_norm)
        optimizer.step()
        schedule.step()
        total, visited = total + value.item() * len(index), visited + len(index)
        if step in measured_after:
            losses.train.append(total / visited * back)
            losses.validation.append(_mean_loss(model, held, criterion) * share * back)
            total, visited = 0.0, 0
    return losses


def _visits(one: Trial, rows: int, steps: int) -> Iterator[tuple[Tensor, Draws]]:
    """The rows of so many batches, epoch after epoch, each with its epoch's draws."""
    batches = -(-rows // one.point.batch_size)
    for epoch in range(1, -(-steps // batches) + 1):
        order = torch.from_numpy(numpy_generator(one.seed, "shuffle", epoch).permutation(rows))
        draws = Draws(one, epoch)
        for index in torch.split(order, one.point.batch_size)[: steps - (epoch - 1) * batches]:
            draws.rows = range(draws.rows.stop, draws.rows.stop + len(index))
            yield index, draws


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a network reads of rows, and what it is to give."""

    terms: Terms | None
    start: LinearStart | None

    @property
    def unit(self) -> float:
        return 1.0 if self.start is None else self.start.unit

    def targets(self, rows: Tensor) -> Tensor:
        """Scaled rows (N, F) as they are compared with outputs."""
        return rows if self.start is None or not self.start.targets else self._centred(rows, self.start)

    def read(self, targets: Tensor) -> Tensor:
        """What the network reads of these (N, F)."""
        if self.terms is not None:
            targets = torch.where(targets.isnan(), torch.from_numpy(self.terms.fill).to(targets), targets)
        return targets if self.start is None or self.start.targets else self._centred(targets, self.start)

    @staticmethod
    def _centred(rows: Tensor, start: LinearStart) -> Tensor:
        return (rows - torch.from_numpy(start.centre_F).to(rows)) / start.unit


def _criterion(loss: str, terms: Terms | None) -> Loss:
    if terms is not None:
        return lambda outputs, targets: _by_terms(terms, outputs, targets)
    return nn.BCEWithLogitsLoss() if loss == "bce" else nn.MSELoss()


def _bounded(criterion: Loss, inputs: _Inputs) -> Loss:
    """The loss of outputs that are cut off at the bounds, whose gradient passes as if they were not."""
    bounds = None if inputs.start is None else inputs.start.bounds
    if bounds is None:
        return criterion
    sides = [torch.from_numpy(side) for side in (bounds.low_F, bounds.high_F)]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        low, high = (inputs.targets(side.to(outputs)) for side in sides)
        within = torch.clamp(outputs.detach(), low, high)
        return criterion(within + (outputs - outputs.detach()), targets)

    return loss


def _by_terms(terms: Terms, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of rows (N, F), column by column and group by group, over rows and features."""
    spans = [(f, f + 1) for f, kind in enumerate(terms.kinds) if kind != Kind.SOFTMAX]
    total = outputs.new_zeros(())
    for first, last in [*spans, *terms.groups.tolist()]:
        target = targets[:, first:last]
        known = ~target.isnan().any(1)
        cell = _CELLS[int(terms.kinds[first])]
        cells = cell(outputs[known, first:last], target[known], float(terms.deltas[first]))
        total = total + float(terms.weights[first]) * cells.sum()
    return total / outputs.numel()


def _poisson(output: Tensor, target: Tensor, _: float) -> Tensor:
    """PyTorch's, which has no part that makes it 0 at its optimum; beyond MOST_LOG_RATE exp goes on as its tangent."""
    low = output.clamp(max=MOST_LOG_RATE)
    beyond = (output - MOST_LOG_RATE).clamp(min=0) * (np.exp(MOST_LOG_RATE) - target)
    found: Tensor = nn.functional.poisson_nll_loss(low, target, reduction="none") + beyond
    return found + target.xlogy(target) - target


_CELLS: Final[dict[int, Cell]] = {  # by PyTorch's own functions
    Kind.SQUARE: lambda output, target, _: nn.functional.mse_loss(output, target, reduction="none"),
    Kind.LOGIT: lambda output, target, _: nn.functional.binary_cross_entropy_with_logits(
        output, target, reduction="none"
    ),
    Kind.SOFTMAX: lambda output, target, _: nn.functional.cross_entropy(output, target, reduction="none"),
    Kind.HUBER: lambda output, target, delta: nn.functional.huber_loss(output, target, reduction="none", delta=delta),
    Kind.POISSON: _poisson,
}


def _schedule(
    optimizer: torch.optim.Optimizer, point: Hyperparameters, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """PyTorch's scheduler of a whole training of so many steps: a linear warm-up, and what follows it."""
    warm = round(point.warmup * steps)
    rest = max(1, steps - warm)
    main: torch.optim.lr_scheduler.LRScheduler
    if point.schedule == "cosine":
        main = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=rest)
    elif point.schedule == "linear":
        main = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=rest)
    else:
        main = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    if warm == 0:
        return main
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (warm + 1), total_iters=warm)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, main], milestones=[warm])


def _mean_loss(model: PlainAutoencoder, rows: tuple[Tensor, Tensor], criterion: Loss) -> float:
    """Of targets and of what the network reads for them, (N, F) each."""
    total = 0.0
    with torch.no_grad():
        for target, part in zip(*(torch.split(each, ROWS_AT_ONCE) for each in rows), strict=True):
            total += criterion(model(part).cpu().double(), target.cpu().double()).item() * len(part)
    return total / len(rows[0])

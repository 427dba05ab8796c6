"""The oracle of the learning tests: one trial trained as anyone would write it."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from tuner.learning.model import Autoencoder
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.work import Trial, derive_seed

POINT = Hyperparameters(
    learning_rate=2e-3,
    batch_size=64,
    depth=2,
    width=50,
    activation="relu",
    bottleneck=8,
    weight_decay=0.0,
    input_noise=0.0,
)


def digits(train: int = 300, validation: int = 101) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of digits between 0 and 1, float32."""
    rows = (load_digits().data / 16).astype(np.float32)
    return rows[:train], rows[train : train + validation]


def trial(number: int, **changes: object) -> Trial:
    """A trial whose seed follows from its number."""
    point = Hyperparameters(**{**POINT.as_dict(), **changes})  # type: ignore[arg-type]
    return Trial(number, point, derive_seed(0, "trial", number))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the thing of that name."""
    return np.random.Generator(np.random.PCG64DXSM(derive_seed(seed, *names)))


def network(one: Trial, features: int, loss: str) -> Autoencoder:
    """The trial's module before its first epoch: nn.Linear's default distribution, layer by layer, weight before bias.

    A variational code's means come before its log-variances; a normalisation's gain is 1 and its shift 0.
    """
    point, draw = one.point, numpy_generator(one.seed, "init")
    sizes = layer_sizes(features, point)
    model = Autoencoder(
        sizes, point.activation, loss, norm=point.norm == "layer", variational=point.kind == "variational"
    )
    layers = [module for module in model.encoder if isinstance(module, torch.nn.Linear)]
    layers += [model.log_variance] if model.log_variance is not None else []
    layers += [module for module in model.decoder if isinstance(module, torch.nn.Linear)]
    for layer in layers:
        bound = np.float32(1 / np.sqrt(layer.in_features))
        for values in (layer.weight, layer.bias):
            drawn = draw.random(tuple(values.shape), dtype=np.float32) * (2 * bound) - bound
            values.data = torch.from_numpy(drawn)
    return model


def dropout_factors(one: Trial, epoch: int, rows: range, layer: int) -> torch.Tensor:
    """Inverted dropout's factors for those visited rows and a hidden layer's units, from splitmix64 written out."""
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


def trained_forward(
    model: Autoencoder, one: Trial, inputs: torch.Tensor, epoch: int, visited: range, code_noise: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch's outputs as they are trained, with dropout and noise on the code, and what is added to their loss."""
    point, layer, h = one.point, 0, inputs
    for module in model.encoder[:-1]:
        h = module(h)
        if not isinstance(module, torch.nn.Linear | torch.nn.LayerNorm):
            h = h * dropout_factors(one, epoch, visited, layer) if point.dropout else h
            layer += 1
    code = model.encoder[-1](h)
    penalty = torch.zeros(())
    if point.kind == "sparse":
        penalty = point.sparsity * code.abs().mean()
    if model.log_variance is not None:
        mean, log_variance = code, model.log_variance(h).clamp(-30, 20)
        noise = torch.from_numpy(code_noise.standard_normal(code.shape, np.float32))
        code = mean + (log_variance / 2).exp() * noise
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        penalty = point.beta * divergence / inputs.shape[1]
    layer, h = point.depth + 1, code
    for module in model.decoder:
        h = module(h)
        if not isinstance(module, torch.nn.Linear | torch.nn.LayerNorm):
            h = h * dropout_factors(one, epoch, visited, layer) if point.dropout else h
            layer += 1
    return h, penalty


def plain_losses(
    one: Trial, train: np.ndarray, validation: np.ndarray, loss: str, epochs: int, model: Autoencoder | None = None
) -> tuple[list[float], list[float]]:
    """Training and validation loss of each epoch: the plain module, torch.optim.AdamW, autograd, batches one by one."""
    point = one.point
    model = network(one, train.shape[1], loss) if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=point.learning_rate, weight_decay=point.weight_decay)
    criterion = torch.nn.BCEWithLogitsLoss() if loss == "bce" else torch.nn.MSELoss()
    x, held_out = torch.from_numpy(train), torch.from_numpy(validation)
    train_losses, val_losses = [], []
    for epoch in range(1, epochs + 1):
        order = torch.from_numpy(numpy_generator(one.seed, "shuffle", epoch).permutation(len(x)))
        noise, code_noise = (numpy_generator(one.seed, name, epoch) for name in ("noise", "code noise"))
        total, visited = 0.0, 0
        for index in order.split(point.batch_size):
            target = x[index]
            inputs = target
            if point.input_noise > 0:
                inputs = target + point.input_noise * torch.from_numpy(noise.standard_normal(target.shape, np.float32))
            optimizer.zero_grad()
            rows = range(visited, visited + len(index))
            outputs, penalty = trained_forward(model, one, inputs, epoch, rows, code_noise)
            value = criterion(outputs, target)
            (value + penalty).backward()
            optimizer.step()
            total += value.item() * len(index)
            visited += len(index)
        train_losses.append(total / len(x))
        with torch.no_grad():
            val_losses.append(criterion(model(held_out).double(), held_out.double()).item())
    return train_losses, val_losses

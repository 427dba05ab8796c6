"""The oracle of the learning tests: one trial trained as anyone would write it."""

from __future__ import annotations

import itertools

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


def initial_weights(one: Trial, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """By the plain module's names: nn.Linear's default distribution, drawn layer by layer, weight before bias."""
    draw, weights, middle = numpy_generator(one.seed, "init"), {}, len(sizes) // 2
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        name = f"encoder.{2 * layer}" if layer < middle else f"decoder.{2 * (layer - middle)}"
        bound = np.float32(1 / np.sqrt(inputs))
        weights[f"{name}.weight"] = draw.random((outputs, inputs), dtype=np.float32) * (2 * bound) - bound
        weights[f"{name}.bias"] = draw.random(outputs, dtype=np.float32) * (2 * bound) - bound
    return weights


def plain_losses(
    one: Trial, train: np.ndarray, validation: np.ndarray, loss: str, epochs: int
) -> tuple[list[float], list[float]]:
    """Training and validation loss of each epoch: nn.Sequential, torch.optim.AdamW, autograd, batches one by one."""
    point = one.point
    model = Autoencoder(layer_sizes(train.shape[1], point), point.activation, loss)
    model.load_state_dict({n: torch.from_numpy(w) for n, w in initial_weights(one, model.sizes).items()})
    network = torch.nn.Sequential(model.encoder, model.decoder)
    optimizer = torch.optim.AdamW(network.parameters(), lr=point.learning_rate, weight_decay=point.weight_decay)
    criterion = torch.nn.BCEWithLogitsLoss() if loss == "bce" else torch.nn.MSELoss()
    x, held_out = torch.from_numpy(train), torch.from_numpy(validation)
    train_losses, val_losses = [], []
    for epoch in range(1, epochs + 1):
        order = torch.from_numpy(numpy_generator(one.seed, "shuffle", epoch).permutation(len(x)))
        noise = numpy_generator(one.seed, "noise", epoch)
        total = 0.0
        for index in order.split(point.batch_size):
            target = x[index]
            inputs = target
            if point.input_noise > 0:
                inputs = target + point.input_noise * torch.from_numpy(noise.standard_normal(target.shape, np.float32))
            optimizer.zero_grad()
            value = criterion(network(inputs), target)
            value.backward()
            optimizer.step()
            total += value.item() * len(index)
        train_losses.append(total / len(x))
        with torch.no_grad():
            val_losses.append(criterion(network(held_out).double(), held_out.double()).item())
    return train_losses, val_losses

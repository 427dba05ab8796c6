"""Two published protocols: the published figure, the published recipe run again here, and ours, at equal code size.

usage: python benchmarks/published.py --train train-images-idx3-ubyte.gz --test t10k-images-idx3-ubyte.gz [--minutes 10]

- keras: F. Chollet, "Building autoencoders in Keras" (2016): codes of 32, binary cross-entropy a pixel on the test
  images, which its author watched while training; one layer about 0.09, 784-128-64-32 about 0.08.
- hinton: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (Science 2006): codes of
  30 by 784-1000-500-250-30, squared error an image on the test images: 3.00, by PCA 13.87. Its recipe, restricted
  Boltzmann machines layer by layer, then fine-tuning of the cross-entropy, is run again with Adam where the paper had
  conjugate gradients.

The published figures are for MNIST; any images in its form can be given, such as Debian's dataset-fashion-mnist, and
then only the others compare. Every recipe gets the same minutes on the same cores, and ours those of `--ours`: a study
with `search.minutes` on the training images, and the run that it exports. It never sees the test images before they are
scored. Beside the published recipes, `by_hand` is what an expert may write down without a search.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import tuner
from tuner.data.readers import load
from tuner.data.sources import Sources
from tuner.spec.data import DataSpec

PIXEL = 255.0
PRETRAINING_EPOCHS = 10  # as in the paper's published code
PRETRAINING_SHARE = 0.25  # of the time, at most
BATCH = 256
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Protocol:
    """What was published.

    Attributes:
        code: length of the code.
        loss: what ours is trained to.
        figure: the published result, in words.
        error: (rows, reconstructions) to the published kind of figure.
        recipes: name to what trains it within so many seconds and gives a reconstruction.
        width: the largest that ours may take.
    """

    code: int
    loss: str
    figure: str
    error: Callable[[Tensor, Tensor], float]
    recipes: dict[str, Callable[[Tensor, float], Callable[[Tensor], Tensor]]]
    width: int


def cross_entropy_a_pixel(rows: Tensor, guess: Tensor) -> float:
    """Mean binary cross-entropy, as Keras clips it."""
    return nn.functional.binary_cross_entropy(guess.clamp(1e-7, 1 - 1e-7), rows).item()


def squared_error_an_image(rows: Tensor, guess: Tensor) -> float:
    """Sum over the pixels, mean over the images."""
    return (rows - guess).square().sum(1).mean().item()


def layers(sizes: tuple[int, ...], activation: Callable[[], nn.Module], linear: int | None) -> nn.Sequential:
    """Fully connected layers, the activation after each but the last and the one numbered `linear`."""
    made: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        made.append(nn.Linear(inputs, outputs))
        if number not in (linear, len(sizes) - 1):
            made.append(activation())
    return nn.Sequential(*made)


def keras(*encoder: int) -> Callable[[Tensor, float], Callable[[Tensor], Tensor]]:
    """The blog's dense autoencoders: relu, Adam with its defaults, batches of 256."""

    def recipe(train: Tensor, seconds: float) -> Callable[[Tensor], Tensor]:
        torch.manual_seed(0)
        sizes = (train.shape[1], *encoder, *encoder[-2::-1], train.shape[1])
        model = layers(sizes, nn.ReLU, None)
        fit(model, train, time.monotonic() + seconds)
        return lambda rows: torch.sigmoid(model(rows))

    return recipe


def by_hand(train: Tensor, seconds: float) -> Callable[[Tensor], Tensor]:
    """What who knows autoencoders writes down first: relu, the squared error, Adam at 1e-3, batches of 128."""
    torch.manual_seed(0)
    model = layers((train.shape[1], 512, 256, 128, 30, 128, 256, 512, train.shape[1]), nn.ReLU, 4)
    fit(model, train, time.monotonic() + seconds, nn.functional.mse_loss, 128)
    return model


def fit(
    model: nn.Module,
    train: Tensor,
    deadline: float,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.binary_cross_entropy_with_logits,
    batch: int = BATCH,
) -> int:
    """Minimise a loss until the time is over; epochs begun."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    epochs = 0
    while True:
        epochs += 1
        for index in torch.randperm(len(train)).split(batch):
            if time.monotonic() > deadline:
                return epochs
            rows = train[index]
            optimizer.zero_grad(set_to_none=True)
            loss(model(rows), rows).backward()
            optimizer.step()


def hinton(train: Tensor, seconds: float) -> Callable[[Tensor], Tensor]:
    """784-1000-500-250-30: one Boltzmann machine a layer, unrolled, then fine-tuned as a whole."""
    torch.manual_seed(0)
    begun, sizes = time.monotonic(), (train.shape[1], 1000, 500, 250, 30)
    machines, rows = [], train
    for number, (visible, hidden) in enumerate(pairwise(sizes), start=1):
        until = begun + seconds * PRETRAINING_SHARE * number / (len(sizes) - 1)
        machines.append(boltzmann(rows, visible, hidden, number == len(sizes) - 1, until))
        rows = machines[-1].up(rows)
    model = unrolled(machines, sizes)
    fit(model, train, begun + seconds)
    return lambda rows: torch.sigmoid(model(rows))


@dataclass
class Machine:
    """A restricted Boltzmann machine: weight (visible, hidden), both biases; if `linear`, hidden units are numbers."""

    weight: Tensor
    seen: Tensor
    hidden: Tensor
    linear: bool

    def up(self, rows: Tensor) -> Tensor:
        total = torch.addmm(self.hidden, rows, self.weight)
        return total if self.linear else torch.sigmoid(total)

    def down(self, codes: Tensor) -> Tensor:
        return torch.sigmoid(torch.addmm(self.seen, codes, self.weight.T))

    def sampled(self, values: Tensor) -> Tensor:
        return values + torch.randn_like(values) if self.linear else torch.bernoulli(values)


@torch.no_grad()
def boltzmann(rows: Tensor, visible: int, hidden: int, linear: bool, deadline: float) -> Machine:
    """One step of contrastive divergence a batch of 100, with the paper's rates, momenta and weight cost."""
    machine = Machine(0.1 * torch.randn(visible, hidden), torch.zeros(visible), torch.zeros(hidden), linear)
    parameters = (machine.weight, machine.seen, machine.hidden)
    velocities, rate = [torch.zeros_like(p) for p in parameters], 0.001 if linear else 0.1
    for epoch in range(PRETRAINING_EPOCHS):
        momentum = 0.5 if epoch < 5 else 0.9
        for index in torch.randperm(len(rows)).split(100):
            if time.monotonic() > deadline:
                return machine
            data = rows[index]
            up = machine.up(data)
            fantasy = machine.down(machine.sampled(up))
            again = machine.up(fantasy)
            steps = (data.T @ up - fantasy.T @ again, (data - fantasy).sum(0), (up - again).sum(0))
            for parameter, velocity, step in zip(parameters, velocities, steps, strict=True):
                cost = 2e-4 * parameter if parameter is machine.weight else 0.0
                velocity.mul_(momentum).add_(rate * (step / len(data) - cost))
                parameter.add_(velocity)
    return machine


@torch.no_grad()
def unrolled(machines: list[Machine], sizes: tuple[int, ...]) -> nn.Sequential:
    """The machines as an encoder, and upside down as its decoder."""
    model = layers(sizes + sizes[-2::-1], nn.Sigmoid, len(machines))
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    for machine, encoder, decoder in zip(machines, linears, reversed(linears), strict=False):
        encoder.weight.copy_(machine.weight.T)
        encoder.bias.copy_(machine.hidden)
        decoder.weight.copy_(machine.weight)
        decoder.bias.copy_(machine.seen)
    return model


PROTOCOLS = {
    "keras": Protocol(
        32,
        "bce",
        "about 0.09; deep about 0.08",
        cross_entropy_a_pixel,
        {"784-32": keras(32), "784-128-64-32": keras(128, 64, 32)},
        512,
    ),
    "hinton": Protocol(
        30,
        "mse",
        "3.00; PCA 13.87",
        squared_error_an_image,
        {"RBMs, then fine-tuning": hinton, "784-512-256-128-30 by hand": by_hand},
        1024,
    ),
}


def declaration(protocol: Protocol, minutes: float) -> dict[str, Any]:
    """A study for so many minutes, as a user would declare it."""
    return {
        "name": f"published-{protocol.code}-{minutes:g}",
        "data": {"source": "train.npy", "scaling": "none", "validation": 0.1, "test": 0.01},
        "space": {
            "learning_rate": {"type": "float", "low": 1e-4, "high": 3e-2, "log": True},
            "batch_size": {"type": "categorical", "choices": [64, 128, 256]},
            "depth": {"type": "int", "low": 1, "high": 3},
            "width": {"type": "int", "low": 64, "high": protocol.width, "log": True},
            "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu", "tanh"]},
            "bottleneck": protocol.code,
        },
        "loss": protocol.loss,
        "search": {"minutes": minutes},
        "device": "cpu",
    }


def ours(protocol: Protocol, test: NDArray[np.float32], minutes: float) -> tuple[float, str]:
    """The error of our exported model on the test images, and what it is."""
    begun = time.monotonic()
    study = tuner.run(declaration(protocol, minutes))
    folder = study.export(f"best-{study.name}")
    took = time.monotonic() - begun
    guess = tuner.load_model(folder).reconstruct(test.astype(np.float64))
    error = protocol.error(torch.from_numpy(test), torch.from_numpy(np.asarray(guess, np.float32)))
    final = study.summary.final
    trained = None if final is None else final.training
    long = "not trained again" if trained is None else f"trained again for {trained.length} {trained.unit}"
    best = study.best if final is None or final.winner is None else study.records[final.winner]
    shape = f"depth {best.point.depth}, width {best.point.width}, {best.point.activation}"
    return error, f"{took:.0f} s: {len(study.records)} trials; {shape}, {long}"


def pca(train: Tensor, test: Tensor, code: int) -> Tensor:
    """The best linear code's reconstructions."""
    mean = train.mean(0)
    directions = torch.linalg.eigh(((train - mean).T @ (train - mean)).double()).eigenvectors[:, -code:].float()
    return (test - mean) @ directions @ directions.T + mean


def rows_of(
    protocol: Protocol, train: NDArray[np.float32], test: NDArray[np.float32], minutes: float, own: list[float]
) -> Iterator[str]:
    """The table's lines, each as soon as it is known; ours for several times."""
    train_NF, test_NF = torch.from_numpy(train), torch.from_numpy(test)
    yield f"| published, on MNIST | {protocol.figure} | |"
    yield f"| PCA({protocol.code}) | {protocol.error(test_NF, pca(train_NF, test_NF, protocol.code)):.4f} | |"
    for name, recipe in protocol.recipes.items():
        begun = time.monotonic()
        reconstruct = recipe(train_NF, 60 * minutes)
        with torch.no_grad():
            error = protocol.error(test_NF, reconstruct(test_NF))
        yield f"| {name} | {error:.4f} | {time.monotonic() - begun:.0f} s |"
    np.save("train.npy", train)
    for time_of_ours in own:
        error, what = ours(protocol, test, time_of_ours)
        yield f"| tuner, {time_of_ours:g} minutes | {error:.4f} | {what} |"


def images(path: Path) -> NDArray[np.float32]:
    """(N, 784) pixels between 0 and 1."""
    data = load(DataSpec(source=str(path.absolute())), Sources(Path()))
    return (data.values / PIXEL).astype(np.float32)


def main() -> None:
    """Run the protocols and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="training images, in MNIST's form")
    parser.add_argument("--test", type=Path, required=True, help="test images")
    parser.add_argument("--minutes", type=float, default=10.0, help="for every recipe")
    parser.add_argument(
        "--ours", type=float, nargs="+", help="for ours, one study each; by default the recipes' minutes"
    )
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    options = parser.parse_args()
    train, test = images(options.train), images(options.test)
    torch.set_num_threads(CORES)
    print(time.strftime("%Y-%m-%d"), platform.machine(), f"{CORES} cores, torch {torch.__version__}, {options.train}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in options.protocols:
            print(f"\n| {name}, {options.minutes:g} minutes each | error | |\n| --- | --- | --- |", flush=True)
            own = options.ours or [options.minutes]
            for line in rows_of(PROTOCOLS[name], train, test, options.minutes, own):
                print(line, flush=True)


if __name__ == "__main__":
    main()

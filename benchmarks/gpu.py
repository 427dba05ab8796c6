"""Packs beside plain loops on one GPU, in trials a second. Needs torch, numpy and this project's `learning` and `spec`.

usage: python benchmarks/gpu.py [--device cuda:0] [--small]

Eager: nn.Sequential, fused AdamW, data resident, no `.item()`. Tutorial: DataLoader, AdamW, `.item()` a batch. Packs:
so many models in flight, trained as one. All train every epoch's last, smaller batch. Medians of three; `--small` runs
few models and rows, so that the code can be tried on a CPU (`--device cpu --small`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tuner.learning.pack import TrainingData, reproducible
from tuner.learning.together import train_together
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.work import Trial

WORKLOADS = {"digits": (1797, 64, 112, 64), "fashion": (60_000, 784, 256, 256)}  # rows, features, width, batch size
EPOCHS = 3


def trial(number: int, width: int, batch: int) -> Trial:
    """One of the trials: widths differ a little, learning rates much."""
    point = Hyperparameters(10 ** -(2 + number % 3), batch, 2, width - number % 16, "relu", 8, 0.0, 0.0)
    return Trial(number, point, number)


def network(sizes: tuple[int, ...]) -> nn.Sequential:
    """The same layers as a plain module."""
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(inputs, outputs)]
        if place not in (len(sizes) // 2 - 1, len(sizes) - 2):
            layers += [nn.ReLU()]
    return nn.Sequential(*layers)


def eager(one: Trial, rows: torch.Tensor) -> None:
    """As an expert trains it."""
    model = network(layer_sizes(rows.shape[1], one.point)).to(rows.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=one.point.learning_rate, fused=True)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(rows), device=rows.device).split(one.point.batch_size):
            batch = rows[index]
            optimizer.zero_grad(set_to_none=True)
            (model(batch) - batch).square().mean().backward()
            optimizer.step()


def tutorial(one: Trial, rows: torch.Tensor) -> None:
    """As tutorials train it."""
    model = network(layer_sizes(rows.shape[1], one.point)).to(rows.device)
    optimizer, criterion = torch.optim.AdamW(model.parameters(), lr=one.point.learning_rate), nn.MSELoss()
    for _ in range(EPOCHS):
        for (cpu_batch,) in DataLoader(TensorDataset(rows.cpu()), batch_size=one.point.batch_size, shuffle=True):
            batch = cpu_batch.to(rows.device)
            optimizer.zero_grad()
            loss = criterion(model(batch), batch)
            loss.backward()
            optimizer.step()
            loss.item()


def packed(trials: list[Trial], data: TrainingData) -> None:
    """As we train them."""
    with reproducible():
        train_together(trials, data, "mse", None, EPOCHS)


def seconds(act: Callable[[], None], device: str) -> float:
    """The median of three, after one that warms up."""
    took = []
    for _ in range(4):
        _wait(device)
        started = time.perf_counter()
        act()
        _wait(device)
        took.append(time.perf_counter() - started)
    return statistics.median(took[1:])


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.stderr.write("benchmarks/gpu.py needs an NVIDIA GPU, and none is here; try --device cpu --small.\n")
        raise SystemExit(2)
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
    print(f"torch {torch.__version__}, {name}; trials a second, {EPOCHS} epochs each")
    print("| data | models in flight | packs | against eager | against tutorial |\n| --- | --- | --- | --- | --- |")
    for label, (count, features, width, batch) in WORKLOADS.items():
        values = np.random.default_rng(0).random((count // 10 if options.small else count, features), dtype=np.float32)
        data = TrainingData.of(values, values[:256].copy(), options.device)
        rows, one = torch.from_numpy(values).to(options.device), trial(0, width, batch)
        alone = [seconds(partial(way, one, rows), options.device) for way in (eager, tutorial)]
        for models in (4,) if options.small else (16, 64, 256, 1024):
            trials = [trial(number, width, batch) for number in range(models)]
            rate = models / seconds(partial(packed, trials, data), options.device)
            ratios = " | ".join(f"{rate * took:.1f}x" for took in alone)
            print(f"| {label} | {models} | {rate:.1f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()

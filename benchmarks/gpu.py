"""Packs beside plain loops on one GPU, in trials a second. Needs torch, numpy and this project's `learning` and `spec`.

usage: python benchmarks/gpu.py [--device cuda:0] [--small] [--limit SECONDS] [--json FILE]

Eager: nn.Sequential, fused AdamW, data resident, no `.item()` in an epoch. Tutorial: DataLoader, AdamW, `.item()` a
batch. Packs: so many models in flight, trained as one. All train every epoch's last, smaller batch, and measure the
validation loss after each epoch. `uniform`: widths alone differ, a little; `mixed`: widths, depths, batch sizes and
activations. Measured once after a call that warms up, of fewer epochs for what is slow; what would pass the limit is
left out and named. The limit of a device counts as `launches.py` does, with rates measured here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from launches import cost
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tuner.learning.stacked.pack import reproducible
from tuner.learning.stacked.together import train_together
from tuner.learning.stacked.training_data import TrainingData
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.work import Curve, Trial

EPOCHS = 3
SIZES = (16, 64, 256, 1024)
MODULES = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


@dataclass(frozen=True)
class Workload:
    """Training rows, validation rows, features, and the width and batch size of the uniform space."""

    rows: int
    held_out: int
    features: int
    width: int
    batch: int


WORKLOADS = {"digits": Workload(1258, 360, 64, 112, 64), "fashion": Workload(48_000, 12_000, 784, 256, 256)}


def trial(number: int, load: Workload, mixed: bool) -> Trial:
    """One of the trials: learning rates differ much; the rest as the space says."""
    rate = 10 ** -(2 + number % 3)
    if not mixed:
        return Trial(
            number, Hyperparameters(rate, load.batch, 2, load.width - number % 16, "relu", 8, 0.0, 0.0), number
        )
    draw = np.random.default_rng(number)
    batch, depth = int(draw.choice([64, 128, 256])), int(draw.integers(1, 4))
    width, activation = int(2 ** draw.uniform(6, 9)), str(draw.choice(list(MODULES)))
    return Trial(number, Hyperparameters(rate, batch, depth, width, activation, 8, 0.0, 0.0), number)


def network(one: Trial, features: int) -> nn.Sequential:
    """The same layers as a plain module."""
    layers: list[nn.Module] = []
    sizes = layer_sizes(features, one.point)
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(inputs, outputs)]
        if place not in (len(sizes) // 2 - 1, len(sizes) - 2):
            layers += [MODULES[one.point.activation]()]
    return nn.Sequential(*layers)


def eager(one: Trial, rows: torch.Tensor, held_out: torch.Tensor, epochs: int) -> None:
    """As an expert trains it."""
    model = network(one, rows.shape[1]).to(rows.device)
    fused = rows.device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=one.point.learning_rate, fused=fused)
    for _ in range(epochs):
        for index in torch.randperm(len(rows), device=rows.device).split(one.point.batch_size):
            batch = rows[index]
            optimizer.zero_grad(set_to_none=True)
            (model(batch) - batch).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            (model(held_out) - held_out).square().mean().item()


def tutorial(one: Trial, rows: torch.Tensor, held_out: torch.Tensor, epochs: int) -> None:
    """As tutorials train it."""
    model = network(one, rows.shape[1]).to(rows.device)
    optimizer, criterion = torch.optim.AdamW(model.parameters(), lr=one.point.learning_rate), nn.MSELoss()
    loaders = [
        DataLoader(TensorDataset(part.cpu()), batch_size=one.point.batch_size, shuffle=part is rows)
        for part in (rows, held_out)
    ]
    for _ in range(epochs):
        for (cpu_batch,) in loaders[0]:
            batch = cpu_batch.to(rows.device)
            optimizer.zero_grad()
            loss = criterion(model(batch), batch)
            loss.backward()
            optimizer.step()
            loss.item()
        with torch.no_grad():
            for (cpu_batch,) in loaders[1]:
                batch = cpu_batch.to(rows.device)
                criterion(model(batch), batch).item()


def packed(trials: list[Trial], data: TrainingData, epochs: int) -> list[Curve]:
    """As we train them."""
    with reproducible(data.precision):
        return train_together(trials, data, "mse", None, epochs)[0]


def seconds(act: Callable[[], object], device: str) -> float:
    """What it takes, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    act()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def rates(device: str, small: bool) -> dict[str, float]:
    """Bytes and fp32 operations a second: a large copy, read and written, and a large product; medians of five."""
    size = 512 if small else 8192
    a, b = (torch.rand(size, size, device=device) for _ in range(2))
    to, source = (torch.rand(size * size * (1 if small else 8), device=device) for _ in range(2))
    copies = sorted(seconds(partial(to.copy_, source), device) for _ in range(6))
    products = sorted(seconds(partial(torch.mm, a, b), device) for _ in range(6))
    return {"bytes": 2 * to.nbytes / copies[2], "operations": 2 * size**3 / products[2]}


def floor(trials: list[Trial], load: Workload, epochs: int, limits: dict[str, float]) -> float:
    """The least seconds for so many epochs of these trials, validation included, by what they have more of."""
    total = np.zeros(2)
    for one in trials:
        sizes, batch = layer_sizes(load.features, one.point), one.point.batch_size
        total += epochs * load.rows / batch * np.array(cost(sizes, batch))
        products = sum(a * b for a, b in pairwise(sizes))
        total[1] += 2 * epochs * load.held_out * products
    return float(max(total[0] / limits["bytes"], total[1] / limits["operations"]))


class Measured:
    """The rows of the table as they come, and the time that is left for more."""

    def __init__(self, device: str, small: bool, limit: float) -> None:
        self.device, self.small = device, small
        self.limits = rates(device, small)
        self._until = time.perf_counter() + limit
        self.rows: list[dict[str, Any]] = []
        self.kinds: dict[str, dict[str, float]] = {}
        first = f"limit: {self.limits['bytes'] / 1e12:.2f} TB/s, {self.limits['operations'] / 1e12:.1f} TFLOP/s fp32"
        self.lines = [first, ""]
        self.lines.append(
            "| data | space | models | trials a second | against eager | against tutorial | of the limit | GB |"
        )
        self.lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")

    def fits(self, expected: float) -> bool:
        """Whether something of so many seconds still may begin."""
        return time.perf_counter() + expected < self._until

    def loads(self) -> list[tuple[str, Workload]]:
        """Both workloads, in the small form with few rows."""
        if not self.small:
            return list(WORKLOADS.items())
        return [(name, Workload(256, 64, one.features, one.width // 4, one.batch)) for name, one in WORKLOADS.items()]

    def compare(self, label: str, load: Workload, mixed: bool) -> None:
        """Eager and tutorial loops, then packs of growing size."""
        values = np.random.default_rng(0).random((load.rows + load.held_out, load.features), dtype=np.float32)
        data = TrainingData.of(values[: load.rows], values[load.rows :].copy(), self.device)
        on_device = torch.from_numpy(values).to(self.device)
        rows, held_out = on_device[: load.rows], on_device[load.rows :]
        epochs = _epochs(load)
        sample = [trial(number, load, mixed) for number in range(3)]
        alone = []
        for way in (eager, tutorial):
            way(sample[0], rows, held_out, 1)
            alone.append(np.mean([seconds(partial(way, one, rows, held_out, epochs), self.device) for one in sample]))
        expected = 0.0
        for models in (4,) if self.small else SIZES:
            if not self.fits(2.2 * expected):
                self.lines.append(f"| {label} | {_space(mixed)} | {models} | left out: no time | | | | |")
                print(self.lines[-1], flush=True)
                continue
            trials = [trial(number, load, mixed) for number in range(models)]
            expected = 4 * self._pack((label, _space(mixed)), load, trials, data, alone)

    def _pack(
        self, names: tuple[str, str], load: Workload, trials: list[Trial], data: TrainingData, alone: list[Any]
    ) -> float:
        (label, space), epochs = names, _epochs(load)
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        if len(trials) <= 64:
            packed(trials, data, 1)
        took = seconds(partial(packed, trials, data, epochs), self.device)
        used = torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.startswith("cuda") else 0.0
        share = floor(trials, load, epochs, self.limits) / took
        rate = len(trials) / took
        row = {"data": label, "space": space, "models": len(trials), "rate": rate, "epochs": epochs}
        row |= {"eager": float(rate * alone[0]), "tutorial": float(rate * alone[1]), "share": share, "gigabytes": used}
        self.rows.append(row)
        ratios = " | ".join(f"{rate * each:.1f}x" for each in alone)
        self.lines.append(
            f"| {label} | {space} | {len(trials)} | {rate:.1f} | {ratios} | {100 * share:.2f} % | {used:.2f} |"
        )
        print(self.lines[-1], flush=True)
        return took

    def line(self) -> str:
        """The best of each workload."""
        best = {row["data"]: row for row in sorted(self.rows, key=lambda row: row["tutorial"])}
        return "; ".join(
            f"{label} {row['tutorial']:.0f}x tutorial, {100 * row['share']:.1f} % of limit"
            for label, row in sorted(best.items())
        )

    def save(self, path: Path | None) -> None:
        """What there is so far, for whoever stops this at a limit of time."""
        if path is not None:
            found = {"limits": self.limits, "rows": self.rows, "precisions": self.kinds, "line": self.line()}
            path.write_text(json.dumps({**found, "table": "\n".join(self.lines)}), encoding="utf-8")

    def precisions(self) -> None:
        """Seconds of each precision on one pack, and its losses' largest distance from fp32's after three epochs."""
        load = self.loads()[0][1]
        values = np.random.default_rng(1).random((load.rows + load.held_out, load.features), dtype=np.float32)
        trials = [trial(number, load, mixed=False) for number in range(4 if self.small else 64)]
        found = self.kinds
        full: np.ndarray | None = None
        for precision in ("fp32", "tf32", "bf16"):
            data = TrainingData.of(values[: load.rows], values[load.rows :].copy(), self.device, precision)
            packed(trials, data, 1)
            curves: list[Curve] = []
            took = seconds(lambda kept=curves, data=data: kept.extend(packed(trials, data, EPOCHS)), self.device)
            losses = np.array([curve.val_loss for curve in curves])
            full = losses if full is None else full
            found[precision] = {"seconds": took, "apart": float(np.abs(losses / full - 1).max())}
            self.lines.append(f"\n{precision}: {took:.3f} s, losses {found[precision]['apart']:.1e} from fp32's")
            print(self.lines[-1].strip(), flush=True)


def _epochs(load: Workload) -> int:
    return EPOCHS if load.rows < 10_000 else 1


def _space(mixed: bool) -> str:
    return "mixed" if mixed else "uniform"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--limit", type=float, default=50, help="seconds, after which nothing new is begun")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.stderr.write("benchmarks/gpu.py needs an NVIDIA GPU, and none is here; try --device cpu --small.\n")
        raise SystemExit(2)
    torch.set_num_threads(1)
    measured = Measured(options.device, options.small, options.limit)
    print(measured.lines[0], flush=True)
    for label, load in measured.loads():
        for mixed in (True, False):
            measured.compare(label, load, mixed)
            measured.save(options.json)
    if measured.fits(0):
        measured.precisions()
        measured.save(options.json)
    print(measured.line())


if __name__ == "__main__":
    main()

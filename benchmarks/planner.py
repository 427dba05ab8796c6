"""Measures the planners' models of cost on one core.

usage: python benchmarks/planner.py [--record tests/learning/timings.json]

First the compiled step's five constants, fitted to random trials and compared with them; `--record` writes those trials
with their times, for the test that judges plans by them. Then the stack's three constants.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from tuner.learning.layout import Layout, padded_sizes
from tuner.learning.packs import make_pack, reproducibly, training_data
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.work import TrainingPlan, Trial

NAMES = ("MULTIPLY_ADD_SECONDS", "PARAMETER_SECONDS", "VALUE_SECONDS", "LAYER_SECONDS", "EPOCH_SECONDS")


def seconds(call: Callable[[], object], times: int) -> float:
    """The best of seven means, so that other work on the machine does not count."""
    call()
    best = float("inf")
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(times):
            call()
        best = min(best, (time.perf_counter() - started) / times)
    return best


def random_trial(number: int, draw: random.Random) -> tuple[Trial, dict[str, int]]:
    """A trial and the data it is trained on, over the range that users search."""
    point = Hyperparameters(
        learning_rate=1e-3,
        batch_size=draw.choice([16, 32, 64, 128, 256]),
        depth=draw.randint(0, 4),
        width=round(2 ** draw.uniform(4, 9)),
        activation=draw.choice(["relu", "gelu", "silu", "tanh", "sigmoid"]),
        bottleneck=8,
        weight_decay=0.0,
        input_noise=0.0,
    )
    rows = draw.choice([341, 1258, 3000])
    return Trial(number, point, number), {
        "features": draw.choice([10, 30, 64, 200, 784]),
        "train": rows,
        "validation": rows // 4,
    }


def measured(trial: Trial, data: dict[str, int]) -> float:
    """Seconds of one epoch, validation included."""
    draw = np.random.default_rng(0)
    rows = [draw.random((data[name], data["features"]), dtype=np.float32) for name in ("train", "validation")]
    prepared = training_data(rows[0], rows[1], "cpu", "fp32", "auto")
    with reproducibly(prepared):
        return seconds(make_pack([trial], prepared, "mse", TrainingPlan(1)).train_epoch, 1)


def terms(trial: Trial, data: dict[str, int]) -> list[float]:
    """What each constant is multiplied by."""
    sizes = padded_sizes(layer_sizes(data["features"], trial.point))
    train, validation, steps = data["train"], data["validation"], ceil(data["train"] / trial.point.batch_size)
    return [
        sum(inputs * outputs for inputs, outputs in pairwise(sizes)) * (3 * train + validation),
        Layout.of(sizes).length * steps,
        sum(sizes[1:]) * (train + validation),
        (len(sizes) - 1) * steps,
        1,
    ]


def compiled_step(record: Path | None) -> None:
    """Fit the five constants, relative errors weighing alike."""
    draw = random.Random(0)
    cases = [random_trial(number, draw) for number in range(70)]
    took = np.array([measured(*case) for case in cases])
    counts = np.array([terms(*case) for case in cases])
    constants, _ = nnls(counts / took[:, None], np.ones(len(took)))
    for name, value in zip(NAMES, constants, strict=True):
        print(f"{name:<21}{value:.2g}")
    ratios = counts @ constants / took
    print(f"estimated/measured: {ratios.min():.2f} to {ratios.max():.2f}, median {np.median(ratios):.2f}")
    if record is not None:
        rows: list[dict[str, Any]] = [
            {**trial.point.as_dict(), **data, "seconds": round(float(value), 7)}
            for (trial, data), value in zip(cases, took, strict=True)
        ]
        record.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")


def multiply_add(inputs: int, outputs: int, rows: int = 64) -> float:
    """Seconds of one multiply-add inside a layer's product."""
    x, w = torch.randn(1, rows, inputs), torch.randn(1, inputs, outputs)
    b, y = torch.randn(1, 1, outputs), torch.empty(1, rows, outputs)
    return seconds(lambda: torch.baddbmm(b, x, w, out=y), 2000) / (rows * inputs * outputs)


def parameter(count: int) -> float:
    """Seconds of one parameter's share of the fused AdamW pass."""
    rows, step = [[torch.zeros(count)] for _ in range(4)], torch.zeros(())
    options = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8}
    update = torch._fused_adamw_
    return seconds(lambda: update(*rows, [], [step], **options, amsgrad=False, maximize=False), 300) / count


def stack() -> None:
    """The constants of `tuner/learning/stacked/planner.py`."""
    with torch.inference_mode():
        small = torch.zeros(1, 2, 16)
        print(f"CALL_SECONDS         {seconds(lambda: torch.tanh(small, out=small), 3000):.2g}")
        for shape in ((64, 128), (128, 32), (64, 64)):
            print(f"MULTIPLY_ADD_SECONDS {multiply_add(*shape):.2g}   {shape}")
        for count in (25_000, 200_000):
            print(f"PARAMETER_SECONDS    {parameter(count):.2g}   {count}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path)
    torch.set_num_threads(1)
    compiled_step(parser.parse_args().record)
    stack()

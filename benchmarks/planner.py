"""Measures the three constants of the planner's model of cost on one core: python benchmarks/planner.py."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        small = torch.zeros(1, 2, 16)
        print(f"CALL_SECONDS         {seconds(lambda: torch.tanh(small, out=small), 3000):.2g}")
        for shape in ((64, 128), (128, 32), (64, 64)):
            print(f"MULTIPLY_ADD_SECONDS {multiply_add(*shape):.2g}   {shape}")
        for count in (25_000, 200_000):
            print(f"PARAMETER_SECONDS    {parameter(count):.2g}   {count}")

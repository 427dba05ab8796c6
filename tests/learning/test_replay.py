"""Claims about recorded steps: captured graphs train as the same launches one by one do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from devices import DEVICES, NEEDS_CUDA
from plain import digits, trial

from tuner.learning.stacked.captured import Replay
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.together import train_together
from tuner.learning.stacked.training_data import TrainingData
from tuner.spec.work import Curve, TrainingPlan, Trial

PARTS = [
    {},
    {"norm": "layer", "dropout": 0.1},
    {"kind": "variational", "beta": 0.5, "input_noise": 0.1},
    {"schedule": "cosine", "warmup": 0.3, "clip_norm": 0.1, "weight_decay": 0.1},
]


def of_two_batches(parts: dict[str, object]) -> list[Trial]:
    """Trials of several widths; 300 rows leave each a last batch of another size."""
    return [trial(m, width=20 + 30 * m, activation=("relu", "gelu", "tanh")[m % 3], **parts) for m in range(5)]


def curves(trials: list[Trial], device: str) -> list[Curve]:
    with reproducible():
        return train_together(trials, TrainingData.of(*digits(), device), "mse", None, 6, plan=TrainingPlan(6))[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("parts", PARTS)
def test_recorded_steps_train_as_unrecorded_ones(
    parts: dict[str, object], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six epochs with the steps recorded, and with every launch made anew: the same losses, to 1e-6."""
    trials = of_two_batches(parts)
    recorded = curves(trials, device)
    plainly: list[object] = []

    def at_once(self: Replay, work: Callable[[], object]) -> None:
        plainly.append(work())

    monkeypatch.setattr(Replay, "__call__", at_once)
    for one, other in zip(recorded, curves(trials, device), strict=True):
        np.testing.assert_allclose(one.train_loss, other.train_loss, rtol=1e-6)
        np.testing.assert_allclose(one.val_loss, other.val_loss, rtol=1e-6)
    assert len(plainly) >= 6 * 6


@pytest.mark.gpu
@NEEDS_CUDA
def test_a_step_is_recorded_once_and_replayed() -> None:
    """After the second epoch no step launches its kernels one by one: all of a pack's work is in graphs."""
    with reproducible(), torch.cuda.stream(torch.cuda.Stream()):
        pack = Pack([trial(0)], TrainingData.of(*digits(), "cuda:0"), "mse")
        for _ in range(3):
            pack.train_epoch()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            pack.train_epoch()
    names = [event.key for event in profile.key_averages()]
    assert not [name for name in names if "bmm" in name]
    assert names

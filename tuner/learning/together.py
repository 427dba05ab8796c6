"""Any trials on one GPU: packs side by side, each launched by a thread of its own onto a stream of its own.

A pack's host work (drawing orders, launching, reading losses) is small, and the launches let go of Python's lock while
they wait; so while one pack's thread waits for its losses the others' steps go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from tuner.learning import memory
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.pack import Pack, TrainingData, reproducible
from tuner.learning.planner import GPU_SHARE, plan_for_gpu
from tuner.learning.training import train
from tuner.spec.work import Curve, Trial

Trained = dict[int, tuple[Curve, TrialTraining]]


def train_together(
    trials: Sequence[Trial],
    data: TrainingData,
    loss: str,
    states: Sequence[TrialTraining] | None,
    last: int,
    on_epoch: Callable[[int], object] | None = None,
) -> tuple[list[Curve], list[TrialTraining]]:
    """Train trials of any shapes that stand at the same epoch.

    Args:
        trials: at least one.
        data: both splits.
        loss: `mse` or `bce`.
        states: the trials' states, in the same order; None to start them.
        last: epochs in all.
        on_epoch: called after each pack's epochs, by several threads.

    Returns:
        Each trial's curve, without a checkpoint, and its state, in the order of `trials`.
    """
    device, rows = data.device, data.train_NF.shape[0]
    there = memory.free(str(device))
    begun = {} if states is None else {trial.number: state for trial, state in zip(trials, states, strict=True)}
    trained: Trained = {}
    for wave in waves(plan_for_gpu(trials, data.features, rows, 1, there), data.features, rows, there):
        one = partial(_train, data=data, loss=loss, begun=begun, last=last, on_epoch=on_epoch)
        with ThreadPoolExecutor(len(wave)) as pool:
            for part in pool.map(one, wave):
                trained |= part
    results = [trained[trial.number] for trial in trials]
    return [curve for curve, _ in results], [state for _, state in results]


def waves(
    packs: Sequence[tuple[Trial, ...]], features: int, rows: int, free: int | None
) -> list[list[tuple[Trial, ...]]]:
    """The packs in groups that memory holds side by side, the order kept; a pack that needs more is alone."""
    made: list[list[tuple[Trial, ...]]] = []
    left = 0.0
    for pack in packs:
        wanted = len(pack) * max(memory.needed(trial, features, rows) for trial in pack)
        if not made or (free is not None and wanted > left):
            made.append([])
            left = 0.0 if free is None else GPU_SHARE * free
        made[-1].append(pack)
        left -= wanted
    return made


def _train(
    trials: Sequence[Trial],
    data: TrainingData,
    loss: str,
    begun: dict[int, TrialTraining],
    last: int,
    on_epoch: Callable[[int], object] | None,
) -> Trained:
    """One pack in this thread; torch keeps the inference mode, the stream and the like for each thread."""
    states = [begun[trial.number] for trial in trials] if begun else None
    with reproducible(data.precision), _own_stream(data.device):
        pack = Pack(trials, data, loss, states, merged=True)
        curves = train(pack, last, on_epoch)
        return {curve.number: (curve, state) for curve, state in zip(curves, pack.states(), strict=True)}


def _own_stream(device: torch.device) -> AbstractContextManager[object]:
    """A stream of this thread's, ordered after the copies of the data, which were made in the default one."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.default_stream(device))
    return torch.cuda.stream(stream)

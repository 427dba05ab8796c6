"""Any trials on one GPU: packs side by side, each on a stream of its own, launched in turn by one thread.

One thread, since torch records one CUDA graph at a time in a process, and a launch from another thread into the stream
that is being recorded would become part of the graph (there are but 32 streams, dealt again and again).

Experimental: these lanes have not run on a device yet; see docs/gpu.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial

import torch

from tuner.learning import memory
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.planner import GPU_SHARE, plan_for_gpu
from tuner.learning.stacked.training_data import TrainingData
from tuner.learning.training import Record
from tuner.spec.work import Curve, TrainingPlan, Trial

LANES = 16  # packs at the same time: fewer than torch has streams, so that no two share one


def train_together(  # noqa: PLR0913, PLR0917 - all that training is a function of
    trials: Sequence[Trial],
    data: TrainingData,
    loss: str,
    states: Sequence[TrialTraining] | None,
    last: int,
    on_epoch: Callable[[int], object] | None = None,
    plan: TrainingPlan | None = None,
) -> tuple[list[Curve], list[TrialTraining]]:
    """Train trials of any shapes that have trained the same number of epochs.

    Args:
        trials: at least one.
        data: both splits.
        loss: `mse` or `bce`.
        states: the trials' states, in the same order; None to start them.
        last: epochs in all.
        on_epoch: called after each pack's epochs.
        plan: of the whole training; None where no trial has a learning-rate schedule.

    Returns:
        Each trial's curve, without a checkpoint, and its state, in the order of `trials`.
    """
    rows, there = (data.train_NF.shape[0], data.validation_rows), memory.free(str(data.device))
    begun = dict(zip((trial.number for trial in trials), states or (), strict=states is not None))
    results: dict[int, tuple[Curve, TrialTraining]] = {}

    def made(pack: Sequence[Trial], at: Sequence[TrialTraining] | None) -> Pack:
        return Pack(pack, data, loss, at, merged=True, plan=plan)

    with reproducible(data.precision):
        for wave in waves(plan_for_gpu(trials, data.features, rows, 1, there), data.features, rows, there):
            lanes = [
                _Lane(place, data.device, partial(made, pack, [begun[t.number] for t in pack] if begun else None))
                for place, pack in enumerate(wave)
            ]
            _train(lanes, last, on_epoch)
            for curve, state in (result for lane in lanes for result in lane.results()):
                results[curve.number] = (curve, state)
            del lanes  # its memory is the next wave's
    in_order = [results[trial.number] for trial in trials]
    return [curve for curve, _ in in_order], [state for _, state in in_order]


def waves(
    packs: Sequence[tuple[Trial, ...]], features: int, rows: tuple[int, int], free: int | None
) -> list[list[tuple[Trial, ...]]]:
    """The packs in groups that memory and `LANES` hold side by side, the order kept; who needs more is alone."""
    made: list[list[tuple[Trial, ...]]] = []
    left = 0.0
    for pack in packs:
        wanted = memory.packed(pack, features, rows)
        if not made or len(made[-1]) == LANES or (free is not None and wanted > left):
            made.append([])
            left = 0.0 if free is None else GPU_SHARE * free
        made[-1].append(pack)
        left -= wanted
    return made


class _Lane:
    """One pack, its record, and the stream in which all of it is made, launched and read."""

    def __init__(self, place: int, device: torch.device, make: Callable[[], Pack]) -> None:
        self._stream = _streams(device)[place] if device.type == "cuda" else None
        if self._stream is not None:
            # After the copies of the data, and whatever else was launched, in the caller's stream.
            self._stream.wait_stream(torch.cuda.current_stream(device))
        with self.current():
            self.pack = make()
        self.record = Record(self.pack)
        self._steps: Iterator[None] = iter(())

    def current(self) -> AbstractContextManager[object]:
        """What is launched meanwhile is launched in this lane."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def begin(self) -> None:
        """Begin to launch an epoch."""
        self._steps = self.pack.launch()

    def launch(self) -> bool:
        """Launch the next step; whether there was one."""
        with self.current():
            return next(self._steps, self) is None

    def collect(self) -> None:
        """Wait for the epoch and record it."""
        self.record.add(self.pack.collect())

    def results(self) -> list[tuple[Curve, TrialTraining]]:
        """Each trial's curve and state; every copy of a state waits for this lane's work."""
        with self.current():
            return list(zip(self.record.curves(), self.pack.states(), strict=True))


@cache
def _streams(device: torch.device) -> list[torch.cuda.Stream]:
    """Taken at once, so that they differ; and kept, since torch keeps a separate memory pool for each stream."""
    return [torch.cuda.Stream(device) for _ in range(LANES)]  # type: ignore[no-untyped-call]


def _train(lanes: Sequence[_Lane], last: int, on_epoch: Callable[[int], object] | None) -> None:
    """Every lane one epoch after the other: all are launched, step by step in turn, then all are collected.

    They have the same number of epochs to go, so whoever is done early waits for nobody's sake but the largest one's.
    """
    living = [lane for lane in lanes if lane.pack.epoch < last]
    while living:
        for lane in living:
            lane.begin()
        launching = living
        while launching:
            launching = [lane for lane in launching if lane.launch()]
        for lane in living:
            lane.collect()
            if on_epoch is not None:
                on_epoch(lane.pack.epoch)
        living = [lane for lane in living if lane.pack.epoch < last and not lane.record.all_diverged]

"""The one function that every executor runs: train a segment, write the survivors' states, hand back the curves."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from tuner.data.rows import RowsSource
from tuner.errors import WorkerError
from tuner.execution import heartbeat
from tuner.execution.context import Workplace
from tuner.execution.measures import Measured, forget_rows, measure
from tuner.learning import checkpoint, memory
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.packs import make_pack, reproducibly, training_data
from tuner.learning.rows import PaddedRows
from tuner.learning.training import train
from tuner.spec.architecture import Architecture
from tuner.spec.final import is_choosing, is_final, name_of
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, TrainingPlan, Trial

if TYPE_CHECKING:
    from tuner.learning.stacked.training_data import TrainingData


def run_segment(place: Workplace, segment: Segment, checkpoints: Sequence[Sequence[Checkpoint]]) -> SegmentResult:
    """Train a segment's trials from interval `first` to `last`.

    Args:
        place: what the study's segments share.
        segment: trials of one pack.
        checkpoints: each trial's, the newest first; the segment goes on from the first one that is good.

    Where none is, the trial is trained again from the start, to the same bits (law 1). Where memory runs out,
    the halves of the segment are trained one after the other; a trial that cannot be trained even alone is infeasible.

    Raises:
        WorkerError: there is no memory for the data, whichever trials are to be trained on them.
    """
    started = time.monotonic()
    data = _data(place.rows, place.device, place.precision, place.step)
    curves, infeasible = _train_what_fits(place, segment, checkpoints, data)
    return SegmentResult(tuple(curves), time.monotonic() - started, f"process {os.getpid()}", tuple(infeasible))


def _train_what_fits(
    place: Workplace,
    segment: Segment,
    checkpoints: Sequence[Sequence[Checkpoint]],
    data: PaddedRows | TrainingData,
) -> tuple[list[Curve], list[tuple[int, str]]]:
    trials, features, rows = segment.trials, place.rows.features, place.rows.counts[0]
    try:
        if len(trials) == 1:
            memory.check(trials[0], features, rows, place.device)
        return _train(place, segment, checkpoints, data), []
    except Exception as error:
        if not memory.ran_out(error):
            raise
        trained = isinstance(error, _NoRoomToMeasureError)
    memory.release(place.device)
    if len(trials) == 1 and trained:
        return [], [(trials[0].number, memory.unmeasurable(place.device))]
    if len(trials) == 1:
        return [], [(trials[0].number, memory.reason(trials[0], features, rows, place.device))]
    half = len(trials) // 2
    parts = [
        _train_what_fits(place, replace(segment, trials=trials[part]), checkpoints[part], data)
        for part in (slice(half), slice(half, None))
    ]
    return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]


def _train(
    place: Workplace,
    segment: Segment,
    checkpoints: Sequence[Sequence[Checkpoint]],
    data: PaddedRows | TrainingData,
) -> list[Curve]:
    with reproducibly(data):
        curves, states = _trained(place, segment, _starts(place, segment, checkpoints, data), data)
        complete = _complete(place, segment, curves)
        needed = _needed(curves, states, complete)
        worked = list(zip(segment.trials, curves, states, strict=True))
        # Before any state is written: where measuring fails, no unknown file is left.
        found = [
            _measured(place, trial, state) if _is_measured(trial, complete) else Measured()
            for trial, curve, state in worked
        ]
        return [
            replace(
                curve,
                checkpoint=_write(place, trial, state) if curve.number in needed else None,
                measures=measured.values,
                unmeasured=measured.reasons,
            )
            for (trial, curve, state), measured in zip(worked, found, strict=True)
        ]


def _plan(place: Workplace, segment: Segment) -> TrainingPlan:
    """Of the whole training that the segment is a part of."""
    return place.plan if segment.plan is None else segment.plan


def _is_measured(trial: Trial, complete: Collection[int]) -> bool:
    """Runs that only choose are compared by their losses."""
    return trial.number in complete and not is_choosing(trial.number)


class _NoRoomToMeasureError(MemoryError):
    """Memory ran out when a trial was trained, and is to be measured."""


def _measured(place: Workplace, trial: Trial, state: TrialTraining) -> Measured:
    heartbeat.alive()
    try:
        return measure(place, trial, state.best)
    except Exception as error:
        if memory.ran_out(error):
            raise _NoRoomToMeasureError from error
        raise


def warm_up() -> None:
    """Have this module, and all that training needs, imported before the first segment."""


def forget() -> None:
    """Let go of the data of past segments, which keeps its file open; for a process that goes on with other things."""
    _data.cache_clear()
    forget_rows()


@lru_cache(maxsize=2)
def _data(source: RowsSource, device: str, precision: str, step: str) -> PaddedRows | TrainingData:
    rows = source.open()
    try:
        return training_data(rows.train, rows.validation, device, precision, step, rows.terms, start=rows.start)
    except Exception as error:
        if not memory.ran_out(error):
            raise
        raise WorkerError(
            f"a worker has no memory for the prepared rows ({source.name}) on {device}, which all trials need."
            " What is recorded stays; run the study again to go on, once there is memory, or with fewer workers."
        ) from error


def _starts(
    place: Workplace, segment: Segment, states: Sequence[Sequence[Checkpoint]], data: PaddedRows | TrainingData
) -> list[TrialTraining] | None:
    if segment.first == 0:
        return None
    return [_training(place, trial, state, segment, data) for trial, state in zip(segment.trials, states, strict=True)]


def _trained(
    place: Workplace, segment: Segment, starts: list[TrialTraining] | None, data: PaddedRows | TrainingData
) -> tuple[list[Curve], list[TrialTraining]]:
    """As one pack; on a GPU as many packs side by side as the trials' shapes ask for."""
    plan = _plan(place, segment)
    if place.device != "cpu" and not isinstance(data, PaddedRows):
        from tuner.learning.stacked.together import train_together  # noqa: PLC0415  (torch)

        return train_together(segment.trials, data, place.loss, starts, segment.last, heartbeat.alive, plan)
    pack = make_pack(segment.trials, data, place.loss, plan, starts)
    return train(pack, segment.last, heartbeat.alive), pack.states()


def _training(
    place: Workplace, trial: Trial, states: Sequence[Checkpoint], segment: Segment, data: PaddedRows | TrainingData
) -> TrialTraining:
    """The trial's state where the segment begins: read, or trained from the newest good one, or from the start."""
    epoch = segment.first
    known = (place.checkpoints.get(state) for state in states if state.epoch <= epoch)
    training = next((checkpoint.loads(content) for content in known if content is not None), None)
    if training is not None and training.epoch == epoch:
        return training
    again = make_pack([trial], data, place.loss, _plan(place, segment), None if training is None else [training])
    train(again, epoch, heartbeat.alive)
    return again.states()[0]


def _complete(place: Workplace, segment: Segment, curves: Sequence[Curve]) -> set[int]:
    """The trials that are complete, as the search will find them."""
    before = dict(segment.lowest)

    def ends(curve: Curve) -> bool:
        if segment.plan is not None:
            return segment.last == segment.plan.intervals
        known = before.get(curve.number, math.inf)
        return place.length.is_complete(segment.last, known, min(known, curve.lowest))

    return {curve.number for curve in curves if not curve.diverged and ends(curve)}


def _needed(curves: Sequence[Curve], states: Sequence[TrialTraining], complete: Collection[int]) -> set[int]:
    """The trials whose states are needed again: those that may climb on, and of those that are complete the best one.

    Every run of the final stage is needed: each of the winner's may be scored.
    """
    living = [
        (state.best_value, curve.number) for curve, state in zip(curves, states, strict=True) if not curve.diverged
    ]
    best = {number for _, number in sorted(one for one in living if one[1] in complete)[:1]}
    return {number for _, number in living if number not in complete or number in best or is_final(number)}


def _write(place: Workplace, trial: Trial, state: TrialTraining) -> Checkpoint:
    content = checkpoint.dumps(state, Architecture.of(place.rows.features, trial.point))
    return place.checkpoints.put(f"{name_of(trial.number)}-epoch-{state.epoch}", content, state.epoch)

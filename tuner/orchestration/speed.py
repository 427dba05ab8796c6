"""One reading of how fast this machine trains, before a study with minutes begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tuner.learning.compiled.planner import seconds
from tuner.learning.packs import training_data
from tuner.learning.training import train_alone
from tuner.orchestration.plan import LaunchPlan
from tuner.search.minutes import Budgeted, Costs, Planned, Reading, Work, budgeted, with_plan
from tuner.spec.work import TrainingPlan, Trial
from tuner.waiting import never

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared

DRAWN: Final = 24  # configurations that the mean cost is of, drawn at random by the study's seed
PROBED: Final = TrainingPlan(4, steps=160)  # of the one of them in the middle by cost
TIMES: Final = 3  # the fastest counts: workers start meanwhile, and the first time reads code as well


def timed(
    plan: LaunchPlan,
    prepared: Prepared,
    started: float,
    granted: int | None = None,
    check: Callable[[], object] = never,
) -> LaunchPlan:
    """The plan with trials and length for its minutes, and with the reading that they follow from.

    Args:
        plan: of a new study.
        prepared: its data.
        started: when its run began, by the monotonic clock.
        granted: slots of a cluster that it may have now; None for as many as were asked for.
        check: called after each interval of training; what it raises ends the reading.

    Raises:
        DataError: the prepared rows cannot be read.
    """
    train, validation, _ = prepared.source.counts
    sample = {trial: _work(trial, prepared.features, train, validation) for trial in _drawn(plan, prepared.features)}
    middle, work = sorted(sample.items(), key=lambda pair: (pair[1].epoch, pair[0].number))[DRAWN // 2]
    workers = max(1, granted or plan.executor.workers or 1)
    reading = replace(_read(plan, prepared, (middle, work), workers, check), spent=time.monotonic() - started)
    found = budgeted(plan.spec, (train, validation), Costs.of(list(sample.values()), reading), reading.spent)
    planned = Planned(plan.spec.search.minutes or 0, reading, found)
    return replace(plan, spec=with_plan(plan.spec, found), planned=planned)


def _drawn(plan: LaunchPlan, features: int) -> tuple[Trial, ...]:
    """Random configurations of the space."""
    from tuner.search.loop import Search  # (Optuna)

    spec = with_plan(plan.spec, Budgeted(DRAWN))
    search = spec.search.model_copy(update={"sampler": "random", "pruner": "none", "epochs": 1, "steps": None})
    return Search(spec.model_copy(update={"search": search}), features=features).ask(0, DRAWN).trials


def _read(
    plan: LaunchPlan, prepared: Prepared, probed: tuple[Trial, Work], workers: int, check: Callable[[], object]
) -> Reading:
    (trial, work), rows, spec = probed, prepared.open(), plan.spec
    data = training_data(
        rows.train, rows.validation, plan.device, spec.precision, spec.step, rows.terms, start=rows.start
    )
    took = []
    for _ in range(TIMES):
        started = time.monotonic()
        train_alone(trial, data, prepared.loss, PROBED.intervals, lambda _: check(), PROBED)
        took.append(time.monotonic() - started)
    estimated = (PROBED.steps or 0) * work.epoch / work.steps + PROBED.intervals * work.validation
    return Reading(min(took), estimated, workers)


def _work(trial: Trial, features: int, train: int, validation: int) -> Work:
    training = seconds(trial, features, (train, 0), 1)
    both = seconds(trial, features, (train, validation), 1)
    return Work(-(-train // trial.point.batch_size), training, both - training)

"""Whole searches with made-up losses."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from tuner.search.loop import Round, Search
from tuner.search.rungs import cohort_size
from tuner.spec.rules import NEWEST
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, Trial, TrialEnd

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
    "width": {"type": "int", "low": 16, "high": 256, "log": True},
    "activation": {"type": "categorical", "choices": ["relu", "tanh"]},
    "bottleneck": 4,
}


def spec(**search: object) -> StudySpec:
    space = search.pop("space", SPACE)
    return StudySpec.model_validate(
        {
            "name": "made-up",
            "data": {"source": "sklearn:digits"},
            "space": space,
            "search": {"trials": 30, "epochs": 27, **search},
        }
    )


def valley(trial: Trial, epoch: int) -> float:
    """A loss that falls with the epochs, lowest at a learning rate of 1e-2."""
    return (math.log10(trial.point.learning_rate) + 2) ** 2 + 1 / epoch


def curve(trial: Trial, last: int, loss: Callable[[Trial, int], float]) -> Curve:
    values: list[float] = []
    for epoch in range(1, last + 1):
        values.append(loss(trial, epoch))
        if not math.isfinite(values[-1]):
            break
    return Curve(
        trial.number,
        0,
        tuple(values),
        tuple(values),
        tuple(map(float, range(len(values)))),
        not math.isfinite(values[-1]),
        None,
    )


def play(
    declared: StudySpec, loss: Callable[[Trial, int], float] = valley, rules: int = NEWEST
) -> tuple[dict[int, Trial], dict[int, TrialEnd]]:
    """Run a whole search, one cohort at a time."""
    search, trials, ends, rounds = Search(declared, rules=rules), {}, {}, deque[Round]()
    cohort = 0
    while search.trials_asked < declared.search.trials or rounds:
        if not rounds:
            rounds.append(
                search.ask(cohort, min(cohort_size(declared.search), declared.search.trials - search.trials_asked))
            )
            cohort += 1
            trials |= {trial.number: trial for trial in rounds[0].trials}
        told = rounds.popleft()
        decision = search.tell(told, {trial.number: curve(trial, told.last, loss) for trial in told.trials})
        ends |= {end.number: end for end in decision.ends}
        if decision.next is not None:
            rounds.append(decision.next)
    return trials, ends

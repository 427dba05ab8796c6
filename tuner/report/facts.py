"""All that a report and a comparison say about a study.

Whoever adds something to the record adds a field here; figures and sections show what they know and pass over the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.answers.study import StudyAnswer
from tuner.ledger.records import Event, SegmentRecord, TrialRecord
from tuner.ledger.whole_record import WholeRecord
from tuner.spec.canonical import to_yaml
from tuner.spec.data import DataSpec
from tuner.spec.distributions import Distribution
from tuner.spec.length import Length
from tuner.spec.study import SearchSpec
from tuner.spec.work import TrialState

if TYPE_CHECKING:
    from tuner.report.examples import Examples


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a study.

    Attributes:
        study: its name.
        state: running, stopped or finished.
        loss: the loss function.
        seed: of the search.
        split_seed: what draws the split.
        fingerprint: SHA-256 of the data and of its declaration.
        rules: the number of the rules that it was begun with.
        created_at: Unix time in seconds.
        changed_at: when the state last changed.
        versions: name to version of what it was created with.
        source: the file that it was declared in.
        declaration: the whole declaration as YAML.
        objective: what is minimized.
        search: the declaration's block.
        data: the declaration's block.
        searched: the hyperparameters that are searched.
        trials: the best first.
        curves: number to validation losses.
        segments: in the order in which they were recorded.
        events: in the same order.
        answer: what the study answers.
        length: how long trials train, and when they are compared.
        importance: each searched parameter's share, the largest first; empty where there are too few trials to tell.
        model: what the winner makes of validation rows; for a report alone.
        model_missing: why a report cannot show that.
        source_note: what became of the data's source; for a report alone.
    """

    study: str
    state: str
    loss: str
    seed: int
    split_seed: int
    fingerprint: str
    rules: int
    created_at: float
    changed_at: float
    versions: Mapping[str, str]
    source: str
    declaration: str
    objective: tuple[str, ...]
    search: SearchSpec
    data: DataSpec
    searched: Mapping[str, Distribution]
    trials: Sequence[TrialRecord]
    curves: Mapping[int, Sequence[float]]
    segments: Sequence[SegmentRecord]
    events: Sequence[Event]
    answer: StudyAnswer
    length: Length
    importance: Mapping[str, float] = field(default_factory=dict)
    model: Examples | None = None
    model_missing: str = ""
    source_note: str = ""


def study_facts(record: WholeRecord, answer: StudyAnswer, length: Length, importance: Mapping[str, float]) -> Facts:
    """The facts of a study.

    Args:
        record: what the ledger holds.
        answer: what the study answers.
        length: how long trials train, and when they are compared.
        importance: each searched parameter's share.
    """
    spec, study = record.study.spec, record.study
    return Facts(
        study=study.name,
        state=study.state,
        loss=spec.loss,
        seed=spec.search.seed,
        split_seed=spec.split_seed,
        fingerprint=study.fingerprint,
        rules=study.rules,
        created_at=study.created_at,
        changed_at=study.changed_at,
        versions=study.versions,
        source=study.source,
        declaration=to_yaml(spec),
        objective=tuple(spec.objective),
        search=spec.search,
        data=spec.data,
        searched=spec.space.searched(),
        trials=ranked(record.trials),
        curves={number: curve.val_loss for number, curve in record.curves.items()},
        segments=record.segments,
        events=record.events,
        answer=answer,
        length=length,
        importance=importance,
    )


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The best first: complete trials by loss, then others by how far they came and by loss, those without one last."""
    return sorted(trials, key=_rank)


def _rank(trial: TrialRecord) -> tuple[int, int, float, int]:
    value = math.inf if trial.value is None else trial.value
    if trial.state is TrialState.COMPLETE:
        return 0, 0, value, trial.number
    gone = trial.state not in (TrialState.PRUNED, TrialState.RUNNING) or trial.value is None
    return (2 if gone else 1), -trial.epochs, value, trial.number


def verdict(answer: StudyAnswer) -> str:
    """The study's answer in a sentence or two; how far it goes where it is not complete yet."""
    found, baselines = answer.winner, answer.baselines
    if found is None:
        return "No trial is complete yet, so there is no answer."
    mean = f" (the mean over {len(found.seeds)} seeds)" if len(found.seeds) > 1 else ""
    name = f"The knee of the front, trial {found.trial}," if answer.front else f"The best trial, {found.trial},"
    words = f"{name} has a validation loss of {found.value:.4g}{mean}"
    loss = found.test_loss
    of_run = ""
    if mean and found.mean_test_loss is not None:
        whose = f"{found.validation_loss_is} by validation loss"
        of_run = f" (of the exported run, {whose}; their mean is {found.mean_test_loss:.4g})"
    if loss is None or baselines is None:
        return f"{words}; the test rows are scored once the study is finished."
    pca, name = baselines.pca, f"PCA with a code of the same length ({found.params['bottleneck']})"
    words += f" and a test loss of {loss:.4g}{of_run}"
    if not loss < pca:
        others = f"{name} has {pca:.4g}, the mean predictor {baselines.mean:.4g}"
        return f"{words}; {others}. PCA is as good or better here: prefer it, or search a larger space."
    lower = f"{100 * (1 - loss / pca):.0f} % lower than {name}, which has {pca:.4g}"
    return f"{words}: {lower}; the mean predictor has {baselines.mean:.4g}."

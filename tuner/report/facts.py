"""All that a report and a comparison say about a study, as plain dictionaries: lists, numbers and text alone.

Whoever adds something to the record adds a key here; figures and sections show what they know and pass over the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tuner.ledger.records import Event, SegmentRecord, StudyRecord, TrialRecord
from tuner.spec.canonical import to_yaml
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, TrialState

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger holds of one study."""

    study: StudyRecord
    trials: Sequence[TrialRecord]
    curves: Mapping[int, Curve]
    segments: Sequence[SegmentRecord]
    events: Sequence[Event]


def study_facts(record: Record, summary: Mapping[str, Any]) -> Facts:
    """The plain facts of a study.

    Args:
        record: what the ledger holds.
        summary: the study's answer, as `Study.summary` gives it.

    Returns:
        `study`, `state`, `loss`, `seed`, `split_seed`, `fingerprint`, `rules`, `created_at`, `changed_at`, `versions`,
        `source`, `declaration` (YAML), `search`, `data`, `searched`, `trials` (dictionaries, the best first), `curves`
        (number to validation losses), `segments`, `events`, `summary`. `Study.facts` adds `rungs` and `importance`, a
        report `model`.
    """
    spec, study = record.study.spec, record.study
    return {
        "study": study.name,
        "state": study.state,
        "loss": spec.loss,
        "seed": spec.search.seed,
        "split_seed": spec.split_seed,
        "fingerprint": study.fingerprint,
        "rules": study.rules,
        "created_at": study.created_at,
        "changed_at": study.changed_at,
        "versions": dict(study.versions),
        "source": study.source,
        "declaration": to_yaml(spec),
        "objective": list(spec.objective),
        "search": spec.search.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "searched": _searched(spec),
        "trials": [_trial(trial) for trial in ranked(record.trials)],
        "curves": {number: list(curve.val_loss) for number, curve in record.curves.items()},
        "segments": [asdict(segment) for segment in record.segments],
        "events": [{"at": event.at, "kind": event.kind, **event.body} for event in record.events],
        "summary": dict(summary),
    }


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The best first: complete trials by loss, then others by how far they came and by loss, those without one last."""
    return sorted(trials, key=_rank)


def _rank(trial: TrialRecord) -> tuple[int, int, float, int]:
    value = math.inf if trial.value is None else trial.value
    if trial.state is TrialState.COMPLETE:
        return 0, 0, value, trial.number
    gone = trial.state not in (TrialState.PRUNED, TrialState.RUNNING) or trial.value is None
    return (2 if gone else 1), -trial.epochs, value, trial.number


def _trial(trial: TrialRecord) -> Facts:
    """A hyperparameter that is not in force at the trial's point is none of its."""
    known = asdict(replace(trial, space=None))
    del known["point"], known["space"]
    known["params"] = {name: value for name, value in trial.shown.items() if value is not None}
    return known | {"state": str(trial.state)}


def _searched(spec: StudySpec) -> dict[str, Facts]:
    return {name: value.model_dump(mode="json") for name, value in spec.space.searched().items()}


def answer(summary: Mapping[str, Any]) -> Facts | None:
    """What a study recommends: the final stage's winner, or the best trial where there was no such stage.

    Returns:
        `trial`, `params`, `value` (the validation loss; a mean where several `seeds` tell it), `low` and `high` (that
        mean's 95 % interval), `test_loss` (of what is exported), `mean_test_loss` (over the seeds; where there are none
        the same as `test_loss`), `seeds` (the validation loss of each; none without a final stage).
    """
    final, best = summary.get("final") or {}, summary.get("best")
    for each in final.get("configurations") or ():
        if each["trial"] == final.get("winner"):
            seeds = [loss for loss in each["losses"] if loss is not None]
            told = {name: each.get(name) for name in ("trial", "params", "low", "high")}
            told |= {"test_loss": final.get("test_loss"), "seeds": seeds}
            mean = final.get("mean_test_loss")
            return {**told, "value": each["mean"], "mean_test_loss": told["test_loss"] if mean is None else mean}
    if not best:
        return None
    told = {"trial": best["number"], "params": best.get("params", {}), "low": None, "high": None}
    tested = best.get("test_loss")
    return {**told, "value": best["value"], "test_loss": tested, "mean_test_loss": tested, "seeds": []}


def verdict(summary: Mapping[str, Any]) -> str:
    """The study's answer in a sentence or two, whoever wins; how far it goes where it is not complete yet."""
    found, baselines = answer(summary), summary.get("baselines")
    if not found:
        return "No trial is complete yet, so there is no answer."
    mean = f" (the mean over {len(found['seeds'])} seeds)" if len(found["seeds"]) > 1 else ""
    name = (
        f"The knee of the front, trial {found['trial']},"
        if summary.get("front")
        else f"The best trial, {found['trial']},"
    )
    words = f"{name} has a validation loss of {found['value']:.4g}{mean}"
    of_run = " (of the exported run, the one with the lowest validation loss)" if mean else ""
    loss = found["test_loss"]
    if loss is None or not baselines:
        return f"{words}; the test rows are scored once the study is finished."
    pca, name = baselines["pca"], f"PCA with a code of the same length ({found['params']['bottleneck']})"
    words += f" and a test loss of {loss:.4g}{of_run}"
    if not loss < pca:
        others = f"{name} has {pca:.4g}, the mean predictor {baselines['mean']:.4g}"
        return f"{words}; {others}. PCA is as good or better here: prefer it, or search a larger space."
    lower = f"{100 * (1 - loss / pca):.0f} % lower than {name}, which has {pca:.4g}"
    return f"{words}: {lower}; the mean predictor has {baselines['mean']:.4g}."

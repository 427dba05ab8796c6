"""The length of a final stage that is to take what the search left of a study's minutes."""

from __future__ import annotations

from tuner.analysis.prediction import best_predicted
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.search.minutes import Planned, lasting_epochs
from tuner.spec.length import known_length
from tuner.spec.study import StudySpec


def is_open(ledger: Ledger, study: StudyRecord, spec: StudySpec) -> bool:
    """Whether a study's final stage is one long training whose length is not known yet."""
    stage, plan = spec.final_stage, Planned.recorded(ledger.events(study.id))
    lasts = plan is not None and plan.found.lasting is not None and spec.search.minutes is not None
    return lasts and stage is not None and stage.epochs is None


def with_lasting_stage(ledger: Ledger, study: StudyRecord, spec: StudySpec, seconds: float) -> StudySpec:
    """The declaration with the length that fits; as it is where no trial came to a loss.

    It is declared, and so recorded, before the first run: from then on it is as if the user had written it.

    Args:
        ledger: the record.
        study: the study's, whose search is over and whose stage's length is open.
        spec: its declaration.
        seconds: that are left of its minutes.
    """
    trials, events = ledger.trials(study.id), ledger.events(study.id)
    best = best_predicted(trials, ledger.curves(study.id, [trial.number for trial in trials]), 1)
    stage, plan = spec.final_stage, Planned.recorded(events)
    if not best or stage is None or plan is None or plan.found.lasting is None:
        return spec
    # Measured, and on as many busy cores: the model of cost knows how long one configuration takes but roughly.
    length = known_length(spec.search, events)
    newest = max((one for one in ledger.segments(study.id) if best[0].trial in one.trials), key=lambda one: one.last)
    trained = (length.amount(newest.last) - length.amount(newest.first)) * len(newest.trials)
    seeds = stage.seeds or plan.found.lasting.seeds
    epochs = lasting_epochs(seconds, newest.seconds / trained, seeds, plan.reading.workers)
    return spec.model_copy(update={"final": stage.model_copy(update={"epochs": epochs})})

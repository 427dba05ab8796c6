"""The final stage of one run of a study by rules 4: its steps follow from the record, and each is recorded first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from tuner.analysis.longer_stage import CUT, RUNS, STAGE, Stage, planned_stage, recorded_runs
from tuner.analysis.stages import StageRecord
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.orchestration.driver import Driver, Outcome
from tuner.search.final_budget import allotment
from tuner.spec.final import PlannedRun, RunPlan
from tuner.spec.length import recorded_length
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState


def stage_record(ledger: Ledger, study: StudyRecord, spec: StudySpec, features: int) -> StageRecord:
    """What a study's final stage follows from, as it is recorded now."""
    events = ledger.events(study.id)
    return StageRecord(
        spec,
        study.rules,
        ledger.trials(study.id),
        ledger.finals(study.id),
        events,
        features,
        allotment(spec, recorded_length(events)),
    )


@final
class LongerConfirmation:
    """Trains a final stage step by step.

    Which configurations are compared, and what that may take, is an event before the first run; how runs are trained is
    an event before their first step. So a run that was killed goes on by what it was begun with.

    Args:
        ledger: the record.
        study: the study's.
        spec: its declaration as it is now.
        features: of a row.
    """

    def __init__(self, ledger: Ledger, study: StudyRecord, spec: StudySpec, features: int) -> None:
        self._ledger, self._study, self._spec, self._features = ledger, study, spec, features

    def run(self, driver: Driver) -> Outcome:
        """Train what is left of the stage."""
        self._begin()
        while (stage := self._stage()) is not None and (due := stage.due()):
            self._record(due)
            outcome = driver.train_planned(due, *stage.count())
            if outcome == "timeout" and driver.is_late:
                self._cut(driver)
            elif outcome != "finished":
                return outcome
        return "finished"

    def _cut(self, driver: Driver) -> None:
        """The study's minutes are over: runs at a constant rate count as far as they came, and nothing is begun.

        A run whose rate was to fall has not come to its end, and is no training that could be planned: it stays where
        it is, for a stage with more time.
        """
        finals = self._ledger.finals(self._study.id)
        driver.end_early([run for run in finals if run.state is TrialState.RUNNING and not run.point.scheduled])
        self._ledger.record_event(self._study.id, CUT, {"trials": len(self._ledger.trials(self._study.id))})

    def _begin(self) -> None:
        """Record the stage that is due now, unless it is the one that was begun last."""
        record = self._facts()
        if record.allotted is None or record.is_begun:
            return
        curves = self._ledger.curves(self._study.id, [trial.number for trial in record.trials])
        planned = planned_stage(self._spec, record.trials, curves, record.allotted, self._features)
        self._ledger.record_event(self._study.id, STAGE, planned.body())

    def _stage(self) -> Stage | None:
        return self._facts().stage

    def _facts(self) -> StageRecord:
        return stage_record(self._ledger, self._study, self._spec, self._features)

    def _record(self, due: Iterable[PlannedRun]) -> None:
        """How the runs are trained, and then the runs, where they are new."""
        planned = recorded_runs(self._ledger.events(self._study.id))
        alike: dict[RunPlan, list[int]] = {}
        for run in due:
            if run.number not in planned:
                alike.setdefault(run.plan, []).append(run.number)
        for plan, numbers in alike.items():
            self._ledger.record_event(self._study.id, RUNS, plan.body(numbers))
        known = {run.number for run in self._ledger.finals(self._study.id)}
        if new := [run.trial for run in due if run.number not in known]:
            self._ledger.record_finals(self._study.id, new)

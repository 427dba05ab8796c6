"""A run whose study is recorded, whose data are prepared and whose workers are starting: what is left is to run it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, final

from tuner.analysis import final_stage
from tuner.analysis.pareto import chosen_trial, front_points
from tuner.analysis.test_score import Scorer, free_final_states
from tuner.data.rows import open_rows
from tuner.errors import StoppedError
from tuner.execution.base import Executor
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord
from tuner.orchestration.answers import answer_of
from tuner.orchestration.driver import Driver, Tally
from tuner.orchestration.plan import LaunchPlan
from tuner.orchestration.progress import Progress, ProgressReporter
from tuner.search.patience import Budget, stopped_early
from tuner.spec.objectives import is_front
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState
from tuner.tracking.publisher import Publisher

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared

Outcome = Literal["finished", "nothing-left", "stopped", "timeout"]
PUBLISH_SECONDS: Final = 60.0  # how long a run waits for MLflow once the training is done


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        outcome: how.
        publishing_error: why MLflow does not show all of it; None where it does, or no reason is known.
    """

    outcome: Outcome
    publishing_error: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Session:
    """What every step of a run uses.

    Attributes:
        plan: what to run, and where.
        ledger: the record.
        reporter: shows the caller where the study stands.
        stop: set to end the run early.
        started: by the monotonic clock.
    """

    plan: LaunchPlan
    ledger: Ledger
    reporter: ProgressReporter
    stop: threading.Event
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls, plan: LaunchPlan, ledger: Ledger, progress: Callable[[Progress], None] | None, stop: threading.Event
    ) -> Self:
        """A session that begins now."""
        return cls(plan, ledger, ProgressReporter(plan.spec, progress), stop)

    def check_stop(self) -> None:
        """End a long step where the user wants the run to end.

        Raises:
            StoppedError: the user does.
        """
        if self.stop.is_set():
            raise StoppedError(
                f"study {self.plan.spec.name}: stopped before anything of it was recorded; run it again to begin."
            )

    def tick(self, what: str) -> None:
        """A step of the scoring."""
        self.check_stop()
        self.reporter.tick(what)


@final
class PreparedRun:
    """Trains what is left, confirms and scores the winner, and publishes.

    Args:
        session: what every step uses.
        study: the study's record, whose lease this process holds.
        prepared: its data.
        executor: started; it is ended when the training is.
    """

    def __init__(self, session: Session, study: StudyRecord, prepared: Prepared, executor: Executor) -> None:
        self._session, self._study, self._prepared, self._executor = session, study, prepared, executor
        self._plan, self._spec, self._ledger = session.plan, session.plan.spec, session.ledger
        self._publisher = Publisher(self._ledger, study.id, self._plan.workspace.tracking, self._answer)

    def run(self) -> Ended:
        """Run it to its end, whichever that is."""
        self._publisher.start()
        error = None
        try:
            outcome = self._train()
            if outcome in ("finished", "nothing-left"):
                outcome = self._conclude(outcome)
        finally:
            self._session.reporter.show("publishing", waiting=self._ledger.waiting_count(self._study.id))
            if self._publisher.close(PUBLISH_SECONDS, self._session.stop):
                error = self._publisher.error
        return Ended(outcome, error)

    def _train(self) -> Outcome:
        searched = self._is_searched()
        if searched and not final_stage.missing(*self._final_facts()):
            return "nothing-left"
        self._ledger.set_state(self._study.id, "running")
        workers = self._executor.workers(self._plan.workplace(self._study.key, self._prepared))
        try:
            driver = Driver(self._study, self._spec, self._ledger, workers, self._on_change, self._session.stop)
            outcome: Outcome = "finished" if searched else driver.run()
            if outcome == "finished":
                outcome = self._confirm(driver)
        except BaseException:
            self._ledger.set_state(self._study.id, "stopped")
            raise
        finally:
            self._executor.end()
        return outcome if outcome == "finished" else self._note_end(outcome)

    def _note_end(self, outcome: Outcome) -> Outcome:
        """A study that ended early is stopped, and the event says how."""
        self._ledger.record_event(self._study.id, outcome, {})
        self._ledger.set_state(self._study.id, "stopped")
        return outcome

    def _confirm(self, driver: Driver) -> Outcome:
        """The final stage: the best configurations again, with several seeds each."""
        runs = final_stage.planned(*self._final_facts())
        known = {run.number for run in self._ledger.finals(self._study.id)}
        new = [run for run in runs if run.number not in known]
        if new:
            self._ledger.record_finals(self._study.id, new)
        return driver.confirm(runs) if runs else "finished"

    def _final_facts(self) -> tuple[StudySpec, list[TrialRecord], list[TrialRecord], int]:
        """What all of the final stage follows from."""
        study_id = self._study.id
        return self._spec, self._ledger.trials(study_id), self._ledger.finals(study_id), self._prepared.features

    def _is_searched(self) -> bool:
        """Whether the budget is spent, or was left for want of improvement."""
        search, trials = self._spec.search, self._ledger.trials(self._study.id)
        flat = stopped_early(self._ledger.events(self._study.id))
        spent = len(trials) == search.trials or (flat is not None and flat.same_as(Budget.of(search)))
        return spent and all(t.state is not TrialState.RUNNING for t in trials)

    def _conclude(self, outcome: Outcome) -> Outcome:
        """Score the winner on the untouched test split, once, beside the baselines; stopped, the next run does it."""
        known, answered = self._ledger.summary(self._study.id), final_stage.answer(*self._final_facts())
        # A run that was killed between its last trial and its summary left the study's state as it was then.
        if outcome == "finished" or not final_stage.is_told(answered, known) or self._study.state != "finished":
            self._session.reporter.show("scoring")
            try:
                summary = self._summary(answered, known)
            except StoppedError:
                return self._note_end("stopped")
            seconds = time.monotonic() - self._session.started + (known["seconds"] if known else 0.0)
            self._ledger.record_summary(self._study.id, {**summary, "seconds": seconds})
            if summary["best"] is not None:
                states = self._plan.states(self._study.key)
                free_final_states(self._ledger, states, self._study.id, summary["scored"]["runs"][0])
        self._ledger.set_state(self._study.id, "finished")
        return outcome

    def _summary(self, answered: dict[str, Any] | None, known: dict[str, Any] | None) -> dict[str, Any]:
        p, trials = self._prepared, self._ledger.trials(self._study.id)
        best = chosen_trial(self._spec, trials, p.features)
        if best is None:
            return {"best": None, "final": answered}
        rows = open_rows(p.path, p.sha256, (p.train, p.validation, p.test))
        states, tick = self._plan.states(self._study.key), self._session.tick
        scorer = Scorer(self._ledger, (self._study.id, self._spec), rows, states, self._plan.device, tick)
        summary = scorer.summed_up(best, answered, known)
        if is_front(self._spec):
            points = front_points(self._spec, trials, p.features, {})
            summary |= scorer.beside_front([point.bottleneck for point in points])
        return summary

    def _answer(self, study: StudyRecord) -> Path:
        return answer_of(self._ledger, study, self._plan.workspace.work, self._plan.device, lambda: self._prepared)

    def _on_change(self, tally: Tally) -> None:
        self._publisher.notify()
        self._session.reporter.change(tally)

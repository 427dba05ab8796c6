"""A run whose study is recorded, whose data are prepared and whose workers are starting: what is left is to run it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, final

from tuner.analysis import final_stage
from tuner.analysis.pareto import chosen_trial, front_points
from tuner.analysis.stages import StageRecord
from tuner.analysis.test_score import Scorer, free_final_states
from tuner.answers.parts import FinalStage
from tuner.answers.summary import Summary
from tuner.errors import StoppedError
from tuner.execution.base import Executor
from tuner.execution.executors import start_executor
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.orchestration import lasting
from tuner.orchestration.answers import answer_of
from tuner.orchestration.confirmation import LongerConfirmation, stage_record
from tuner.orchestration.control import RemoteControl
from tuner.orchestration.driver import Driver, Tally
from tuner.orchestration.plan import LaunchPlan
from tuner.orchestration.progress import Phase, Progress
from tuner.orchestration.reporter import ProgressReporter
from tuner.search.lengths import length_of
from tuner.search.minutes import LATE, Planned, share
from tuner.search.patience import Budget, stopped_early
from tuner.spec.objectives import is_front
from tuner.spec.rules import ANSWERS
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState
from tuner.tracking.publisher import Publisher

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared

Outcome = Literal["finished", "nothing-left", "stopped", "timeout"]
PUBLISH_SECONDS: Final = 60.0  # how long a run waits for MLflow once the training is done
StartExecutor = Callable[[LaunchPlan, Callable[[], object]], Executor]


def start_planned(plan: LaunchPlan, check: Callable[[], object]) -> Executor:
    """Begin to start the executor that a plan names; `check` is called between epochs trained in this process."""
    return start_executor(plan.executor, plan.gpus, check)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        outcome: how.
        publishing_error: why MLflow does not show all of it; None where it does, or no reason is known.
        stopped_by: the process that asked it to stop, in words; None where none did.
    """

    outcome: Outcome
    publishing_error: str | None = None
    stopped_by: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Session:
    """What every step of a run uses.

    Attributes:
        plan: what to run, and where.
        ledger: the record.
        reporter: shows the caller the state of the study.
        control: what other processes ask of the run, and see of it.
        started: by the monotonic clock.
        starts: starts an executor for a plan; a benchmark's is none that a plan can name.
    """

    plan: LaunchPlan
    ledger: Ledger
    reporter: ProgressReporter
    control: RemoteControl
    started: float = field(default_factory=time.monotonic)
    starts: StartExecutor = start_planned

    @classmethod
    def of(
        cls, plan: LaunchPlan, ledger: Ledger, progress: Callable[[Progress], None] | None, stop: threading.Event
    ) -> Self:
        """A session that begins now."""
        control = RemoteControl(ledger, stop)

        def show(shown: Progress) -> None:
            control.show(shown)
            if progress is not None:
                progress(shown)

        return cls(plan, ledger, ProgressReporter(plan.spec, show), control)

    def hold(self, study: StudyRecord, held: ExitStack) -> None:
        """Take the study's lease, and listen to what is asked of its run as long as it is held."""
        held.enter_context(self.ledger.lease_to_run(study.id))
        held.enter_context(self.control.listening(study.id))

    def check_stop(self) -> None:
        """End a long step where the user wants the run to end.

        Raises:
            StoppedError: the user does.
        """
        if self.control.stop.is_set():
            raise StoppedError(
                f"study {self.plan.spec.name}: stopped before anything of it was recorded; run it again to begin."
            )

    def start_executor(self) -> Executor:
        """Begin to start the executor; returns before its workers are ready."""
        executor = self.starts(self.plan, self.check_stop)
        self.control.look_up_grant(self.plan.spec.name)
        executor.grant(self.control.granted)
        return executor

    def tick(self, what: str, phase: Phase = "scoring") -> None:
        """A step of what takes long beside the training.

        Raises:
            StoppedError: the user wants the run to end.
        """
        self.check_stop()
        self.reporter.tick(what, phase)


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
        self._plan, self._ledger, self._started = session.plan, session.ledger, session.started
        self._driver: Driver | None = None  # while the search is trained
        self._publisher = Publisher(self._ledger, study.id, self._plan.workspace.tracking, self._answer)

    def run(self) -> Ended:
        """Run it to its end, whichever that is."""
        self._publisher.start()
        error = None
        try:
            outcome = self._to_an_end()
            while outcome in ("finished", "nothing-left") and self._extend():
                self._started = time.monotonic()  # what was before is in the summary
                self._executor = self._session.start_executor()
                outcome = self._to_an_end()
        finally:
            self._executor.end()
            self._session.reporter.show("publishing", waiting=self._ledger.outbox.waiting_count(self._study.id))
            if self._publisher.close(PUBLISH_SECONDS, self._session.control.stop):
                error = self._publisher.error
        return Ended(outcome, error, self._session.control.stopped_by)

    @property
    def _spec(self) -> StudySpec:
        return self._plan.spec

    def _to_an_end(self) -> Outcome:
        """Train what the budget leaves to train, and score the winner."""
        outcome = self._train()
        return self._conclude(outcome) if outcome in ("finished", "nothing-left") else outcome

    def _extend(self) -> bool:
        """Go on with the larger budget that another process asked for, if one did."""
        larger = self._session.control.larger(self._spec)
        if larger is None:
            return False
        self._change(larger)
        return True

    def _change(self, spec: StudySpec) -> None:
        """Another budget counts from now on."""
        self._ledger.update_spec(self._study.id, spec.model_dump_json(), str(self._plan.origin))
        self._plan = self._plan.extended(spec)
        self._session.reporter.extend(spec)

    def _search(self, driver: Driver) -> Outcome:
        """Search within the minutes, where there are any."""
        minutes = self._spec.search.minutes
        if minutes is not None:
            whole, plan = 60 * minutes, Planned.recorded(self._ledger.events(self._study.id))
            part = share(self._spec, None if plan is None else plan.found)
            latest = LATE if plan is not None and plan.found.lasting is not None else 1
            driver.keep_within(self._started + part * whole, self._started + latest * whole)
        outcome = driver.run()
        self._take_cut(driver)
        return outcome

    def _take_cut(self, driver: Driver) -> None:
        """Where the search's part of the minutes was too short for all trials, the study has fewer."""
        if driver.spec.search.trials < self._spec.search.trials:
            self._change(driver.spec)

    def _train(self) -> Outcome:
        searched = self._is_searched()
        if searched and self._stage().is_over:
            return "nothing-left"
        length = length_of(self._spec.search, self._ledger.events(self._study.id))
        workers = self._executor.workers(self._plan.workplace(self._study.key, self._prepared, length))
        self._ledger.set_state(self._study.id, "running")
        try:
            stop = self._session.control.stop
            self._driver = driver = Driver(self._study, self._spec, self._ledger, workers, self._on_change, stop)
            outcome: Outcome = "finished" if searched else self._search(driver)
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
        stopped_by = self._session.control.stopped_by
        self._ledger.record_event(self._study.id, outcome, {"by": stopped_by} if stopped_by else {})
        self._ledger.set_state(self._study.id, "stopped")
        return outcome

    def _confirm(self, driver: Driver) -> Outcome:
        """The final stage: the best configurations again, with several seeds."""
        if self._study.rules >= ANSWERS:
            if lasting.is_open(self._ledger, self._study, self._spec):
                left = self._started + 60 * (self._spec.search.minutes or 0) - time.monotonic()
                self._change(lasting.with_lasting_stage(self._ledger, self._study, self._spec, left))
            return LongerConfirmation(self._ledger, self._study, self._spec, self._prepared.features).run(driver)
        facts = self._stage()
        runs = final_stage.planned(facts.spec, facts.trials, facts.finals, facts.features)
        known = {run.number for run in facts.finals}
        new = [run for run in runs if run.number not in known]
        if new:
            self._ledger.record_finals(self._study.id, new)
        return driver.confirm(runs) if runs else "finished"

    def _stage(self) -> StageRecord:
        return stage_record(self._ledger, self._study, self._spec, self._prepared.features)

    def _is_searched(self) -> bool:
        """Whether the budget is spent, or was left for want of improvement."""
        search, trials = self._spec.search, self._ledger.trials(self._study.id)
        flat = stopped_early(self._ledger.events(self._study.id))
        spent = len(trials) == search.trials or (flat is not None and flat.same_as(Budget.of(search)))
        return spent and all(t.state is not TrialState.RUNNING for t in trials)

    def _conclude(self, outcome: Outcome) -> Outcome:
        """Score the winner on the untouched test split, once, beside the baselines; stopped, the next run does it."""
        known, answered = self._ledger.summary(self._study.id), self._stage().answer
        # A run that was killed between its last trial and its summary left the study's state as it was then.
        if outcome == "finished" or not final_stage.is_told(answered, known) or self._study.state != "finished":
            self._session.reporter.show("scoring")
            try:
                summary = self._summary(answered, known)
            except StoppedError:
                return self._note_end("stopped")
            seconds = summary.seconds + time.monotonic() - self._started
            self._ledger.record_summary(self._study.id, summary.model_copy(update={"seconds": seconds}))
            if summary.scored is not None:
                states = self._plan.states(self._study.key)
                free_final_states(self._ledger, states, self._study.id, summary.scored.runs[0])
        self._ledger.set_state(self._study.id, "finished")
        return outcome

    def _summary(self, answered: FinalStage | None, known: Summary | None) -> Summary:
        """What came of the study, with the time of the runs before this one."""
        p, trials = self._prepared, self._ledger.trials(self._study.id)
        best = chosen_trial(self._spec, trials, p.features)
        if best is None:
            return Summary(best=None, final=answered, seconds=0.0 if known is None else known.seconds)
        rows = p.open()
        states, tick = self._plan.states(self._study.key), self._session.tick
        scorer = Scorer(self._ledger, (self._study.id, self._spec), rows, states, self._plan.device, tick)
        front = front_points(self._spec, trials, p.features, {}) if is_front(self._spec) else []
        table = p.preprocessor.table
        columns = () if table is None else table.columns
        return scorer.summary(best, answered, known, [point.bottleneck for point in front], columns)

    def _answer(self, study: StudyRecord) -> Path:
        return answer_of(self._ledger, study, self._plan.workspace, self._plan.device, lambda: self._prepared)

    def _on_change(self, tally: Tally) -> None:
        self._publisher.notify()
        if self._driver is not None:
            self._take_cut(self._driver)
        # Amid the final stage, that is ended first.
        if tally.confirmed is None and self._driver is not None and self._extend():
            self._driver.extend(self._spec)
        self._executor.grant(self._session.control.granted)
        self._session.reporter.change(tally, self._executor.alive)

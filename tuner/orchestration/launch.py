"""One run of one study: the parts are built, connected, and put to work."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tuner.analysis import final_stage
from tuner.analysis.pareto import chosen_trial, front_points
from tuner.analysis.test_score import Scorer, free_final_states
from tuner.answers.parts import FinalStage
from tuner.answers.summary import Summary
from tuner.data.rows import RowsFile, open_rows
from tuner.errors import LedgerError, StoppedError, StudyError
from tuner.execution.choice import ExecutorChoice
from tuner.execution.context import Workplace
from tuner.execution.executors import sized, start_executor, usable_cores
from tuner.learning import cgroups
from tuner.learning import device as devices
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.compiled.library import found
from tuner.learning.packs import step_name
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord, best_trial
from tuner.ledger.trainers import in_words, step_in_words, trained_on
from tuner.orchestration.answers import answer_of
from tuner.orchestration.control import RemoteControl
from tuner.orchestration.driver import Driver, Tally
from tuner.orchestration.progress import Phase, Progress, Speed
from tuner.orchestration.warm_start import EVENT, WarmStart, check_same, has_begun, warm_start
from tuner.report.pictures import is_image
from tuner.search.patience import Budget, stopped_early
from tuner.search.rungs import expected_epochs, final_epochs
from tuner.settings import Workspace
from tuner.spec.continuing import fixed_changes
from tuner.spec.objectives import is_front
from tuner.spec.rules import NEWEST
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialState
from tuner.tracking.publisher import Publisher

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared

Outcome = Literal["finished", "nothing-left", "stopped", "timeout"]
PUBLISH_SECONDS = 60.0  # how long a run waits for MLflow once the training is done
SHOW_SECONDS = 0.2  # between two signs of progress while the winner is scored


class Launch:
    """One run of one study."""

    def __init__(
        self,
        declared: tuple[StudySpec, Path],
        workspace: Workspace,
        ledger: Ledger,
        executor: ExecutorChoice,
        progress: Callable[[Progress], None] | None,
        stop: threading.Event,
    ) -> None:
        self._spec, self._origin = spec, _ = declared
        self._workspace, self._ledger = workspace, ledger
        self._control = RemoteControl(ledger, stop)
        self._stop: threading.Event = self._control.stop
        self._progress = progress or (lambda _: None)
        self._started = self._shown_at = time.monotonic()
        self._speed = Speed()
        self.publishing_error: str | None = None  # why MLflow does not show all of it when the run has ended
        self._tally = Tally({}, None, 0)
        self._device = devices.resolve(spec.device)
        devices.check_precision(spec.precision, self._device)
        self._step = step_name(self._device, spec.step)
        self._gpus = devices.gpus(spec.device)
        self._choice = sized(executor, self._device, self._gpus)

    def run(self, warm_from: str | Path | None = None) -> Outcome:
        """Train what is left, score the winner, and publish; nobody else runs the study meanwhile.

        Args:
            warm_from: a study or an exported folder whose best configurations a new study begins with.

        Raises:
            StudyError: another process runs it, or it cannot be continued or begun so; nothing was changed.
            StoppedError: it was stopped before it was recorded for the first time.
        """
        self._warm_from = warm_from
        with ExitStack() as held:
            known = self._ledger.study(self._spec.name)
            if known is not None:
                self._hold(known, held)
                self._tally = _standing(self._ledger.trials(known.id))
            self._warm = self._warm_start(known)
            self._show("preparing data")
            self._executor = start_executor(self._choice, self._gpus, self._check_stop)
            held.callback(self._end_executor)
            try:
                self._prepared = self._prepare(NEWEST if known is None else known.rules)
            except StoppedError:
                if known is None:
                    raise
                return "stopped"
            self._study = self._continued(known) if known is not None else self._created(held)
            self._warn_of_step()
            self._note_run()
            return self._run()

    @property
    def stopped_by(self) -> str | None:
        """The process that asked this run to stop, in words; None where none did."""
        return self._control.stopped_by

    def _prepare(self, rules: int) -> Prepared:
        from tuner.data.prepare import prepare  # (pandas, while workers start)
        from tuner.data.sources import Sources

        sources = Sources(self._origin.parent, self._workspace.data_root)
        return prepare(self._spec, sources, self._workspace.work, rules, self._check_stop)

    def _run(self) -> Outcome:
        self._publisher = Publisher(self._ledger, self._study.id, self._workspace.tracking, self._answer)
        self._publisher.start()
        try:
            outcome = self._to_an_end()
            while outcome in ("finished", "nothing-left") and self._extend():
                self._started = time.monotonic()  # what was before is in the summary
                self._executor = start_executor(self._choice, self._gpus, self._check_stop)
                outcome = self._to_an_end()
        finally:
            self._show("publishing")
            waiting = self._publisher.close(PUBLISH_SECONDS, self._stop)
            self.publishing_error = self._publisher.error if waiting else None
        return outcome

    def _end_executor(self) -> None:
        """End the one that there is by then: a study that is extended starts another one."""
        self._executor.end()

    def _to_an_end(self) -> Outcome:
        """Train what the budget leaves to train, and score the winner."""
        outcome = self._train()
        return self._conclude(outcome) if outcome in ("finished", "nothing-left") else outcome

    def _extend(self) -> bool:
        """Go on with the larger budget that another process asked for, if one did."""
        larger = self._control.larger(self._spec)
        if larger is None:
            return False
        self._ledger.update_spec(self._study.id, larger.model_dump_json(), str(self._origin))
        self._spec = larger
        return True

    def _warm_start(self, known: StudyRecord | None) -> WarmStart | None:
        """What a new study begins with; one that has begun can only be told the same again."""
        if self._warm_from is None:
            return None
        events = [] if known is None else self._ledger.events(known.id)
        if known is None or not has_begun(events):
            return warm_start(self._ledger, self._spec, self._warm_from, self._workspace.folder)
        check_same(known, events, self._warm_from)
        return None

    def _continued(self, known: StudyRecord) -> StudyRecord:
        self._check_continuation(known)
        self._ledger.update_spec(known.id, self._spec.model_dump_json(), str(self._origin))
        return known

    def _created(self, held: ExitStack) -> StudyRecord:
        declared, source = self._spec.model_dump_json(), str(self._origin)
        try:
            study = self._ledger.create_study(
                declared, source, self._prepared.fingerprint, self._spec.name, _versions()
            )
        except LedgerError:
            made_meanwhile = self._ledger.study(self._spec.name)
            if made_meanwhile is None:
                raise
            self._hold(made_meanwhile, held)
            self._warm = self._warm_start(made_meanwhile)
            return self._continued(made_meanwhile)
        self._hold(study, held)
        return study

    def _hold(self, study: StudyRecord, held: ExitStack) -> None:
        """Take the study's lease, and listen to what is asked of its run as long as it is held."""
        held.enter_context(self._ledger.lease_to_run(study.id))
        held.enter_context(self._control.listening(study.id))

    def _note_run(self) -> None:
        """What a study begins with and the budget of its first run, and where each run trains."""
        study = self._study
        if not has_begun(self._ledger.events(study.id)):
            if self._warm is not None:
                self._ledger.record_event(study.id, EVENT, self._warm.body())
            self._ledger.record_event(study.id, "budget", Budget.of(self._spec.search).body(0))
        body = {
            "device": self._device,
            "step": self._step,
            "workers": self._choice.workers,
            "cores": usable_cores(),
            "memory": f"{_memory() / 1e9:.1f} GB",
            "features": self._prepared.features,
            "images": is_image(self._prepared.shape),
        }
        self._ledger.record_event(study.id, "run", body)

    def _warn_of_step(self) -> None:
        """Say where a build was refused, and where a study goes on by another step than before: bits differ."""
        events, says = self._ledger.events(self._study.id), logging.getLogger("tuner").warning
        if self._device == "cpu" and self._spec.step != "torch" and found().refused:
            says("%s", found().why)
        before = trained_on(events)
        if before and self._step not in {one.step for one in before}:
            so_far, now = in_words(before), step_in_words(self._step)
            text = "%s: was trained on %s; what is left is trained by %s, whose losses differ in the last bits."
            says(text, self._study.name, so_far, now)

    def _check_continuation(self, known: StudyRecord) -> None:
        if known.rules > NEWEST:
            raise StudyError(
                f"study {known.name}: was begun by rules {known.rules}, but this version of the tuner knows those up to"
                f" {NEWEST}; use the version that began it, or a newer one."
            )
        changes = fixed_changes(known.spec, self._spec)
        if changes:
            listed = "; ".join(f"{c.key} was {c.old} and is now {c.new}" for c in changes)
            raise StudyError(
                f"study {known.name}: cannot go on, for {listed}. Change it back, or give the study another name."
            )
        if known.fingerprint != self._prepared.fingerprint:
            raise StudyError(
                f"study {known.name}: cannot go on, for the data in {self._spec.data.source} has changed"
                " since the study began."
                " Bring the data back, or give the study another name."
            )
        asked = len(self._ledger.trials(known.id))
        if self._spec.search.trials < asked:
            raise StudyError(
                f"study {known.name}: search.trials must be at least {asked}, the trials it already has,"
                f" got {self._spec.search.trials}."
            )

    def _train(self) -> Outcome:
        searched = self._is_searched()
        if searched and not final_stage.missing(*self._final_facts()):
            return "nothing-left"
        self._ledger.set_state(self._study.id, "running")
        workers = self._executor.workers(self._place())
        try:
            self._driver = driver = Driver(self._study, self._spec, self._ledger, workers, self._on_change, self._stop)
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
        self._ledger.record_event(self._study.id, outcome, {"by": self.stopped_by} if self.stopped_by else {})
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

    def _place(self) -> Workplace:
        p = self._prepared
        return Workplace(
            RowsFile(p.path, (p.train, p.validation, p.test), p.features, p.labels),
            self._states(),
            self._spec.loss,
            self._device,
            self._spec.search.epochs,
            self._spec.precision,
            self._spec.split_seed,
            "torch" if self._step == "torch" else "compiled",
        )

    def _states(self) -> CheckpointFolder:
        return CheckpointFolder.of_study(self._workspace.work, self._study.key)

    def _conclude(self, outcome: Outcome) -> Outcome:
        """Score the winner on the untouched test split, once, beside the baselines; stopped, the next run does it."""
        known, answered = self._ledger.summary(self._study.id), final_stage.answer(*self._final_facts())
        # A run that was killed between its last trial and its summary left the study's state as it was then.
        if outcome == "finished" or not final_stage.is_told(answered, known) or self._study.state != "finished":
            self._show("scoring")
            try:
                summary = self._summary(answered, known)
            except StoppedError:
                return self._note_end("stopped")
            seconds = summary.seconds + time.monotonic() - self._started
            self._ledger.record_summary(self._study.id, summary.model_copy(update={"seconds": seconds}))
            if summary.scored is not None:
                free_final_states(self._ledger, self._states(), self._study.id, summary.scored.runs[0])
        self._ledger.set_state(self._study.id, "finished")
        return outcome

    def _summary(self, answered: FinalStage | None, known: Summary | None) -> Summary:
        """What came of the study, with the time of the runs before this one."""
        p, trials = self._prepared, self._ledger.trials(self._study.id)
        best = chosen_trial(self._spec, trials, p.features)
        if best is None:
            return Summary(best=None, final=answered, seconds=0.0 if known is None else known.seconds)
        rows = open_rows(p.path, p.sha256, (p.train, p.validation, p.test))
        scorer = Scorer(self._ledger, (self._study.id, self._spec), rows, self._states(), self._device, self._tick)
        front = front_points(self._spec, trials, p.features, {}) if is_front(self._spec) else []
        return scorer.summary(best, answered, known, [point.bottleneck for point in front])

    def _answer(self, study: StudyRecord) -> Path:
        return answer_of(self._ledger, study, self._workspace, self._device, lambda: self._prepared)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StoppedError(
                f"study {self._spec.name}: stopped before anything of it was recorded; run it again to begin."
            )

    def _tick(self, what: str) -> None:
        """A step of the scoring."""
        self._check_stop()
        if time.monotonic() - self._shown_at > SHOW_SECONDS:
            self._show("scoring", what)

    def _on_change(self, tally: Tally) -> None:
        self._tally = tally
        self._publisher.notify()
        if tally.confirmed is None and self._extend():  # amid the final stage, that is ended first
            self._driver.extend(self._spec)
        self._show("training" if tally.confirmed is None else "confirming")

    def _show(self, phase: Phase, detail: str = "") -> None:
        self._shown_at = time.monotonic()
        search, tally = self._spec.search, self._tally
        rate = self._speed.of(tally.epochs)
        planned = expected_epochs(search, search.trials, len(self._spec.objective)) + final_epochs(self._spec)
        left = planned - tally.epochs
        if tally.confirmed is not None:
            left = (tally.confirmed[1] - tally.confirmed[0]) * search.epochs
        shown = Progress(
            self._spec.name,
            search.trials,
            tally.counts,
            tally.best,
            rate,
            max(0, left) / rate if rate > 0 else None,
            self._ledger.outbox.waiting_count(self._study.id) if phase == "publishing" else 0,
            phase,
            tally.confirmed,
            detail,
        )
        self._control.show(shown)
        self._progress(shown)


def _standing(trials: Sequence[TrialRecord]) -> Tally:
    """Where a study stands that goes on; its epochs are counted anew, for the speed is this run's."""
    best = best_trial(trials)
    return Tally(dict(Counter(trial.state for trial in trials)), None if best is None else best.value, 0)


def _memory() -> int:
    """Bytes that this process may take: the machine's, or less where its control groups set a limit."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(whole, cgroups.memory_limit() or whole)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("autoencoder-tuner", "torch", "optuna", "numpy")}

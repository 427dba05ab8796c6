"""One study in MLflow: brings outbox rows there, so that bringing them twice changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import final

from tuner.errors import LedgerError, StorageError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import OutboxRow, StudyRecord, TrialRecord
from tuner.ledger.table import trials_csv
from tuner.spec.canonical import to_yaml
from tuner.spec.work import Curve, TrialState
from tuner.tracking import content
from tuner.tracking.apart import ApartExperiments, Mlflow
from tuner.tracking.direct import DirectExperiments, is_known
from tuner.tracking.entries import Answer, Experiments, Metric, is_rejection, never, without_files
from tuner.tracking.store import analyze, artifact_root, reason
from tuner.tracking.view import saved_view, view_key

BEST_TAG = "best"  # of the search's trials
_PARENT_TAG = "mlflow.parentRunId"
WINNER_TAG = "tuner.winner"  # the run that is exported and was scored on the test split


@dataclass(slots=True)
class Outcome:
    """What became of some rows: ids that MLflow shows, and those it will never take, with the reason."""

    published: list[int] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)


@final
class Mirror:
    """A study's runs in one MLflow."""

    def __init__(
        self,
        ledger: Ledger,
        study: StudyRecord,
        mlflow: Mlflow,
        answer: Answer = without_files,
        stop: Callable[[], bool] = never,
    ) -> None:
        self._ledger = ledger
        self._stop = stop
        self._study = study
        self._uri = mlflow.uri
        self._answer = answer
        self._place, self._dataset = content.place(ledger.where), content.dataset(study)
        self._last_run = content.last_run(ledger.events(study.id))
        self._experiments = _experiments(mlflow, stop)
        self._experiment_id, self._parent = self._parent_run()
        self._runs = self._experiments.runs(self._experiment_id)
        self._fresh: dict[int | None, str] = {}
        begun = [event.body["points"] for event in ledger.events(study.id) if event.kind == "warm_start"]
        self._warm = sum(map(len, begun))  # the first trials: their points came from elsewhere

    def publish(self, rows: Sequence[OutboxRow], outcome: Outcome) -> None:
        """Bring rows to MLflow, all of a trial's in as few calls as possible, until `stop`.

        What became of them is added to `outcome`. A failure of MLflow as a whole is raised when the rows that came
        before it are marked.
        """
        groups = _by_trial(rows)
        of_study = groups.pop(None, [])
        answers = [row for row in of_study if row.kind == "answer"]
        of_study = [row for row in of_study if row.kind != "answer"]
        if any(row.kind == "study" for row in of_study):
            self._install_view()
        try:
            self._publish_all(groups, of_study, outcome)
            if answers and not self._stop():
                self._publish_answer(answers, outcome)
        finally:
            self._ledger.outbox.set_run_ids(self._study.id, self._fresh)
            self._ledger.outbox.mark_published(outcome.published)
            for row_id, reason in outcome.rejected.items():
                self._ledger.outbox.set_aside(row_id, reason)

    def _publish_all(
        self, groups: Mapping[int | None, list[OutboxRow]], of_study: list[OutboxRow], outcome: Outcome
    ) -> None:
        """In one transaction, where MLflow has such a thing; its end may fail as well, for want of room."""
        all_or_nothing = False
        try:
            with self._runs.transaction() as all_or_nothing:
                self._publish_trials(groups, outcome)
                if of_study and not self._stop():
                    self._attempt(of_study, outcome, partial(self._publish_study, of_study))
        except BaseException:
            if all_or_nothing:
                outcome.published.clear()
                self._fresh.clear()
            raise
        if any(row.kind == "summary" for row in of_study):
            analyze(self._uri)

    def _publish_trials(self, groups: Mapping[int | None, list[OutboxRow]], outcome: Outcome) -> None:
        numbers = [number for number in groups if number is not None]
        known = self._ledger.outbox.run_ids(self._study.id, numbers)
        curves = self._ledger.curves(self._study.id, numbers)
        for record in self._ledger.trials(self._study.id, numbers):
            if self._stop():
                return
            trial = _Trial(record, curves.get(record.number), groups[record.number], known.get(record.number))
            self._attempt(trial.rows, outcome, partial(self._publish_trial, trial))

    def _attempt(self, rows: Sequence[OutboxRow], outcome: Outcome, act: Callable[[], None]) -> None:
        try:
            with self._runs.attempt():
                act()
        except Exception as error:
            if not is_rejection(error):
                raise
            outcome.rejected |= dict.fromkeys((row.id for row in rows), reason(self._uri, error))
        else:
            outcome.published += [row.id for row in rows]

    def _publish_trial(self, trial: _Trial) -> None:
        """A run begins when its trial's training does: before that, there is nothing to show."""
        record = trial.record
        if record.started_at is None and not trial.ended:
            return
        run_id = trial.run_id or self._trial_run(record)
        params = None if trial.run_id else content.params(record)
        tags = content.end_tags(record) if trial.ended else None
        self._runs.log(run_id, trial.metrics(self._last_run.get("features")), params, tags)
        if trial.ended:
            ended_at = content.milliseconds(record.ended_at or record.asked_at)
            self._runs.set_status(run_id, content.END_STATUS[record.state], ended_at)
        if trial.run_id is None:
            self._fresh[record.number] = run_id

    def _trial_run(self, record: TrialRecord) -> str:
        tags = content.trial_tags(self._study, self._parent, record)
        tags |= {"tuner.warm_start": "true"} if record.number < self._warm else {}
        started_at = content.milliseconds(record.started_at or record.asked_at)
        run_id = self._runs.ensure(content.run_name(self._study, record.number), tags, started_at)
        self._runs.log_dataset(run_id, self._dataset)
        return run_id

    def _publish_study(self, rows: Sequence[OutboxRow]) -> None:
        kinds = {row.kind for row in rows}
        if "study" in kinds:
            spec = self._study.spec
            self._runs.log(self._parent, tags=self._study_tags())
            self._supersede()
            self._runs.log_dataset(self._parent, self._dataset)
            self._runs.log_text(self._parent, to_yaml(spec), "config.yaml")
        if "summary" in kinds:
            self._publish_summary()
        changed_at = content.milliseconds(self._study.changed_at)
        self._runs.set_status(self._parent, content.STUDY_STATUS[self._study.state], changed_at)

    def _publish_summary(self) -> None:
        summary, at = self._ledger.summary(self._study.id), self._ledger.summary_at(self._study.id)
        if summary is None:
            return
        trials = self._ledger.trials(self._study.id)
        number = None if summary.best is None else summary.best.number
        best = next((trial for trial in trials if trial.number == number), None)
        metrics = content.summary_metrics(summary, at or self._study.changed_at)
        self._runs.log(self._parent, metrics, tags=content.summary_tags(summary, best))
        self._runs.log_text(self._parent, trials_csv(trials), "trials.csv")
        self._mark(BEST_TAG, number)
        self._mark(WINNER_TAG, None if summary.scored is None else summary.scored.runs[0])

    def _publish_answer(self, rows: Sequence[OutboxRow], outcome: Outcome) -> None:
        """Files that are made now, or were before; where they cannot be made, that is the reason to go on without."""
        try:
            folder = self._answer(self._study)
        except (OSError, StorageError, LedgerError):
            raise  # there may be room or rights another time
        except Exception as error:
            outcome.rejected |= dict.fromkeys((row.id for row in rows), reason(self._uri, error))
            return
        done = Outcome()
        with self._runs.transaction():
            self._attempt(rows, done, partial(self._log_answer, folder))
        outcome.published += done.published  # the transaction's end may fail as well
        outcome.rejected |= done.rejected

    def _log_answer(self, folder: Path | None) -> None:
        for part in sorted(folder.iterdir()) if folder else ():
            run_id = self._run_of(part.name)
            if run_id is not None and part.is_dir():
                self._runs.log_files(run_id, part)
                self._runs.log(run_id, tags=content.file_tags(part))

    def _run_of(self, owner: str) -> str | None:
        """The run that `study` or `trial-N` names."""
        if owner == "study":
            return self._parent
        number = int(owner.rpartition("-")[2])
        return self._fresh.get(number) or self._ledger.outbox.run_id(self._study.id, number)

    def _mark(self, tag: str, number: int | None) -> None:
        """A study that went on may have a new best trial, and another winner."""
        best = None if number is None else self._run_of(f"trial-{number}")
        self._unmark(tag, self._parent, best)
        if best is not None:
            self._runs.log(best, tags={tag: "true"})

    def _unmark(self, tag: str, parent: str, best: str | None = None) -> None:
        for run_id in self._runs.tagged({_PARENT_TAG: parent, tag: "true"}):
            if run_id != best:
                self._runs.log(run_id, tags={tag: "false"})

    def _supersede(self) -> None:
        """A study of this name whose ledger was deleted no longer has a best trial next to this study's."""
        same = {"tuner.study": self._study.name, content.PLACE_TAG: self._place}
        for run_id in self._runs.tagged(same):
            if run_id != self._parent:
                self._unmark(BEST_TAG, run_id)
                self._unmark(WINNER_TAG, run_id)
                self._runs.log(run_id, tags={"tuner.superseded_by": self._study.key})

    def _install_view(self) -> None:
        """Arrange MLflow's charts for this study: worth an attempt, and never a failure."""
        try:
            name, value = saved_view(self._study, self._parent, bool(self._last_run.get("images")))
            self._experiments.set_tag(self._experiment_id, name, value)
        except Exception:  # what MLflow's stores and transports raise; if it is gone, the rows that follow will say so
            return
        if self._ledger.outbox.view_key(self._study.id) is None:
            self._ledger.outbox.set_view_key(self._study.id, view_key(self._study))

    def _parent_run(self) -> tuple[str, str]:
        """The ids of the study's experiment and run, which are remembered or found or made.

        What is remembered is asked for: where MLflow's store was removed, everything must be published anew.
        """
        experiments, known = self._experiments, self._ledger.outbox.run_id(self._study.id, None)
        if known is not None:
            return experiments.of_run(known), known
        experiment_id = experiments.ensure(self._study.name, artifact_root(self._uri))
        started_at = content.milliseconds(self._study.created_at)
        tags = self._study_tags()
        run_id = experiments.runs(experiment_id).ensure(content.run_name(self._study, None), tags, started_at)
        self._ledger.outbox.set_experiment_id(self._study.id, experiment_id)
        self._ledger.outbox.set_run_id(self._study.id, None, run_id)
        return experiment_id, run_id

    def _study_tags(self) -> dict[str, str]:
        return content.study_tags(self._study, self._last_run, self._place)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A trial, what is measured of it, what is to be shown of it, and its run if that is known."""

    record: TrialRecord
    curve: Curve | None
    rows: list[OutboxRow]
    run_id: str | None

    @property
    def ended(self) -> bool:
        """Its end is among what is to be shown."""
        return self.record.state is not TrialState.RUNNING and any(row.kind == "end" for row in self.rows)

    def metrics(self, features: int | None) -> list[Metric]:
        """The losses of its waiting epochs, and what it came to."""
        losses = [
            metric
            for row in self.rows
            if self.curve and row.first is not None and row.last is not None
            for metric in content.epoch_metrics(self.curve, row.first, row.last)
        ]
        return losses + (content.end_metrics(self.record, features) if self.ended else [])


def _experiments(mlflow: Mlflow, stop: Callable[[], bool]) -> Experiments:
    return DirectExperiments(mlflow) if is_known(mlflow.uri) else ApartExperiments(mlflow, stop)


def _by_trial(rows: Sequence[OutboxRow]) -> dict[int | None, list[OutboxRow]]:
    groups: defaultdict[int | None, list[OutboxRow]] = defaultdict(list)
    for row in rows:
        groups[row.trial].append(row)
    return groups

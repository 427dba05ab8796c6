"""Launch a study, or open one: the door behind every door.

What takes seconds to import (torch, Optuna, pandas) is imported where it is used, so that a study is listed and shown
at once.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.analysis.pareto import chosen_trial, front_points
from tuner.answers.parts import FrontPoint
from tuner.answers.study import StudyAnswer
from tuner.api.workspace import workspace_for
from tuner.errors import StudyError, TunerError, UnknownStudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord, unknown_study
from tuner.ledger.table import rows, trials_csv
from tuner.ledger.trainers import step_at
from tuner.ledger.whole_record import WholeRecord
from tuner.search.patience import stopped_early
from tuner.settings import Workspace
from tuner.spec.length import Length, recorded_length, study_plan
from tuner.spec.objectives import is_front
from tuner.spec.reader import declared, with_memory
from tuner.spec.rules import TYPED
from tuner.spec.study import StudySpec
from tuner.spec.work import Curve, TrainingPlan, Trial, TrialEnd, TrialState
from tuner.tracking.links import study_links

if TYPE_CHECKING:
    import numpy as np
    import optuna
    import pandas as pd
    from numpy.typing import NDArray

    from tuner.analysis.final_stage import Winner
    from tuner.analysis.trained import Trained
    from tuner.api.control import Stopped
    from tuner.execution.choice import ExecutorChoice
    from tuner.orchestration.prepared_run import Outcome
    from tuner.orchestration.progress import Progress
    from tuner.report.facts import Facts
    from tuner.search.minutes import Planned


def run(  # noqa: PLR0913 - all by name
    source: str | Path | StudySpec | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    executor: ExecutorChoice | str | None = None,
    database: str | None = None,
    warm_start: str | Path | None = None,
    data: object = None,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    workspace: Workspace | None = None,
) -> Study:
    """Launch a study, or continue it, and return it with its answer.

    Args:
        source: a space file, or what it says.
        overrides: `search.trials=20` each.
        workers: worker processes; by default one per usable core, or one for a GPU; 0 trains in this process.
        executor: where segments run: `inline` (this process), `processes`, `ray`, or a value of
            `tuner.execution.choice`; by default what `workers` says, or the declaration's `execution`.
        database: the ledger's URL; by default TUNER_DATABASE_URL, or `tuner.db` in the current folder.
        warm_start: another study of the ledger or an exported folder: its best configurations that fit the space, at
            most five, are a new study's first trials.
        data: rows in memory, in the place of `data.source`: a pandas, polars or pyarrow table, a NumPy array, a torch
            tensor, a SciPy sparse matrix, or a list of rows. They are not kept: a study that goes on is given them
            again, and refuses others.
        progress: called a few times a second.
        stop: set to end the run early; what is recorded stays. `tuner stop` and `Study.stop` end it as well.
        workspace: where the study is kept, in place of the current folder; see `tuner.workspace`.

    Raises:
        SpecError: the declaration has mistakes.
        InputError: there is no such executor.
        DataError: the data cannot be used.
        DeviceError: the device is not there.
        StudyError: the study cannot be continued like this, or is being run.
        LedgerError: the ledger cannot be opened or written.
        StorageError: the folder for prepared data cannot be written.
        ClusterError: the cluster that was named cannot be joined.
        WorkerError: workers died again and again.
    """
    from tuner.execution import choice
    from tuner.orchestration.launch import launch
    from tuner.orchestration.plan import LaunchPlan

    asked = None if executor is None and workers is None else choice.chosen(executor, workers)
    workspace = workspace_for(workspace, database)
    spec, origin = declared(source, with_memory(overrides, data), workspace.folder)
    # Where trials train is this run's business, and never the record's.
    spec, where = spec.model_copy(update={"execution": None}), choice.over(asked, choice.declared(spec.execution))
    ledger = Ledger.open(workspace.database, folder=workspace.folder)
    try:
        plan = LaunchPlan.of((spec, origin), workspace, where, warm_start, data)
        ended = launch(plan, ledger, progress, stop)
    finally:
        ledger.close()
    study = Study.at(workspace, spec.name, ended.outcome)
    study._mlflow = study._mlflow.model_copy(update={"error": ended.publishing_error})
    study.stopped_by = ended.stopped_by if ended.outcome == "stopped" else None
    return study


class Study:
    """A study as the ledger holds it.

    Attributes:
        name: its name.
        key: 32 hexadecimal digits that distinguish it from every other study.
        outcome: how the run ended that this comes from; None for a study that was opened.
        stopped_by: the process that asked that run to stop, in words; None where none did.
        spec: its declaration as it is now.
        state: running, stopped or finished.
        records: its search's trials, by number.
    """

    def __init__(self, ledger: Ledger, record: StudyRecord, workspace: Workspace, outcome: Outcome | None) -> None:
        self.name, self.key, self.outcome, self._workspace = record.name, record.key, outcome, workspace
        self.stopped_by: str | None = None
        self.spec = record.spec
        self.state = ledger.standing(record)
        self._record = record
        self.records = ledger.trials(record.id)
        self._finals = ledger.finals(record.id)
        self._summary = ledger.summary(record.id)
        self._segments, self._events = ledger.segments(record.id), (events := ledger.events(record.id))
        self._features = next((event.body["features"] for event in reversed(events) if event.kind == "run"), 0)
        self._flat = stopped_early(events)
        self._mlflow = study_links(ledger, record.id, workspace.tracking)

    @classmethod
    def open(cls, name: str, database: str | None = None, workspace: Workspace | None = None) -> Study:
        """The study of that name.

        Args:
            name: the study.
            database: the ledger's URL; by default TUNER_DATABASE_URL, or `tuner.db` in the current folder.
            workspace: where it is kept, in place of the current folder; see `tuner.workspace`.

        Raises:
            StudyError: there is none; the message names the nearest.
            LedgerError: the ledger cannot be opened or read.
        """
        return cls.at(workspace_for(workspace, database), name)

    @classmethod
    def at(cls, workspace: Workspace, name: str, outcome: Outcome | None = None) -> Study:
        """The study of that name in a workspace, as `open` gives it; `outcome` is the run's that it comes from."""
        ledger = Ledger.look(workspace.database, workspace.folder)
        try:
            record = ledger.study(name)
            if record is None:
                raise UnknownStudyError(unknown_study(name, [study.name for study in ledger.studies()]))
            return cls(ledger, record, workspace, outcome)
        finally:
            ledger.close()

    @cached_property
    def _curves(self) -> dict[int, Curve]:
        """All epochs, as far as the trials had come when the study was opened; most calls need none of them."""
        reached = {trial.number: trial.epochs for trial in [*self.records, *self._finals]}
        with closing(self._ledger()) as ledger:
            curves = ledger.curves(self._record.id)
        return {number: curve.until(reached[number]) for number, curve in curves.items() if reached.get(number)}

    def _ledger(self) -> Ledger:
        return Ledger.look(self._workspace.database, self._workspace.folder)

    def progress(self) -> Progress:
        """The state of the study now, in whichever process it runs; the rest of this object stays as it was opened.

        Raises:
            StudyError: it was deleted.
            LedgerError: the ledger cannot be opened or read.
        """
        from tuner.api.control import progress_of

        with closing(self._ledger()) as ledger:
            return progress_of(ledger, self._record.id)

    def stop(self, wait: bool = True, timeout: float | None = None) -> Stopped:
        """End the study's run, wherever it was launched: what is recorded stays, and the study can be continued.

        Args:
            wait: return when the run has ended, instead of at once.
            timeout: wait so many seconds at most.

        Raises:
            StudyError: it was deleted.
            LedgerError: the ledger cannot be opened, read or written.
        """
        from tuner.api.control import stop_by_id

        with closing(self._ledger()) as ledger:
            return stop_by_id(ledger, self._record.id, timeout if wait else 0.0)

    @property
    def trials(self) -> pd.DataFrame:
        """The trials table: number, state, value, best_epoch, epochs, reason, `param.<name>` and `measure.<name>`."""
        return self._table()

    @property
    def trials_with_times(self) -> pd.DataFrame:
        """The trials table with asked_at, started_at and ended_at (UTC)."""
        return self._table(times=True)

    def _table(self, times: bool = False) -> pd.DataFrame:
        from tuner.api.trials_table import trials_table

        return trials_table(self.records, times, self._length)

    def csv(self, times: bool = False) -> str:
        """The trials table as CSV, the same byte for byte for the same study unless `times` are asked for."""
        return trials_csv(self.records, times, self._length)

    def json(self, times: bool = False) -> str:
        """The trials table as a JSON list of objects."""
        return json.dumps(rows(self.records, times, self._length), indent=1) + "\n"

    @property
    def best(self) -> TrialRecord:
        """The complete trial with the lowest validation loss, or with several objectives the knee of the front.

        Raises:
            StudyError: no trial is complete yet.
        """
        best = self._chosen
        if best is None:
            raise StudyError(f"study {self.name}: no trial is complete yet, so there is no best one.")
        return best

    @property
    def winner(self) -> Winner:
        """What the final stage chose and `export` writes; where it is off or did not end yet, the best trial.

        Raises:
            StudyError: no trial is complete yet.
        """
        from tuner.analysis.final_stage import recommended

        return recommended(self.spec, self.best, self._summary, self._finals)

    @property
    def planned(self) -> Planned | None:
        """What was planned for the minutes that it began with, and from which reading of speed; None without any."""
        from tuner.search.minutes import Planned

        return Planned.recorded(self._events)

    @property
    def awaits_score(self) -> bool:
        """Whether all is trained, but the run was ended before the winner was scored; the next run scores it."""
        from tuner.analysis.stages import StageRecord
        from tuner.search.final_budget import allotment

        spent = len(self.records) >= self.spec.search.trials or self._flat is not None
        trained = spent and all(trial.state is not TrialState.RUNNING for trial in self.records)
        facts = (self.spec, self._record.rules, self.records, self._finals, self._events, self._features)
        return self.state == "stopped" and trained and StageRecord(*facts, allotment(self.spec, self._length)).is_over

    @property
    def _chosen(self) -> TrialRecord | None:
        return chosen_trial(self.spec, self.records, self._features)

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front, the lowest loss first: number, val_loss, bottleneck, parameters, pca_val_loss, knee.

        Raises:
            StudyError: the study has one objective.
        """
        import pandas as pd

        return pd.DataFrame([point.model_dump() for point in self.front_points])

    @property
    def front_points(self) -> list[FrontPoint]:
        """The Pareto front as plain values, the lowest loss first.

        Raises:
            StudyError: the study has one objective.
        """
        if not is_front(self.spec):
            raise StudyError(
                f"study {self.name}: has one objective and so a best trial, not a front;"
                " `objective: [val_loss, bottleneck]` in another study's file looks for one."
            )
        pca = {} if self._summary is None else self._summary.front_pca
        return front_points(self.spec, self.records, self._features, pca)

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state, the states that occur alone."""
        return dict(Counter(str(trial.state) for trial in self.records))

    @property
    def summary(self) -> StudyAnswer:
        """The study's answer, as `tuner run --json` prints it."""
        from tuner.orchestration.answers import study_answer

        return study_answer(self._whole, self.state, self._mlflow)

    @property
    def _whole(self) -> WholeRecord:
        """All that is recorded of the study."""
        return WholeRecord(
            self._record, self.records, self._finals, self._curves, self._segments, self._events, self._summary
        )

    @property
    def optuna_study(self) -> optuna.Study:
        """The study in Optuna's memory, for its plots and importance functions."""
        from tuner.search.rebuild import optuna_study

        return optuna_study(self.spec, self.records, self._curves, self._features)

    def export(
        self,
        path: str | Path,
        force: bool = False,
        trial: int | None = None,
        quantile: float = 0.99,
        on_step: Callable[[str], object] | None = None,
    ) -> Path:
        """Write the winner's configuration and its model into one folder.

        Args:
            path: the folder.
            force: replace an existing export.
            trial: this complete trial instead of the winner.
            quantile: share of fresh rows that are not to count as anomalies: what the threshold is set by.
            on_step: called with what is being done, for it takes seconds.

        Raises:
            StudyError: no trial is complete yet, or this one is not.
            ExportError: the folder exists, or cannot be written.
            DataError: the prepared rows are gone, and so is the data.
        """
        from tuner.analysis.recommended import known_losses
        from tuner.analysis.winner import plan_of
        from tuner.export.write import Origin, write_export

        place = Path(path).absolute()
        chosen = self.winner if trial is None else self._complete(trial)
        best, trained = chosen.record, self._trained(chosen.record)
        return write_export(
            place,
            spec=self.spec,
            base=self._base,
            trial=Trial(chosen.trial, best.point, best.seed),
            plan=plan_of(self._plan, best),
            end=TrialEnd(best.number, best.state, best.value, best.best_epoch, best.epochs, best.reason),
            network=trained.network,
            preprocessor=trained.prepared.preprocessor,
            rows=trained.rows,
            labels=trained.prepared.source.open_labels() if self._record.rules >= TYPED else None,
            quantile=quantile,
            on_step=on_step,
            losses=known_losses(self.summary, chosen, self.winner, trained.rows),
            origin=Origin(
                self._record.fingerprint,
                trained.device,
                step_at(self._events, best.ended_at),
                self.source_note,
                self._record.rules,
            ),
            force=force,
        )

    def configuration(self) -> str:
        """The winner's configuration as a space file, the `config.yaml` of an export, without the model.

        Raises:
            StudyError: no trial is complete yet.
            DeviceError: the study's device is not there.
        """
        from tuner.analysis.winner import plan_of
        from tuner.export.write import Origin, configuration
        from tuner.learning.device import resolve

        chosen = self.winner
        best, origin = chosen.record, Origin(device=resolve(self.spec.device), rules=self._record.rules)
        trial = Trial(chosen.trial, best.point, best.seed)
        end = TrialEnd(best.number, best.state, best.value, best.best_epoch, best.epochs, best.reason)
        return configuration(self.spec, self._base, trial, plan_of(self._plan, best), end, origin)

    def report(self, path: str | Path) -> Path:
        """Write the study's report: one HTML file that opens without network; an existing file is replaced.

        In any state of the study. Where its data is gone, the report says so in place of the reconstructions.

        Raises:
            ExportError: the file cannot be written.
        """
        from tuner.export.folder import check_file
        from tuner.report.page import ENDINGS, write_report

        place = Path(path).absolute()
        check_file(Path(path), ENDINGS)
        return write_report(self._with_examples(), place)

    @property
    def facts(self) -> Facts:
        """All that figures are drawn from and studies are compared by."""
        from tuner.orchestration.answers import facts_of

        return replace(facts_of(self._whole, self.summary), state=self.state)

    def _with_examples(self) -> Facts:
        """The facts with what the winner makes of validation rows, or why there are none."""
        from tuner.report.examples import examples

        try:
            made = examples(self._trained(self.winner.record))
            return replace(self.facts, model=made, source_note=self.source_note)
        except TunerError as error:
            return replace(self.facts, model_missing=str(error))

    def _trained(self, trial: TrialRecord) -> Trained:
        from tuner.analysis.trained import trained

        return trained(self._record, self._plan, self._workspace, trial, self._curves[trial.number].checkpoint)

    def raw_rows(self, most: int) -> NDArray[np.float64]:
        """The first training rows in the data's own units, (N, *shape).

        Raises:
            StudyError, DataError: the prepared rows are gone, and the data has changed or is gone as well.
        """
        from tuner.analysis.trained import prepared_again

        prepared = prepared_again(self._record, self._workspace)
        rows = prepared.open()
        return prepared.preprocessor.inverse(rows.train[:most])

    @cached_property
    def source_note(self) -> str:
        """What became of the data's source since the study began, in a sentence or two; empty where it is as it was."""
        from tuner.analysis import trained

        return trained.source_note(self._record, self._workspace)

    @property
    def _length(self) -> Length | None:
        """How long its trials train, as it is recorded; None where these are the epochs that are declared."""
        return recorded_length(self._events)

    @property
    def _plan(self) -> TrainingPlan:
        """How its trainings are cut."""
        return study_plan(self.spec.search, self._events)

    @property
    def _base(self) -> Path:
        """The folder that the declaration's paths are relative to."""
        return Path(self._record.source).parent

    def _complete(self, number: int) -> Winner:
        from tuner.analysis.final_stage import Winner

        found = next((trial for trial in self.records if trial.number == number), None)
        if found is None or found.state is not TrialState.COMPLETE:
            state = "there is none of that number" if found is None else f"it is {found.state}"
            raise StudyError(f"study {self.name}: trial {number} must be complete to be exported, but {state}.")
        return Winner(number, None, found)

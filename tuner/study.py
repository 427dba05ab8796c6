"""Launch a study, or open one: the door behind every door.

What takes seconds to import (torch, Optuna, pandas) is imported where it is used, so that a study is listed and shown
at once.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import StudyError, TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord, best_trial
from tuner.ledger.table import rows, trials_csv
from tuner.places import DASHBOARD, FOLDER, database_url
from tuner.spec.architecture import layer_sizes
from tuner.spec.reader import declared
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial, TrialEnd, TrialState
from tuner.tracking.links import study_url
from tuner.tracking.store import is_server, shown, tracking_uri

if TYPE_CHECKING:
    import numpy as np
    import optuna
    import pandas as pd
    from numpy.typing import NDArray

    from tuner.data.prepare import Prepared
    from tuner.launch import Outcome, Progress


def run(
    source: str | Path | StudySpec | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    database: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> Study:
    """Launch a study, or continue it, and return it with its answer.

    Args:
        source: a space file, or what it says.
        overrides: `search.trials=20` each.
        workers: worker processes; by default one per usable core, or one for a GPU; 0 trains in this process.
        database: the ledger's URL; by default TUNER_DATABASE_URL, or `tuner.db` in the current folder.
        progress: called a few times a second.
        stop: set to end the run early; what is recorded stays.

    Raises:
        SpecError: the declaration has mistakes.
        DataError: the data cannot be used.
        DeviceError: the device is not there.
        StudyError: the study cannot be continued like this, or is being run.
        LedgerError: the ledger cannot be opened or written.
        WorkerError: workers died again and again.
    """
    from tuner.launch import Launch

    spec, origin = declared(source, overrides)
    ledger = Ledger.open(database_url(database))
    try:
        outcome = Launch(spec, origin, ledger, workers, progress, stop or threading.Event()).run()
    finally:
        ledger.close()
    return Study.open(spec.name, database, outcome)


class Study:
    """A study as the ledger holds it.

    Attributes:
        name: its name.
        outcome: how the run ended that this comes from; None for a study that was opened.
        spec: its declaration as it is now.
        state: running, stopped or finished.
        records: its trials, by number.
    """

    def __init__(self, ledger: Ledger, record: StudyRecord, outcome: Outcome | None) -> None:
        self.name, self.outcome = record.name, outcome
        self.spec = record.spec
        self.state = record.state
        self._record = record
        self.records = ledger.trials(record.id)
        self._curves = ledger.curves(record.id)
        self._summary = ledger.summary(record.id)
        self._mlflow = _mlflow(ledger, record.id)

    @classmethod
    def open(cls, name: str, database: str | None = None, outcome: Outcome | None = None) -> Study:
        """The study of that name.

        Raises:
            StudyError: there is none; the message names the nearest.
            LedgerError: the ledger cannot be opened or read.
        """
        ledger = Ledger.open(database_url(database))
        try:
            record = ledger.study(name)
            if record is None:
                raise StudyError(_unknown(name, [study.name for study in ledger.studies()]))
            return cls(ledger, record, outcome)
        finally:
            ledger.close()

    @property
    def trials(self) -> pd.DataFrame:
        """The trials table: number, state, value, best_epoch, epochs, reason, then `param.<name>` each."""
        return self._table()

    @property
    def trials_with_times(self) -> pd.DataFrame:
        """The trials table with asked_at, started_at and ended_at (UTC)."""
        return self._table(times=True)

    def _table(self, times: bool = False) -> pd.DataFrame:
        from tuner.results.table import trials_table

        return trials_table(self.records, times)

    def csv(self, times: bool = False) -> str:
        """The trials table as CSV, the same byte for byte for the same study unless `times` are asked for."""
        return trials_csv(self.records, times)

    def json(self, times: bool = False) -> str:
        """The trials table as a JSON list of objects."""
        return json.dumps(rows(self.records, times), indent=1) + "\n"

    @property
    def best(self) -> TrialRecord:
        """The complete trial with the lowest validation loss.

        Raises:
            StudyError: no trial is complete yet.
        """
        best = best_trial(self.records)
        if best is None:
            raise StudyError(f"study {self.name}: no trial is complete yet, so there is no best one.")
        return best

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state, the states that occur alone."""
        return dict(Counter(str(trial.state) for trial in self.records))

    @property
    def summary(self) -> dict[str, Any]:
        """The study's answer, as `tuner run --json` prints it."""
        known = self._summary or {}
        best = best_trial(self.records)
        scored = known.get("best") or {}
        return {
            "study": self.name,
            "state": self.state,
            "counts": self.counts,
            "best": None
            if best is None
            else {
                "number": best.number,
                "value": best.value,
                "params": best.point.as_dict(),
                "test_loss": scored["test_loss"] if scored.get("number") == best.number else None,
            },
            "baselines": known.get("baselines"),
            "validation_baselines": known.get("validation_baselines"),
            "seconds": known.get("seconds"),
            "mlflow": self._mlflow,
        }

    @property
    def optuna_study(self) -> optuna.Study:
        """The study in Optuna's memory, for its plots and importance functions."""
        from tuner.search.rebuild import optuna_study

        return optuna_study(self.spec, self.records, self._curves)

    def export(self, path: str | Path, force: bool = False) -> Path:
        """Write the best configuration and its model into one folder.

        Raises:
            StudyError: no trial is complete yet.
            ExportError: the folder exists, or cannot be written.
            DataError: the data is needed again and is gone or has changed.
        """
        from tuner.data.rows import open_rows
        from tuner.learning.device import resolve
        from tuner.learning.inference import Network
        from tuner.learning.packs import training_data
        from tuner.results.export import write_export
        from tuner.results.winner import winner_weights

        best = self.best
        prepared = _prepared(self._record)
        rows = open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test))
        device = resolve(self.spec.device)
        trial = Trial(best.number, best.point, best.seed)
        checkpoint, loss = self._curves[best.number].checkpoint, self.spec.loss
        again = partial(training_data, rows.train, rows.validation, device, self.spec.precision)
        weights = winner_weights(trial, best.epochs, checkpoint, again, loss)
        network = Network(layer_sizes(prepared.features, trial.point), trial.point.activation, loss, weights)
        return write_export(
            Path(path),
            spec=self.spec,
            base=self._base,
            trial=trial,
            end=TrialEnd(best.number, best.state, best.value, best.best_epoch, best.epochs, best.reason),
            network=network,
            preprocessor=prepared.preprocessor,
            metrics={**self._losses(), "fingerprint": prepared.fingerprint, "device": device},
            force=force,
        )

    def raw_rows(self, most: int) -> NDArray[np.float64]:
        """The first training rows in the data's own units, (N, *shape).

        Raises:
            DataError: the data is gone or has changed.
        """
        from tuner.data.rows import open_rows

        prepared = _prepared(self._record)
        rows = open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test))
        return prepared.preprocessor.inverse(rows.train[:most])

    @property
    def _base(self) -> Path:
        """The folder that the declaration's paths are relative to."""
        return Path(self._record.source).parent

    def _losses(self) -> dict[str, Any]:
        summary = self.summary
        return {name: summary[name] for name in ("best", "baselines", "validation_baselines")}


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync` did for one study.

    Attributes:
        name: the study.
        published: records that MLflow took now.
        waiting: records that wait still.
        aside: records that MLflow will never take, each with the reason.
        error: why records wait; None where none does.
    """

    name: str
    published: int
    waiting: int
    aside: tuple[str, ...]
    error: str | None


def sync(name: str | None = None, database: str | None = None) -> list[Synced]:
    """Bring what waits to MLflow: of one study, or of all.

    What somebody else is publishing at this moment is left to them.

    Raises:
        StudyError: there is no study of that name.
        LedgerError: the ledger cannot be opened or read.
    """
    ledger = Ledger.open(database_url(database))
    try:
        known = ledger.studies()
        if name is not None and name not in [record.name for record in known]:
            raise StudyError(_unknown(name, [record.name for record in known]))
        return [_sync(ledger, record) for record in known if name in (None, record.name)]
    finally:
        ledger.close()


def _sync(ledger: Ledger, record: StudyRecord) -> Synced:
    from tuner.results.answer import answer_files
    from tuner.tracking.publisher import publish_once

    def answer(study: StudyRecord) -> Path:
        return answer_files(ledger, study, FOLDER / "answers", _device(study), partial(_prepared, study))

    before, known, error = ledger.waiting_count(record.id), len(ledger.aside(record.id)), None
    try:
        if before:
            publish_once(ledger, record.id, tracking_uri(), answer=answer)
    except (TrackingError, StudyError) as problem:
        error = str(problem)
    waiting, aside = ledger.waiting_count(record.id), ledger.aside(record.id)
    reasons = tuple(f"{row.kind}{'' if row.trial is None else f' of trial {row.trial}'}: {row.reason}" for row in aside)
    return Synced(record.name, max(0, before - waiting - len(aside) + known), waiting, reasons, error)


def _device(record: StudyRecord) -> str:
    from tuner.learning.device import resolve

    return resolve(record.spec.device)


def _prepared(record: StudyRecord) -> Prepared:
    """A study's data, as it was when the study began.

    Raises:
        DataError: it cannot be used any more.
        StudyError: it has changed.
    """
    from tuner.data.prepare import prepare

    spec = record.spec
    prepared = prepare(spec, Path(record.source).parent, FOLDER)
    if prepared.fingerprint != record.fingerprint:
        raise StudyError(f"study {record.name}: the data in {spec.data.source} has changed since the study began.")
    return prepared


def _mlflow(ledger: Ledger, study_id: int) -> dict[str, Any]:
    """Where MLflow shows a study: its ids are None until something of it is published."""
    uri = tracking_uri()
    experiment, run_id = ledger.experiment_id(study_id), ledger.run_id(study_id, None)
    view, base = ledger.view_key(study_id), shown(uri) if is_server(uri) else DASHBOARD
    return {
        "tracking_uri": shown(uri),
        "experiment_id": experiment,
        "run_id": run_id,
        "view": view,
        "url": study_url(base, experiment, run_id, view) if experiment and run_id else None,
        "local": not is_server(uri),
        "waiting": ledger.waiting_count(study_id),
        "aside": len(ledger.aside(study_id)),
    }


@dataclass(frozen=True, slots=True)
class Overview:
    """A study in a list: `ended` of `trials` trials have ended."""

    name: str
    state: str
    ended: int
    trials: int
    best: float | None
    created_at: float


def studies(database: str | None = None) -> list[Overview]:
    """The studies in the ledger, oldest first."""
    ledger = Ledger.open(database_url(database))
    try:
        return [_overview(record, ledger.trials(record.id)) for record in ledger.studies()]
    finally:
        ledger.close()


def _overview(record: StudyRecord, trials: Sequence[TrialRecord]) -> Overview:
    best = best_trial(trials)
    return Overview(
        record.name,
        record.state,
        sum(trial.state is not TrialState.RUNNING for trial in trials),
        record.spec.search.trials,
        None if best is None else best.value,
        record.created_at,
    )


def dashboard_page(name: str | None, database: str | None = None) -> Callable[[str], str]:
    """The page to open on a server: a study's trials, flat, sorted and charted, or the server's front page.

    Args:
        name: the study; by default the newest that MLflow shows, if there is one.
        database: the ledger's URL.

    Raises:
        StudyError: there is no study of that name.
    """
    if name is None:
        known = studies(database)
        if not known:
            return lambda server: server
        name = known[-1].name
    mlflow = Study.open(name, database).summary["mlflow"]
    if not mlflow["run_id"]:
        return lambda server: server
    return lambda server: study_url(server, mlflow["experiment_id"], mlflow["run_id"], mlflow["view"])


def _unknown(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    if not names:
        return f"study {name}: there is no study here yet; `tuner run FILE` begins one."
    hint = f"did you mean {near[0]}?" if near else f"the studies here are {', '.join(names)}."
    return f"study {name}: there is none of that name; {hint}"

"""Launch a study, or open one: the door behind every door."""

from __future__ import annotations

import difflib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tuner.data.prepare import Prepared, open_rows, prepare
from tuner.errors import Problem, SpecError, StudyError
from tuner.launch import FOLDER, Launch, Outcome, Progress, best_trial
from tuner.learning.device import resolve
from tuner.learning.inference import Network
from tuner.learning.pack import TrainingData
from tuner.learning.training import Trained, train_alone
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord
from tuner.results.export import write_export
from tuner.results.table import trials_table
from tuner.results.winner import winner_network
from tuner.search.loop import best
from tuner.search.rebuild import optuna_study
from tuner.search.samplers import grid_size
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.reader import read_spec, spec_from_mapping
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial, TrialEnd, TrialState, derive_seed
from tuner.tracking.links import study_url
from tuner.tracking.store import is_server, shown, tracking_uri

if TYPE_CHECKING:
    import optuna
    import pandas as pd


DASHBOARD = "http://127.0.0.1:5000"  # where `tuner dashboard` serves MLflow's page


def database_url(database: str | None = None) -> str:
    """The ledger: as given, or TUNER_DATABASE_URL, or `tuner.db` in the current folder."""
    return database or os.environ.get("TUNER_DATABASE_URL") or "sqlite:///tuner.db"


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
    spec, origin = declared(source, overrides)
    ledger = Ledger.open(database_url(database))
    try:
        with _only_run_of(spec.name):
            outcome = Launch(spec, origin, ledger, workers, progress, stop or threading.Event()).run()
    finally:
        ledger.close()
    return Study.open(spec.name, database, outcome)


def declared(source: str | Path | StudySpec | Mapping[str, Any], overrides: Sequence[str]) -> tuple[StudySpec, Path]:
    """The declaration, and the file that its paths are beside."""
    if isinstance(source, str | Path):
        spec, origin = read_spec(source, overrides), Path(source).absolute()
    else:
        mapping = source.model_dump(mode="json") if isinstance(source, StudySpec) else source
        spec, origin = spec_from_mapping(mapping, overrides), Path("spec.yaml").absolute()
    _check_grid(spec)
    return spec, origin


def _check_grid(spec: StudySpec) -> None:
    if spec.search.sampler == "grid" and spec.search.trials > (size := grid_size(spec.space)):
        message = f"must be at most {size}, the points of the grid, got {spec.search.trials}"
        raise SpecError([Problem("search.trials", message)])


@contextmanager
def _only_run_of(name: str) -> Iterator[None]:
    """One run of a study at a time on one machine."""
    FOLDER.mkdir(exist_ok=True)
    lock = FileLock(FOLDER / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyError(f"study {name}: another process is running it in this folder; nothing was changed.") from None
    try:
        yield
    finally:
        lock.release()


class Study:
    """A study as the ledger holds it.

    Attributes:
        name: its name.
        outcome: how the run ended that this comes from; None for a study that was opened.
        spec: its declaration as it is now.
        state: running, stopped or finished.
    """

    def __init__(self, ledger: Ledger, record: StudyRecord, outcome: Outcome | None) -> None:
        self.name, self.outcome = record.name, outcome
        self.spec = StudySpec.model_validate_json(record.spec_json)
        self.state = record.state
        self._record = record
        self._trials = ledger.trials(record.id)
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
        return trials_table(self._trials)

    @property
    def trials_with_times(self) -> pd.DataFrame:
        """The trials table with asked_at, started_at and ended_at (UTC)."""
        return trials_table(self._trials, times=True)

    @property
    def best(self) -> TrialRecord:
        """The complete trial with the lowest validation loss.

        Raises:
            StudyError: no trial is complete yet.
        """
        best = best_trial(self._trials)
        if best is None:
            raise StudyError(f"study {self.name}: no trial is complete yet, so there is no best one.")
        return best

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state, the states that occur alone."""
        return dict(Counter(str(trial.state) for trial in self._trials))

    @property
    def summary(self) -> dict[str, Any]:
        """The study's answer, as `tuner run --json` prints it."""
        known = self._summary or {}
        best = best_trial(self._trials)
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
        return optuna_study(self.spec, self._trials, self._curves)

    def export(self, path: str | Path, force: bool = False) -> Path:
        """Write the best configuration and its model into one folder.

        Raises:
            StudyError: no trial is complete yet.
            ExportError: the folder exists, or cannot be written.
            DataError: the data is needed again and is gone or has changed.
        """
        best = self.best
        prepared = prepare(self.spec, self._base, FOLDER)
        if prepared.fingerprint != self._record.fingerprint:
            raise StudyError(
                f"study {self.name}: the data in {self.spec.data.source} has changed since the study began."
            )
        rows = open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test))
        device = resolve(self.spec.device)
        trial = Trial(best.number, best.point, best.seed)
        network = winner_network(trial, best.epochs, self._curves[best.number].checkpoint, rows, self.spec.loss, device)
        return write_export(
            Path(path),
            spec=self.spec,
            base=self._base,
            trial=trial,
            end=TrialEnd(best.number, best.state, best.value, best.best_epoch, best.epochs, best.reason),
            network=network,
            preprocessor=prepared.preprocessor,
            names=prepared.names,
            metrics={**self._losses(), "fingerprint": prepared.fingerprint, "device": device},
            force=force,
        )

    @property
    def _base(self) -> Path:
        """The folder that the declaration's paths are relative to."""
        return Path(self._record.source).parent

    def _losses(self) -> dict[str, Any]:
        summary = self.summary
        return {name: summary[name] for name in ("best", "baselines", "validation_baselines")}


def train(
    source: str | Path | StudySpec | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    on_epoch: Callable[[int], object] | None = None,
) -> Model:
    """Train the one configuration of a declaration in which every hyperparameter is fixed, such as an exported one.

    Args:
        source: a space file, or what it says.
        overrides: `search.epochs=20` each.
        on_epoch: called after each epoch with its number.

    Raises:
        SpecError: the declaration has mistakes, or something in it is searched.
        DataError, DeviceError: as for `run`.
        StudyError: the training diverged before its first epoch was done.
    """
    spec, origin = declared(source, overrides)
    searched = spec.space.searched()
    if searched:
        raise SpecError(
            Problem(f"space.{name}", "must be a plain value to train one model, got a range") for name in searched
        )
    prepared = prepare(spec, origin.parent, FOLDER)
    rows = open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test))
    device = resolve(spec.device)
    seed = derive_seed(spec.search.seed, "trial", 0) if spec.search.trial_seed is None else spec.search.trial_seed
    trial = Trial(0, Hyperparameters.of(spec.space.fixed()), seed)
    data = TrainingData.of(rows.train, rows.validation, device)
    trained = train_alone(trial, data, spec.loss, spec.search.epochs, on_epoch)
    return Model(spec, origin.parent, trial, device, prepared, trained)


class Model:
    """One configuration, trained.

    Attributes:
        value: the best epoch's validation loss.
        best_epoch: that epoch.
        epochs: epochs trained.
    """

    def __init__(
        self, spec: StudySpec, base: Path, trial: Trial, device: str, prepared: Prepared, trained: Trained
    ) -> None:
        self._spec, self._base, self._trial, self._device, self._prepared = spec, base, trial, device, prepared
        self.value, self.best_epoch = best(trained.curve)
        self.epochs = trained.curve.last
        if self.best_epoch == 0:
            raise StudyError(f"{spec.name}: the training diverged in epoch {self.epochs}, so there is no model.")
        sizes = layer_sizes(prepared.features, trial.point)
        self._network = Network(sizes, trial.point.activation, spec.loss, trained.weights)

    def export(self, path: str | Path, force: bool = False) -> Path:
        """Write the configuration and the model into one folder, as `Study.export` does.

        Raises:
            ExportError: the folder exists, or cannot be written.
        """
        ended = TrialEnd(0, TrialState.COMPLETE, self.value, self.best_epoch, self.epochs, "")
        return write_export(
            Path(path),
            spec=self._spec,
            base=self._base,
            trial=self._trial,
            end=ended,
            network=self._network,
            preprocessor=self._prepared.preprocessor,
            names=self._prepared.names,
            metrics={"fingerprint": self._prepared.fingerprint, "device": self._device},
            force=force,
        )


def _mlflow(ledger: Ledger, study_id: int) -> dict[str, Any]:
    """Where MLflow shows a study: its ids are None until something of it is published."""
    uri = tracking_uri()
    experiment, run_id = ledger.experiment_id(study_id), ledger.run_id(study_id, None)
    base = shown(uri) if is_server(uri) else DASHBOARD
    return {
        "tracking_uri": shown(uri),
        "experiment_id": experiment,
        "run_id": run_id,
        "url": study_url(base, experiment, run_id) if experiment and run_id else None,
        "waiting": ledger.waiting_count(study_id),
    }


def _unknown(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    if not names:
        return f"study {name}: there is no study here yet; `tuner run FILE` begins one."
    hint = f"did you mean {near[0]}?" if near else f"the studies here are {', '.join(names)}."
    return f"study {name}: there is none of that name; {hint}"

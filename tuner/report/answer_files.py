"""What is to be looked at once a study has its answer: files for MLflow, in one folder under `.tuner/`.

    .tuner/answers/KEY/WHEN/
      study/                of the study's run
        worst_rows.json       the validation rows that the best trial reconstructs worst
        feature_errors.json   where rows are no images: the features, of a table its columns, the worst first
        columns.json          of a table: how well each column of the test rows is reconstructed, the worst first
        images/...            where rows are images: the best trial's
        figures/...           history, importance, slices and the rest, as a report has them
      trial-N/              of a trial's run
        images/...            originals beside reconstructions, of the same rows for every trial, and of its worst rows

Whatever file lies there is published under its own name. It is made behind the training, when MLflow is about to get
it, and can be made again from the record and the data.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from tuner.analysis.winner import plan_of, winner_weights
from tuner.answers.parts import ColumnQuality
from tuner.answers.summary import Summary
from tuner.data.prepare import Prepared
from tuner.data.rows import Rows
from tuner.learning.checkpoint_store import CheckpointFolder, CheckpointStore
from tuner.learning.packs import runs_compiled, training_data
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, TrialRecord, best_trial
from tuner.report.pictures import MOST, beside, image_files, is_image
from tuner.report.worst import Errors, Model, columns_table, feature_errors, worst_rows
from tuner.spec.length import study_plan
from tuner.spec.work import Checkpoint, TrainingPlan, Trial, TrialState

PICTURED = 3  # trials with pictures, as many as the driver keeps states of
RECONSTRUCTIONS, WORST_ROWS = "reconstructions", "worst_rows"


def answer_files(
    ledger: Ledger,
    study: StudyRecord,
    work: Path,
    device: str,
    prepare: Callable[[], Prepared],
    figures: Callable[[], Iterator[tuple[str, bytes]]] = lambda: iter(()),
) -> Path:
    """The study's folder of files, made where it is not there: whole or not at all.

    Args:
        ledger: the record.
        study: one with a summary.
        work: the workspace's folder, with all studies' answers and states.
        device: where the winner is trained again, should its weights be gone.
        prepare: gives the data.
        figures: more files, each with its path.

    Raises:
        DataError: the data cannot be used.
        OSError: the folder cannot be written.
    """
    of_study = work / "answers" / study.key
    place = of_study / str(round((ledger.summary_at(study.id) or 0.0) * 1e6))
    if place.is_dir():
        return place
    of_study.mkdir(parents=True, exist_ok=True)
    new = of_study / f".new-{secrets.token_hex(8)}"
    states = CheckpointFolder.of_study(work, study.key)
    try:
        for name, content in chain(figures(), _files(ledger, study, prepare, device, states)):
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        new.mkdir(exist_ok=True)
        new.rename(place)
    finally:
        _remove_others(of_study, place)
    return place


def _remove_others(folder: Path, place: Path) -> None:
    for other in folder.iterdir():
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


@dataclass(frozen=True, eq=False, slots=True)
class _Study:
    """What the files are made of."""

    record: StudyRecord
    prepared: Prepared
    rows: Rows
    best: TrialRecord
    models: Mapping[int, Model]
    records: Mapping[int, TrialRecord]
    columns: tuple[ColumnQuality, ...]


def _files(
    ledger: Ledger, study: StudyRecord, prepare: Callable[[], Prepared], device: str, states: CheckpointStore
) -> Iterator[tuple[str, bytes]]:
    """Each file's path in the folder, and its content."""
    trials = ledger.trials(study.id)
    summary = ledger.summary(study.id)
    scored = _scored(ledger, study, summary)
    best = scored or best_trial(trials)
    if best is None:
        return
    prepared = prepare()
    rows = prepared.open()
    shown = _shown(best, trials) if is_image(prepared.shape) else [best]
    kept = {number: newest for number, (newest, *_) in ledger.checkpoints(study.id, 1).items()}
    plan = study_plan(study.spec.search, ledger.events(study.id))
    models = _models(study, shown, (rows, plan), device, _Kept(states, kept))
    records = {record.number: record for record in shown}
    columns = summary.columns if summary is not None and scored is not None else ()
    of_study = _Study(study, prepared, rows, best, models, records, columns)
    yield from _tables(of_study)
    yield from _pictures(of_study)


def _scored(ledger: Ledger, study: StudyRecord, summary: Summary | None) -> TrialRecord | None:
    """The trial or the final stage's run that was scored on the test split and is exported."""
    runs = summary.scored.runs if summary is not None and summary.scored is not None else ()
    return next(iter(ledger.trials(study.id, runs[:1])), None)


def _shown(best: TrialRecord, trials: list[TrialRecord]) -> list[TrialRecord]:
    """The winner, and the best few complete trials."""
    ranked = [(t.value, t.number, t) for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
    others = [trial for _, _, trial in sorted(ranked) if trial.number != best.number]
    return [best, *others][:PICTURED]


@dataclass(frozen=True, eq=False, slots=True)
class _Kept:
    """The newest state of each trial."""

    store: CheckpointStore
    newest: Mapping[int, Checkpoint]

    def is_whole(self, record: TrialRecord) -> bool:
        """Whether the trial's last state is there."""
        state = self.newest.get(record.number)
        return state is not None and state.epoch == record.epochs and self.store.has(state)

    def content(self, number: int) -> bytes | None:
        return self.store.get(self.newest[number]) if number in self.newest else None


def _models(
    study: StudyRecord, shown: list[TrialRecord], data: tuple[Rows, TrainingPlan], device: str, kept: _Kept
) -> dict[int, Model]:
    """The best trial's, and those others' whose last states are there: training them again would be too much."""
    spec, best, (rows, plan) = study.spec, shown[0].number, data
    kinds = device, spec.precision, spec.step
    again = partial(training_data, rows.train, rows.validation, *kinds, rows.terms, start=rows.start)
    by_compiled = runs_compiled(device, spec.step)
    models = {}
    for record in shown:
        if record.number == best or kept.is_whole(record):
            trial = Trial(record.number, record.point, record.seed)
            state = kept.content(record.number)
            weights = winner_weights(
                trial, record.epochs, state, again, spec.loss, plan=plan_of(plan, record), start=rows.start
            )
            models[record.number] = Model(record.point, spec.loss, weights, by_compiled, rows.terms)
    return models


def _tables(study: _Study) -> Iterator[tuple[str, bytes]]:
    rows, fitted = study.rows.validation, study.prepared.preprocessor
    model = study.models[study.best.number]
    errors = Errors.of(model, rows)
    numbers = study.prepared.validation_numbers(study.record.spec)
    yield "study/worst_rows.json", worst_rows(model, rows, errors, numbers.tolist(), fitted)
    if not is_image(fitted.shape):
        yield "study/feature_errors.json", feature_errors(errors, fitted)
    if study.columns:
        yield "study/columns.json", columns_table(study.columns)


def _pictures(study: _Study) -> Iterator[tuple[str, bytes]]:
    if not is_image(study.prepared.shape):
        return
    rows, invert = study.rows.validation, study.prepared.preprocessor.inverse
    for number, model in study.models.items():
        record = study.records[number]
        worst = Errors.of(model, rows).worst(MOST)
        for key, part in ((RECONSTRUCTIONS, rows[:MOST]), (WORST_ROWS, rows[worst])):
            pixels = beside(invert(part), invert(model.rebuilt(part)))
            at = round((record.ended_at or record.asked_at) * 1000)
            owners = [f"trial-{number}"] + ["study"] * (number == study.best.number)
            yield from image_files(pixels, key, study.record.key, owners, at).items()

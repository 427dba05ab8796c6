"""Claims about the final stage by rules before 4 of whole studies: durable, exact, the test split used once a winner.

Studies that began by those rules keep it; `test_longer_final.py` has the claims about the stage of rules 4.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disturbed import disagreements, table
from mlflow import MlflowClient
from studies import begun_by, fresh_folder, tiny, working_in

import tuner
from tuner.api.maintenance import doctor, prune_files
from tuner.cli import display
from tuner.cli.progress import line
from tuner.data.prepare import prepare
from tuner.data.rows import open_rows
from tuner.data.sources import Sources
from tuner.learning.packs import training_data
from tuner.learning.training import train_alone
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import TrialRecord
from tuner.orchestration.launch import Progress
from tuner.spec.final import final_run, index_of, is_final, trial_of
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import TYPED
from tuner.spec.work import Trial, TrialState, derive_seed

STAGE = {"top": 2, "seeds": 3}


def staged(**changes: Any) -> dict[str, Any]:
    """The tiny study with a final stage, unpruned, so that there is something to choose from."""
    search = {"pruner": "none", "trials": 8, "epochs": 6, "cohort": 4, **changes.pop("search", {})}
    return tiny(search=search, **{"final": STAGE, **changes})


def record_of(folder: Path, read: Callable[[Ledger, int], Any]) -> Any:
    ledger = Ledger.open(f"sqlite:///{folder / 'tuner.db'}")
    try:
        record = ledger.study("tiny")
        assert record is not None
        return read(ledger, record.id)
    finally:
        ledger.close()


def finals(folder: Path) -> list[TrialRecord]:
    return list(record_of(folder, lambda ledger, study: ledger.finals(study)))


def uses(folder: Path) -> list[dict[str, Any]]:
    """How often the test split was used, and what for."""
    return [e.body for e in record_of(folder, lambda ledger, study: ledger.events(study)) if e.kind == "test"]


def answer(study: tuner.Study) -> dict[str, Any]:
    """The summary without what differs between two runs of the same study."""
    return {name: value for name, value in study.summary.as_dict().items() if name not in ("seconds", "mlflow")}


@pytest.fixture(scope="module", autouse=True)
def _older_rules() -> Iterator[None]:
    with begun_by(TYPED):
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with a finished study, run in this process without any event."""
    with working_in(fresh_folder(tmp_path_factory.mktemp("finished"), mlflow_store)) as folder:
        study = tuner.run(staged(), workers=0)
        assert study.outcome == "finished"
        (folder / "answer.json").write_text(json.dumps(answer(study)))
    return folder


@pytest.fixture
def copied(finished: Path, workspace: Path) -> Path:
    """The current folder, a copy of it."""
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    return workspace


def test_every_run_is_that_trial_trained_alone_with_its_own_seed(copied: Path) -> None:
    """Law 1: configuration, seed by name, and every loss of `train_alone`, bit for bit."""
    prepared = prepare(spec_from_mapping(staged()), Sources(copied), Path(".tuner"))
    rows = open_rows(prepared.path, prepared.sha256, (prepared.train, prepared.validation, prepared.test))
    data = training_data(rows.train, rows.validation, "cpu", "fp32", "auto")
    trials = {trial.number: trial for trial in tuner.Study.open("tiny").records}
    curves = record_of(copied, lambda ledger, study: ledger.curves(study))
    assert len(finals(copied)) == 6
    for run in finals(copied):
        of, index = trial_of(run.number), index_of(run.number)
        assert (run.point, run.seed) == (trials[of].point, derive_seed(3, "final", of, index))
        alone = train_alone(Trial(run.number, run.point, run.seed), data, "mse", 6).curve
        assert curves[run.number].val_loss == alone.val_loss
        assert curves[run.number].train_loss == alone.train_loss


def test_the_chosen_are_the_best_different_configurations_and_the_lowest_mean_wins(copied: Path) -> None:
    """Recomputed from the table of trials and the runs' losses."""
    study = tuner.Study.open("tiny")
    ranked = study.trials[study.trials.state == "complete"].sort_values("value").number.tolist()
    assert {trial_of(run.number) for run in finals(copied)} == set(ranked[:2])
    means = {of: np.mean([run.value for run in finals(copied) if trial_of(run.number) == of]) for of in ranked[:2]}
    assert study.summary.final.winner == study.winner.trial == min(means, key=means.__getitem__)
    assert study.winner.record.value == min(r.value for r in finals(copied) if trial_of(r.number) == study.winner.trial)
    assert study.best.number == ranked[0]
    assert len(study.records) == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_the_answer_does_not_depend_on_the_number_of_workers(workers: int, workspace: Path, finished: Path) -> None:
    """Law 2: trials, runs and the whole answer, bit for bit."""
    study = tuner.run(staged(), workers=workers)
    assert table(workspace) == table(finished)
    assert answer(study) == json.loads((finished / "answer.json").read_text())


LONGER = {"epochs": 120, "trials": 4}  # so long that runs are recorded more than once on their way


def stopped_among_its_runs() -> tuner.Study:
    """Run the study until some epochs of the final stage are recorded."""
    stop, phases = threading.Event(), []

    def watch(progress: Progress) -> None:
        phases.append(progress.phase)
        if progress.confirmed is not None:
            stop.set()

    study = tuner.run(staged(search=LONGER), workers=0, progress=watch, stop=stop)
    assert "confirming" in phases
    assert "scoring" not in phases
    return study


def test_a_stop_in_the_final_stage_goes_on_to_the_same_answer(
    workspace: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study is stopped and nothing is scored; the next run has the answer of a study that nobody stopped."""
    study = stopped_among_its_runs()
    assert (study.outcome, study.state) == ("stopped", "stopped")
    assert study.summary.final is None
    assert uses(workspace) == []
    resumed = tuner.run(staged(search=LONGER), workers=0)
    monkeypatch.chdir(fresh_folder(workspace / "undisturbed", mlflow_store))
    assert answer(resumed) == answer(tuner.run(staged(search=LONGER), workers=0))
    assert table(workspace) == table(workspace / "undisturbed")


def test_the_test_split_is_used_once_and_the_record_says_for_what(copied: Path) -> None:
    """One use, for the winner's runs; a second run of the study does nothing at all."""
    study = tuner.Study.open("tiny")
    (use,) = uses(copied)
    assert use["trial"] == study.winner.trial
    assert use["runs"][0] == study.winner.record.number
    assert sorted(use["runs"]) == [run.number for run in finals(copied) if trial_of(run.number) == study.winner.trial]
    before = study.summary
    again = tuner.run(staged(), workers=0)
    assert again.outcome == "nothing-left"
    assert again.summary == before
    assert uses(copied) == [use]


def test_the_reported_test_loss_is_the_exported_models(copied: Path) -> None:
    """Mean score of the exported folder on the raw test rows; its configuration trains to the same bits."""
    from sklearn.datasets import load_iris

    from tuner.data.split import split_rows

    study = tuner.Study.open("tiny")
    folder = study.export("best")
    model, raw = tuner.load_model(folder), load_iris().data
    test = split_rows(len(raw), 0.2, 0.1, 3).test
    final = study.summary.final
    assert float(np.mean(model.score(raw[test]))) == pytest.approx(final.test_loss, rel=1e-6)
    assert model.card.final is not None
    assert (model.card.trial, model.card.seed) == (study.winner.trial, study.winner.record.seed)
    assert model.card.final.sentence == final.sentence
    assert model.card.losses.test == final.test_loss
    tuner.train(folder / "config.yaml").export("again")
    assert (folder / "model.safetensors").read_bytes() == Path("again/model.safetensors").read_bytes()


def test_an_export_of_before_the_final_stage_loads(copied: Path) -> None:
    """Its `metrics.json` says nothing of one."""
    card = json.loads((tuner.Study.open("tiny").export("best") / "metrics.json").read_text())
    del card["final"]
    Path("best/metrics.json").write_text(json.dumps(card))
    assert tuner.load_model("best").card.final is None


def test_more_seeds_train_what_is_missing_and_no_more(copied: Path) -> None:
    """Three seeds become four: the fourth alone is trained, the others are as they were; then two: nothing is."""
    before, work = finals(copied), len(record_of(copied, lambda ledger, study: ledger.segments(study)))
    more = tuner.run(staged(final={"top": 2, "seeds": 4}), workers=0)
    assert more.outcome == "finished"
    assert [run for run in finals(copied) if index_of(run.number) < 3] == before
    assert len(finals(copied)) == 8
    segments = record_of(copied, lambda ledger, study: ledger.segments(study))[work:]
    assert {index_of(number) for segment in segments for number in segment.trials} == {3}
    assert more.summary.test_uses == 2
    work += len(segments)
    fewer = tuner.run(staged(final={"top": 2, "seeds": 2}), workers=0)
    assert all(len(one.losses) == 2 for one in fewer.summary.final.configurations)
    assert len(record_of(copied, lambda ledger, study: ledger.segments(study))) == work


def test_a_study_that_goes_on_counts_every_use_of_the_test_split(copied: Path) -> None:
    """With a larger budget another configuration wins: two uses, each for its winner; what was trained stays."""
    before, first = finals(copied), tuner.Study.open("tiny").winner.trial
    grown = staged(search={"trials": 24})
    study = tuner.run(grown, workers=0)
    assert study.winner.trial >= 8, "the larger budget must find a better one for this test to say anything"
    assert [use["trial"] for use in uses(copied)] == [first, study.winner.trial]
    assert study.summary.test_uses == 2
    assert [run for run in finals(copied) if run.number in {each.number for each in before}] == before
    assert [(found.name, found.problems) for found in doctor()] == [(None, ()), ("tiny", ())]


def test_what_a_larger_budget_leaves_of_an_unfinished_stage_is_finished(workspace: Path) -> None:
    """Stopped among its runs and continued with more trials: no run is left running, in the record or in MLflow."""
    assert stopped_among_its_runs().outcome == "stopped"
    assert tuner.run(staged(search={**LONGER, "trials": 12}), workers=0).outcome == "finished"
    assert {str(run.state) for run in finals(workspace)} == {"complete"}
    assert disagreements(workspace) == []


def test_without_the_stage_the_best_trial_is_scored(copied: Path) -> None:
    """`final: none` as before there was one; turned on again, the record's answer, and nothing is trained."""
    off = tuner.run(staged(final="none"), workers=0)
    assert off.summary.final is None
    assert off.summary.best.test_loss is not None
    assert off.winner.record == off.best
    on = tuner.run(staged(), workers=0)
    assert on.summary.final.as_dict() == json.loads((copied / "answer.json").read_text())["final"]
    assert on.summary.test_uses == 2


def test_a_study_of_the_version_before_goes_on(workspace: Path) -> None:
    """Schema 2 and a summary without this stage: the ledger opens, the runs are made, and both uses are counted."""
    study = tuner.run(staged(final="none"), workers=0)
    old = {name: study.summary.as_dict()[name] for name in ("best", "baselines", "validation_baselines", "seconds")}
    with closing(sqlite3.connect("tuner.db")) as connection:
        connection.execute("UPDATE tuner_schema SET version = 2")
        connection.execute("DELETE FROM tuner_event WHERE kind = 'test'")
        connection.execute("UPDATE tuner_study SET summary = ?", [json.dumps(old)])
        connection.commit()
    assert tuner.Study.open("tiny").summary.final is None
    after = tuner.run(staged(), workers=0)
    assert after.summary.final.winner == after.winner.trial
    assert [use["runs"][0] for use in uses(workspace)] == [study.best.number, after.winner.record.number]


def test_a_study_without_a_complete_trial_says_so(workspace: Path) -> None:
    """Every trial diverges, for squares of the data are beyond single precision: no runs, no winner, no test score."""
    np.save("rows.npy", np.random.default_rng(0).normal(size=(60, 5)) * 1e25)
    wild = staged(data={"source": "rows.npy", "scaling": "none"})
    study = tuner.run(wild, workers=0)
    assert set(study.counts) == {"diverged"}
    assert study.summary.best is None
    assert study.summary.final.winner is None
    assert study.summary.final.sentence.startswith("No trial was completed")
    assert (finals(workspace), uses(workspace)) == ([], [])
    assert tuner.run(wild, workers=0).outcome == "nothing-left"


def test_mlflow_shows_the_runs_beside_the_trials_and_not_among_them(copied: Path) -> None:
    """Children of the study with a stage and a trial of theirs; `best` marks a trial, `tuner.winner` the export."""
    study = tuner.Study.open("tiny")
    client, mlflow = MlflowClient(study.summary.mlflow.tracking_uri), study.summary.mlflow
    query = f"tags.mlflow.parentRunId = '{mlflow.run_id}'"
    runs = list(client.search_runs([mlflow.experiment_id], query))
    confirmed = [run for run in runs if run.data.tags["tuner.stage"] == "final"]
    assert (len(runs), len(confirmed)) == (14, 6)
    assert all("objective" not in run.data.metrics and "tuner.trial" not in run.data.tags for run in confirmed)
    assert {run.info.status for run in runs} == {"FINISHED"}
    (best,) = (run for run in runs if run.data.tags.get("best") == "true")
    (winner,) = (run for run in runs if run.data.tags.get("tuner.winner") == "true")
    assert best.data.tags["tuner.trial"] == str(study.best.number)
    assert winner.data.tags["tuner.of_trial"] == str(study.winner.trial)
    assert winner.data.metrics["final_loss"] == study.winner.record.value
    assert disagreements(copied) == []


@pytest.mark.parametrize(
    ("file", "statement", "words"),
    [
        ("tuner.db", "UPDATE tuner_trial SET seed = 1 WHERE number = {run}", "its configuration or seed is not that"),
        ("tuner.db", "UPDATE tuner_trial SET value = value * 2 WHERE number = {run}", "it ended with value"),
        ("tuner.db", "UPDATE tuner_trial SET state = 'running' WHERE number = {run}", "but it is running"),
        ("mlflow.db", "DELETE FROM metrics WHERE key = 'final_loss' OR key = 'val_loss'", "values of val_loss"),
    ],
)
def test_the_doctor_names_a_run(copied: Path, file: str, statement: str, words: str) -> None:
    """What is changed behind the tuner's back, by run and trial."""
    run = finals(copied)[1].number
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement.format(run=run))
        connection.commit()
    found = [problem for each in doctor() for problem in each.problems]
    assert any(f"run 1 of trial {trial_of(run)}: " in problem and words in problem for problem in found), found


def test_pruning_files_keeps_what_is_exported(copied: Path) -> None:
    """Of the runs' states the exported one's alone is left at the end, and it is the one that stays."""
    winner = tuner.Study.open("tiny").winner
    kept = [path.name for path in Path(".tuner").rglob("final-*.safetensors")]
    assert kept == [f"final-{winner.trial:04}-{winner.index}-epoch-6.safetensors"]
    prune_files()
    assert [path.name for path in Path(".tuner").rglob("*.safetensors")] == kept


def test_no_number_of_a_run_is_another_ones() -> None:
    """Up to a million trials and a thousand seeds, in 32 bits, and beyond every trial's."""
    point = spec_from_mapping(tiny())  # any object serves as a configuration here
    ends = [(0, 0), (0, 999), (1, 0), (999_999, 999)]
    numbers = [final_run(0, of, point, index).number for of, index in ends]  # type: ignore[arg-type]
    assert [(trial_of(number), index_of(number)) for number in numbers] == ends
    assert all(is_final(number) and number < 2**31 for number in numbers)
    assert not is_final(999_999)


def test_what_is_shown_is_the_answer_in_plain_words(copied: Path) -> None:
    """Mean and interval, the sentence, each configuration's row, and the test loss beside PCA's, whoever wins."""
    study = tuner.Study.open("tiny")
    final, shown = study.summary.final, display.summary(study)
    winner = final.configurations[0]
    assert f"{winner.mean:.6g} ± {(winner.high - winner.low) / 2:.2g}" in shown
    assert final.sentence in shown
    assert all(f"trial {one.trial} " in shown for one in final.configurations)
    pca = study.summary.baselines.pca
    assert f"autoencoder {final.test_loss:.4g}, PCA(2) {pca:.4g}: " in shown
    assert ("PCA is as good or better here" in shown) is (pca <= final.test_loss)


def test_the_progress_line_says_how_far_the_confirming_is() -> None:
    """Runs that are done, of all."""
    counts = {TrialState.COMPLETE: 8}
    progress = Progress("tiny", 8, counts, 0.25, 100.0, 3.0, 0, "confirming", (4, 15))
    assert line(progress) == "tiny: 8/8 trials · confirming 4/15 runs · best 0.25 · 0:03 left · 100 epochs/s"


def test_the_answer_on_postgres_is_the_same(
    workspace: Path, finished: Path, postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs, answer and record with the ledger on Postgres."""
    monkeypatch.setenv("TUNER_DATABASE_URL", postgres())
    study = tuner.run(staged(), workers=2)
    assert answer(study) == json.loads((finished / "answer.json").read_text())
    assert study.summary.mlflow.waiting == 0
    assert [(found.name, found.problems) for found in doctor()] == [(None, ()), ("tiny", ())]

"""Claims about the final stage of rules 4 of whole studies: recorded first, durable, exact, and told as what it is."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disturbed import disagreements, start_tuner, table
from mlflow import MlflowClient
from scipy import stats
from studies import fresh_folder, tiny, working_in

import tuner
from tuner.analysis.longer_stage import RUNS, STAGE, recorded_runs
from tuner.api.maintenance import doctor
from tuner.cli import display
from tuner.data.prepare import prepare
from tuner.data.sources import Sources
from tuner.learning.packs import training_data
from tuner.learning.training import train_alone
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import Event, TrialRecord
from tuner.orchestration.launch import Progress
from tuner.spec.final import index_of, is_choosing, trial_of
from tuner.spec.plateau import is_flat
from tuner.spec.work import Curve, TrainingPlan, Trial, derive_seed

EPOCHS = 3


def staged(**changes: Any) -> dict[str, Any]:
    """A study whose budget lets the final stage train three times as long as the search, and whose networks need it."""
    changes.setdefault("space", {**tiny()["space"], "skip": "none"})
    search = {"trials": 81, "epochs": EPOCHS, "cohort": 27, **changes.pop("search", {})}
    return tiny(search=search, **{"final": {"top": 2, "seeds": 2}, **changes})


def record_of(folder: Path, read: Callable[[Ledger, int], Any], name: str = "tiny") -> Any:
    ledger = Ledger.open(f"sqlite:///{folder / 'tuner.db'}")
    try:
        record = ledger.study(name)
        assert record is not None
        return read(ledger, record.id)
    finally:
        ledger.close()


def finals(folder: Path) -> list[TrialRecord]:
    return list(record_of(folder, lambda ledger, study: ledger.finals(study)))


def curves_of(folder: Path) -> dict[int, Curve]:
    return dict(record_of(folder, lambda ledger, study: ledger.curves(study)))


def events(folder: Path, kind: str) -> list[Event]:
    return [each for each in record_of(folder, lambda ledger, study: ledger.events(study)) if each.kind == kind]


def answer(study: tuner.Study) -> dict[str, Any]:
    """The summary without what differs between two runs of the same study."""
    return {name: value for name, value in study.summary.as_dict().items() if name not in ("seconds", "mlflow")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with a finished study and its export, made in this process without any event."""
    with working_in(fresh_folder(tmp_path_factory.mktemp("finished"), mlflow_store)) as folder:
        study = tuner.run(staged(), workers=0)
        assert study.outcome == "finished"
        study.export("best")
        (folder / "answer.json").write_text(json.dumps(answer(study)))
    return folder


@pytest.fixture
def copied(finished: Path, workspace: Path) -> Path:
    """The current folder, a copy of it."""
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    return workspace


def test_every_run_is_its_configuration_trained_alone_by_the_recorded_plan(copied: Path) -> None:
    """Law 1: seed by name, schedule and length from the record; every loss of `train_alone`, bit for bit. Both the run
    with cosine decay and longer trainings than the search's are among them."""
    study = tuner.Study.open("tiny")
    rows = prepare(study.spec, Sources(copied), Path(".tuner")).open()
    data = training_data(rows.train, rows.validation, "cpu", "fp32", "auto", rows.terms, start=rows.start)
    trials = {trial.number: trial for trial in study.records}
    plans, curves = recorded_runs(events(copied, RUNS)), curves_of(copied)
    runs = finals(copied)
    assert (len(runs), sum(is_choosing(run.number) for run in runs)) == (7, 5)
    assert {run.point.schedule for run in runs} == {"constant", "cosine"}
    assert max(run.epochs for run in runs) > EPOCHS
    for run in runs:
        of, index = trial_of(run.number), index_of(run.number)
        name = ("choosing", of, index // 2) if is_choosing(run.number) else ("final", of, index)
        assert run.seed == derive_seed(3, *name)
        assert run.point in (trials[of].point, replace(trials[of].point, schedule="cosine"))
        plan = TrainingPlan(plans[run.number].epochs)
        alone = train_alone(Trial(run.number, run.point, run.seed), data, "mse", run.epochs, plan=plan).curve
        assert curves[run.number].val_loss == alone.val_loss
        assert curves[run.number].train_loss == alone.train_loss


def test_lengths_follow_from_the_losses_and_are_recorded_before_the_first_step(copied: Path) -> None:
    """A run at a constant rate ends at the first look at which its losses are flat, or at the longest; all others have
    exactly the length that was recorded. Each event was written before the runs that it is about."""
    (stage,) = events(copied, STAGE)
    plans, curves = recorded_runs(events(copied, RUNS)), curves_of(copied)
    least, most = stage.body["allotment"]["least"], stage.body["allotment"]["most"]
    assert (least, most) == (EPOCHS, 3 * EPOCHS)
    for run in finals(copied):
        losses, plan = curves[run.number].val_loss, plans[run.number]
        told = next(event for event in events(copied, RUNS) if run.number in event.body["runs"])
        assert run.started_at is not None
        assert stage.at <= told.at <= run.asked_at <= run.started_at
        if plan.least is None:
            assert run.epochs == plan.epochs
            continue
        flat = [epoch for epoch in plan.ends if epoch >= least and is_flat(losses[:epoch])]
        assert run.epochs == (flat[0] if flat else most)
    winner = tuner.Study.open("tiny").winner.record
    (length,) = {run.epochs for run in finals(copied) if trial_of(run.number) == trial_of(winner.number)}
    assert length == winner.epochs


def test_the_winner_is_chosen_by_some_seeds_and_measured_on_others(copied: Path) -> None:
    """Recomputed from the runs: the lowest mean at a constant rate wins, the schedule that is lower from one seed is
    kept, mean and interval are of the further seeds alone, and the lowest of them is exported."""
    study, runs = tuner.Study.open("tiny"), {run.number: run for run in finals(copied)}
    final = study.summary.final
    assert final is not None and final.best is not None and final.training is not None
    chose: dict[int, list[float]] = {one.trial: [] for one in final.configurations}
    for number, run in runs.items():
        if is_choosing(number) and index_of(number) % 2 == 0:
            chose[trial_of(number)].append(run.value or np.inf)
    assert [len(losses) for losses in chose.values()] == [2, 2]
    assert final.winner == study.winner.trial == min(chose, key=lambda of: np.mean(chose[of]))
    (cosine,) = [run.value for n, run in runs.items() if is_choosing(n) and index_of(n) == 1]
    assert (final.training.constant, final.training.cosine) == (chose[final.winner][0], cosine)
    own = [run for n, run in runs.items() if not is_choosing(n)]
    assert {run.point.schedule for run in own} == {final.training.schedule}
    assert (final.training.schedule == "cosine") is (cosine < chose[final.winner][0])
    losses = [run.value for run in own]
    low, high = stats.t.interval(0.95, len(losses) - 1, loc=np.mean(losses), scale=stats.sem(losses))
    assert (final.best.mean, final.best.low, final.best.high) == pytest.approx((np.mean(losses), low, high))
    assert study.winner.record.value == min(losses)
    (use,) = events(copied, "test")
    assert sorted(use.body["runs"]) == [run.number for run in own]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_answer_does_not_depend_on_the_number_of_workers(workers: int, workspace: Path, finished: Path) -> None:
    """Law 2: trials, runs and the whole answer, bit for bit."""
    study = tuner.run(staged(), workers=workers)
    assert table(workspace) == table(finished)
    assert answer(study) == json.loads((finished / "answer.json").read_text())


@pytest.mark.parametrize("done", [0, 2, 4, 5])
def test_a_stop_in_any_step_goes_on_to_the_same_answer(done: int, workspace: Path, finished: Path) -> None:
    """Amid the lengths, the other seeds that choose, the schedules and the winner's seeds: the events are not written
    anew, and the next run has the table and the answer of a study that nobody stopped."""
    stop, seen = threading.Event(), []

    def watch(progress: Progress) -> None:
        if progress.confirmed is not None and progress.confirmed[0] >= done:
            seen.append(progress.confirmed)
            stop.set()

    study = tuner.run(staged(), workers=0, progress=watch, stop=stop)
    assert (study.outcome, seen[0][1]) == ("stopped", 7)
    before = [each.body for each in events(workspace, STAGE)]
    resumed = tuner.run(staged(), workers=0)
    assert (table(workspace), answer(resumed)) == (table(finished), json.loads((finished / "answer.json").read_text()))
    assert [each.body for each in events(workspace, STAGE)] == before == [each.body for each in events(finished, STAGE)]
    assert [each.body for each in events(workspace, RUNS)] == [each.body for each in events(finished, RUNS)]


@pytest.mark.long
def test_a_kill_in_the_final_stage_loses_nothing(workspace: Path) -> None:
    """kill -9 of the driver among the runs; run again: trials, runs and answer of the undisturbed study."""
    spec = staged(search={"epochs": 300, "trials": 40, "pruner": "none"}, final={"top": 2, "seeds": 3})
    (workspace / "study.yaml").write_text(json.dumps(spec))
    run = start_tuner(workspace, "run", "study.yaml", "--workers", "2")
    while run.poll() is None:
        if (workspace / "tuner.db").exists() and some_runs_are_recorded(workspace):
            break
    assert run.poll() is None, (workspace / "out.txt").read_text()
    run.kill()
    run.wait()
    assert any(each.epochs for each in finals(workspace))
    resumed = tuner.run(spec, workers=2)
    assert resumed.outcome == "finished"
    assert disagreements(workspace) == []
    here, found = table(workspace), answer(resumed)
    shutil.rmtree(workspace / ".tuner")
    (workspace / "tuner.db").unlink()
    undisturbed = tuner.run(spec, workers=0)
    assert (here, found) == (table(workspace), answer(undisturbed))


def some_runs_are_recorded(folder: Path) -> bool:
    with closing(sqlite3.connect(f"file:{folder / 'tuner.db'}?mode=ro", uri=True)) as connection:
        try:
            query = "SELECT count(*) FROM tuner_measurement WHERE trial >= 1000000000"
            return bool(connection.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            return False


def test_the_exported_weights_are_trained_again_from_nothing_to_the_same_bits(copied: Path) -> None:
    """Where the state is gone, by the study; and from the exported configuration alone, which has the length and the
    schedule of the final stage."""
    study, weights = tuner.Study.open("tiny"), Path("best/model.safetensors").read_bytes()
    states = list(Path(".tuner/checkpoints").rglob("*.safetensors"))
    assert any(path.name.startswith(study.summary.winner.run) for path in states)  # type: ignore[union-attr]
    for path in states:
        path.unlink()
    assert (study.export("again") / "model.safetensors").read_bytes() == weights
    model = tuner.train("best/config.yaml")
    assert (model.epochs, model.value) == (study.winner.record.epochs, study.winner.record.value)
    assert (model.export("alone") / "model.safetensors").read_bytes() == weights


def test_pruned_trials_are_candidates_so_that_there_are_always_enough(workspace: Path) -> None:
    """Of a cohort of six that halves one trial is complete; three different configurations are compared all the same,
    the best by prediction, and the study agrees with itself whoever wins."""
    study = tuner.run(staged(search={"trials": 6, "cohort": 6, "epochs": 9}, final={"top": 3, "seeds": 2}), workers=0)
    assert study.counts == {"complete": 1, "pruned": 5}
    final = study.summary.final
    assert final is not None
    assert sorted(one.pruned for one in final.configurations) == [False, True, True]
    assert len({json.dumps(dict(one.params)) for one in final.configurations}) == 3
    from tuner.analysis.prediction import predicted

    found = predicted(study.records, curves_of(workspace))
    best = sorted(found, key=found.__getitem__)[:3]
    assert sorted(one.trial for one in final.configurations) == sorted(best)
    assert {one.trial: one.predicted for one in final.configurations} == {number: found[number] for number in best}
    assert [(each.name, each.problems) for each in doctor()] == [(None, ()), ("tiny", ())]


def test_more_seeds_train_what_is_missing_and_no_more(workspace: Path) -> None:
    """One seed becomes two: the second alone is trained, all else is as it was; then one again: nothing is."""
    one = tuner.run(staged(final={"top": 2, "seeds": 1}), workers=0)
    assert one.summary.final is not None and one.summary.final.best is not None
    assert (len(one.summary.final.best.losses), one.summary.final.best.low) == (1, None)
    before, work = finals(workspace), len(record_of(workspace, lambda ledger, study: ledger.segments(study)))
    more = tuner.run(staged(), workers=0)
    assert [run for run in finals(workspace) if run.number in {each.number for each in before}] == before
    segments = record_of(workspace, lambda ledger, study: ledger.segments(study))[work:]
    (trained,) = {number for segment in segments for number in segment.trials}
    assert (trial_of(trained), index_of(trained), is_choosing(trained)) == (one.winner.trial, 1, False)
    assert more.summary.final is not None and more.summary.final.best is not None
    assert len(more.summary.final.best.losses) == 2
    fewer = tuner.run(staged(final={"top": 2, "seeds": 1}), workers=0)
    assert fewer.summary.final is not None and fewer.summary.final.best == one.summary.final.best
    assert len(record_of(workspace, lambda ledger, study: ledger.segments(study))) == work + len(segments)
    assert tuner.run(staged(final={"top": 2, "seeds": 1}), workers=0).outcome == "nothing-left"


def test_a_study_that_goes_on_begins_another_stage_and_keeps_its_runs(copied: Path) -> None:
    """With a larger budget: what was trained stays as it was, the stage is of all trials, and the record agrees."""
    before = finals(copied)
    study = tuner.run(staged(search={"trials": 162}), workers=0)
    assert study.outcome == "finished"
    assert [run for run in finals(copied) if run.number in {one.number for one in before}] == before
    assert [each.body["trials"] for each in events(copied, STAGE)] == [81, 162]
    assert study.summary.final is not None and study.summary.final.trials == 162
    assert [(each.name, each.problems) for each in doctor()] == [(None, ()), ("tiny", ())]
    assert disagreements(copied) == []


def test_without_the_stage_the_best_trial_is_scored(copied: Path) -> None:
    """`final: none` as ever; turned on again, the record's answer, and nothing is trained."""
    off = tuner.run(staged(final="none"), workers=0)
    assert (off.summary.final, off.winner.record) == (None, off.best)
    on = tuner.run(staged(), workers=0)
    assert on.summary.final.as_dict() == json.loads((copied / "answer.json").read_text())["final"]


def test_of_a_front_the_knee_is_trained_longer(workspace: Path) -> None:
    """Alone: its length is found, its schedule chosen, and its seeds measured."""
    space = {**tiny()["space"], "bottleneck": {"type": "int", "low": 1, "high": 3}}
    declared = staged(space=space, objective=["val_loss", "bottleneck"], search={"trials": 18, "cohort": 9})
    study = tuner.run(declared, workers=0)
    final = study.summary.final
    assert final is not None and final.training is not None
    assert [one.trial for one in final.configurations] == [study.best.number] == [final.winner]
    assert final.sentence.startswith(f"Trial {study.best.number}, the knee of the front, was trained again.")
    assert [is_choosing(run.number) for run in finals(workspace)] == [False, False, True, True]


def test_what_is_exported_is_told_as_the_lowest_of_its_seeds_beside_their_mean(copied: Path) -> None:
    """On the terminal, in the report, in the export's README and card, in the answer, and in MLflow."""
    study = tuner.Study.open("tiny")
    final, winner = study.summary.final, study.summary.winner
    assert final is not None and final.best is not None and winner is not None
    assert winner.validation_loss == min(winner.seeds) < winner.value == final.best.mean
    assert winner.validation_loss_is == "the lowest of 2 seeds"
    shown = display.summary(study)
    assert f"{winner.validation_loss:.6g} (the lowest of 2 seeds)" in shown
    assert f"{winner.mean:.6g}" in shown
    assert f"the lowest of 2 seeds by validation loss; the mean over them is {winner.mean_test_loss:.4g}." in shown
    assert final.sentence in shown
    readme = Path("best/README.md").read_text()
    assert f"this model's is the lowest of 2 seeds, their mean {winner.mean:.6g}" in readme
    assert final.sentence in readme
    card = json.loads(Path("best/metrics.json").read_text())
    assert (card["losses"]["validation_is"], card["final"]["mean"]) == ("the lowest of 2 seeds", winner.mean)
    assert card["params"]["schedule"] == final.training.schedule  # type: ignore[union-attr]
    page = study.report("report.html").read_text()
    assert f"the lowest of 2 seeds, so below their mean, {winner.mean:.4g}" in page
    client, mlflow = MlflowClient(study.summary.mlflow.tracking_uri), study.summary.mlflow
    parent = client.get_run(mlflow.run_id)
    assert parent.data.tags["final.exported_loss_is"] == "the lowest of 2 seeds"
    assert parent.data.metrics["final.mean"] == winner.mean


def test_mlflow_tells_the_runs_that_choose_from_those_that_measure(copied: Path) -> None:
    """Children of the study with a stage of their own; the store agrees with the record."""
    study = tuner.Study.open("tiny")
    client, mlflow = MlflowClient(study.summary.mlflow.tracking_uri), study.summary.mlflow
    runs = client.search_runs([mlflow.experiment_id], f"tags.mlflow.parentRunId = '{mlflow.run_id}'")
    stages = [run.data.tags["tuner.stage"] for run in runs]
    assert {name: stages.count(name) for name in set(stages)} == {"search": 81, "choosing": 5, "final": 2}
    for run in runs:
        stage = run.data.tags["tuner.stage"]
        assert ("choosing_loss" in run.data.metrics) is (stage == "choosing")
        assert ("final_loss" in run.data.metrics) is (stage == "final")
    assert disagreements(copied) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE tuner_trial SET seed = 1 WHERE number = {run}", "its configuration or seed is not that"),
        ("UPDATE tuner_trial SET value = value / 2 WHERE number = {run}", "it ended with value"),
        ("UPDATE tuner_trial SET state = 'running' WHERE number = {run}", "but it is running"),
    ],
)
@pytest.mark.parametrize("choosing", [False, True])
def test_the_doctor_names_a_run(copied: Path, statement: str, words: str, choosing: bool) -> None:
    """What is changed behind the tuner's back, by run and trial."""
    run = next(run.number for run in finals(copied) if is_choosing(run.number) is choosing)
    with closing(sqlite3.connect("tuner.db")) as connection:
        connection.execute(statement.format(run=run))
        connection.commit()
    found = [problem for each in doctor() for problem in each.problems]
    name = f"{'choosing ' * choosing}run {index_of(run)} of trial {trial_of(run)}: "
    assert any(name in problem and words in problem for problem in found), found

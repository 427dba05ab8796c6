"""Claims about the Pareto front of a real study."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from disturbed import run_tuner
from studies import fresh_folder, tiny
from test_study import table

import tuner
from tuner.errors import StudyError


def both(**changes: Any) -> dict[str, Any]:
    """The tiny study with the length of its code searched as well."""
    space = {**tiny()["space"], "bottleneck": {"type": "int", "low": 1, "high": 4}}
    search = {"trials": 18, "epochs": 9, "cohort": 9, **changes.pop("search", {})}
    return tiny(space=space, objective=["val_loss", "bottleneck"], search=search, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with that study."""
    folder = fresh_folder(tmp_path_factory.mktemp("front"), mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert tuner.run(both(), workers=0).outcome == "finished"
    return folder


@pytest.fixture
def study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuner.Study:
    """The study, in its folder."""
    monkeypatch.chdir(folder)
    return tuner.Study.open("tiny")


def test_the_front_is_what_no_complete_trial_dominates(study: tuner.Study) -> None:
    """By the definition, from the table of trials; Optuna's study has the same front and the same values."""
    complete = study.trials[study.trials.state == "complete"]
    values = {int(row["number"]): (row["value"], row["param.bottleneck"]) for _, row in complete.iterrows()}
    front = {
        n
        for n, mine in values.items()
        if not any(o[0] <= mine[0] and o[1] <= mine[1] and o != mine for o in values.values())
    }
    assert set(study.front.number) == front
    assert {trial.number for trial in study.optuna_study.best_trials} == front
    assert optuna.visualization.plot_pareto_front(study.optuna_study).data
    assert study.front.val_loss.is_monotonic_increasing


def test_pca_stands_beside_every_length(study: tuner.Study) -> None:
    """scikit-learn's PCA of that length, fitted on the training rows, on the validation rows."""
    from sklearn.datasets import load_iris
    from sklearn.decomposition import PCA

    from tuner.data.split import split_rows

    raw = load_iris().data
    split = split_rows(len(raw), 0.2, 0.1, 3)
    low, high = raw[split.train].min(axis=0), raw[split.train].max(axis=0)
    train, validation = (((raw[part] - low) / (high - low)) for part in (split.train, split.validation))
    for point in study.front_points:
        pca = PCA(point.bottleneck).fit(train)
        rebuilt = pca.inverse_transform(pca.transform(validation))
        assert point.pca_val_loss == pytest.approx(float(np.mean((rebuilt - validation) ** 2)), rel=1e-4, abs=1e-9)


def test_the_knee_is_scored_and_exported_and_any_other_can_be(study: tuner.Study, tmp_path: Path) -> None:
    """The export's card names the trial; another trial's weights are trained again to its own recorded loss."""
    assert study.best.number == int(study.front.number[study.front.knee].item()) == study.summary.best.number
    assert study.summary.best.test_loss is not None
    assert json.loads((study.export(tmp_path / "best") / "metrics.json").read_text())["trial"] == study.best.number
    other = next(t for t in study.records if t.state == "complete" and t.number != study.best.number)
    ran = run_tuner(Path.cwd(), "export", "tiny", str(tmp_path / "other"), "--trial", str(other.number))
    assert ran.returncode == 0, ran.stderr
    card = json.loads((tmp_path / "other" / "metrics.json").read_text())
    assert (card["trial"], card["losses"]["test"]) == (other.number, None)
    assert tuner.train(tmp_path / "other" / "config.yaml").value == other.value
    pruned = next(t for t in study.records if t.state == "pruned")
    with pytest.raises(StudyError, match=f"trial {pruned.number} must be complete to be exported, but it is pruned"):
        study.export(tmp_path / "pruned", trial=pruned.number)


def test_the_table_does_not_depend_on_workers_or_stops(folder: Path, workspace: Path) -> None:
    """Law 2: stopped at once and run on by 2 workers, bit for bit."""
    assert tuner.run(both(search={"timeout": 0.001}), workers=0).outcome == "timeout"
    tuner.run(both(), workers=2)
    assert table(workspace) == table(folder)


def test_the_command_shows_writes_and_refuses(study: tuner.Study, folder: Path) -> None:
    """The table, CSV and JSON hold the same points; a study with one objective has no front."""
    ran = run_tuner(folder, "front", "tiny", "-o", "front.csv", "--json")
    points = json.loads(ran.stdout)
    with (folder / "front.csv").open() as file:
        assert [float(row["val_loss"]) for row in csv.DictReader(file)] == [p["val_loss"] for p in points]
    assert sum(point["knee"] for point in points) == 1
    assert run_tuner(folder, "front", "tiny").stdout.count("\n") == len(points) + 1
    tuner.run(tiny(name="one", search={"trials": 2, "epochs": 1}), workers=0)
    assert "has one objective" in run_tuner(folder, "front", "one").stderr


def test_the_final_stage_trains_the_knee_alone_again(workspace: Path) -> None:
    """With all its seeds, and the sentence says what it is; stopped and gone on with, the answer is the same."""
    declared = both(final={"top": 3, "seeds": 3})
    study = tuner.run(declared, workers=0)
    final = study.summary.final
    assert [one.trial for one in final.configurations] == [study.best.number] == [final.winner]
    assert len(final.configurations[0].losses) == 3
    assert final.sentence.startswith(f"Trial {study.best.number}, the knee of the front, was trained again.")
    assert study.best.number == study.front.number[study.front.knee].item()
    assert tuner.run(declared, workers=0).outcome == "nothing-left"


def test_parameters_are_an_objective_too(workspace: Path) -> None:
    """Their number, of the whole model: the exported one's."""
    study = tuner.run({**both(), "objective": ["val_loss", "parameters"]}, workers=0)
    knee = next(point for point in study.front_points if point.knee)
    card = json.loads((study.export("best") / "metrics.json").read_text())
    assert knee.parameters == card["parameters"]
    sizes = [point.parameters for point in study.front_points]
    assert sizes == sorted(sizes, reverse=True)

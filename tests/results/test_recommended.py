"""Claims about the recommended model: `winner` says all of it, and what its loss is is said wherever it is shown."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from pages import Page
from studies import fresh_folder, tiny, working_in

import tuner
from tuner.api.listing import compare
from tuner.cli import display
from tuner.data.split import split_rows
from tuner.export.model_card import Card
from tuner.export.threshold import halves
from tuner.report.comparison import as_text

SEEDS = 3


def staged(**changes: Any) -> dict[str, Any]:
    search = {"pruner": "none", "trials": 6, "epochs": 5, "cohort": 3}
    return tiny(search=search, **{"final": {"top": 2, "seeds": SEEDS}, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    with working_in(fresh_folder(tmp_path_factory.mktemp("finished"), mlflow_store)) as folder:
        tuner.run(staged(), workers=0).export("best", quantile=0.8)
    return folder


@pytest.fixture
def copied(finished: Path, workspace: Path) -> Path:
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    return workspace


def read_card(folder: str) -> Card:
    return Card.model_validate_json(Path(folder, "metrics.json").read_text())


def check_agrees(winner: dict[str, Any], card: Card) -> None:
    """Everything that the export says of its model."""
    assert (winner["trial"], winner["seed"], winner["fingerprint"]) == (card.trial, card.seed, card.fingerprint)
    assert (winner["best_epoch"], winner["epochs"], winner["loss"]) == (card.best_epoch, card.epochs, card.loss)
    assert (winner["sizes"], winner["parameters"]) == (list(card.sizes), card.parameters)
    assert winner["params"].items() <= card.params.items()
    assert (winner["validation_loss"], winner["validation_loss_is"]) == (
        card.losses.validation,
        card.losses.validation_is,
    )
    assert winner["test_loss"] == card.losses.test
    known = card.losses.baselines
    assert (winner["validation_baselines"], winner["baselines"]) == (known.validation, known.test)


def test_the_winner_is_what_export_writes(copied: Path) -> None:
    """With a final stage: `metrics.json`'s figures, and the runs' own; `best.test_loss` stays as it was."""
    study = tuner.Study.open("tiny")
    summary, card = json.loads(display.as_json(study)), read_card("best")
    winner, final = summary["winner"], summary["final"]
    check_agrees(winner, card)
    assert card.final is not None
    assert winner["run"] == f"final-{final['winner']:04}-{final['exported']}"
    assert winner["validation_loss"] == min(winner["validation_losses"]) <= winner["mean"]
    assert winner["validation_loss_is"] == "the lowest of 3 seeds"
    assert winner["validation_losses"] == list(card.final.losses)
    assert (winner["mean"], winner["low"], winner["high"]) == (card.final.mean, card.final.low, card.final.high)
    assert (winner["test_loss"], winner["mean_test_loss"]) == (final["test_loss"], final["mean_test_loss"])
    assert winner["measures"] == dict(study.winner.record.measures) != {}
    assert summary["best"]["test_loss"] is None


def test_without_a_final_stage_it_is_the_best_trial(copied: Path) -> None:
    """Of a study with the stage switched off: chosen from the complete trials, not from seeds."""
    study = tuner.run(staged(final="none"), workers=0)
    winner = study.summary.winner
    study.export("other")
    check_agrees(winner.as_dict(), read_card("other"))
    assert winner.run == f"trial-{study.best.number:04}"
    assert winner.validation_loss_is == "the lowest of 6 complete trials"
    assert (winner.mean, winner.validation_losses) == (None, None)
    assert winner.test_loss == winner.mean_test_loss == study.summary.best.test_loss


def test_before_the_end_it_has_no_test_loss(copied: Path) -> None:
    """A summary that was never written, and one of a version without a final stage."""
    with closing(sqlite3.connect("tuner.db")) as connection, connection:
        connection.execute("UPDATE tuner_study SET summary = NULL")
    study = tuner.Study.open("tiny")
    winner = study.summary.winner
    assert (winner.trial, winner.test_loss) == (study.best.number, None)
    old = {"best": {"number": study.best.number, "value": study.best.value, "test_loss": 0.5}, "seconds": 1.0}
    with closing(sqlite3.connect("tuner.db")) as connection, connection:
        connection.execute("UPDATE tuner_study SET summary = ?", [json.dumps(old)])
    assert tuner.Study.open("tiny").summary.winner.test_loss == 0.5


def test_a_study_without_a_complete_trial_has_no_winner(workspace: Path) -> None:
    """Every trial diverges."""
    np.save("rows.npy", np.random.default_rng(0).normal(size=(60, 5)) * 1e25)
    # By rules 4 rows are brought to size one before a network reads them, and nothing diverges.
    study = tuner.run(staged(rules=3, data={"source": "rows.npy", "scaling": "none"}), workers=0)
    assert study.summary.winner is None


def test_the_exported_loss_is_called_the_lowest_wherever_it_is_shown(copied: Path) -> None:
    """On the terminal, in the report, the export's README, a comparison and MLflow, each beside the mean."""
    study = tuner.Study.open("tiny")
    winner = study.summary.winner
    loss, mean = f"{winner.validation_loss:.6g}", f"{winner.mean:.6g}"
    shown = display.summary(study)
    assert f"{loss} (the lowest of 3 seeds)" in shown
    assert f"{mean} ± " in shown and "(mean over 3 seeds)" in shown
    page = Page(study.report("page.html").read_text()).words
    assert f"{winner.run}, with a validation loss of" in page and "the lowest of 3 seeds, so below their mean" in page
    assert "mean validation loss of 3 seeds" in page and "test loss of the exported run" in page
    text = Path("best/README.md").read_text()
    assert (
        f"| validation rows (compared by; this model's is the lowest of 3 seeds, their mean {mean}) | {loss} |" in text
    )
    assert f"validation loss is {mean} on average" in text
    assert f"its test loss {winner.mean_test_loss:.6g}" in text
    assert "the one with the lowest validation loss" in as_text(compare(["tiny", "tiny"]))
    run = MlflowClient(study.summary.mlflow.tracking_uri).get_run(study.summary.mlflow.run_id).data
    assert run.metrics["final.exported_loss"] == winner.validation_loss
    assert run.tags["final.exported_loss_is"] == "the lowest of 3 seeds"


def test_the_threshold_of_a_scored_model_is_set_on_half_of_the_test_rows(copied: Path) -> None:
    """Seven of iris' fifteen are enough for 0.8: the (7 + 1) 0.8-th smallest of their scores, and the other eight are
    counted; another trial's is set on validation rows, and so is the winner's for 0.99."""
    from sklearn.datasets import load_iris

    model, rows = tuner.load_model("best"), load_iris().data
    test = rows[split_rows(len(rows), 0.2, 0.1, 3).test].astype(np.float32)
    first, second = (model.score(half) for half in halves(test, 3))
    known = model.card.anomaly
    assert known is not None and known.checked is not None and known.threshold is not None
    assert (known.split, known.rows, known.expected) == ("test", 7, pytest.approx(1 / 8))
    assert np.sort(first)[6] < known.threshold <= 1.002 * np.sort(first)[6]
    assert (known.checked.rows, known.checked.above) == (8, (second > known.threshold).sum())
    text = Path("best/README.md").read_text()
    assert "| test rows (scored once; half of them also set the threshold below) |" in text
    assert "set on 7 test rows: 12 % of fresh rows like them are expected above it, and " in text
    study = tuner.Study.open("tiny")
    other = next(trial.number for trial in study.records if trial.number != study.winner.trial)
    study.export("other", trial=other, quantile=0.8)
    study.export("winner")
    assert [read_card(name).anomaly.split for name in ("other", "winner")] == ["validation", "validation"]  # type: ignore[union-attr]
    assert tuner.train("best/config.yaml").export("again", quantile=0.8)
    assert read_card("again").anomaly == known

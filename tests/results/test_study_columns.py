"""Claims about columns of a table: what a study says of each of them, in every place where it says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, r2_score
from studies import fresh_folder, tiny
from typer.testing import CliRunner

import tuner
from tuner.answers.parts import ColumnQuality
from tuner.cli import display
from tuner.cli.app import app
from tuner.data.split import split_rows
from tuner.export.model import ExportedModel
from tuner.ledger.ledger import Ledger

NUMBERS, CLASSES = ("height", "visits"), ("ill", "town")
COUNT = 300


def people(missing: float) -> pd.DataFrame:
    """Numbers, a count, a yes or no, levels and days that one hidden value explains, with noise."""
    draw = np.random.default_rng(0)
    hidden = draw.normal(size=COUNT)
    seen = hidden + 0.2 * draw.normal(size=(4, COUNT))
    frame = pd.DataFrame(
        {
            "height": (170 + 9 * seen[0]).round(1),
            "visits": draw.poisson(np.exp(1 + hidden / 2)),
            "ill": np.where(seen[1] > 0.5, "yes", "no"),
            "town": np.array(["Ulm", "Bonn", "Köln"])[np.digitize(seen[2], [-0.5, 0.5])],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta((200 * (3 + seen[3])).astype(int), unit="D"),
        }
    )
    for name in frame:
        frame.loc[draw.random(COUNT) < missing, name] = None
    return frame


@dataclass(frozen=True)
class Told:
    """A finished study of a mixed table, its export and the rows that were held out, as they were read."""

    study: tuner.Study
    folder: Path
    model: ExportedModel
    test: pd.DataFrame
    validation: pd.DataFrame


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "TUNER_DATABASE_URL"):
            patch.delenv(name, raising=False)
        folder = fresh_folder(tmp_path_factory.mktemp("columns"), mlflow_store)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def told(home: Path) -> Told:
    people(0.06).to_csv("people.csv", index=False)
    search = {"trials": 2, "epochs": 12, "cohort": 2, "pruner": "none"}
    study = tuner.run(
        tiny(name="people", data={"source": "people.csv", "missing": "mask"}, loss="mixed", search=search), workers=0
    )
    folder = study.export("best")
    frame, split = pd.read_csv("people.csv"), split_rows(COUNT, 0.2, 0.1, 3)
    test, validation = (frame.iloc[places].reset_index(drop=True) for places in (split.test, split.validation))
    return Told(study, folder, tuner.load_model(folder), test, validation)


def check(found: tuple[ColumnQuality, ...], rows: pd.DataFrame, encoded: np.ndarray, rebuilt: np.ndarray) -> None:
    """Held to scikit-learn, given encoded rows: height, visits, ill, the towns in the order of levels, the moments."""
    by_name = {one.name: one for one in found}
    assert list(by_name) == list(rows)
    assert [one.type for one in found] == ["numeric", "count", "boolean", "categorical", "datetime"]
    for at, name in enumerate(NUMBERS):
        known = rows[name].notna().to_numpy()
        assert by_name[name].observed == known.sum()
        assert by_name[name].r2 == pytest.approx(r2_score(encoded[known, at], rebuilt[known, at]), rel=1e-4)
    known = rows["day"].notna().to_numpy()
    whole = r2_score(encoded[known, 7:], rebuilt[known, 7:], multioutput="variance_weighted")
    assert by_name["day"].r2 == pytest.approx(whole, rel=1e-4)
    levels = np.array(["Bonn", "Köln", "Ulm", "(other)"])
    guesses = {"ill": np.where(rebuilt[:, 2] > 0.5, "yes", "no"), "town": levels[rebuilt[:, 3:7].argmax(1)]}
    for name, guess in guesses.items():
        known = rows[name].notna().to_numpy()
        assert by_name[name].observed == known.sum()
        assert by_name[name].accuracy == pytest.approx(accuracy_score(rows[name][known], guess[known]))
        assert by_name[name].commonest == pytest.approx(rows[name][known].value_counts(normalize=True).max())
        assert by_name[name].r2 is None
    assert sum(one.share for one in found) == pytest.approx(1)


def test_the_answer_has_each_columns_quality_on_the_test_rows(told: Told) -> None:
    """R2 and accuracy are scikit-learn's, of what model.onnx makes of the test rows; the summary stores the same."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(told.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    encoded = told.model.encoded(told.test)
    (rebuilt,) = session.run(["reconstruction"], {"rows": encoded})
    answer = told.study.summary
    check(answer.columns, told.test, encoded, rebuilt)
    stored = Ledger.look("sqlite:///tuner.db", Path.cwd())
    summary = stored.summary(1)
    stored.close()
    assert summary is not None
    assert summary.columns == answer.columns
    printed = CliRunner().invoke(app, ["show", "people", "--json"]).stdout
    assert json.loads(printed)["columns"] == [one.as_dict() for one in answer.columns]


def test_a_table_under_mse_is_told_by_the_nearest_level(home: Path) -> None:
    """Without terms all columns are squares: the level with the largest value is the guess, yes above a half."""
    people(0).to_csv("whole.csv", index=False)
    search = {"trials": 1, "epochs": 8, "pruner": "none"}
    study = tuner.run(tiny(name="whole", data={"source": "whole.csv"}, loss="mse", search=search), workers=0)
    trained = study._trained(study.winner.record)
    assert trained.rows.terms is None
    test = pd.read_csv("whole.csv").iloc[split_rows(COUNT, 0.2, 0.1, 3).test].reset_index(drop=True)
    check(study.summary.columns, test, trained.rows.test, trained.network.reconstruct(trained.rows.test))


def test_a_study_that_goes_on_keeps_what_it_knows_of_its_winner(told: Told) -> None:
    """A summary that is made again while the same run wins has the same columns; an array's study has none."""
    from tuner.analysis.test_score import Scorer

    ledger = Ledger.open("sqlite:///tuner.db")
    known = ledger.summary(1)
    trained = told.study._trained(told.study.best)
    scorer = Scorer(ledger, (1, told.study.spec), trained.rows, None, "cpu")  # type: ignore[arg-type] # nothing is made
    assert scorer.summary(told.study.best, None, known).columns == told.study.summary.columns
    ledger.close()


def test_the_command_line_shows_the_worst_columns_first(told: Told) -> None:
    """Each with R2, or accuracy beside the commonest value's share; of many columns 20, and how many more."""
    lines = display.summary(told.study).splitlines()
    at = lines.index("Columns of the test rows, the worst first:")
    assert lines[at + 1].split() == ["column", "type", "reconstructed", "commonest", "rows"]
    by_name = {line.split()[0]: line.split() for line in lines[at + 2 : at + 7]}
    for one in told.study.summary.columns:
        merit = f"{one.accuracy if one.r2 is None else one.r2:.3f}"
        beside = "–" if one.commonest is None else f"{one.commonest:.3f}"
        kind = "accuracy" if one.r2 is None else "R2"
        assert by_name[one.name] == [one.name, one.type, kind, merit, beside, str(one.observed)]
    from tuner.cli.columns import columns

    def of(number: int) -> ColumnQuality:
        made = {"name": f"n{number}", "type": "numeric", "observed": 9, "accuracy": None, "commonest": None, "share": 0}
        return ColumnQuality(**made, r2=number / 30)

    many = columns([of(number) for number in range(30)])
    assert [line.split()[0] for line in many[3:23]] == [f"n{number}" for number in range(20)]
    assert many[23:] == ["  10 more columns are reconstructed better."]
    assert columns([]) == []

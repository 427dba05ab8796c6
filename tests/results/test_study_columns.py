"""Claims about columns of a table: what a study says of each of them, in every place where it says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from pages import Page
from sklearn.metrics import accuracy_score, r2_score
from studies import fresh_folder, tiny
from typer.testing import CliRunner

import tuner
from tuner.analysis.test_score import Scorer
from tuner.answers.parts import ColumnQuality
from tuner.cli import display
from tuner.cli.app import app
from tuner.cli.columns import columns
from tuner.data.split import split_rows
from tuner.errors import DataError
from tuner.export.apply import Request, apply
from tuner.export.model import ExportedModel
from tuner.ledger.ledger import Ledger
from tuner.report.model_sections import columns as columns_section

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
    assert by_name["day"].r2 == pytest.approx(r2_score(encoded[known, 7], rebuilt[known, 7]), rel=1e-4)
    levels = np.array(["Bonn", "Köln", "Ulm", "(other)"])
    guesses = {"ill": np.where(rebuilt[:, 2] > 0.5, "yes", "no"), "town": levels[rebuilt[:, 3:7].argmax(1)]}
    for name, guess in guesses.items():
        known = rows[name].notna().to_numpy()
        assert by_name[name].observed == known.sum()
        assert by_name[name].accuracy == pytest.approx(accuracy_score(rows[name][known], guess[known]))
        assert by_name[name].commonest == pytest.approx(rows[name][known].value_counts(normalize=True).max())
        assert by_name[name].r2 is None
    assert sum(one.share for one in found) == pytest.approx(1)


def number_of(ledger: Ledger) -> int:
    """The study's number, whichever other studies are there."""
    record = ledger.study("people")
    assert record is not None
    return record.id


def test_the_answer_has_each_columns_quality_on_the_test_rows(told: Told) -> None:
    """R2 and accuracy are scikit-learn's, of what model.onnx makes of the test rows; the summary stores the same."""
    session = onnxruntime.InferenceSession(str(told.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    encoded = told.model.encoded(told.test)
    (rebuilt,) = session.run(["reconstruction"], {"rows": encoded})
    answer = told.study.summary
    check(answer.columns, told.test, encoded, rebuilt)
    stored = Ledger.look("sqlite:///tuner.db", Path.cwd())
    summary = stored.summary(number_of(stored))
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
    ledger = Ledger.open("sqlite:///tuner.db")
    number = number_of(ledger)
    known = ledger.summary(number)
    trained = told.study._trained(told.study.best)
    scorer = Scorer(ledger, (number, told.study.spec), trained.rows, None, "cpu")  # type: ignore[arg-type] # nothing is made
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

    def of(number: int) -> ColumnQuality:
        made = {"name": f"n{number}", "type": "numeric", "observed": 9, "accuracy": None, "commonest": None, "share": 0}
        return ColumnQuality(**made, r2=number / 30)

    many = columns([of(number) for number in range(30)])
    assert [line.split()[0] for line in many[3:23]] == [f"n{number}" for number in range(20)]
    assert many[23:] == ["  10 more columns are reconstructed better."]
    assert columns([]) == []


def test_the_export_says_it_too(told: Told) -> None:
    """metrics.json has every column, README.md a table of the worst; a folder from before that has none."""
    assert told.model.card.columns == told.study.summary.columns
    text = (told.folder / "README.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    names = [row[0] for row in rows if row[0] in told.model.names]
    assert sorted(names) == sorted(told.model.names)
    skills = {one.name: one.skill for one in told.study.summary.columns}
    assert [skills[name] for name in names] == sorted(skills.values())
    card = json.loads((told.folder / "metrics.json").read_text())
    del card["columns"]
    assert type(told.model.card).model_validate_json(json.dumps(card)).columns == ()


def test_the_parts_of_a_rows_score_are_its_columns(told: Told, tmp_path: Path) -> None:
    """They sum to the score, a missing value has none, and what is changed in a row raises the part of its column."""
    parts, scores = told.model.parts(told.test), told.model.score(told.test)
    assert list(parts) == list(told.model.names)
    np.testing.assert_allclose(parts.sum(axis=1), scores, rtol=1e-6)
    assert (parts.to_numpy()[told.test[list(parts)].isna()] == 0).all()
    odd = told.test.assign(height=400.0)
    assert (told.model.parts(odd).idxmax(axis=1) == "height").all()
    told.test.to_csv(tmp_path / "rows.csv", index=False)
    apply(told.folder, Request("score", tmp_path / "s.csv", str(tmp_path / "rows.csv"), keep=("town",), parts=True))
    written = pd.read_csv(tmp_path / "s.csv")
    assert list(written) == ["town", "score", "anomaly", *(f"score: {name}" for name in told.model.names)]
    np.testing.assert_allclose(written["score"], scores, rtol=1e-6)
    np.testing.assert_allclose(written.iloc[:, 3:], parts, rtol=1e-5, atol=1e-9)
    words = ["apply", str(told.folder), str(tmp_path / "rows.csv"), "--what", "score", "-o", str(tmp_path / "s.npy")]
    assert CliRunner().invoke(app, [*words, "--parts"]).exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), np.column_stack([scores, parts]), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"onnx": True},
            r"^--parts: must be computed by PyTorch, for model\.onnx gives scores alone; leave out --onnx\.$",
        ),
        ({"what": "encode"}, r"^--parts: must be given with score, whose parts they are, got encode\.$"),
        ({"keep": ("score: town",)}, r"^--keep score: town: the result has a column of that name\.$"),
        ({"what": "sample", "data": None}, r"^sample draws new rows: it takes no data, and none of .* --parts\.$"),
    ],
)
def test_parts_that_cannot_be_are_one_sentence(
    changes: dict[str, object], message: str, told: Told, tmp_path: Path
) -> None:
    """By onnxruntime, of codes, of no rows, beside a kept column of their name."""
    frame = told.test.assign(**{"score: town": 1})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    known = {"what": "score", "output": tmp_path / "s.csv", "data": str(tmp_path / "rows.csv"), "parts": True}
    with pytest.raises(DataError, match=message):
        apply(told.folder, Request(**{**known, **changes}))


def kept_table(name: str) -> pd.DataFrame:
    (path,) = Path(f".tuner/answers/{tuner.Study.open('people').key}").glob(f"*/study/{name}.json")
    read = json.loads(path.read_text())
    return pd.DataFrame(read["data"], columns=read["columns"])


def test_mlflows_tables_have_the_datas_own_columns_and_words(told: Told) -> None:
    """The worst rows' worst columns in raw units and levels, errors by declared column, and how good each column is."""
    split = split_rows(COUNT, 0.2, 0.1, 3).validation
    parts, rebuilt = told.model.parts(told.validation), told.model.reconstruct(told.validation)
    worst = kept_table("worst_rows")
    assert len(worst) == 20
    for number, error, name, value, guess in worst.itertuples(index=False):
        place = int(np.flatnonzero(split == number - 1)[0])
        assert error == pytest.approx(parts.iloc[place].sum(), rel=1e-4)
        assert name == parts.columns[parts.iloc[place].argmax()]
        for told_value, own in ((value, told.validation[name][place]), (guess, rebuilt[name][place])):
            if name in NUMBERS:
                assert told_value == pytest.approx(float(own), rel=1e-4)
                assert isinstance(told_value, int) == (name == "visits")
            else:
                assert told_value == str(own).removesuffix(" 00:00:00")
    errors = kept_table("feature_errors")
    assert sorted(errors.feature) == sorted(told.model.names)
    assert errors.share.sum() == pytest.approx(1)
    known = kept_table("columns")
    assert sorted(known.name) == sorted(told.model.names)
    by_name = {one.name: one for one in told.study.summary.columns}
    assert all(row.share == by_name[row.name].share for row in known.itertuples(index=False))


def test_the_report_tells_columns_and_no_encoded_ones(told: Told, tmp_path: Path) -> None:
    """The section on columns, errors by declared column without NaN, and rows with their worst column's value."""
    content = told.study.report(tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(content)
    cells = [cell for row in page.cells for cell in row]
    assert not {"nan", "NaN", "inf", "None"} & set(cells)
    assert not any(name in cells for name in ("town=Ulm", "day (month cos)"))
    start = page.cells.index(["column", "type", "reconstructed", "commonest", "rows"])
    by_name = {row[0]: row[1:] for row in page.cells[start + 1 : start + 6]}
    for one in told.study.summary.columns:
        merit = f"R2 {one.r2:.3f}" if one.accuracy is None else f"accuracy {one.accuracy:.3f}"
        assert by_name[one.name][:2] == [one.type, merit]
    start = page.cells.index(["column", "mean loss", "of the mean predictor", "left"])
    lost = {row[0]: float(row[1]) for row in page.cells[start + 1 : start + 6]}
    parts, terms = told.model.parts(told.validation), told.study._trained(told.study.best).rows.terms
    assert terms is not None
    scaled = told.model.encoded(told.validation)
    whole = parts.mul(scaled.shape[1] / terms.completion(scaled), axis=0)
    for name in told.model.names:
        assert lost[name] == pytest.approx(whole[name][told.validation[name].notna()].mean(), rel=2e-3)
    start = page.cells.index(["", "row", "loss", "worst column", "its value", "its reconstruction"])
    worst = next(row for row in page.cells[start:] if row[0] == "worst")
    place = int(parts.sum(axis=1).argmax())
    assert int(worst[1]) == split_rows(COUNT, 0.2, 0.1, 3).validation[place] + 1
    assert worst[3] == parts.columns[parts.iloc[place].argmax()]


def test_a_study_without_a_test_score_tells_validation_rows(told: Told) -> None:
    """Until the winner is scored the report's columns are those of validation rows, and says so."""
    facts = told.study._with_examples()
    unscored = facts.answer.model_copy(update={"columns": ()})
    section = columns_section(replace(facts, answer=unscored), {})
    assert section is not None
    assert "on validation rows" in section.body
    found = {one.name: one for one in facts.model.columns}
    rebuilt = told.model.reconstruct(told.validation)
    known = told.validation["town"].notna()
    assert found["town"].accuracy == pytest.approx(
        accuracy_score(told.validation["town"][known], rebuilt["town"][known])
    )

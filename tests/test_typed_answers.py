"""Claims about answers: typed, versioned, the same keys as ever, and as their committed JSON Schema says."""

from __future__ import annotations

import ast
import json
import math
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError
from studies import fresh_folder, tiny
from typer.testing import CliRunner

import tuner
from tuner.answers import schema
from tuner.answers.parts import BaselineLosses, FinalStage, Measures, Scores
from tuner.answers.summary import BestScore, Summary, read_summary
from tuner.api.listing import compare
from tuner.cli.app import app
from tuner.errors import ExportError, LedgerError
from tuner.execution.measures import MEASURES
from tuner.ledger.ledger import Ledger

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "fixtures" / "version_0"
SCHEMA = ROOT / "tuner" / "answers" / "answers.schema.json"


def check(document: Any, kind: str) -> None:
    jsonschema.validate(document, {**json.loads(SCHEMA.read_text()), "$ref": f"#/$defs/{kind}"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Path]:
    """A ledger with a study that has a final stage and a front, one that continued another's best, and the old ones."""
    home = fresh_folder(tmp_path_factory.mktemp("answers"), mlflow_store)
    shutil.copy(KEPT / "tuner.db", home / "tuner.db")
    search = {"pruner": "none", "trials": 4, "epochs": 3, "cohort": 4}
    front = {"objective": ["val_loss", "bottleneck"], "final": {"top": 1, "seeds": 2}}
    space = {**tiny()["space"], "bottleneck": {"type": "int", "low": 1, "high": 3}}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name in ("MLFLOW_TRACKING_URI", "TUNER_DATABASE_URL"):
            patch.delenv(name, raising=False)
        tuner.run(tiny(name="front", search=search, space=space, **front), workers=0)
        tuner.run(tiny(name="warm", search={**search, "patience": 1}, final="none"), workers=0, warm_start="finished")
        yield home


def printed(*words: str) -> Any:
    """What a command prints on standard output, read."""
    ran = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_the_committed_schema_is_the_models_own() -> None:
    """`tuner schema --answers > tuner/answers/answers.schema.json` brings it up to date; it is a valid schema."""
    assert SCHEMA.read_text() == schema.schema_text()
    assert CliRunner().invoke(app, ["schema", "--answers"]).stdout == schema.schema_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("name", ["front", "warm", "finished", "half"])
def test_what_json_prints_is_what_the_schema_says(folder: Path, name: str) -> None:
    """Of studies with and without a front, a final stage, a warm start and an answer, the old ones included."""
    answer = printed("show", name)
    check(answer, "StudyAnswer")
    assert answer == tuner.Study.open(name).summary.as_dict()
    with pytest.raises(jsonschema.ValidationError, match="'other' was unexpected"):
        check({**answer, "other": 1}, "StudyAnswer")


def test_fronts_comparisons_and_stored_summaries_are_what_the_schema_says(folder: Path) -> None:
    """`tuner front --json`, `tuner compare --json`, and the text in the ledger."""
    points = printed("front", "front")
    check(points, "Front")
    assert [point["number"] for point in points] == list(tuner.Study.open("front").front.number)
    check(printed("compare", "front", "warm", "half"), "Comparison")
    with closing(sqlite3.connect("tuner.db")) as connection:
        stored = dict(connection.execute("SELECT name, summary FROM tuner_study WHERE name IN ('front', 'warm')"))
    for text in stored.values():
        check(json.loads(text), "Summary")


def test_the_answer_of_a_study_of_the_version_before_has_every_key_and_value(folder: Path) -> None:
    """What that version printed of the same ledger; `format`, `columns` and what rules 4 say of a final stage are new,
    MLflow's addresses the folder's."""
    before = json.loads((KEPT / "finished.json").read_text())
    now = tuner.Study.open("finished").summary.as_dict()
    assert (now.pop("format"), now.pop("columns")) == (1, [])
    now["final"] = as_before(now["final"])
    assert list(now) == list(before)
    assert now.pop("mlflow").keys() == before.pop("mlflow").keys()
    assert now == before
    compared = compare(["finished", "half"]).as_dict()
    assert compared.pop("format") == 1
    before = json.loads((KEPT / "compare.json").read_text())
    assert before["rows"]["state"] == ["finished", "running"]
    before["rows"]["state"] = ["finished", "stopped"]  # its run was killed, which that version did not look at
    assert compared == before


def as_before(final: dict[str, Any]) -> dict[str, Any]:
    """A final stage of older rules as it was told before there were rules 4: what is new of it is empty."""
    new = {"choosing": [], "predicted": None, "pruned": False}
    for one in final["configurations"]:
        assert {name: one.pop(name) for name in new} == new
    assert (final.pop("training"), final.pop("of_choosing")) == (None, False)
    return final


BEST = {"number": 4, "value": 0.25, "test_loss": 0.5}
SCORED = Scores(trial=4, runs=(4,), losses=(0.5,))
BASELINES = {"mean": 0.9, "pca": 0.3}


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({}, None),
        ({"best": None, "seconds": 2.0}, Summary(best=None, seconds=2.0)),
        (
            {"best": BEST, "baselines": BASELINES, "validation_baselines": BASELINES, "seconds": 2.0},
            Summary(
                best=BestScore(**BEST),
                scored=SCORED,
                baselines=BaselineLosses(**BASELINES),
                validation_baselines=BaselineLosses(**BASELINES),
                seconds=2.0,
            ),
        ),
        (
            {
                **{"best": {**BEST, "test_loss": None}, "scored": {"trial": 4, "runs": [7], "losses": [math.inf]}},
                **{"test_uses": 2, "front_pca": {"3": 0.1}, "seconds": 2.0},
            },
            Summary(
                best=BestScore(number=4, value=0.25, test_loss=None),
                scored=Scores(trial=4, runs=(7,), losses=(math.inf,)),
                test_uses=2,
                front_pca={3: 0.1},
                seconds=2.0,
            ),
        ),
    ],
)
def test_summaries_without_a_format_are_upgraded_where_they_are_read(
    stored: dict[str, Any], expected: Summary | None
) -> None:
    """Of a study without a trial, of before the final stage, and of before formats had a number."""
    assert read_summary(json.dumps(stored)) == expected


def test_the_summary_of_the_version_before_is_read_whole() -> None:
    """Every value in the ledger that is kept of that version is in the object, under its name."""
    with closing(sqlite3.connect(f"{(KEPT / 'tuner.db').as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        (text,) = connection.execute("SELECT summary FROM tuner_study WHERE name = 'finished'").fetchone()
    summary = read_summary(text)
    assert summary is not None
    known = json.loads(summary.stored())
    known["final"] = as_before(known["final"])
    assert {name: known[name] for name in json.loads(text)} == json.loads(text)
    assert read_summary(summary.stored()) == summary


@pytest.mark.parametrize(
    "damage", ['{"format": 2}', '{"best": 3, "seconds": 1.0}', "[1]", '{"format": [1]}', '{"best"', '{"best": null}']
)
def test_a_summary_that_cannot_be_read_is_one_sentence(folder: Path, tmp_path: Path, damage: str) -> None:
    """A newer version's, another form's, and what is not JSON: the study is named, and what to do."""
    shutil.copy("tuner.db", tmp_path / "tuner.db")
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        connection.execute("UPDATE tuner_study SET summary = ? WHERE name = 'warm'", [damage])
        connection.commit()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'tuner.db'}")
    study = ledger.study("warm")
    assert study is not None
    with pytest.raises(LedgerError, match=f"the summary of study {study.id} must be .* restore the ledger from a copy"):
        ledger.summary(study.id)
    ledger.close()


def test_numbers_that_json_does_not_know_are_stored_and_printed_as_null() -> None:
    """An infinite test loss comes back from the ledger; `--json` stays JSON for every reader."""
    summary = Summary(best=BestScore(number=1, value=0.5, test_loss=math.inf), seconds=1.0)
    assert read_summary(summary.stored()) == summary
    assert json.loads(summary.as_json(), parse_constant=pytest.fail)["best"]["test_loss"] is None


def test_an_answer_cannot_be_changed(folder: Path) -> None:
    """Nor any part of it, nor can a part have a key of no model."""
    answer = tuner.Study.open("finished").summary
    assert answer.final is not None
    for part in (answer, answer.best, answer.winner, answer.final, answer.final.configurations[0], answer.mlflow):
        with pytest.raises(ValidationError, match="frozen"):
            part.study = 1  # type: ignore[union-attr,assignment]
    with pytest.raises(ValidationError, match="other"):
        FinalStage(**answer.final.model_dump(), other=1)


def test_every_measure_has_a_field() -> None:
    """The models name the measures that are taken, in their order; one that a later version adds is kept."""
    assert list(Measures.model_fields) == list(MEASURES)
    assert Measures.model_validate({"kl": 0.5, "later": 3}).as_dict() == {"kl": 0.5, "later": 3}


UNTYPED = {"dict[str, Any]", "Mapping[str, Any]", "list[dict[str, Any]]"}
# What is no answer: a declaration as the user gave it, notes of events, MLflow's and torch's own forms.
ALLOWED = {
    "api/study.py:run",
    "api/train.py:train",
    "tracking/content.py:last_run",
    "tracking/content.py:study_tags",
    "export/output.py:write",
    "orchestration/progress.py:body",
    "orchestration/progress.py:of_body",
    "orchestration/verify.py:record_event",
    "orchestration/warm_start.py:body",
}


def test_no_untyped_dictionary_is_handed_from_room_to_room() -> None:
    """No public function of the rooms that make, show or keep answers takes or gives one, but for those named above."""
    found = set()
    for room in ("analysis", "api", "cli", "export", "orchestration", "report", "tracking"):
        for path in (ROOT / "tuner" / room).glob("*.py"):
            found |= {f"{room}/{path.name}:{name}" for name in _untyped(ast.parse(path.read_text()))}
    assert found == ALLOWED


def _untyped(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            hints = [each.annotation for each in [*node.args.args, *node.args.kwonlyargs]] + [node.returns]
            texts = [ast.unparse(hint) for hint in hints if hint is not None]
            if any(untyped in text for text in texts for untyped in UNTYPED):
                yield node.name


def test_an_export_of_the_version_before_opens(tmp_path: Path) -> None:
    """It gives its rows' codes; one whose declaration breaks off is refused as before."""
    shutil.copytree(KEPT / "export", tmp_path / "export")
    model = tuner.load_model(tmp_path / "export")
    rows = np.random.default_rng(0).normal(size=(3, model.card.sizes[0]))
    assert np.isfinite(model.encode(rows)).all()
    config = tmp_path / "export" / "config.yaml"
    config.write_text(config.read_text().removesuffix("precision: fp32\n"))
    with pytest.raises(ExportError, match="expected precision as the last key"):
        tuner.load_model(tmp_path / "export")

"""Claims about studies that begin with another one's best configurations."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from disturbed import run_tuner
from studies import fresh_folder, tiny
from test_study import table

import tuner
from tuner.api.listing import studies
from tuner.errors import StudyError
from tuner.orchestration.warm_start import MOST

FIRST: dict[str, Any] = {"trials": 18, "epochs": 3, "cohort": 9}
NEXT: dict[str, Any] = {"trials": 13, "epochs": 3, "cohort": 9, "seed": 8}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with the study `tiny`, its export `best`, and the undisturbed study `next` that began from it."""
    folder = fresh_folder(tmp_path_factory.mktemp("warm"), mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tuner.run(tiny(search=FIRST), workers=0).export("best")
        tuner.run(tiny(name="next", search=NEXT), workers=0, warm_start="tiny")
    return folder


@pytest.fixture
def here(begun: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder."""
    shutil.copytree(begun, workspace / "copy")
    monkeypatch.chdir(workspace / "copy")
    return workspace / "copy"


def distinct_best(study: tuner.Study) -> list[dict[str, Any]]:
    """Its complete trials' configurations, the best first, each once."""
    complete = [trial for trial in study.records if trial.state == "complete"]
    points = [trial.point.as_dict() for trial in sorted(complete, key=lambda trial: trial.value)]
    return [point for place, point in enumerate(points) if point not in points[:place]]


def test_the_best_of_another_study_come_first(here: Path) -> None:
    """At most five, the best first, with seeds of their own; the sampler proposes the rest."""
    best = distinct_best(tuner.Study.open("tiny"))[:MOST]
    study = tuner.Study.open("next")
    assert [trial.point.as_dict() for trial in study.records[: len(best)]] == best
    assert study.summary.warm_start.as_dict() == {"from": "tiny", "trials": len(best), "left_out": 0}
    assert len({trial.seed for trial in study.records}) == 13


def test_a_warm_study_goes_on_without_the_other(here: Path, workspace: Path) -> None:
    """Stopped at once, the other study gone, run on by 2 workers and without --from: the undisturbed table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        tuner.run(tiny(search=FIRST), workers=0)
        declared = tiny(name="next", search={**NEXT, "timeout": 0.001})
        assert tuner.run(declared, workers=0, warm_start="tiny").outcome == "timeout"
        with closing(sqlite3.connect("tuner.db")) as ledger:
            ledger.execute("UPDATE tuner_study SET name = 'gone' WHERE name = 'tiny'")
            ledger.commit()
        tuner.run(tiny(name="next", search=NEXT), workers=2)
    assert table(workspace, "next") == table(here, "next")


def test_the_same_beginning_may_be_said_again_and_no_other(here: Path) -> None:
    """Silently accepted; another one, and one where there was none, is told when it is too late."""
    before = table(here, "next")
    assert tuner.run(tiny(name="next", search=NEXT), workers=0, warm_start="tiny").outcome == "nothing-left"
    with pytest.raises(StudyError, match="study next: has begun already, from tiny"):
        tuner.run(tiny(name="next", search=NEXT), workers=0, warm_start="best")
    with pytest.raises(StudyError, match="study tiny: has begun already, with the portfolio"):
        tuner.run(tiny(search=FIRST), workers=0, warm_start="best")
    assert table(here, "next") == before


def test_an_export_is_one_point(here: Path) -> None:
    """The exported configuration is trial 0, from the command line, and MLflow's run of it says so."""
    (here / "warm.json").write_text(json.dumps(tiny(name="from-export", search=NEXT)))
    ran = run_tuner(here, "run", "warm.json", "--from", "best/", "--workers", "0")
    assert "Its first trial has the best configurations of best/." in ran.stdout, ran.stderr
    study = tuner.Study.open("from-export")
    assert study.records[0].point == tuner.Study.open("tiny").best.point
    with closing(sqlite3.connect(here / "mlflow.db")) as store:
        query = "SELECT count(*) FROM tags t JOIN tags s USING (run_uuid) WHERE t.key = 'tuner.warm_start'"
        assert store.execute(query + " AND s.key = 'tuner.study' AND s.value = 'from-export'").fetchone() == (1,)


def test_what_does_not_fit_is_counted(here: Path) -> None:
    """With tanh alone, the configurations of other activations are left out; the others come first."""
    space = {**tiny()["space"], "activation": "tanh"}
    best = distinct_best(tuner.Study.open("tiny"))
    fitting = [point for point in best if point["activation"] == "tanh"]
    assert 0 < len(fitting) < len(best), "the study must have found both for this test to say anything"
    study = tuner.run(tiny(name="narrow", space=space, search=NEXT), workers=0, warm_start="tiny")
    assert study.summary.warm_start.left_out == len(best) - len(fitting)
    assert [trial.point.as_dict() for trial in study.records[: len(fitting[:MOST])]] == fitting[:MOST]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_conditional_spaces_begin_with_what_is_in_force(sampler: str, here: Path) -> None:
    """Plain configurations in a space of kinds: a variational study's own would need a beta, these must have none; and
    the other way round, the kinds that a plain space cannot yield are left out."""
    kinds = {"type": "categorical", "choices": ["plain", "variational"]}
    space = {**tiny()["space"], "kind": kinds, "beta": {"type": "float", "low": 0.1, "high": 1.0}}
    best = distinct_best(tuner.Study.open("tiny"))[:MOST]
    declared = tiny(name="kinds", space=space, search={**NEXT, "sampler": sampler, "pruner": "none"})
    study = tuner.run(declared, workers=0, warm_start="tiny")
    assert [trial.point.as_dict() for trial in study.records[: len(best)]] == best
    assert {trial.point.kind for trial in study.records} == {"plain", "variational"}
    back = tuner.run(tiny(name="back", search=NEXT), workers=0, warm_start="kinds")
    found = distinct_best(study)
    assert back.summary.warm_start.left_out == sum(point["kind"] == "variational" for point in found) > 0


@pytest.mark.parametrize(
    ("changes", "origin", "message"),
    [
        ({"space": {**tiny()["space"], "bottleneck": 1}}, "tiny", "its bottleneck is 2, where space.bottleneck is 1"),
        ({}, "tinny", "must be a study of this ledger"),
        (
            {
                "space": {"width": {"type": "int", "low": 4, "high": 40}, "bottleneck": 2},
                "search": {**NEXT, "sampler": "grid"},
            },
            "tiny",
            "grid, which visits every point once",
        ),
    ],
)
def test_a_beginning_that_cannot_be_is_refused(changes: dict[str, Any], origin: str, message: str, here: Path) -> None:
    """One sentence, and no study is made."""
    with pytest.raises(StudyError, match=message):
        tuner.run(tiny(**{"name": "refused", "search": NEXT, **changes}), workers=0, warm_start=origin)
    assert [study.name for study in studies()] == ["tiny", "next"]


OWN: list[dict[str, Any]] = [
    {"learning_rate": 0.01, "batch_size": 16, "width": 8, "depth": 1, "activation": "tanh"},
    {"learning_rate": 0.1, "batch_size": 32, "width": 40, "depth": 0, "activation": "relu", "bottleneck": 2},
]


def is_own(study: tuner.Study, place: int) -> bool:
    point = study.records[place].point.as_dict()
    return all(point[name] == value for name, value in OWN[place].items())


def test_a_users_own_sets_are_the_first_trials(here: Path) -> None:
    """Recorded, told, and replayed: the study goes on with the same table, and cannot begin with other sets."""
    declared = tiny(name="own", search={**NEXT, "first": OWN, "timeout": 0.001})
    assert tuner.run(declared, workers=0).outcome == "timeout"
    study = tuner.run(tiny(name="own", search={**NEXT, "first": OWN}), workers=0)
    assert is_own(study, 0) and is_own(study, 1)
    assert study.summary.warm_start.as_dict() == {"from": "search.first", "trials": 2, "left_out": 0}
    undisturbed = tuner.run(tiny(name="own-again", search={**NEXT, "first": OWN}), workers=0)
    assert undisturbed.csv() == study.csv()
    assert "It began with the 2 sets of search.first." in run_tuner(here, "show", "own").stdout
    with pytest.raises(StudyError, match=r"cannot go on, for search\.first was"):
        tuner.run(tiny(name="own", search={**NEXT, "first": OWN[:1]}), workers=0)


def test_own_sets_come_before_those_of_another_study(here: Path) -> None:
    """Then the other's best, each once."""
    study = tuner.run(tiny(name="both", search={**NEXT, "first": OWN}), workers=0, warm_start="tiny")
    best = distinct_best(tuner.Study.open("tiny"))[:MOST]
    assert is_own(study, 0) and is_own(study, 1)
    assert [trial.point.as_dict() for trial in study.records[2 : 2 + len(best)]] == best
    assert study.summary.warm_start.as_dict() == {"from": "tiny", "trials": 2 + len(best), "left_out": 0}

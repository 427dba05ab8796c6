"""Claims about `tuner doctor`: whatever of a finished study's record is damaged, it is named; what is whole agrees."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from disturbed import run_tuner
from studies import fresh_folder, tiny, working_in
from test_upkeep import bytes_of, change

import tuner
from tuner.api.maintenance import doctor
from tuner.api.publishing import sync
from tuner.ledger.ledger import Ledger
from tuner.orchestration.launch import Progress


def declared() -> dict[str, object]:
    return tiny(search={"epochs": 6, "trials": 12, "cohort": 9}, final={"top": 2, "seeds": 2})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with a finished study that had a final stage, all of it published."""
    with working_in(fresh_folder(tmp_path_factory.mktemp("finished"), mlflow_store)) as folder:
        tuner.run(declared(), workers=0)
    return folder


@pytest.fixture
def copied(finished: Path, workspace: Path) -> Path:
    """The current folder, a copy of it."""
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    assert [done.error for done in sync()] == [None]  # MLflow's files are here now
    return workspace


def problems(**words: bool) -> list[str]:
    return [problem for each in doctor(**words) for problem in each.problems]


SUMMARY = "UPDATE tuner_study SET summary = json_set(summary, '{}', {})"
EVENT = "UPDATE tuner_event SET body = '{}' WHERE kind = '{}'"
COMPLETE = "(SELECT min(number) FROM tuner_trial WHERE state = 'complete')"
PRUNED = "(SELECT min(number) FROM tuner_trial WHERE state = 'pruned')"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM tuner_segment", "rows of tuner_segment were recorded, but 0 are there"),
        ("DELETE FROM tuner_segment", "epoch 1 is recorded, but no segment that trained it"),
        ("DELETE FROM tuner_segment WHERE id = 1", "but no segment that trained it"),
        ("DELETE FROM tuner_event", "the event with its first budget is missing"),
        ("DELETE FROM tuner_event", "no event says that it was run"),
        ("DELETE FROM tuner_event WHERE kind = 'budget'", "the event with its first budget is missing"),
        ("DELETE FROM tuner_event WHERE kind = 'test'", "uses of the test split, but 0 are recorded"),
        ("DELETE FROM tuner_checkpoint", "must be recorded, but it is not"),
        ("DELETE FROM tuner_checkpoint WHERE trial = 3", "trial 3: the state after epoch"),
        ("DELETE FROM tuner_run", "the id of its run in MLflow is missing"),
        ("DELETE FROM tuner_run WHERE trial = 3", "trial 3: it was published, but the id of its run"),
        ("DELETE FROM tuner_run WHERE trial = -1", "it was published, but the id of its run"),
        ("DELETE FROM tuner_lease", "but its lease was taken 0 times"),
        ("DELETE FROM tuner_lease WHERE purpose = 'publish'", "its lease for that was never taken"),
        ("UPDATE tuner_trial SET measures = NULL", "nothing is recorded of what its code is worth"),
        (f"UPDATE tuner_trial SET measures = '{{}}' WHERE number = {COMPLETE}", "nothing is recorded of what its code"),
        ("UPDATE tuner_study SET summary = NULL", "its summary is missing"),
        ("UPDATE tuner_study SET summary = '{}'", "its summary is missing"),
        (SUMMARY.format("$.best.number", 99), "its summary has trial 99"),
        (SUMMARY.format("$.best.value", 0.5), "with 0.5 as the best, but that is trial"),
        (SUMMARY.format("$.best.test_loss", 0.5), "its summary has test loss 0.5 of the best trial"),
        (SUMMARY.format("$.final.test_loss", 0.5), "its summary has test loss 0.5 of the winner"),
        (SUMMARY.format("$.final.winner", 99), "its summary's final stage is not what its runs say"),
        (SUMMARY.format("$.final.configurations[0].mean", 0.5), "final stage is not what its runs say"),
        (SUMMARY.format("$.final", "NULL"), "its summary does not tell of them"),
        (SUMMARY.format("$.scored.trial", 99), "its summary has scores of trial 99"),
        (SUMMARY.format("$.test_uses", 7), "its summary counts 7 uses of the test split"),
        (
            "UPDATE tuner_study SET summary = json_set(summary, '$.scored.losses', json('[0.5, 0.5]'),"
            " '$.final.test_loss', 0.5, '$.final.mean_test_loss', 0.5)",
            "its test loss is recorded as 0.5, but its state gives",
        ),
        ("UPDATE tuner_study SET fingerprint = replace(fingerprint, substr(fingerprint, 1, 1), 'x')", "64 hexadecimal"),
        (f"UPDATE tuner_study SET fingerprint = '{'0' * 64}'", "has another fingerprint than the one recorded"),
        (f"UPDATE tuner_checkpoint SET sha256 = '{'0' * 64}'", "has another digest than the one recorded"),
        ("UPDATE tuner_checkpoint SET sha256 = 'x'", "digest must be 64 hexadecimal digits"),
        ("UPDATE tuner_cohort SET position = 1 WHERE number = 1", "cohort 1 is recorded with 3 trials"),
        ("UPDATE tuner_cohort SET position = 99 WHERE number = 1", "cohort 1 is recorded with 3 trials"),
        (EVENT.format("{}", "budget"), "position must be int, but is None"),
        (EVENT.format("{}", "run"), "features must be int, but is None"),
        (EVENT.format('{"trial": 1}', "test"), "runs must be list, but is None"),
        (EVENT.format('{"position": 0, "trials": 9}', "budget"), "the search asks for 0"),
        (
            "UPDATE tuner_event SET body = json_set(body, '$.features', 7) WHERE kind = 'run'",
            "its runs have 7 features, but the data has 4",
        ),
        ("UPDATE tuner_measurement SET train_loss = 0.5 WHERE trial = 3", "trial 3: the train_loss of epoch 1"),
        ("UPDATE tuner_measurement SET train_loss = 0.5 WHERE trial >= 1000000000", "the train_loss of epoch 1 is"),
        ("UPDATE tuner_measurement SET val_loss = val_loss * 2 WHERE trial = 3", "trial 3: it ended with value"),
        (f"UPDATE tuner_trial SET state = 'failed', reason = 'x' WHERE number = {COMPLETE}", "but no event says so"),
        (
            f"UPDATE tuner_trial SET state = 'diverged', reason = 'x' WHERE number = {COMPLETE}",
            "it is recorded as diverged",
        ),
        (
            f"UPDATE tuner_trial SET state = 'complete', reason = '' WHERE number = {PRUNED}",
            "but the search says pruned",
        ),
        (f"UPDATE tuner_trial SET reason = 'ranked 1' WHERE number = {PRUNED}", "(ranked 1), but the search says"),
        ("UPDATE tuner_trial SET seed = 1 + seed WHERE number = 3", "proposed"),
        ("UPDATE tuner_study SET state = 'lost'", "its state must be one of running, stopped, finished"),
        ("DELETE FROM tuner_trial WHERE number = 11", "but has 11"),
    ],
)
def test_every_damage_is_named(copied: Path, statement: str, words: str) -> None:
    """Rows are removed or changed behind the tuner's back, one kind at a time."""
    change("tuner.db", statement)
    found = problems()
    assert any(words in problem for problem in found), found


def test_a_finished_study_agrees_and_what_was_not_checked_is_told(copied: Path) -> None:
    """Exit code 0; the last line names what was not checked, and why; no byte is changed."""
    before = bytes_of(copied)
    ran = run_tuner(copied, "doctor")
    assert (ran.returncode, ran.stderr) == (0, "")
    first, last = ran.stdout.splitlines()
    assert first == "tiny: all agrees"
    assert last.startswith("  not checked: ")
    for words in (
        "states, whose files are gone",
        "the losses of epochs, which training alone gives again",
        "baselines",
        "how much codes are worth",
        "how well the winner gives single columns back",
    ):
        assert words in last
    assert bytes_of(copied) == before


def test_a_damage_is_exit_code_1(copied: Path) -> None:
    """And the count of differences comes first."""
    change("tuner.db", "DELETE FROM tuner_lease")
    ran = run_tuner(copied, "doctor", "--no-mlflow")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[0] == "tiny: 2 differences"


def test_data_that_changed_is_a_difference_and_data_that_is_gone_is_not(workspace: Path) -> None:
    """What cannot be read is not checked, which is told with the reason."""
    from sklearn.datasets import load_iris

    load_iris(as_frame=True).data.to_csv("rows.csv", index=False)
    tuner.run(tiny(data={"source": "rows.csv"}, search={"trials": 3, "epochs": 2}), workers=0)
    assert problems() == []
    with Path("rows.csv").open("a") as file:
        file.write("1,2,3,4\n")
    assert any("has another fingerprint" in problem for problem in problems())
    Path("rows.csv").unlink()
    (_, found) = doctor()
    assert found.problems == ()
    assert any(why.startswith("the data cannot be read: rows.csv") for why in found.unchecked)


def test_another_version_of_optuna_is_a_reason_not_to_check(copied: Path) -> None:
    """Its samplers may propose other points: a search that replays otherwise is then no difference."""
    change("tuner.db", "UPDATE tuner_trial SET seed = 1 + seed WHERE number = 3")
    change("tuner.db", "UPDATE tuner_study SET versions = json_set(versions, '$.optuna', '0.1')")
    (_, found) = doctor(mlflow=False)
    assert found.problems == ()
    assert any("it was begun with optuna 0.1" in why for why in found.unchecked)


WIDTH = {"type": "categorical", "choices": [4, 8, 16]}
DEPTH = {"type": "int", "low": 0, "high": 2}
KINDS = {
    "median": {"search": {"sampler": "random", "pruner": "median"}},
    "hyperband": {"search": {"sampler": "sobol", "pruner": "hyperband"}},
    "grid": {
        "search": {"sampler": "grid", "pruner": "none", "trials": 9},
        "space": {"depth": DEPTH, "width": WIDTH, "bottleneck": 2},
    },
    "patience": {"search": {"patience": 1, "min_improvement": 0.9, "trials": 40}},
    "front": {
        "objective": ["val_loss", "bottleneck"],
        "space": {"width": WIDTH, "bottleneck": {"type": "int", "low": 1, "high": 3}},
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_studies_of_every_kind_agree(workspace: Path, kind: str) -> None:
    """Whatever sampler and pruner, and however the study ended: its replay gives what is recorded."""
    tuner.run(tiny(**json.loads(json.dumps(KINDS[kind]))), workers=0)
    assert problems() == []


def test_a_study_that_went_on_agrees(workspace: Path) -> None:
    """With more trials, twice, after it was finished and after it was stopped in the middle of a cohort."""
    tuner.run(tiny(search={"trials": 5}), workers=0)
    stop, seen = threading.Event(), []

    def stop_early(progress: Progress) -> None:
        seen.append(progress)
        if sum(progress.counts.values()) > 5:
            stop.set()

    assert tuner.run(tiny(search={"trials": 14}), workers=0, progress=stop_early, stop=stop).outcome == "stopped"
    assert problems() == []
    assert tuner.run(tiny(search={"trials": 30}), workers=0).outcome == "finished"
    assert problems() == []


def test_a_running_study_agrees_at_every_moment(workspace: Path) -> None:
    """Looked at from another connection at each report of progress."""
    found: list[list[str]] = []

    def look(progress: Progress) -> None:
        if progress.phase in ("training", "confirming") and len(found) < 12:
            found.append(problems(mlflow=False))

    tuner.run(declared(), workers=0, progress=look)
    assert len(found) > 3
    assert [each for each in found if each] == []


AGED = [
    "DELETE FROM tuner_lease",
    "UPDATE tuner_trial SET measures = NULL",
    "UPDATE tuner_event SET body = json_remove(body, '$.images', '$.step', '$.cores', '$.memory') WHERE kind = 'run'",
    "DELETE FROM tuner_event WHERE kind = 'test'",
    "UPDATE tuner_study SET summary = json_remove(summary, '$.format', '$.scored', '$.final', '$.test_uses')",
]


def test_a_study_of_an_older_version_agrees(workspace: Path) -> None:
    """Without leases, measures, uses of the test split and a final stage, as the first versions recorded studies."""
    tuner.run(tiny(search={"trials": 9}), workers=0)
    for statement in AGED:
        change("tuner.db", statement)
    with closing(sqlite3.connect("tuner.db")) as connection:
        # That version numbered its events without a gap as well.
        seq = connection.execute("SELECT count(*) FROM tuner_event").fetchone()[0]
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'tuner_event'", [seq])
        connection.commit()
    assert problems() == []
    ledger = Ledger.open("sqlite:///tuner.db")
    assert ledger.fence(1, "run") == 0
    ledger.close()

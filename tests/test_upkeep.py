"""Claims about `tuner doctor` and `tuner prune-files`: every planted difference is named, nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from studies import fresh_folder, tiny, working_in

import tuner
from tuner.api import listing
from tuner.api.maintenance import disk, doctor, prune_files
from tuner.api.publishing import sync
from tuner.errors import StudyError
from tuner.ledger.ledger import Ledger
from tuner.tracking.dashboard import serve


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with a finished study, all of it published."""
    with working_in(fresh_folder(tmp_path_factory.mktemp("finished"), mlflow_store)) as folder:
        tuner.run(tiny(), workers=0)
    return folder


@pytest.fixture
def copied(finished: Path, workspace: Path) -> Path:
    """The current folder, a copy of it."""
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    assert [done.error for done in sync()] == [None]  # MLflow's files are here now
    return workspace


def change(file: str, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


def bytes_of(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_looking_leaves_no_file(workspace: Path) -> None:
    """Where there is no ledger yet, doctor and its like find nothing, and make none."""
    before = bytes_of(workspace)
    assert [found.problems for found in doctor()] == [()]
    assert (listing.studies(), prune_files(), sync()) == ([], [], [])
    with pytest.raises(StudyError, match="digits"):
        tuner.Study.open("digits")
    assert bytes_of(workspace) == before


def test_an_untouched_study_agrees_and_nothing_is_changed(copied: Path) -> None:
    """No difference is found where there is none, and looking changes no byte."""
    before = bytes_of(copied)
    found = doctor()
    assert [(each.name, each.problems, each.waiting, each.aside) for each in found] == [
        (None, (), 0, 0),
        ("tiny", (), 0, 0),
    ]
    assert bytes_of(copied) == before


OF_RUN = "run_uuid = (SELECT run_uuid FROM tags WHERE key = 'tuner.key' AND value LIKE '%/2')"


@pytest.mark.parametrize(
    ("file", "statement", "words"),
    [
        ("tuner.db", "UPDATE tuner_trial SET value = value + 1e-16 WHERE number = 2", "trial 2: it ended with value"),
        ("tuner.db", "UPDATE tuner_trial SET epochs = 1 + epochs WHERE number = 2", "trial 2: it ended with value"),
        ("tuner.db", "DELETE FROM tuner_measurement WHERE trial = 2 AND epoch = 1", "trial 2: it ended with value"),
        ("tuner.db", "DELETE FROM tuner_cohort WHERE number = 0", "points at nothing"),
        ("tuner.db", "UPDATE tuner_trial SET state = 'running' WHERE number = 2", "1 of them running"),
        ("tuner.db", "UPDATE tuner_trial SET reason = 'x' WHERE state = 'complete'", "but its reason is 'x'"),
        ("tuner.db", "UPDATE tuner_segment SET trials = '[99]' WHERE id = 1", "trained trial 99, which is unknown"),
        ("tuner.db", "UPDATE tuner_trial SET point = 'x' WHERE number = 2", "a row is damaged"),
        ("tuner.db", "UPDATE tuner_trial SET state = 'x' WHERE number = 2", "a row is damaged ('x' is not a valid"),
        ("tuner.db", "UPDATE tuner_event SET body = '{' WHERE seq = 1", "a row is damaged"),
        ("tuner.db", "UPDATE tuner_study SET spec_json = '{}'", "but it is damaged"),
        ("mlflow.db", f"UPDATE runs SET status = 'RUNNING' WHERE {OF_RUN}", "trial 2: it is "),
        ("mlflow.db", f"DELETE FROM metrics WHERE key = 'val_loss' AND step = 1 AND {OF_RUN}", "values of val_loss"),
        ("mlflow.db", f"UPDATE params SET value = '7' WHERE key = 'width' AND {OF_RUN}", "parameters in MLflow are"),
        ("mlflow.db", f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE {OF_RUN}", "one run, but has 0"),
        (
            "mlflow.db",
            "UPDATE tags SET value = replace(value, '/3', '/2') WHERE key = 'tuner.key'",
            "one run, but has 2",
        ),
    ],
)
def test_every_planted_difference_is_named(copied: Path, file: str, statement: str, words: str) -> None:
    """One value is changed behind the tuner's back."""
    change(file, statement)
    problems = [problem for each in doctor() for problem in each.problems]
    assert any(words in problem for problem in problems), problems


def test_a_server_is_asked_as_well(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over MLflow's own interface the same is found as in its file."""
    change("mlflow.db", f"DELETE FROM metrics WHERE key = 'val_loss' AND step = 1 AND {OF_RUN}")
    direct = doctor("tiny")
    with serve(f"sqlite:///{copied / 'mlflow.db'}") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        assert doctor("tiny") == direct
    assert direct[1].problems


def test_mlflow_out_of_reach_is_said(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is checked all the same; what waits is no difference but told."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (_, found) = doctor("tiny")
    assert len(found.problems) == 1
    assert found.problems[0].startswith("the ledger alone was checked, for http://127.0.0.1:9")
    assert doctor("tiny", mlflow=False)[1].problems == ()


def test_an_unknown_study_is_refused(copied: Path) -> None:
    """By one sentence."""
    with pytest.raises(StudyError, match="study nope: there is none of that name"):
        doctor("nope")


def test_files_of_a_finished_study_go_and_the_study_stays_whole(copied: Path) -> None:
    """The best state stays, the rest goes; it can be exported, and with --all trained again for that."""
    study = tuner.Study.open("tiny")
    best = study.best.value
    assert [(each.owner, each.files > 0) for each in prune_files(dry_run=True)] == [("tiny", True)]
    prune_files()
    assert prune_files() == []
    assert len(list(Path(".tuner").rglob("*.safetensors"))) == 1
    assert prune_files(everything=True)[0].files == 1
    assert not list(Path(".tuner").rglob("*.safetensors"))
    tuner.Study.open("tiny").export("best")
    assert tuner.Study.open("tiny").best.value == best
    assert tuner.run(tiny(), workers=0).outcome == "nothing-left"


@pytest.mark.parametrize("state", ["stopped", "running"])
def test_files_of_a_study_that_may_go_on_stay(copied: Path, state: str) -> None:
    """Whatever is asked for."""
    change("tuner.db", f"UPDATE tuner_study SET state = '{state}'")
    before = bytes_of(copied / ".tuner")
    assert prune_files(everything=True) == []
    assert bytes_of(copied / ".tuner") == before


def test_a_finished_study_that_is_being_run_again_is_left_alone(copied: Path) -> None:
    """Its owner is there, whatever the state says."""
    ledger = Ledger.open("sqlite:///tuner.db")
    record = ledger.study("tiny")
    assert record is not None
    with ledger.lease(record.id, "run"):
        assert prune_files(everything=True) == []
    ledger.close()


def test_links_are_not_followed(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither a linked folder of states nor a linked file."""
    other = tmp_path_factory.mktemp("other")
    (other / "precious").write_text("x")
    Path(".tuner/checkpoints/linked").symlink_to(other)
    (folder,) = [path for path in Path(".tuner/checkpoints").iterdir() if not path.is_symlink()]
    (folder / "link").symlink_to(other / "precious")
    prune_files(everything=True)
    assert (other / "precious").read_text() == "x"


def test_strangers_go_only_when_everything_is_asked_for(copied: Path) -> None:
    """States of a study that no ledger here knows."""
    strange = Path(".tuner/checkpoints/0123")
    strange.mkdir()
    (strange / "trial-0000-epoch-1.safetensors").write_bytes(b"x")
    prune_files()
    assert strange.exists()
    assert "of no study here" in [each.owner for each in prune_files(everything=True)]
    assert not strange.exists()


def test_a_study_whose_owner_was_killed_is_not_running(workspace: Path) -> None:
    """Its record says that it runs; the missing lease says that it does not, in the list and alone."""
    tuner.run(tiny(search={"trials": 2, "epochs": 1}), workers=0)
    change("tuner.db", "UPDATE tuner_study SET state = 'running'")
    assert [one.state for one in listing.studies()] == ["stopped"]
    assert tuner.Study.open("tiny").state == "stopped"


def test_baselines_of_another_trial_are_not_shown_beside_this_one(workspace: Path) -> None:
    """A study that went on and was stopped has a new best trial, whose code may be longer than what was
    compared; an export of it has PCA's loss at its own length."""
    study = tuner.run(tiny(search={"trials": 2, "epochs": 1}, final="none"), workers=0)
    assert study.summary.baselines is not None
    known = json.loads(study._summary.stored())
    known["scored"]["trial"], known["validation_baselines"] = 1 - study.best.number, {"pca": 99.0, "mean": 99.0}
    change("tuner.db", f"UPDATE tuner_study SET summary = '{json.dumps(known)}'")
    again = tuner.Study.open("tiny")
    assert (again.summary.baselines, again.summary.validation_baselines) == (None, None)
    card = tuner.load_model(again.export("best")).card
    assert card.losses.baselines.validation is not None
    assert card.losses.baselines.validation["pca"] == pytest.approx(study.summary.validation_baselines.pca)


def test_the_disk_that_a_study_takes_is_that_of_its_files(copied: Path) -> None:
    """In bytes; what is prepared for two studies of the same data counts for the older one alone."""
    (only,) = disk()
    work = [path for path in (copied / ".tuner").rglob("*") if path.is_file()]
    kept = [path for path in work if {"checkpoints", "answers", "prepared"} & set(path.parts)]
    assert (only.owner, only.size) == ("tiny", sum(path.stat().st_size for path in kept))
    tuner.run(tiny(name="second"), workers=0)
    first, second = disk()
    assert first == only
    assert second.files == only.files - sum("prepared" in path.parts for path in kept)

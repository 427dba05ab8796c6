"""MLflow's files lie beside its store: in folders of any name, and after the folder was moved or copied."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking import direct, store
from tuner.tracking.artifacts import misplaced, open_store
from tuner.tracking.audit import differences
from tuner.tracking.publisher import publish_once

FILES = {"config.yaml", "trials.csv"}


@pytest.fixture(params=["directly", "by the client"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store is written without MLflow, or by MLflow's own client."""
    if request.param == "by the client":
        monkeypatch.setattr(direct, "REVISION", "another")
    return str(request.param)


def bytes_of(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def artifacts(ledger: Ledger, study: StudyRecord, uri: str) -> set[str]:
    return {each.path for each in MlflowClient(uri).list_artifacts(ledger.outbox.run_id(study.id, None))}


@pytest.mark.parametrize("name", ["a%20b", "what?", "100%?x=1#y", "plus+ und ü"])
def test_a_folder_of_any_name_holds_its_own_store(
    name: str,
    way: str,
    tmp_path: Path,
    fresh_store: Path,
    ledger: Ledger,
    study: StudyRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Store and files are in the current folder, MLflow's client finds both there, and nothing is beside it."""
    folder = tmp_path / "place" / name
    folder.mkdir(parents=True)
    shutil.copy(fresh_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = store.tracking_uri()
    assert store.sqlite_path(uri) == folder / "mlflow.db"
    assert publish_once(ledger, study.id, uri).waiting == 0
    assert artifacts(ledger, study, uri) == FILES
    assert len(list((folder / "mlartifacts").rglob("config.yaml"))) == 1
    assert [path.name for path in (tmp_path / "place").iterdir()] == [name]
    assert list(differences(ledger, study, uri)) == []


def test_a_store_is_made_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """By MLflow itself, whose own quoting of addresses is another one than that of files."""
    folder = tmp_path / "place" / "was? 50%25"
    folder.mkdir(parents=True)
    store.ensure_store(store.sqlite_uri(folder / "mlflow.db"))
    assert direct.is_known(store.sqlite_uri(folder / "mlflow.db"))
    assert [path.name for path in (tmp_path / "place").iterdir()] == [folder.name]


def test_files_follow_a_folder_that_was_moved(
    way: str, make_store: Callable[[str], str], ledger: Ledger, study: StudyRecord, tmp_path: Path
) -> None:
    """What was published lies in the new folder, what is published later too, and the old one is not made again."""
    publish_once(ledger, study.id, make_store("old"))
    (tmp_path / "old").rename(tmp_path / "new")
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    (found,) = differences(ledger, study, uri)
    assert f"{tmp_path / 'old' / 'mlartifacts'}; `tuner sync` corrects that" in found
    ledger.set_state(study.id, "stopped")
    assert publish_once(ledger, study.id, uri).waiting == 0
    assert list(differences(ledger, study, uri)) == []
    assert artifacts(ledger, study, uri) == FILES
    assert not (tmp_path / "old").exists()
    with closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as opened:
        assert not any(str(tmp_path / "old") in line for line in opened.iterdump())


def test_a_copy_that_goes_on_leaves_the_original_alone(
    way: str, make_store: Callable[[str], str], ledger: Ledger, study: StudyRecord, tmp_path: Path
) -> None:
    """Not a byte of the original is changed; the copy has all files, also where it was made without them."""
    publish_once(ledger, study.id, make_store("original"))
    before = bytes_of(tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "whole")
    (tmp_path / "bare").mkdir()
    shutil.copy(tmp_path / "original" / "mlflow.db", tmp_path / "bare")
    for name in ("whole", "bare"):
        uri = f"sqlite:///{tmp_path / name / 'mlflow.db'}"
        ledger.set_state(study.id, "stopped")
        ledger.set_state(study.id, "finished")
        publish_once(ledger, study.id, uri)
        assert artifacts(ledger, study, uri) == FILES
        assert len(list((tmp_path / name).rglob("trials.csv"))) == 1
    assert bytes_of(tmp_path / "original") == before


def test_places_that_a_user_chose_stay(store: str, ledger: Ledger, study: StudyRecord, tmp_path: Path) -> None:
    """An experiment whose files were meant to lie elsewhere, and one that is not the tuner's."""
    chosen, own = (tmp_path / "data" / "chosen").as_uri(), (tmp_path / "data" / "mlartifacts" / "own").as_uri()
    client = MlflowClient(store)
    experiment = client.create_experiment(study.name, artifact_location=chosen)
    client.create_run(client.create_experiment("own", artifact_location=own))
    publish_once(ledger, study.id, store)
    open_store(store)
    assert client.get_experiment(experiment).artifact_location == chosen
    assert client.get_experiment_by_name("own").artifact_location == own
    assert misplaced(store, experiment) is None
    assert len(list((tmp_path / "data" / "chosen").rglob("config.yaml"))) == 1


def test_another_name_of_the_same_folder_changes_nothing(
    make_store: Callable[[str], str], ledger: Ledger, study: StudyRecord, tmp_path: Path
) -> None:
    """A link to the folder is no other folder."""
    store = make_store("real")
    publish_once(ledger, study.id, store)
    open_store(store)  # the store is a copy of one that was made elsewhere
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = bytes_of(tmp_path / "real")
    open_store(f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}")
    assert bytes_of(tmp_path / "real") == before


def test_a_file_that_is_gone_is_named(store: str, ledger: Ledger, study: StudyRecord, tmp_path: Path) -> None:
    """Somebody removed the table of trials from MLflow's folder."""
    publish_once(ledger, study.id, store)
    (file,) = tmp_path.rglob("trials.csv")
    file.unlink()
    (found,) = differences(ledger, study, store)
    assert found.endswith("trials.csv is missing")

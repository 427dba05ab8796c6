"""Claims about workspaces: made from arguments, then the environment, then defaults; several in one process; a data
root that nothing is read from outside of."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from disturbed import run_tuner
from studies import tiny

import tuner
from tuner.api.listing import studies
from tuner.api.maintenance import doctor, prune_files
from tuner.api.publishing import sync
from tuner.errors import DataError, InputError
from tuner.masks import without_secrets
from tuner.places import settle_credentials

ROWS = np.random.default_rng(3).normal(size=(60, 4))


def test_arguments_come_before_the_environment_and_that_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each of the four addresses; relative ones are below the workspace's folder."""
    (tmp_path / "w" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("TUNER_DATABASE_URL", "MLFLOW_TRACKING_URI", "TUNER_DATA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    plain = tuner.workspace("w")
    assert (plain.folder, plain.database, plain.data_root) == (tmp_path / "w", "sqlite:///tuner.db", None)
    assert plain.tracking == f"sqlite:///{tmp_path}/w/mlflow.db"
    monkeypatch.setenv("TUNER_DATABASE_URL", "sqlite:///other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("TUNER_DATA_ROOT", "data")
    found = tuner.workspace("w")
    assert (found.database, found.tracking) == ("sqlite:///other.db", "http://127.0.0.1:1")
    assert found.data_root == tmp_path / "w" / "data"
    given = tuner.workspace("w", database="sqlite:///a.db", mlflow="http://127.0.0.1:2", data_root=tmp_path)
    assert (given.database, given.tracking, given.data_root) == ("sqlite:///a.db", "http://127.0.0.1:2", tmp_path)


@pytest.mark.parametrize("name", ["folder", "data_root"])
def test_a_folder_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    """Before anything is read or written there."""
    with pytest.raises(InputError, match=r"none: .+ must be a folder that is there"):
        tuner.workspace(**{name: tmp_path / "none"})
    assert list(tmp_path.iterdir()) == []


def test_two_workspaces_work_side_by_side_in_threads(
    tmp_path_factory: pytest.TempPathFactory, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two studies of one name with other data and seeds: each folder has the table of the study run alone, its own
    ledger, MLflow and checkpoints; the current folder stays empty."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before, folders = sorted(path.name for path in workspace.iterdir()), tmp_path_factory.mktemp("folders")
    places, found, errors = {}, dict[str, str](), list[BaseException]()
    for number, name in enumerate("ab"):
        (folders / name).mkdir()
        np.save(folders / name / "rows.npy", ROWS + number)
        places[name] = tuner.workspace(folders / name)
    started = threading.Barrier(2)

    def train(name: str, seed: int) -> None:
        try:
            started.wait()
            spec = tiny(data={"source": "rows.npy"}, search={"seed": seed})
            study = tuner.run(spec, workers=0, workspace=places[name])
            assert study.summary.mlflow.tracking_uri == places[name].tracking
            found[name] = study.csv()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=given) for given in (("a", 1), ("b", 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for name, seed in (("a", 1), ("b", 2)):
        alone = folders / f"{name}-alone"
        alone.mkdir()
        np.save(alone / "rows.npy", np.load(folders / name / "rows.npy"))
        place = tuner.workspace(alone)
        expected = tuner.run(tiny(data={"source": "rows.npy"}, search={"seed": seed}), workers=0, workspace=place)
        assert found[name] == expected.csv()
        assert tuner.Study.open("tiny", workspace=places[name]).csv() == found[name]
        assert [one.state for one in studies(workspace=places[name])] == ["finished"]
        assert [one.waiting for one in sync(workspace=places[name])] == [0]
        assert [problem for one in doctor(workspace=places[name]) for problem in one.problems] == []
        with closing(sqlite3.connect(folders / name / "mlflow.db")) as store:
            assert store.execute("SELECT count(*) FROM experiments WHERE name = 'tiny'").fetchone() == (1,)
        assert [freed.owner for freed in prune_files(workspace=places[name])] == ["tiny"]
    assert found["a"] != found["b"]
    assert sorted(path.name for path in workspace.iterdir()) == before


def above(root: Path) -> str:
    np.save(root.parent / "secret.npy", ROWS)
    return "../secret.npy"


def absolute(root: Path) -> str:
    np.save(root.parent / "secret.npy", ROWS)
    return str(root.parent / "secret.npy")


def link(root: Path) -> str:
    np.save(root.parent / "secret.npy", ROWS)
    (root / "rows.npy").symlink_to(root.parent / "secret.npy")
    return "rows.npy"


def link_to_a_folder(root: Path) -> str:
    (root.parent / "secrets").mkdir()
    np.save(root.parent / "secrets" / "rows.npy", ROWS)
    (root / "data").symlink_to(root.parent / "secrets")
    return "data/rows.npy"


def link_in_a_folder(root: Path) -> str:
    from PIL import Image

    (root / "images").mkdir()
    for number in range(3):
        place = root.parent if number == 2 else root / "images"
        Image.fromarray(np.full((4, 4), 40 * number, np.uint8)).save(place / f"{number}.png")
    (root / "images" / "2.png").symlink_to(root.parent / "2.png")
    return "images"


def missing(root: Path) -> str:
    return str(root.parent / "no-such-file.npy")


def home(root: Path) -> str:
    return "~/rows.npy"


@pytest.mark.parametrize("make", [above, absolute, link, link_to_a_folder, link_in_a_folder, missing, home])
def test_no_source_outside_the_data_root_is_read(make: Callable[[Path], str], tmp_path: Path) -> None:
    """Whichever way leads out of it, and the sentence does not tell whether there is anything."""
    root = tmp_path / "root"
    root.mkdir()
    source = make(root)
    place = tuner.workspace(root, data_root=root)
    with pytest.raises(DataError) as caught:
        tuner.run(tiny(data={"source": source}), workers=0, workspace=place)
    said = "must be inside the data root (TUNER_DATA_ROOT), links included, but leads out of it."
    assert str(caught.value) == f"{source}: {said}"
    with pytest.raises(DataError, match="must be inside the data root"):
        tuner.train(
            {
                **tiny(data={"source": source}),
                "space": {"bottleneck": 2, "width": 4, "depth": 1, "learning_rate": 0.01, "batch_size": 16},
            },
            workspace=place,
        )


def test_what_is_inside_the_data_root_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a link that stays inside, and a bundled set; also by the command line, where the variable says so."""
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    np.save(root / "data" / "rows.npy", ROWS)
    (root / "linked.npy").symlink_to("data/rows.npy")
    monkeypatch.chdir(root)
    monkeypatch.setenv("TUNER_DATA_ROOT", str(root))
    for source in ("data/rows.npy", "linked.npy", str(root / "data" / "rows.npy"), "sklearn:iris"):
        (root / "space.yaml").write_text(
            f"name: tiny\ndata: {{source: '{source}'}}\nspace: {{bottleneck: 2, batch_size: 16}}\n"
            "search: {trials: 1, epochs: 1}\n"
        )
        checked = run_tuner(root, "validate", "space.yaml")
        assert checked.returncode == 0, checked.stderr
    np.save(tmp_path / "secret.npy", ROWS)
    (root / "out.npy").symlink_to(tmp_path / "secret.npy")
    (root / "space.yaml").write_text((root / "space.yaml").read_text().replace("sklearn:iris", "out.npy"))
    refused = run_tuner(root, "validate", "space.yaml")
    assert refused.returncode != 0
    assert refused.stderr.strip().startswith("out.npy: must be inside the data root")


def test_the_ledgers_address_may_be_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As secrets are handed to containers; TUNER_DATABASE_URL comes before it, and no message has what is in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNER_DATABASE_URL", raising=False)
    secret = tmp_path / "url"
    monkeypatch.setenv("TUNER_DATABASE_URL_FILE", str(secret))
    for content, said in [(None, "No such file"), (b"\n", "which is empty"), (b"\xff", "no text in UTF-8")]:
        if content is not None:
            secret.write_bytes(content)
        with pytest.raises(InputError, match=rf"^TUNER_DATABASE_URL_FILE: must name a file .*{said}"):
            tuner.workspace()
    secret.write_text("postgresql://tuner:hunter2-Zebra@127.0.0.1:9/none\n")
    assert tuner.workspace().database == "postgresql://tuner:hunter2-Zebra@127.0.0.1:9/none"
    ended = run_tuner(tmp_path, "list")
    assert ended.returncode == 1
    assert "hunter2" not in ended.stdout + ended.stderr
    assert without_secrets("it was hunter2-Zebra") == "it was ***"
    monkeypatch.setenv("TUNER_DATABASE_URL", "sqlite:///given.db")
    assert tuner.workspace().database == "sqlite:///given.db"


def test_mlflows_password_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command reads it, and what is in the environment comes before it."""
    (tmp_path / "password").write_text("from the file\n")
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(tmp_path / "password"))
    settle_credentials()
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "from the file"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "given")
    settle_credentials()
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "given"
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(tmp_path / "none"))
    ended = run_tuner(tmp_path, "list")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("MLFLOW_TRACKING_PASSWORD_FILE: must name a file that can be read")

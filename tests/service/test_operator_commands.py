"""Claims about what an operator types: data by name, and the supervisor."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from disturbed import left_behind, run_tuner, start_tuner
from supervised import start_supervisor, until
from typer.testing import CliRunner

from tuner.api import datasets
from tuner.api.workspace import workspace as workspace_of
from tuner.cli.app import app
from tuner.errors import InputError
from tuner.ledger.ledger import Ledger


def test_data_is_registered_listed_and_forgotten(workspace: Path) -> None:
    """By its absolute path, with its size; the same again changes nothing, and the file stays when its name goes."""
    (workspace / "my data").mkdir()
    (workspace / "my data" / "a.csv").write_text("x\n" * 1000)
    place = workspace_of(workspace)
    added = run_tuner(workspace, "data", "add", "mine", "my data/a.csv")
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout.endswith("my data/a.csv, 2.0 kB; a space file names it as dataset:mine.\n")
    assert datasets.add("mine", "my data/a.csv", place) == datasets.registered(place)[0]
    assert datasets.add("all", "my data", place).size == 2000
    listed = typed("data", "list").splitlines()
    assert [line.split()[0] for line in listed] == ["all", "mine"]
    assert listed[1].endswith(str(workspace / "my data" / "a.csv"))
    assert typed("data", "remove", "mine") == "mine: no longer registered; its files stay.\n"
    with pytest.raises(InputError, match=r"data set mine: must be one that is registered \(all\)"):
        datasets.remove("mine", place)
    assert (workspace / "my data" / "a.csv").exists()


def typed(*words: str) -> str:
    """What a command answers, called in this process."""
    ran = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert ran.exit_code == 0
    return ran.stdout


@pytest.mark.parametrize(
    ("name", "path", "sentence"),
    [
        ("x", "no.csv", "must be a file or folder that is there"),
        ("x", "outside", r"must be inside the data root \(TUNER_DATA_ROOT\), links included"),
        ("x", "folder", "leads out of it"),
        ("x", "../secret.csv", "leads out of it"),
        ("x", "/dev/null", "leads out of it"),
        ("x", "new\nline.csv", "must have printable characters alone"),
        ("a/b", "in.csv", "must begin with a letter or digit"),
        ("taken", "in.csv", "data set taken: there is one of that name already"),
    ],
)
def test_what_cannot_be_registered_is_refused(name: str, path: str, sentence: str, tmp_path: Path) -> None:
    """Nothing that is not there, nor outside the data root by whatever way, nor another thing under a known name."""
    root = tmp_path / "root"
    root.mkdir()
    for file in (tmp_path / "secret.csv", root / "in.csv", root / "other.csv", root / "new\nline.csv"):
        file.write_text("x\n1\n")
    (root / "outside").symlink_to(tmp_path / "secret.csv")
    (root / "folder").mkdir()
    (root / "folder" / "link.csv").symlink_to(tmp_path / "secret.csv")
    place = workspace_of(root, data_root=root)
    datasets.add("taken", "other.csv", place)
    with pytest.raises(InputError, match=sentence):
        datasets.add(name, path, place)
    assert [each.name for each in datasets.registered(place)] == ["taken"]


def test_without_anything_registered_the_list_says_how(workspace: Path) -> None:
    """And no ledger is made for it."""
    assert typed("data", "list") == "no data is registered yet; `tuner data add NAME PATH` registers some.\n"
    assert not (workspace / "tuner.db").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_supervisor_makes_the_ledger_and_ends_when_it_is_told_to(number: signal.Signals, workspace: Path) -> None:
    """Exit code 0, and the next one may begin at once."""
    process = start_supervisor(workspace)
    until((workspace / "tuner.db").exists, "the ledger")
    ledger = Ledger.open(f"sqlite:///{workspace / 'tuner.db'}")
    until(ledger.supervision.holder, "the supervisor")
    process.send_signal(number)
    assert process.wait(30) == 0, (workspace / "out.txt").read_text()
    with ledger._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT owner FROM tuner_supervisor").fetchall() == [(None,)]
    ledger.close()


def test_a_server_that_is_killed_takes_its_supervisor_along(tmp_path: Path) -> None:
    """After kill -9 of `tuner serve` no process is left."""
    server = start_tuner(tmp_path, "serve", "--port", "0")
    until((tmp_path / "tuner.db").exists, "the ledger")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'tuner.db'}")
    until(ledger.supervision.holder, "the supervisor")
    server.kill()
    server.wait()
    until(lambda: left_behind(tmp_path) == [], "the supervisor to end")
    assert ledger.supervision.holder() is None
    ledger.close()


def test_an_option_that_is_wrong_is_a_sentence(workspace: Path) -> None:
    """Exit code 2, as everywhere."""
    assert run_tuner(workspace, "supervise", "--slots", "0").returncode == 2

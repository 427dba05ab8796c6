"""Claims about `tuner --server` and `tuner.connect` against a real server with its supervisor: submit to export."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from disturbed import run_tuner, table
from studies import IRIS, fresh_folder, tiny

import tuner
from tuner.errors import InputError, SpecError, StudyError, UnknownStudyError
from tuner.remote.server import Server

TUNER = [sys.executable, "-m", "tuner"]
SPACE = tiny(name="wanted", data={"source": "dataset:iris"}, search={"trials": 9, "epochs": 3, "cohort": 9, "seed": 3})
LONGER = {**SPACE, "name": "longer", "search": {**SPACE["search"], "trials": 60, "epochs": 81}}


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        url: its address.
        folder: its studies'.
        tokens: files with a token, by role.
        here: an empty folder for its client.
    """

    url: str
    folder: Path
    tokens: dict[str, Path]
    here: Path

    def connect(self, role: str = "launch") -> Server:
        return tuner.connect(self.url, token_file=self.tokens[role])

    def type(self, *words: str, role: str = "launch") -> subprocess.CompletedProcess[str]:
        """A command as a user types it, with the server in the environment."""
        given = {"TUNER_SERVER": self.url, "TUNER_TOKEN_FILE": str(self.tokens[role])}
        return run_tuner(self.here, *words, **given)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Served]:
    """`tuner serve` on a free port, with a data root, and data that a client uploaded."""
    folder = fresh_folder(tmp_path_factory.mktemp("served"), mlflow_store)
    (folder / "data").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TUNER_"))}
    env = {**kept, "TUNER_DATA_ROOT": str(folder / "data"), "PYTHONUNBUFFERED": "1"}
    command = [*TUNER, "serve", "--port", "0", "--workers", "0"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), (folder / "log").read_text()
        yield Served(url, folder, tokens(folder, env), tmp_path_factory.mktemp("here"))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def tokens(folder: Path, env: dict[str, str]) -> dict[str, Path]:
    """One of each role."""
    found = {}
    for role in ("read", "launch"):
        made = subprocess.run(
            [*TUNER, "token", "new", "anna", "--role", role], cwd=folder, env=env, stdout=subprocess.PIPE, check=True
        )
        found[role] = folder / f"{role}.token"
        found[role].write_bytes(made.stdout)
    return found


@pytest.fixture(scope="module")
def finished(served: Served) -> Served:
    """A study of uploaded data was run to its end by `tuner run`, typed with a server in the environment."""
    (served.here / "wanted.yaml").write_text(json.dumps(SPACE))
    added = served.type("data", "add", "iris", str(IRIS))
    assert (added.returncode, added.stderr) == (0, "")
    ran = served.type("run", "wanted.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr + (served.folder / "log").read_text()
    assert ran.stdout.startswith("wanted: finished · 9/9 trials · best ")
    return served


def test_the_table_is_that_of_a_run_here(finished: Served, tmp_path: Path, mlflow_store: Path) -> None:
    """Byte for byte, through a shell and through Python; the numbers of the DataFrame are the same."""
    here = fresh_folder(tmp_path / "local", mlflow_store)
    (here / "wanted.yaml").write_text(json.dumps({**SPACE, "data": {"source": str(IRIS)}}))
    assert run_tuner(here, "run", "wanted.yaml", "--workers", "0").returncode == 0
    expected = table(here, "wanted")
    assert finished.type("trials", "wanted").stdout == expected
    study = finished.connect("read").study("wanted")
    assert study.csv() == expected
    assert len(study.trials()) == 9
    assert study.item().best == study.trials()["value"].min()


def test_the_export_is_loaded_here(finished: Served) -> None:
    """The folder that the command writes is a model; the server scores the same rows to the same errors."""
    wrote = finished.type("export", "wanted", "best")
    assert wrote.returncode == 0, wrote.stderr
    again = finished.type("export", "wanted", "best")
    assert (again.returncode, "best" in again.stderr) == (2, True)
    rows = np.load(IRIS)[:5]
    model = tuner.load_model(finished.here / "best")
    scored = finished.connect().study("wanted").score(rows.tolist())
    np.testing.assert_allclose(scored.scores, model.score(rows), rtol=1e-5)
    config = finished.connect("read").study("wanted").config(finished.here / "config.yaml")
    assert "learning_rate" in config.read_text()


def test_what_is_listed_shown_and_checked(finished: Served) -> None:
    """By the commands of studies here; what takes a while says what it would cost and launches nothing."""
    assert finished.type("list", role="read").stdout.startswith("wanted: finished · 9/9 trials")
    shown = json.loads(finished.type("show", "wanted", "--json", role="read").stdout)
    assert shown["item"]["state"] == shown["answer"]["state"] == "finished"
    (finished.here / "longer.yaml").write_text(json.dumps(LONGER))
    checked = finished.type("validate", "longer.yaml")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("longer: 60 trials of ")
    assert [item.name for item in finished.connect().list()] == ["wanted"]
    assert finished.type("data", "list").stdout == f"iris: {IRIS.stat().st_size:,} bytes, by anna\n"


def test_a_study_is_stopped_watched_and_continued(finished: Served) -> None:
    """It waits for nothing, stops, goes on where it was by the same command, and ends; then to a larger total."""
    (finished.here / "longer.yaml").write_text(json.dumps(LONGER))
    assert finished.type("run", "longer.yaml", "--no-wait").returncode == 0
    study = finished.connect().study("longer")
    next(item for item in study.watch() if item.state == "running" and item.ended)
    item = study.stop()
    assert (item.state, item.ended < 60) == ("stopped", True)
    again = finished.type("stop", "longer")
    assert (again.returncode, again.stdout[:18]) == (0, "longer: stopped · ")
    assert finished.type("run", "longer.yaml", "--json").returncode == 0
    item = study.item()
    assert (item.state, item.ended) == ("finished", 60)
    with pytest.raises(StudyError, match="must be larger"):
        study.extend(trials=60)
    study.extend(trials=69)
    *_, last = study.watch()
    assert (last.state, last.ended) == ("finished", 69)


def test_refusals_are_the_sentences_and_exit_codes_of_the_command_line(finished: Served) -> None:
    """Unknown studies, other declarations of one name, broken files with their lines, data of this machine, roles."""
    server = finished.connect()
    with pytest.raises(UnknownStudyError, match="none"):
        server.study("none")
    with pytest.raises(StudyError, match=r"another declaration: search\.seed was 3 and"):
        server.submit({**SPACE, "search": {**SPACE["search"], "seed": 4}})
    broken = finished.here / "broken.yaml"
    broken.write_text(
        "name: x\ndata: {source: dataset:iris}\nspace:\n  width: {type: int, low: 9, high: 3}\n  wdith: 3\n"
    )
    (finished.here / "local.yaml").write_text("name: x\ndata:\n  source: table.csv\n")
    with pytest.raises(SpecError) as caught:
        server.check(broken)
    assert {problem.line for problem in caught.value.problems} >= {4, 5}
    for words, code, said in [
        (("run", "broken.yaml"), 2, "broken.yaml:5: space.wdith"),
        (("run", "local.yaml"), 2, "local.yaml:3: data.source: must be dataset:NAME on a server, got table.csv"),
        (("show", "none"), 2, "none"),
        (("run", "none.yaml"), 2, "none.yaml: must be a space file that can be read"),
        (("--server", "http://example.org", "list"), 2, "must begin with https://"),
    ]:
        ended = finished.type(*words)
        assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr
        assert "Traceback" not in ended.stderr
    with pytest.raises(InputError, match="The role read must not do this"):
        finished.connect("read").study("wanted").stop()


def test_what_no_server_does_is_done_here(served: Served) -> None:
    """TUNER_SERVER changes what a server can do; `inspect` and the rest are of this machine as ever."""
    looked = served.type("inspect", str(IRIS))
    assert looked.returncode == 0
    assert "150 rows" in looked.stdout


def test_several_files_wait_in_their_order(finished: Served) -> None:
    """Checked first: one mistake, and none is handed in. Then all are, each is followed to its end, and is a line."""
    files = [f"{name}.yaml" for name in ("one", "two")]
    for file in files:
        (finished.here / file).write_text(json.dumps({**SPACE, "name": file.removesuffix(".yaml")}))
    (finished.here / "wrong.yaml").write_text("name: wrong\ndata: {source: dataset:nowhere}\n")
    refused = finished.type("run", "one.yaml", "wrong.yaml", "two.yaml")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert all(line.startswith("wrong.yaml:") for line in refused.stderr.splitlines()[:-1])
    assert refused.stderr.splitlines()[-1].endswith(" in 3 files; nothing was begun.")
    named = finished.type("run", *files, "--key", "k")
    assert (named.returncode, named.stderr) == (2, "--key: must be given with one space file, got 2 files.\n")
    assert not {"one", "two", "wrong"} & {item.name for item in finished.connect().list()}
    done = finished.type("run", *files, "--json")
    assert done.returncode == 0, done.stderr
    assert [(item["name"], item["state"]) for item in map(json.loads, done.stdout.splitlines())] == [
        ("one", "finished"),
        ("two", "finished"),
    ]
    assert [item.name for item in finished.connect().list()][:2] == ["two", "one"]

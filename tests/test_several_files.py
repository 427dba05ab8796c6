"""Claims about `tuner run` with several space files, as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from disturbed import TUNER, left_behind, run_tuner, table
from studies import fresh_folder, tiny

SHORT = {"trials": 3, "epochs": 1}
ENDLESS = {"trials": 2000, "epochs": 2000}


def written(folder: Path, *names: str, **changes: Any) -> list[str]:
    """Space files of short studies of these names."""
    for name in names:
        (folder / f"{name}.yaml").write_text(json.dumps(tiny(**{"name": name, "search": SHORT, **changes})))
    return [f"{name}.yaml" for name in names]


def studies(folder: Path) -> list[str]:
    """Names of those that are recorded, in the order of `tuner list`."""
    said = run_tuner(folder, "list").stdout
    return [] if said.startswith("no studies") else [line.split()[0] for line in said.splitlines()]


def answered(text: str) -> list[tuple[str, str]]:
    """Study and state of each line of standard output."""
    return [(found["study"], found["state"]) for found in map(json.loads, text.splitlines())]


def test_files_are_run_one_after_another(workspace: Path, mlflow_store: Path) -> None:
    """In the order given, options holding for all: a line says which of how many, each answer is a line, and each table
    is that of a run alone."""
    files = written(workspace, "b", "a")
    done = run_tuner(workspace, "run", *files, "--json", "--workers", "1", "--set", "search.trials=4")
    assert done.returncode == 0, done.stderr
    assert answered(done.stdout) == [("b", "finished"), ("a", "finished")]
    said = done.stderr.splitlines()
    assert said.index("b.yaml: study 1 of 2") < said.index("a.yaml: study 2 of 2")
    assert said[-1] == "2 of 2 studies are done."
    alone = fresh_folder(workspace / "alone", mlflow_store)
    for file in written(alone, "a", "b"):
        assert run_tuner(alone, "run", file, "--workers", "0", "--set", "search.trials=4").returncode == 0
    for name in ("a", "b"):
        assert table(workspace, name) == table(alone, name)
    again = run_tuner(workspace, "run", *files, "--set", "search.trials=4")
    assert again.stdout.count("nothing is left to do. To go on: tuner run ") == 2


def test_every_mistake_of_every_file_is_said_before_anything_is_begun(workspace: Path) -> None:
    """Of the files, of an override, of the data; each line begins with its file, and the exit code is 2."""
    good, _ = written(workspace, "good", "gone", data={"source": "gone.npy"})
    written(workspace, "good")
    (workspace / "bad.yaml").write_text(
        'name: bad\ndata: {source: "sklearn:iris"}\nspace: {bottleneck: x}\nsearch: {}\n'
    )
    refused = run_tuner(workspace, "run", "none.yaml", "bad.yaml", good, "gone.yaml", "--set", "search.seed=-1")
    lines = refused.stderr.splitlines()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert [line.partition(": ")[0].partition(":")[0] for line in lines[:-1]] == [
        "none.yaml", "bad.yaml", "bad.yaml", "good.yaml", "gone.yaml",
    ]  # fmt: skip
    assert lines[-1] == "5 mistakes in 4 files; nothing was begun."
    data = run_tuner(workspace, "run", good, "gone.yaml")
    assert data.stderr.splitlines()[0].startswith("gone.yaml: ")
    assert "gone.npy: must be a file or folder" in data.stderr
    assert data.returncode == 2
    assert studies(workspace) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.yaml", "b.yaml", "--from", "x"), "--from: must be given with one space file, got 2 files.\n"),
        (("a.yaml", "b.yaml", "--set", "name=x"), "--set name=...: must be given with one space file, got 2 files.\n"),
        (("a.yaml", "a.yaml"), "a.yaml: name: must be another study's than that of a.yaml, got a.\n"),
    ],
)
def test_what_means_one_study_is_refused(words: tuple[str, ...], said: str, workspace: Path) -> None:
    """In one sentence, before anything is begun; the same file twice as well."""
    written(workspace, "a", "b")
    refused = run_tuner(workspace, "run", *words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(said)
    assert studies(workspace) == []


def test_one_that_fails_does_not_keep_the_next_from_running(workspace: Path) -> None:
    """Its study was begun with another space: it says so, has no line among the answers, and gives the exit code."""
    first, second = written(workspace, "first", "second")
    assert run_tuner(workspace, "run", first, "--workers", "0").returncode == 0
    written(workspace, "first", device="cpu", search={**SHORT, "seed": 8})
    done = run_tuner(workspace, "run", first, second, "--json", "--workers", "0")
    assert done.returncode == 2
    assert "search.seed was 3 and is now 8" in done.stderr
    assert answered(done.stdout) == [("second", "finished")]
    assert done.stderr.splitlines()[-1] == "1 of 2 studies are done; first.yaml ended with exit code 2."


def launched(folder: Path, *files: str) -> subprocess.Popen[str]:
    """A run of these files, once the first of them trains."""
    words = [*TUNER, "run", *files, "--json", "--workers", "1"]
    run = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    assert any("running" in line for line in run.stderr)
    return run


def test_one_that_is_stopped_by_request_does_not_either(workspace: Path) -> None:
    """`tuner stop` ends that study alone: the next one runs, and the exit code is 3."""
    (endless,), (short,) = written(workspace, "endless", search=ENDLESS), written(workspace, "short")
    run = launched(workspace, endless, short)
    assert run_tuner(workspace, "stop", "endless").returncode == 0
    said, shown = run.communicate(timeout=120)
    assert run.returncode == 3
    assert answered(said) == [("endless", "stopped"), ("short", "finished")]
    assert shown.splitlines()[-1] == "1 of 2 studies are done; endless.yaml ended with exit code 3."


def test_ctrl_c_ends_all(workspace: Path) -> None:
    """The first is stopped as ever, with its answer; the second is not begun, and no process is left."""
    (endless,), (short,) = written(workspace, "endless", search=ENDLESS), written(workspace, "short")
    run = launched(workspace, endless, short)
    run.send_signal(signal.SIGINT)
    said, shown = run.communicate(timeout=120)
    assert run.returncode == 130
    assert answered(said) == [("endless", "stopped")]
    assert "study 2 of 2" not in shown
    assert studies(workspace) == ["endless"]
    assert left_behind(workspace) == []

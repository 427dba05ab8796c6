"""Claims about where a command's answer goes: a place that cannot take it is one sentence and an exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from disturbed import TUNER
from studies import fresh_folder, tiny

import tuner
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import spec_from_mapping

FULL = "standard output: must be writable, got: No space left on device. What is recorded stays.\n"
CLOSED = "standard output: must be writable, got: Bad file descriptor. What is recorded stays.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A finished study, a front, an export, and rows."""
    made = fresh_folder(tmp_path_factory.mktemp("outputs"), mlflow_store)
    (made / "tiny.yaml").write_text(to_yaml(spec_from_mapping(tiny())))
    space = {**tiny()["space"], "bottleneck": {"type": "int", "low": 1, "high": 3}}
    search = {"trials": 3, "epochs": 1, "pruner": "none"}
    front = tiny(name="front", objective=["val_loss", "bottleneck"], space=space, search=search)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        tuner.run(tiny(), workers=0).export("best")
        tuner.run(front, workers=0)
    np.save(made / "rows.npy", np.random.default_rng(0).uniform(0, 5, size=(9, 4)))
    (made / "file").write_text("")
    return made


def shell(folder: Path, words: str, redirected: str) -> subprocess.CompletedProcess[str]:
    """A command with its streams redirected by the shell."""
    command = f"{sys.executable} -m tuner {words} {redirected}"
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "words",
    [
        "list",
        "show tiny",
        "trials tiny",
        "run tiny.yaml --json",
        "compare tiny tiny --json",
        "front front --json",
        "doctor tiny --no-mlflow",
        "schema",
        "--help",
        "--version",
    ],
)
def test_a_full_device_is_a_sentence(words: str, folder: Path) -> None:
    """Exit code 1, no crash log, no traceback at exit, whatever is written and however much of it."""
    full = shell(folder, words, ">/dev/full")
    assert (full.returncode, full.stderr.splitlines(True)[-1]) == (1, FULL)
    assert "Traceback" not in full.stderr
    assert "Exception ignored" not in full.stderr
    assert not (folder / "tuner-crash.log").exists()


def test_a_closed_stream_is_a_sentence(folder: Path) -> None:
    """Standard output that was closed takes no answer; standard error and input that were, cost nothing."""
    closed = shell(folder, "list", ">&-")
    assert (closed.returncode, closed.stderr) == (1, CLOSED)
    for redirected in ("2>&-", "<&-", "2>/dev/full", "<&- 2>&-"):
        done = shell(folder, "list", redirected)
        assert (done.returncode, done.stderr) == (0, "")
        assert "tiny" in done.stdout
    assert shell(folder, "show none", "2>/dev/full").returncode == 2


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&- <&-"])
def test_a_run_does_not_end_for_its_progress_line(
    redirected: str, folder: Path, tmp_path: Path, mlflow_store: Path
) -> None:
    """Where standard error takes nothing, the study trains, in worker processes too, and its answer is printed."""
    made = fresh_folder(tmp_path / "study", mlflow_store)
    (made / "tiny.yaml").write_text((folder / "tiny.yaml").read_text())
    done = shell(made, "run tiny.yaml --workers 1", redirected)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tiny: all 13 trials are done.")


def test_a_reader_that_goes_away_is_success(folder: Path) -> None:
    """The command's own exit code, which `set -o pipefail` shows, is 0."""
    script = f"{sys.executable} -m tuner schema | true; exit ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert (piped.returncode, piped.stderr) == (0, "")


FIXED = "--set space.depth=1 --set space.width=4 --set space.learning_rate=0.01 --set space.batch_size=16"
WRITERS = {
    "trials tiny -o {}": ("t.csv", "t.txt"),
    "report tiny -o {}": ("r.html", "r.pdf"),
    "front front -o {}": ("f.csv", "f.txt"),
    "apply best rows.npy --what score -o {}": ("s.csv", "s.txt"),
    "apply best --what sample -n 3 -o {}": ("s.npy", "s.txt"),
    "export tiny {}": ("e", None),
    f"train tiny.yaml {FIXED} --set space.activation=relu -o {{}}": ("m", None),
}


@pytest.mark.parametrize("words", WRITERS)
def test_a_place_that_was_named_wrong_is_exit_code_2(words: str, folder: Path) -> None:
    """A folder that is not there or is a file, a folder in a file's place, a file in a folder's, another ending: one
    sentence that names the place; and the right one is written."""
    name, other = WRITERS[words]
    wrong = ["file/" + name]
    if other is None:
        wrong += [
            "file",
            "best" if words.startswith("export") else ".",
        ]  # an export that stands there, the folder itself
    else:
        (folder / f"folder{Path(name).suffix}").mkdir(exist_ok=True)
        wrong += [f"none/{name}", other, f"folder{Path(name).suffix}", "plain"]
    for place, (code, said) in zip(
        wrong, one_after_another(folder, [words.format(each) for each in wrong]), strict=True
    ):
        assert code == 2, (place, said)
        assert len(said.splitlines()) == 1, said
        assert str(place).split("/", maxsplit=1)[0].rstrip(".") in said
    if words.startswith("trials"):
        assert run(folder, words.format(name).split()).returncode == 0
        assert (folder / name).is_file()


def test_what_is_no_export_is_a_wrong_name_too(folder: Path) -> None:
    """`apply` on nothing and on a file."""
    for place in ("none", "file"):
        refused = run(folder, ["apply", place, "rows.npy", "--what", "score", "-o", "s.csv"])
        assert refused.returncode == 2
        assert "expected a folder that `tuner export` wrote" in refused.stderr


def run(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TUNER, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


SEVERAL = """
import sys
from tuner.cli.app import main
for words in sys.argv[1:]:
    sys.argv[1:] = words.split()
    try:
        main()
    except SystemExit as end:
        print("ended with", end.code, file=sys.stderr, flush=True)
"""


def one_after_another(folder: Path, commands: Sequence[str]) -> list[tuple[int, str]]:
    """The exit code of each command, and what it wrote to standard error; one process, which loads libraries once."""
    words = [sys.executable, "-c", SEVERAL, *commands]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found, said = list[tuple[int, str]](), ""
    for line in done.stderr.splitlines(True):
        if line.startswith("ended with "):
            found.append((int(line.split()[-1]), said))
        said = "" if line.startswith("ended with ") else said + line
    return found

"""Claims about the command line, run as a user runs it: in a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import psutil
import pytest
from disturbed import run_tuner
from studies import fresh_folder, tiny

from tuner.spec.canonical import to_yaml
from tuner.spec.reader import spec_from_mapping

TUNER = (sys.executable, "-m", "tuner")
NO_BF16 = "precision: bf16 needs a CUDA device, and this study trains on cpu.\n"


def tuner(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a pipe."""
    return subprocess.run(
        [*TUNER, *words],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def clean_environment(**more: str) -> dict[str, str]:
    left_out = ("MLFLOW_TRACKING_URI", "TUNER_DATABASE_URL", "TUNER_DEBUG")
    return {**{name: value for name, value in os.environ.items() if name not in left_out}, **more}


def write_space(folder: Path, **changes: object) -> None:
    (folder / "tiny.yaml").write_text(to_yaml(spec_from_mapping(tiny(**changes))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder in which the tiny study was run once."""
    made = fresh_folder(tmp_path_factory.mktemp("cli"), mlflow_store)
    write_space(made)
    finished = tuner(made, "run", "tiny.yaml", "--json", "--workers", "1")
    assert finished.returncode == 0, finished.stderr
    (made / "out.json").write_text(finished.stdout)
    (made / "err.txt").write_text(finished.stderr)
    return made


def test_json_is_one_object_with_the_answer(folder: Path) -> None:
    """Standard output is the object that the README promises; progress goes to standard error, without colours."""
    answer = json.loads((folder / "out.json").read_text())
    assert (answer["study"], answer["state"]) == ("tiny", "finished")
    assert sum(answer["counts"].values()) == 13
    assert answer["best"].keys() == {"number", "value", "params", "test_loss", "measures"}
    assert answer["baselines"].keys() == {"mean", "pca"}
    assert answer["seconds"] > 0
    assert {"tracking_uri", "experiment_id", "run_id"} <= answer["mlflow"].keys()
    assert answer["mlflow"]["waiting"] == 0
    said = (folder / "err.txt").read_text()
    assert "13/13 trials" in said
    assert "\x1b" not in said


def test_a_second_run_says_that_nothing_is_left(folder: Path) -> None:
    """And how to go on."""
    again = tuner(folder, "run", "tiny.yaml")
    assert again.returncode == 0
    assert again.stdout.startswith("tiny: all 13 trials are done; nothing is left to do. To go on: tuner run tiny.yaml")


def test_the_summary_has_the_answer_beside_pca(folder: Path) -> None:
    """`show` prints losses, parameters, the comparison in words, the link, and what to type next."""
    shown = tuner(folder, "show", "tiny").stdout
    for part in (
        "validation loss",
        "test loss",
        "PCA(2)",
        "mean predictor",
        "learning_rate",
        "On the test split: autoencoder",
    ):
        assert part in shown
    assert "http://127.0.0.1:5000/#/experiments/" in shown
    assert "tuner export tiny best/" in shown


def test_the_table_is_the_same_in_every_format(folder: Path) -> None:
    """CSV printed and written byte for byte; Parquet and JSON the same values; times only when asked for."""
    printed = tuner(folder, "trials", "tiny").stdout
    for ending in ("csv", "json", "parquet"):
        assert tuner(folder, "trials", "tiny", "-o", f"t.{ending}").returncode == 0
    assert (folder / "t.csv").read_text() == printed
    table = pd.read_csv(folder / "t.csv", keep_default_na=False, na_values={"value": [""]})
    parquet = pd.read_parquet(folder / "t.parquet")
    assert list(table.columns[:6]) == ["number", "state", "value", "best_epoch", "epochs", "reason"]
    assert all(name.startswith(("param.", "measure.")) for name in table.columns[6:])
    assert table["value"].tolist() == parquet["value"].tolist()
    assert [row["value"] for row in json.loads((folder / "t.json").read_text())] == table["value"].tolist()
    assert "asked_at" not in printed
    assert "asked_at" in tuner(folder, "trials", "tiny", "--times").stdout
    refused = tuner(folder, "trials", "tiny", "-o", "t.xlsx")
    assert (refused.returncode, refused.stderr) == (2, "t.xlsx: must end in .csv, .parquet, .json, got .xlsx.\n")


def test_a_report_and_a_comparison_at_the_command_line(folder: Path) -> None:
    """The page is where it was asked for; a comparison is text or one object; mistakes are one sentence."""
    done = tuner(folder, "report", "tiny", "-o", "page.html")
    assert (done.returncode, done.stdout) == (0, "written to page.html\n")
    assert "Parameter importance" in (folder / "page.html").read_text()
    text = tuner(folder, "compare", "tiny", "tiny").stdout
    assert "tiny and tiny have the same test loss" in text
    found = json.loads(tuner(folder, "compare", "tiny", "tiny", "--json").stdout)
    answer = json.loads((folder / "out.json").read_text())
    assert found["rows"]["test loss"] == [answer["best"]["test_loss"]] * 2
    assert found["fair"]
    for words, code in (
        (("report", "tiny", "-o", "page.pdf"), 2),
        (("compare", "tiny"), 2),
        (("compare", "tiny", "x"), 2),
    ):
        refused = tuner(folder, *words)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (code, 1)


@pytest.mark.long
def test_a_csv_of_ones_own_goes_to_an_export_by_editing_three_lines(tmp_path: Path, mlflow_store: Path) -> None:
    """Name, source and bottleneck changed in a shipped space; then validate, run, export and train."""
    made = fresh_folder(tmp_path / "mine", mlflow_store)
    rows = pd.DataFrame({f"sensor {n}": [(7 * row * n) % 23 / 3 - n for row in range(90)] for n in range(1, 8)})
    rows.to_csv(made / "plant.csv", index=False)
    shipped = (Path(__file__).parents[1] / "search_spaces/smoke.yaml").read_text()
    edited = (
        shipped.replace("name: smoke", "name: plant")
        .replace("sklearn:iris", "plant.csv")
        .replace("bottleneck:    2", "bottleneck:    3")
    )
    (made / "plant.yaml").write_text(edited)
    checked = tuner(made, "validate", "plant.yaml")
    assert "90 rows, 7 features" in checked.stdout
    assert "No mistakes found." in checked.stdout
    final = json.loads(tuner(made, "run", "plant.yaml", "--json", "--workers", "1").stdout)["final"]
    exported_loss = final["configurations"][0]["losses"][final["exported"]]
    exported = tuner(made, "export", "plant", "best")
    assert exported.stdout.startswith(
        "best: README.md, config.yaml, density.json, metrics.json, model.onnx, model.pt2, model.safetensors, preproc"
    )
    scored = tuner(made, "apply", "best", "plant.csv", "--what", "score", "-o", "scores.csv", "--keep", "sensor 3")
    assert scored.stdout.startswith("scores.csv: 90 rows, mean loss 0.")
    assert list(pd.read_csv(made / "scores.csv")) == ["sensor 3", "score", "anomaly"]
    drawn = tuner(made, "apply", "best", "--what", "sample", "-n", "5", "--seed", "3", "-o", "drawn.parquet")
    assert drawn.stdout == "drawn.parquet: 5 rows\n"
    assert list(pd.read_parquet(made / "drawn.parquet")) == list(rows)
    assert tuner(made, "train", "best/config.yaml").stdout.startswith(f"validation loss {exported_loss!r} in epoch")
    refused = tuner(made, "export", "plant", "best")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert tuner(made, "export", "plant", "best", "--force").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "none.yaml"), 2, "none.yaml: must be a file that can be read, got: No such file or directory\n"),
        (("run", "tiny.yaml", "--set", "search.tirals=3"), 2, "did you mean trials?"),
        (("run", "tiny.yaml", "--set", "space.depth=1"), 2, "space.depth was"),
        (("run", "tiny.yaml", "--set", "device=cuda:9"), 2, "device: expected a device that is there"),
        (("run", "tiny.yaml", "--set", "precision=bf16"), 2, NO_BF16),
        (("validate", "tiny.yaml", "--set", "precision=bf16"), 2, NO_BF16),
        (("show", "tinny"), 2, "study tinny: there is none of that name; did you mean tiny?\n"),
        (("export", "tinny", "x"), 2, "did you mean tiny?"),
        (
            ("train", "tiny.yaml"),
            2,
            "tiny.yaml: space.width: must be a plain value to train one model, got the type int",
        ),
        (("trials",), 2, "STUDY"),
        (("nothing",), 2, "nothing"),
        (("run", "tiny.yaml", "--workers", "-1"), 2, "--workers"),
        (("validate", "tiny.yaml", "--set", "data.source=no.csv"), 2, "no.csv: must be a file or folder"),
    ],
)
def test_wrong_input_is_a_sentence_and_exit_code_2(words: Sequence[str], code: int, said: str, folder: Path) -> None:
    """Never a traceback, nothing on standard output, nothing changed."""
    before = tuner(folder, "trials", "tiny").stdout
    refused = tuner(folder, *words)
    assert refused.returncode == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert tuner(folder, "trials", "tiny").stdout == before


def test_every_mistake_in_a_file_is_printed(folder: Path) -> None:
    """One per line, and their number."""
    (folder / "bad.yaml").write_text(
        "name: x\ndata: {source: a.csv}\nspace: {bottleneck: x}\nsearch: {trials: 0, epochs: 1}\n"
    )
    said = tuner(folder, "validate", "bad.yaml").stderr.splitlines()
    assert said == [
        "bad.yaml:3: space.bottleneck: must be a whole number, got 'x'",
        "bad.yaml:4: search.trials: must be at least 1, got 0",
        "2 mistakes.",
    ]


def test_places_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    """A ledger that is no database, and one in a folder that is none."""
    write_space(tmp_path)
    (tmp_path / "tuner.db").write_text("no database" * 100)
    for environment in ({}, {"TUNER_DATABASE_URL": "sqlite:///none/such/tuner.db"}, {"TUNER_DATABASE_URL": "nonsense"}):
        refused = tuner(tmp_path, "run", "tiny.yaml", **environment)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert len(refused.stderr.strip().splitlines()) <= 2


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    """`tuner trials tiny | head -1` says nothing on standard error."""
    command = f"{sys.executable} -m tuner trials tiny | head -1"
    piped = subprocess.run(
        command, shell=True, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert piped.stdout.startswith("number,state")
    assert piped.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_ctrl_c_on_a_terminal_stops_cleanly(number: int, code: int, tmp_path: Path, mlflow_store: Path) -> None:
    """In the middle of a study: the exit code, how to go on, no process left; going on ends with the exact budget."""
    made = fresh_folder(tmp_path / "stopped", mlflow_store)
    write_space(made, search={"trials": 40, "epochs": 200})
    terminal, theirs = pty.openpty()
    running = subprocess.Popen(
        [*TUNER, "run", "tiny.yaml", "--workers", "2"],
        cwd=made, env=clean_environment(TERM="xterm"), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"epochs/s" not in seen:
        seen += os.read(terminal, 4096)
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(number)
    output, _ = running.communicate(timeout=60)
    os.close(terminal)
    assert running.returncode == code
    assert "To go on: tuner run tiny.yaml" in output
    assert "Traceback" not in output + seen.decode()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert "stopped" in tuner(made, "list").stdout
    assert json.loads(tuner(made, "run", "tiny.yaml", "--json").stdout)["counts"].keys() <= {
        "complete",
        "pruned",
        "diverged",
    }
    assert tuner(made, "trials", "tiny").stdout.count("\n") == 41


def test_help_is_quick_to_import(tmp_path: Path) -> None:
    """`tuner --help` imports none of the libraries that take long; it names every command."""
    heavy = ["torch", "optuna", "mlflow", "pandas", "sklearn", "sqlalchemy", "pydantic", "matplotlib", "numpy"]
    code = f"import sys, tuner, tuner.cli.app; print([m for m in {heavy} if m in sys.modules])"
    imported = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert imported.stdout == "[]\n"
    shown = tuner(tmp_path, "--help").stdout
    for command in ("run", "validate", "list", "show", "trials", "export", "train", "dashboard", "schema"):
        assert f"\n  {command} " in shown


def test_an_empty_folder_has_no_studies(tmp_path: Path) -> None:
    """`list` says how to begin, the version and the schema are printed."""
    assert "tuner run FILE" in tuner(tmp_path, "list").stdout
    assert tuner(tmp_path, "--version").stdout.startswith("tuner ")
    assert json.loads(tuner(tmp_path, "schema").stdout)["type"] == "object"


@pytest.mark.parametrize("place", [".tuner", ".tuner/prepared", ".tuner/checkpoints"])
def test_a_file_where_a_folder_belongs_is_named_and_nothing_is_lost(
    tmp_path: Path, mlflow_store: Path, place: str
) -> None:
    """One sentence with the path; with the file gone the study finishes whole."""
    folder = fresh_folder(tmp_path, mlflow_store)
    write_space(folder)
    blocker = folder / place
    blocker.parent.mkdir(exist_ok=True)
    blocker.write_text("")
    refused = tuner(folder, "run", "tiny.yaml", "--workers", "1")
    assert refused.returncode in {1, 2}
    assert place in refused.stderr
    assert "internal error" not in refused.stderr
    assert "Traceback" not in refused.stderr
    blocker.unlink()
    finished = tuner(folder, "run", "tiny.yaml", "--workers", "1")
    assert finished.returncode == 0, finished.stderr
    assert len(tuner(folder, "trials", "tiny").stdout.splitlines()) == 14


@pytest.mark.parametrize("command", ["list", "doctor", "sync"])
def test_where_no_study_is_commands_say_so(command: str, workspace: Path) -> None:
    """And how to begin one; exit code 0."""
    ran = run_tuner(workspace, command)
    assert (ran.returncode, ran.stdout) == (0, "no studies here yet; `tuner run FILE` begins one\n")

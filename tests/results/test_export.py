"""Claims about the exported folder: whole or not at all, runnable, and never in the place of anything else."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import calls
import pytest

from tuner.answers.parts import BaselineLosses, ModelLosses
from tuner.data.preprocess import Preprocessor
from tuner.errors import ExportError
from tuner.export import write
from tuner.export.model import load_model
from tuner.export.write import Origin, exported_spec
from tuner.spec.reader import read_spec

FILES_1 = ["config.yaml", "metrics.json", "model.safetensors", "preprocess.json"]
FILES = sorted([*FILES_1, "README.md", "density.json", "model.onnx", "model.pt2"])
Copy = Callable[[Path], Path]


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder to export into, whose entries tell whether anything was left behind."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_an_export_is_eight_files(winner: Any, home: Path, own_helpers: None) -> None:
    """The folder holds exactly the promised files, nothing stands beside it, and its absolute path comes back; made
    with a helper process of its own."""
    folder = winner.export(home / "best")
    assert folder == (home / "best").resolve()
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in home.iterdir()] == ["best"]


def test_the_configuration_is_a_runnable_declaration_of_this_trial(winner: Any, home: Path) -> None:
    """config.yaml fixes every value to the trial's, bit for bit, with the study's data, split and loss."""
    spec = read_spec(winner.export(home / "best") / "config.yaml")
    assert spec.space.searched() == {}
    assert spec.space.fixed() == winner.trial.point.as_dict()
    assert spec.name == "sensors-best"
    assert spec.data == winner.spec.data.model_copy(update={"source": str(winner.base / "rows.csv")})
    assert (spec.loss, spec.final, spec.device) == (winner.spec.loss, winner.spec.final, "cpu")
    search = spec.search
    assert (search.trials, search.epochs, search.sampler, search.pruner) == (1, 12, "random", "none")
    assert (search.seed, search.trial_seed) == (17, winner.trial.seed)
    assert (search.timeout, search.cohort) == (None, None)


def test_the_configuration_says_what_it_is(winner: Any, home: Path) -> None:
    """A reader of config.yaml learns of which trial it is, and the command that trains it."""
    text = (winner.export(home / "best") / "config.yaml").read_text()
    assert "trial 3 of study sensors" in text.splitlines()[0]
    assert "tuner train config.yaml" in text.splitlines()[1]


@pytest.mark.parametrize(
    ("source", "exported"),
    [("sklearn:digits", "sklearn:digits"), ("/data/rows.csv", "/data/rows.csv"), ("images", "{base}/images")],
)
def test_the_source_is_found_from_anywhere(source: str, exported: str, winner: Any, home: Path) -> None:
    """A relative path is made absolute from the study's file; an absolute one and a built-in set stay."""
    data = winner.spec.data.model_copy(update={"source": source})
    moved = replace(winner, spec=winner.spec.model_copy(update={"data": data}))
    spec = exported_spec(moved.spec, moved.base, moved.trial, {"epochs": 12}, Origin(device="cpu"))
    assert spec.data.source == exported.format(base=winner.base)


@pytest.mark.parametrize(
    ("name", "exported"),
    [("x" * 100, "x" * 95 + "-best"), ("x" * 95, "x" * 95 + "-best"), ("digits-best", "digits-best")],
)
def test_the_name_stays_within_its_limit(name: str, exported: str, winner: Any, home: Path) -> None:
    """A long name is cut to 100 characters, and the export of an export keeps its name."""
    renamed = replace(winner, spec=winner.spec.model_copy(update={"name": name}))
    again = exported_spec(renamed.spec, renamed.base, renamed.trial, {"epochs": 12}, Origin(device="cpu"))
    assert again.name == exported


def test_the_metrics_tell_what_was_achieved_and_with_what(winner: Any, home: Path) -> None:
    """metrics.json holds the losses, the trial, the model's form, the data's fingerprint and the versions."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    known = ModelLosses(
        test=0.25,
        baselines=BaselineLosses(mean=0.9, pca=0.5),
        validation_baselines=BaselineLosses(mean=0.8, pca=float("inf")),
    )
    folder = winner.export(home / "best", losses=known)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["losses"] == {
        "validation": 0.125,
        "validation_is": None,
        "test": 0.25,
        "baselines": {"validation": {"mean": 0.8, "pca": None}, "test": {"mean": 0.9, "pca": 0.5}},
    }
    assert metrics["params"] == winner.trial.point.as_dict()
    assert {key: metrics[key] for key in ("study", "trial", "seed", "best_epoch", "epochs", "loss", "activation")} == {
        "study": "sensors",
        "trial": 3,
        "seed": winner.trial.seed,
        "best_epoch": 7,
        "epochs": 12,
        "loss": "mse",
        "activation": "tanh",
    }
    assert metrics["sizes"] == list(winner.network.sizes)
    assert metrics["parameters"] == sum(weight.size for weight in winner.network.weights().values())
    assert metrics["fingerprint"] == "ab" * 32
    assert metrics["device"] == "cpu"
    assert metrics["versions"]["python"] == sys.version.split()[0]
    assert metrics["versions"]["torch"] == version("torch")
    assert before <= datetime.fromisoformat(metrics["created_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize(("quantile", "above"), [(0.5, 4), (1.0, 0)])
def test_the_threshold_is_a_quantile_of_the_validation_scores(
    quantile: float, above: int, winner: Any, home: Path
) -> None:
    """Of ten validation rows four score more than the threshold for 0.5, which is the sixth of eleven, and none for 1;
    it is none of their scores, so that rounding in another program decides about no row."""
    model = load_model(replace(winner, quantile=quantile).export(home / "best"))
    scores = model.score(winner.known[20:])
    assert model.threshold is not None
    assert abs(scores / model.threshold - 1).min() > 1e-4
    assert (scores > model.threshold).sum() == above
    anomaly = model.card.anomaly
    assert anomaly is not None
    assert (anomaly.quantile, anomaly.rows) == (quantile, 10)


def test_every_file_but_the_declaration_has_its_digest(template: Path) -> None:
    """metrics.json lists the sha256 of each file that is not to be edited, itself excepted."""
    files = json.loads((template / "metrics.json").read_text())["files"]
    assert sorted(files) == sorted(set(FILES) - {"config.yaml", "metrics.json"})
    assert files == {name: hashlib.sha256((template / name).read_bytes()).hexdigest() for name in files}


def test_a_graph_that_is_off_leaves_the_old_export(
    winner: Any, home: Path, exported: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tolerance that nothing meets the export fails with the sentence, and the old one stands."""
    before = content(exported(home / "best"))
    monkeypatch.setattr(write, "_write_graphs", calls.write_graphs_that_are_off)
    with pytest.raises(
        ExportError, match=r"^model\.onnx: expected onnxruntime to give PyTorch's code to -1, got .* off"
    ):
        winner.other().export(home / "best", force=True)
    assert content(home) == {f"best/{name}": value for name, value in before.items()}
    assert [path.name for path in home.iterdir()] == ["best"]


def test_losses_that_were_not_measured_are_null(winner: Any, home: Path) -> None:
    """A model trained by itself has no test loss and no baselines, and loads all the same."""
    folder = winner.export(home / "best")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["losses"] == {
        "validation": 0.125,
        "validation_is": None,
        "test": None,
        "baselines": {"validation": None, "test": None},
    }
    assert load_model(folder).card.losses.test is None


def test_two_exports_are_equal_but_for_their_time(winner: Any, home: Path) -> None:
    """Exporting the same trial again writes the same bytes, but for created_at."""
    first, second = content(winner.export(home / "a")), content(winner.export(home / "b"))
    for files in (first, second):
        metrics = json.loads(files["metrics.json"])
        del metrics["created_at"]
        files["metrics.json"] = json.dumps(metrics).encode()
    assert first == second


def test_parents_are_made(winner: Any, home: Path) -> None:
    """An export into a path whose parents are missing makes them."""
    assert sorted(content(winner.export(home / "a" / "b" / "best"))) == FILES


def test_an_empty_folder_is_used(winner: Any, home: Path) -> None:
    """A folder that was made for the export, empty, needs no --force."""
    (home / "best").mkdir()
    assert sorted(content(winner.export(home / "best"))) == FILES
    assert [path.name for path in home.iterdir()] == ["best"]


def test_an_existing_export_is_refused_without_force(winner: Any, home: Path, exported: Copy) -> None:
    """The message names --force, and not a byte is changed."""
    before = content(exported(home / "best"))
    with pytest.raises(ExportError, match=r"best: expected a new folder, got one that exists; --force replaces it\.$"):
        winner.other().export(home / "best")
    assert content(home / "best") == before
    assert [path.name for path in home.iterdir()] == ["best"]


def test_force_replaces_an_export(winner: Any, home: Path, exported: Copy) -> None:
    """With force the folder holds the new export alone, also where a file browser has been there."""
    exported(home / "best")
    (home / "best" / ".DS_Store").touch()
    winner.other().export(home / "best", force=True)
    assert load_model(home / "best").card.trial == 5
    assert sorted(content(home)) == [f"best/{name}" for name in FILES]


def test_force_replaces_a_damaged_export(winner: Any, home: Path, exported: Copy) -> None:
    """What its files hold does not matter for replacing an export."""
    folder = exported(home / "best")
    (folder / "metrics.json").write_bytes(b"")
    winner.export(home / "best", force=True)
    assert load_model(folder).card.trial == 3


def no_export(folder: Path) -> None:
    (folder / "thesis.tex").write_text("years of work")


def export_and_more(folder: Path) -> None:
    for name in [*FILES, "notes.md"]:
        (folder / name).write_text("mine")


def part_of_an_export(folder: Path) -> None:
    (folder / "config.yaml").write_text("of another program")


def folders_of_the_same_names(folder: Path) -> None:
    for name in FILES:
        (folder / name).mkdir()
        (folder / name / "thesis.tex").write_text("years of work")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("make", [no_export, export_and_more, part_of_an_export, folders_of_the_same_names])
def test_nothing_but_an_export_is_ever_replaced(
    make: Callable[[Path], None], force: bool, winner: Any, home: Path
) -> None:
    """A folder with anything else in it is refused, with --force as without, and stays as it is."""
    make(home)
    before = content(home)
    with pytest.raises(ExportError, match=r"home: expected a new folder or an export, got a folder that holds other"):
        winner.export(home, force=force)
    assert content(home.parent) == {f"home/{name}": value for name, value in before.items()}


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_the_current_folder_is_never_replaced(
    place: str, winner: Any, home: Path, exported: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the current folder nor one above it, even where it is an export: the shell would stand in nothing."""
    exported(home / "best")
    monkeypatch.chdir(home / "best")
    with pytest.raises(ExportError, match="not the current one"):
        winner.export(Path(place), force=True)
    assert sorted(content(home)) == [f"best/{name}" for name in FILES]


def test_a_link_stays_and_its_folder_is_replaced(winner: Any, home: Path, exported: Copy) -> None:
    """Exporting through a symbolic link replaces what it points to."""
    exported(home / "v1")
    (home / "best").symlink_to("v1")
    winner.other().export(home / "best", force=True)
    assert (home / "best").is_symlink()
    assert load_model(home / "v1").card.trial == 5


def test_a_file_in_the_place_is_refused(winner: Any, home: Path) -> None:
    """A file is never replaced by a folder."""
    (home / "best").write_text("mine")
    with pytest.raises(ExportError, match="best: expected a folder or nothing, got a file"):
        winner.export(home / "best", force=True)
    assert content(home) == {"best": b"mine"}


def below_a_file(home: Path) -> Path:
    (home / "file").write_text("mine")
    return home / "file" / "best"


def too_long(home: Path) -> Path:
    return home / ("x" * 300)


def links_in_a_circle(home: Path) -> Path:
    (home / "best").symlink_to("best")
    return home / "best"


@pytest.mark.parametrize("make", [below_a_file, too_long, links_in_a_circle])
def test_a_place_that_cannot_be_is_one_sentence(make: Callable[[Path], Path], winner: Any, home: Path) -> None:
    """What the operating system refuses becomes an ExportError, and nothing is left behind."""
    place = make(home)
    before = sorted(home.iterdir())
    with pytest.raises(ExportError, match=r"expected a place to write an export to, got: .+\.$") as caught:
        winner.export(place)
    assert "\n" not in str(caught.value)
    assert sorted(home.iterdir()) == before


@contextmanager
def as_nobody(*folders: Path) -> Iterator[None]:
    """Without root's right to write everywhere, and with the way to the folders open."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    for folder in folders:
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_without_the_right_to_write_is_one_sentence(winner: Any, home: Path, exported: Copy) -> None:
    """A read-only parent: an ExportError, the old export as it was, no temporary folder."""
    before = content(exported(home / "best"))
    home.chmod(0o555)
    try:
        with as_nobody(*home.parents[:3]), pytest.raises(ExportError, match="Permission denied"):
            winner.export(home / "other")
        with as_nobody(*home.parents[:3]), pytest.raises(ExportError, match="Permission denied"):
            winner.export(home / "best", force=True)
    finally:
        home.chmod(0o755)
    assert content(home / "best") == before
    assert [path.name for path in home.iterdir()] == ["best"]


class Broken(Preprocessor):
    """A preprocessor that cannot be written down."""

    def to_json(self) -> str:
        raise ArithmeticError("no JSON today")


def test_an_error_before_the_disk_is_touched_leaves_no_trace(winner: Any, home: Path, exported: Copy) -> None:
    """A preprocessor that cannot be written: the old export as it was, no temporary folder, no parent made."""
    before = content(exported(home / "best"))
    fields = {name: getattr(winner.preprocessor, name) for name in winner.preprocessor.__dataclass_fields__}
    broken = replace(winner.other(), preprocessor=Broken(**fields))
    for place in (home / "best", home / "new" / "best"):
        with pytest.raises(ArithmeticError):
            broken.export(place, force=True)
    assert content(home / "best") == before
    assert [path.name for path in home.iterdir()] == ["best"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import make_winner
from tuner.errors import ExportError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
winner = make_winner(Path({base!r}), width=64)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    winner.export(Path({place!r}), force=True)
except ExportError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the limits of a POSIX system")
@pytest.mark.parametrize("limit", [100, 2000])
def test_a_full_disk_leaves_the_old_export(limit: int, winner: Any, home: Path, exported: Copy) -> None:
    """Files may not grow past 100 or 2,000 bytes, so config.yaml or the model breaks off: the old export stands."""
    before = content(exported(home / "best"))
    program = FULL_DISK.format(
        tests=str(Path(__file__).parent), base=str(winner.base), limit=limit, place=str(home / "best")
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert content(home) == {f"best/{name}": value for name, value in before.items()}
    assert [path.name for path in home.iterdir()] == ["best"]
    assert done.stderr == ""
    assert "expected a place to write an export to" in done.stdout
    assert "File too large" in done.stdout


def test_an_interrupted_swap_brings_the_old_export_back(
    winner: Any, home: Path, exported: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the two renames: the old export stands in its place again."""
    before = content(exported(home / "best"))
    rename, calls = Path.rename, []

    def interrupted(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        winner.other().export(home / "best", force=True)
    assert content(home / "best") == before
    assert [path.name for path in home.iterdir()] == ["best"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_everyone_may_read_what_the_umask_allows(winner: Any, home: Path) -> None:
    """All files have one and the same mode, as any file that this user makes."""
    folder = winner.export(home / "best")
    (home / "plain").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(home / "plain").stat().st_mode}
    (home / "folder").mkdir()
    assert folder.stat().st_mode == (home / "folder").stat().st_mode

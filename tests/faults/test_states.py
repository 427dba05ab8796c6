"""Claims about what a study keeps under .tuner: damage is noticed, and never becomes a number."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import damaged
from studies import fresh_folder, tiny

import tuner
from tuner.data.prepare import Prepared, prepare
from tuner.data.rows import open_rows
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.learning import checkpoint
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.orchestration.launch import Progress
from tuner.spec.architecture import Architecture
from tuner.spec.reader import spec_from_mapping

Scale = Callable[[int, int], int]
Tell = Callable[[str], None]
SIZES = (4, 16, 2, 16, 4)
SHAPE = Architecture(SIZES)

pytestmark = pytest.mark.sample


def training() -> TrialTraining:
    """A state in which no two values are equal."""
    draw = np.random.default_rng(0)
    rows = [draw.normal(size=checkpoint.padded_row(zeros(), SHAPE).size).astype(np.float32) for _ in range(4)]
    return TrialTraining(*rows, 0.25, 3, 5, 80)


def zeros() -> dict[str, np.ndarray]:
    names = ("encoder.0", "encoder.2", "decoder.0", "decoder.2")
    pairs = zip(names, SIZES[1:], SIZES, strict=False)
    return {
        f"{name}.{part}": np.zeros((outputs, inputs) if part == "weight" else outputs, np.float32)
        for name, outputs, inputs in pairs
        for part in ("weight", "bias")
    }


def test_no_damaged_checkpoint_is_read(tmp_path: Path, chance: random.Random, scale: Scale, tell: Tell) -> None:
    """Whatever befalls the bytes, the state is told as missing (and so trained again), never as another one."""
    path, count = tmp_path / "x.safetensors", scale(500, 10_000)
    store = CheckpointFolder(str(tmp_path))
    kept = store.put("x", checkpoint.dumps(training(), SHAPE), 5)
    content = path.read_bytes()
    for _ in range(count):
        path.write_bytes(damaged(content, chance))
        assert store.get(kept) is None
    path.write_bytes(content)
    assert checkpoint.loads(store.get(kept) or b"").epoch == 5
    tell(f"{count} damaged checkpoints, none of them read")


def prepared(folder: Path) -> Prepared:
    return prepare(spec_from_mapping(tiny()), Sources(folder), folder)


def counts(made: Prepared) -> tuple[int, int, int]:
    return made.train, made.validation, made.test


def test_damaged_prepared_data_is_made_again(tmp_path: Path, chance: random.Random, scale: Scale, tell: Tell) -> None:
    """A study that starts or goes on has the rows that it had, whatever befell the file or the note of its digest."""
    made, count = prepared(tmp_path), scale(500, 10_000)
    files = {path: path.read_bytes() for path in (Path(made.path), Path(made.path).with_suffix(".sha256"))}
    assert all(files.values())
    for number in range(count):
        damaged_file = chance.choice(tuple(files)) if number % 4 == 0 else Path(made.path)
        damaged_file.write_bytes(damaged(files[damaged_file], chance))
        assert prepared(tmp_path).sha256 == made.sha256
        assert {path: path.read_bytes() for path in files} == files
    tell(f"{count} damaged prepared files, all of them made again")


def test_no_damaged_prepared_data_is_opened(tmp_path: Path, chance: random.Random, scale: Scale, tell: Tell) -> None:
    """By its digest it is refused with a sentence; a worker, which relies on the check at start, never crashes."""
    made, count = prepared(tmp_path), scale(500, 10_000)
    content, refused = Path(made.path).read_bytes(), 0
    for _ in range(count):
        Path(made.path).write_bytes(damaged(content, chance))
        with pytest.raises(
            DataError, match=r"the prepared data is damaged; delete the file and run the study again\.$"
        ):
            open_rows(made.path, made.sha256, counts(made))
        try:
            opened = open_rows(made.path, None, counts(made))
            assert [len(part) for part in (opened.train, opened.validation, opened.test)] == list(counts(made))
        except DataError as error:
            assert str(error).startswith(made.path)
            assert "\n" not in str(error)
            refused += 1
    tell(f"{count} damaged prepared files, all refused by digest; {refused} of them without it")


def stop_in_the_middle() -> tuner.Study:
    """Run the tiny study until something was trained that no run before had recorded."""
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.epochs_per_second > 0:
            stop.set()

    return tuner.run(tiny(), workers=0, progress=watch, stop=stop)


def test_a_study_among_damaged_files_ends_with_the_same_table(
    workspace: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random, tell: Tell
) -> None:
    """Stopped again and again, with every file under .tuner damaged each time: the undisturbed table, bit for bit."""
    monkeypatch.chdir(fresh_folder(workspace / "undisturbed", mlflow_store))
    undisturbed = tuner.run(tiny(), workers=0)
    monkeypatch.chdir(workspace)
    hit = 0
    for _ in range(50):
        if (study := stop_in_the_middle()).outcome == "finished":
            break
        for path in Path(".tuner").rglob("*"):
            if path.suffix in (".safetensors", ".npy", ".sha256"):
                path.write_bytes(damaged(path.read_bytes(), chance))
                hit += 1
    assert study.outcome == "finished"
    assert study.csv() == undisturbed.csv()
    assert math.isfinite(study.summary.best.test_loss)
    assert study.summary.best == undisturbed.summary.best
    tell(f"{hit} files damaged under one study")

"""A disk that is full, a ledger that is locked or something else: one sentence, nothing lost, and on it goes."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from disturbed import disagreements, left_behind, run_tuner, start_tuner, table
from studies import fresh_folder, tiny

SIZE = 6_000_000


@pytest.fixture
def small_disk(tmp_path: Path, mlflow_store: Path) -> Iterator[Path]:
    """A folder on a disk of six megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave so many bytes."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - free)))
    return filler


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_full_disk_ends_with_one_sentence_and_the_study_goes_on(
    workers: str,
    small_disk: Path,
    mlflow_store: Path,
    undisturbed: Callable[..., str],
    scale: Callable[[int, int], int],
) -> None:
    """Whatever the room runs out for — ledger, prepared data, checkpoints, MLflow's store —, the run ends with a
    sentence that says so, and once there is room the next one ends with the undisturbed table."""
    expected, sentences = undisturbed(), set()
    for free in range(0, 1_000_000, scale(75_000, 4_096)):
        folder = fresh_folder(small_disk / "study", mlflow_store)
        (folder / "study.yaml").write_text(json.dumps(tiny()))
        filler = fill(small_disk, free)
        full = run_tuner(folder, "run", "study.yaml", "--workers", workers)
        assert "Traceback" not in full.stdout + full.stderr, full.stderr
        assert "internal error" not in full.stderr, full.stderr
        if full.returncode != 0:
            sentences.add(full.stderr.strip().splitlines()[-1])
        filler.unlink()
        again = run_tuner(folder, "run", "study.yaml", "--workers", workers)
        assert again.returncode == 0, again.stderr
        assert table(folder) == expected
        assert disagreements(folder) == []
        assert left_behind(folder) == []
        shutil.rmtree(folder)
    assert sentences
    for sentence in sentences:
        assert "full" in sentence or "No space left" in sentence, sentence


@pytest.fixture(scope="session")
def failing_writes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that lets writes fail, compiled."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler here, or no LD_PRELOAD")
    made = tmp_path_factory.mktemp("failing") / "failing_writes.so"
    source = Path(__file__).parent / "failing_writes.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return str(made)


@pytest.mark.sample
def test_where_every_write_fails_nothing_is_recorded(failing_writes: str, workspace: Path) -> None:
    """The faults reach the ledger itself: one sentence, exit code 1, and no table was made."""
    (workspace / "study.yaml").write_text(json.dumps(tiny()))
    faults = {"LD_PRELOAD": failing_writes, "FAIL_BELOW": str(workspace), "FAIL_EVERY": "1"}
    failed = run_tuner(workspace, "run", "study.yaml", "--workers", "0", **faults)
    assert failed.returncode == 1
    assert is_disks_fault(failed.stderr.strip().splitlines()[-1]), failed.stderr
    assert run_tuner(workspace, "list").stdout.startswith("no studies here yet")


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_every_nth_write_may_fail(
    error: int,
    workers: str,
    failing_writes: str,
    tmp_path: Path,
    mlflow_store: Path,
    undisturbed: Callable[..., str],
    chance: random.Random,
    scale: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    """Every Nth write, truncation or fsync of each process fails, from one drawn by chance on: the run goes on or ends
    with a sentence, and the next one, on a sound disk, ends with the undisturbed table."""
    spec = tiny(final={"top": 1, "seeds": 2})
    expected, ended = undisturbed(spec), Counter[int]()
    for number in range(scale(2, 60)):
        folder = fresh_folder(tmp_path / f"study-{number}", mlflow_store)
        (folder / "study.yaml").write_text(json.dumps(spec))
        every = int(2 ** chance.uniform(1, 12))
        faults = {
            "LD_PRELOAD": failing_writes,
            "FAIL_BELOW": str(folder),
            "FAIL_EVERY": str(every),
            "FAIL_FIRST": str(chance.randint(1, every)),
            "FAIL_ERRNO": str(error),
        }
        failed = run_tuner(folder, "run", "study.yaml", "--workers", workers, **faults)
        ended[failed.returncode] += 1
        assert failed.returncode in (0, 1), (faults, failed.stderr)
        for unwanted in ("Traceback", "internal error", "Exception"):
            assert unwanted not in failed.stdout + failed.stderr, (faults, failed.stderr)
        if failed.returncode != 0:
            assert is_disks_fault(failed.stderr.strip().splitlines()[-1]), (faults, failed.stderr)
        again = run_tuner(folder, "run", "study.yaml", "--workers", workers)
        assert again.returncode == 0, (faults, again.stderr)
        assert table(folder) == expected, faults
        assert disagreements(folder) == [], faults
        assert left_behind(folder) == []
        shutil.rmtree(folder)
    tell(f"{ended.total()} studies whose writes failed, exit codes {dict(ended)}, every table the undisturbed one")


def is_disks_fault(sentence: str) -> bool:
    """Whether it says that it was the disk."""
    return any(words in sentence for words in ("full", "No space left", "the disk failed", "Input/output error"))


def test_an_export_onto_a_full_disk_leaves_nothing_half_done(small_disk: Path, mlflow_store: Path) -> None:
    """Exit code 1 and one sentence; no folder that looks like an export; with room it is written."""
    folder = fresh_folder(small_disk / "study", mlflow_store)
    (folder / "study.yaml").write_text(json.dumps(tiny()))
    assert run_tuner(folder, "run", "study.yaml", "--workers", "0").returncode == 0
    for free in (0, 4_096, 8_192, 16_384):
        filler = fill(small_disk, free)
        full = run_tuner(folder, "export", "tiny", "best")
        assert full.returncode in (0, 1)
        assert "Traceback" not in full.stderr
        if full.returncode == 1:
            assert "No space left" in full.stderr or "full" in full.stderr
            assert not (folder / "best").exists()
        filler.unlink()
        shutil.rmtree(folder / "best", ignore_errors=True)
    assert run_tuner(folder, "export", "tiny", "best").returncode == 0


@pytest.mark.sample
def test_a_ledger_that_cannot_be_written_says_so(workspace: Path) -> None:
    """A folder in the ledger's place, a file that is something else, a folder that is not there."""
    (workspace / "study.yaml").write_text(json.dumps(tiny()))
    (workspace / "folder").mkdir()
    (workspace / "text").write_text("not a database, but long enough to be looked at as one" * 100)
    for place in ("folder", "text", "none/tuner.db"):
        ran = run_tuner(workspace, "run", "study.yaml", TUNER_DATABASE_URL=f"sqlite:///{workspace / place}")
        assert ran.returncode == 1
        assert str(workspace / place) in ran.stderr
        assert "Traceback" not in ran.stderr
        assert left_behind(workspace) == []


@pytest.mark.sample
def test_a_locked_ledger_is_waited_for(workspace: Path, undisturbed: Callable[..., str]) -> None:
    """Somebody holds SQLite's lock for two seconds, as a backup does: the run waits and goes on."""
    (workspace / "study.yaml").write_text(json.dumps(tiny()))
    assert run_tuner(workspace, "run", "study.yaml", "--set", "search.timeout=0.001").returncode == 0
    with closing(sqlite3.connect(workspace / "tuner.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        run = start_tuner(workspace, "run", "study.yaml", "--workers", "0")
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(4)
        connection.execute("COMMIT")
    assert run.wait(60) == 0
    assert table(workspace) == undisturbed()

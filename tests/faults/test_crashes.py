"""A crash at every point of a small study, in CI at every twelfth; run again, nothing of it can be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from disturbed import LONG

SCRIPT = Path(__file__).parent / "crash_points.py"
FIRST, STEP = (1, 2), 2 if LONG else 24  # two programs, one for each core


@pytest.mark.parametrize("workers", [0, 2] if LONG else [0])
def test_a_crash_at_any_point_leaves_the_same_study(
    workers: int, tmp_path: Path, mlflow_store: Path, tell: Callable[[str], None]
) -> None:
    """Before each statement and commit of the ledger and of MLflow's store, and each rename: after a crash there and
    one more run the table is the undisturbed one, MLflow agrees, and no traceback or process is left. (A study calls
    fsync through SQLite's commits alone.) How many points a run has depends on how often its publisher came to MLflow
    while it trained, so on the machine's load: every point that all runs had is crashed at, and a point is missed by a
    run alone that ended before it."""
    parts = [started(tmp_path / str(first), mlflow_store, workers, first) for first in FIRST]
    assert [part.wait() for part in parts] == [0, 0]
    points, rare, had = [], [], []
    for first in FIRST:
        whole, *all_tried = map(json.loads, (tmp_path / f"{first}.txt").read_text().splitlines())
        tried = [point for point in all_tried if point["only"] is None]
        rare += all_tried[len(tried) :]
        assert len(tried) == len(range(first, whole["points"] + 1, STEP)) > 600 // STEP
        points += tried
        had += [whole["points"], *(point["points"] for point in tried if not point["crashed"])]
    tried = points + rare
    assert [point for point in tried if point["wrong"]] == []
    kinds = Counter(point["what"].split()[0] for point in tried if point["crashed"])
    assert {"BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE", "replace"} <= set(kinds)
    assert all(point["crashed"] or point["points"] < point["point"] for point in tried)
    assert min(had) > 600
    assert sum(point["crashed"] for point in points) >= sum(len(range(first, min(had) + 1, STEP)) for first in FIRST)
    tell(f"{sum(kinds.values())} crashes at the points of a study of {min(had)}, every table the undisturbed one")


def started(folder: Path, store: Path, workers: int, first: int) -> subprocess.Popen[bytes]:
    """Every STEPth point from the first on, on a core of its own."""
    folder.mkdir()
    command = [sys.executable, str(SCRIPT), str(folder), str(store), str(workers), str(first), str(STEP)]
    with (folder.parent / f"{first}.txt").open("w") as out:
        return subprocess.Popen(command, stdout=out)

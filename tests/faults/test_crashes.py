"""A crash at every single point of a small study; run again, nothing of it can be seen."""

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


@pytest.mark.parametrize("workers", [0, 2] if LONG else [0])
def test_a_crash_at_any_point_leaves_the_same_study(
    workers: int, tmp_path: Path, mlflow_store: Path, tell: Callable[[str], None]
) -> None:
    """Before each statement and commit of the ledger and of MLflow's store, and each rename: after a crash there and
    one more run the table is the undisturbed one, MLflow agrees, and no traceback or process is left. (A study calls
    fsync through SQLite's commits alone.)"""
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(mlflow_store), str(workers), "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    first, *points = map(json.loads, ran.stdout.splitlines())
    assert len(points) == first["points"] > 300
    assert [point for point in points if point["wrong"]] == []
    kinds = Counter(point["what"].split()[0] for point in points if point["crashed"])
    assert {"BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE", "replace"} <= set(kinds)
    assert sum(kinds.values()) > 0.95 * len(points)
    tell(f"{sum(kinds.values())} crashes, one at each point, every table the undisturbed one")

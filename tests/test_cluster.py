"""Claims about studies on many slots, by the benchmark's made-up cluster: the same table, however much is at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from disturbed import table

from tuner.ledger.ledger import Ledger
from tuner.spec.work import Checkpoint, Segment, SegmentResult

ROOT = Path(__file__).parent.parent


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cluster

    return cluster


def run(cluster: Any, folder: Path, slots: int, segments: int | None = None) -> str:
    """A study's table after a run on so many slots, which is stopped when so many segments were handed out."""
    case = cluster.Case("random", 81, slots, 0.0, 1000, False, "sqlite:///tuner.db", in_flight=3)
    stop = threading.Event()

    class Stopping(cluster.Cluster):  # type: ignore[misc]
        handed = 0

        def submit(self, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
            self.handed += 1
            if self.handed == segments:
                stop.set()
            return super().submit(segment, states)  # type: ignore[no-any-return]

    ledger = Ledger.open(case.database, folder=folder)
    cluster.launched(case, ledger, folder, Stopping(case), stop)
    ledger.close()
    return table(folder, "cluster")


def test_a_study_on_many_slots_has_the_table_of_one_slot(cluster: Any, tmp_path: Path) -> None:
    """Also where it was stopped amid results that were recorded together, and goes on with other slots."""
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    whole = run(cluster, tmp_path / "one", 1)
    assert whole.count("\n") == 82
    assert run(cluster, tmp_path / "many", 40, segments=70) != whole
    assert run(cluster, tmp_path / "many", 200) == whole

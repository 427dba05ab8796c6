"""Claims about two studies of a service on one Ray cluster, with a real supervisor, drivers and nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from disturbed import LONG, run_tuner, table
from ray_nodes import nodes
from studies import fresh_folder, tiny
from supervised import now, opened, rest, supervisor_process, until

from tuner.api.control import progress_of
from tuner.ledger.ledger import Ledger


def declared(name: str, trials: int, epochs: int) -> dict[str, Any]:
    """A study of digits: the first one trains for as long as the second takes to begin, and longer."""
    space = {**tiny()["space"], "width": {"type": "int", "low": 64, "high": 200}}
    search = {"trials": trials, "epochs": epochs, "cohort": 20, "seed": 3, "sampler": "random", "pruner": "none"}
    return tiny(name=name, data={"source": "sklearn:digits"}, space=space, search=search)


FIRST, SECOND = declared("first", 60, 200), declared("second", 20, 30)


def alive(ledger: Ledger, name: str) -> tuple[int | None, int | None]:
    """Slots and nodes that train a study now."""
    record = ledger.study(name)
    found = None if record is None else progress_of(ledger, record.id)
    return (None, None) if found is None else (found.slots, found.nodes)


@pytest.mark.skipif(not LONG, reason="five minutes: a part of make faults-long")
def test_the_second_gets_its_slots_while_the_first_trains(
    tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four slots on two nodes: the first has all of them, and lets two go once the second is there; when that has
    ended it has all of them again. Both tables are those of `--workers 1`."""
    shared, alone = fresh_folder(tmp_path / "shared", mlflow_store), fresh_folder(tmp_path / "alone", mlflow_store)
    with nodes(others=1, cores=2) as cluster, opened(shared) as ledger:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        ledger.submissions.submit("first", json.dumps(FIRST), "test")
        words = ("--slots", "2", "--cluster", cluster.address, "--cluster-most", "4")
        with supervisor_process(shared, *words):
            until(lambda: alive(ledger, "first") == (4, 2), "all slots of the first")
            ledger.submissions.submit("second", json.dumps(SECOND), "test")
            until(lambda: (alive(ledger, "first")[0], alive(ledger, "second")[0]) == (2, 2), "two slots each")
            assert (now(ledger, "first").granted, now(ledger, "second").granted) == (2, 2)
            assert rest(ledger, "second").outcome == "finished"
            assert now(ledger, "first").outcome is None
            until(lambda: alive(ledger, "first") == (4, 2), "all slots again")
            assert rest(ledger, "first").outcome == "finished"
    for spec in (FIRST, SECOND):
        (alone / "study.yaml").write_text(json.dumps(spec))
        assert run_tuner(alone, "run", "study.yaml", "--workers", "1").returncode == 0
        assert table(shared, spec["name"]) == table(alone, spec["name"])

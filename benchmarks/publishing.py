"""What publishing a study takes, a trial: made-up records, brought to MLflow at once.

usage: python benchmarks/publishing.py [--trials 1000] [--epochs 20] [--server]

Without --server into a SQLite file directly, with it through MLflow's own server on loopback over such a file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tuner.answers.summary import BestScore, Summary
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.reader import spec_from_mapping
from tuner.spec.work import Curve, Segment, SegmentResult, Trial, TrialEnd, TrialState
from tuner.tracking.dashboard import serve
from tuner.tracking.publisher import publish_once
from tuner.tracking.store import ensure_store

COHORT = 100
SPEC = {
    "name": "publishing",
    "data": {"source": "sklearn:digits"},
    "space": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}, "bottleneck": 8},
    "search": {"trials": 1, "epochs": 20},
}


def record(ledger: Ledger, study_id: int, trials: int, epochs: int) -> None:
    """Let all trials of a study end after so many epochs."""
    ledger.record_event(study_id, "run", {"features": 64, "device": "cpu"})
    losses, now = tuple(1 / epoch for epoch in range(1, epochs + 1)), time.time()
    for first in range(0, trials, COHORT):
        point = Hyperparameters(1e-3, 64, 2, 128, "relu", 8, 0.0, 0.0)
        numbers = range(first, min(first + COHORT, trials))
        asked = [Trial(number, point, number) for number in numbers]
        curves = tuple(Curve(number, 0, losses, losses, (now,) * epochs, False, None) for number in numbers)
        ledger.record_cohorts(study_id, [(CohortRecord(first // COHORT, first // COHORT), asked)])
        ledger.record_segments(study_id, [(Segment(tuple(asked), 0, epochs), SegmentResult(curves, 1.0, "nobody"))])
        state = TrialState.COMPLETE
        ledger.record_ends(study_id, [TrialEnd(n, state, losses[-1], epochs, epochs, "") for n in numbers])
    best = BestScore(number=0, value=losses[-1], test_loss=None)
    ledger.record_summary(study_id, Summary(best=best, seconds=1.0))
    ledger.set_state(study_id, "finished")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--server", action="store_true")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        os.chdir(folder)
        ledger = Ledger.open("sqlite:///tuner.db")
        study_id = ledger.create_study(
            spec_from_mapping(SPEC).model_dump_json(), "x.yaml", "0" * 64, "publishing", {}
        ).id
        with ledger.lease(study_id, "run"):
            record(ledger, study_id, words.trials, words.epochs)
        uri = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
        ensure_store(uri)
        uri = held.enter_context(serve(uri)).url if words.server else uri
        started, cpu = time.perf_counter(), time.process_time()
        publish_once(ledger, study_id, uri)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        ledger.close()
        os.chdir("/")
    where = "a server over SQLite" if words.server else "SQLite directly"
    each = f"{1000 * wall / words.trials:.2f} ms a trial, {1000 * cpu / words.trials:.2f} of them this process' own"
    print(f"{words.trials} trials of {words.epochs} epochs, {where}: {wall:.1f} s, {each}")


if __name__ == "__main__":
    main()

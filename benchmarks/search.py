"""What the driver spends on a trial beside training: asking, telling, recording, publishing.

usage: python benchmarks/search.py [--trials 500 2000]      (10000 as well, with some minutes)

The real loop, ledger and publisher run a study whose workers answer at once with made-up curves.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from workloads import WORKLOADS

from tuner.ledger.ledger import Ledger
from tuner.orchestration.driver import Driver
from tuner.search.loop import Search
from tuner.spec.reader import spec_from_mapping
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, Trial
from tuner.tracking.publisher import publish_once
from tuner.tracking.store import ensure_store

SPACE = {
    **WORKLOADS["digits_to_target"].space,
    "weight_decay": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "input_noise": {"type": "float", "low": 0.0, "high": 0.3},
    "bottleneck": {"type": "int", "low": 4, "high": 16},
}


class MadeUpWorkers:
    """Answers every segment at once with curves that fall towards a value which the point decides."""

    slots = 4

    def submit(self, segment: Segment, _states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        """A future that is done already."""
        future: Future[SegmentResult] = Future()
        curves = tuple(_curve(trial, segment.first, segment.last) for trial in segment.trials)
        future.set_result(SegmentResult(curves, 0.01, "nobody"))
        return future

    def plan(self, trials: Sequence[Trial], _epochs: int) -> list[tuple[Trial, ...]]:
        """One pack of all."""
        return [tuple(trials)]

    def replace(self) -> None:
        """Nothing dies here."""


def _curve(trial: Trial, first: int, last: int) -> Curve:
    point = trial.point
    floor = abs(math.log10(point.learning_rate) + 2.5) + abs(math.log2(point.width / 300)) + 0.3 / point.depth
    losses = tuple(floor + 1 / epoch for epoch in range(first + 1, last + 1))
    return Curve(trial.number, first, losses, losses, (time.time(),) * len(losses), False, None)


def timed(owner: type, name: str, spent: dict[str, float], label: str) -> None:
    """Count the time in a method; a call within a counted call of the same label is not counted twice."""
    method: Callable[..., Any] = getattr(owner, name)
    depth = [0]

    def counted(*words: Any, **named: Any) -> Any:
        depth[0] += 1
        started = time.perf_counter()
        try:
            return method(*words, **named)
        finally:
            depth[0] -= 1
            if depth[0] == 0:
                spent[label] += time.perf_counter() - started

    setattr(owner, name, counted)


def measure(trials: int, spent: dict[str, float]) -> tuple[float, float]:
    """Seconds of a whole study without training, and of publishing it at once."""
    spec = spec_from_mapping(
        {
            "name": "search",
            "data": {"source": "sklearn:digits"},
            "space": SPACE,
            "search": {"trials": trials, "epochs": 27},
            "device": "cpu",
        }
    )
    ledger = Ledger.open("sqlite:///tuner.db")
    study = ledger.create_study(spec.model_dump_json(), "x.yaml", "0" * 64, "search", {})
    with ledger.lease(study.id, "run"):
        ledger.record_event(study.id, "budget", {"position": 0, "trials": trials})
        spent.clear()
        started = time.perf_counter()
        Driver(study, spec, ledger, MadeUpWorkers(), lambda _: None, threading.Event()).run()
        searched = time.perf_counter() - started
    uri = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    ensure_store(uri)
    started = time.perf_counter()
    publish_once(ledger, study.id, uri)
    published = time.perf_counter() - started
    ledger.close()
    return searched, published


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[500, 2000])
    spent: dict[str, float] = defaultdict(float)
    timed(Search, "ask", spent, "ask")
    timed(Search, "tell", spent, "tell")
    for name in ("record_cohorts", "record_segments", "record_ends", "record_event"):
        timed(Ledger, name, spent, "record")
    print("| trials | ask | tell | record | rest of the loop | publish | together, ms a trial |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for trials in parser.parse_args().trials:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            searched, published = measure(trials, spent)
            os.chdir("/")
        rest = searched - sum(spent.values())
        each = [1000 * value / trials for value in (spent["ask"], spent["tell"], spent["record"], rest, published)]
        print("|", trials, "|", " | ".join(f"{value:.1f}" for value in each), f"| {sum(each):.1f} |", flush=True)


if __name__ == "__main__":
    main()

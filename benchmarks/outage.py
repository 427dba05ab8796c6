"""What a dead tracking server costs the training: the same study against a healthy one and one that hangs, in turn.

    python benchmarks/outage.py [--rounds N]

Prints the seconds from the first trial's start to the last one's end, and the median of the rounds' ratios. Where the
machine's own noise is larger than what is looked for, the other figure tells more: what the driver computed in all
(it decides, records and publishes; the workers, which train, share the cores with it alone), of all that the cores
could compute meanwhile. A tracker can slow the training by no more than the difference of the two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import tempfile
import time
from pathlib import Path

import tuner
import tuner.orchestration.prepared_run
from tuner.tracking.dashboard import serve
from tuner.tracking.store import ensure_store

WORKERS = 2
SPEC = {
    "name": "outage",
    "data": {"source": "sklearn:digits"},
    "space": {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": 32,
        "width": {"type": "int", "low": 400, "high": 512},
        "depth": 2,
        "bottleneck": 8,
    },
    "search": {"trials": 96, "epochs": 100, "cohort": 16, "sampler": "random", "pruner": "none"},
    "final": "none",
    "device": "cpu",
}


def measured(uri: str, store: Path) -> tuple[float, float]:
    """Train the study in a fresh folder; the training's seconds, and the driver's share of the cores meanwhile."""
    computed = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["MLFLOW_TRACKING_URI"] = uri
        records = tuner.run(SPEC, workers=WORKERS).records
        os.chdir(store.parent)
    starts = [record.started_at for record in records if record.started_at is not None]
    took = max(record.ended_at or 0.0 for record in records) - min(starts)
    return took, (time.process_time() - computed) / (took * WORKERS)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    tuner.orchestration.prepared_run.PUBLISH_SECONDS = 2.0  # what is measured is over by then
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0), backlog=1000) as silent:
        store = Path(name) / "mlflow.db"
        ensure_store(f"sqlite:///{store}")
        (store.parent / "server").mkdir()
        shutil.copy(store, store.parent / "server")
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serve(f"sqlite:///{store.parent / 'server' / 'mlflow.db'}") as server:
            ratios = []
            measured(server.url, store)  # imports are no tracker's cost
            for number in range(rounds):
                pair = {uri: measured(uri, store) for uri in sorted([server.url, hanging], reverse=number % 2 == 1)}
                ratios.append(pair[hanging][0] / pair[server.url][0])
                told = [
                    f"{what} {pair[uri][0]:.2f} s, driver {100 * pair[uri][1]:.2f} % of the cores"
                    for what, uri in (("healthy", server.url), ("hanging", hanging))
                ]
                print("; ".join(told), flush=True)
    print(f"hanging / healthy: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()

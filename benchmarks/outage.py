"""What a dead tracking server costs the training: the same study against a healthy one and one that hangs, in turn.

    python benchmarks/outage.py [--rounds N]

Prints the seconds from the first trial's start to the last one's end, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import tempfile
from pathlib import Path

import tuner
import tuner.launch
from tuner.tracking.dashboard import serve
from tuner.tracking.store import ensure_store

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
    "device": "cpu",
}


def seconds(uri: str, store: Path) -> float:
    """Train the study in a fresh folder."""
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["MLFLOW_TRACKING_URI"] = uri
        records = tuner.run(SPEC, workers=2).records
        os.chdir(store.parent)
    starts = [record.started_at for record in records if record.started_at is not None]
    return max(record.ended_at or 0.0 for record in records) - min(starts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    tuner.launch.PUBLISH_SECONDS = 2.0  # what is measured is over by then
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0), backlog=1000) as silent:
        store = Path(name) / "mlflow.db"
        ensure_store(f"sqlite:///{store}")
        (store.parent / "server").mkdir()
        shutil.copy(store, store.parent / "server")
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serve(f"sqlite:///{store.parent / 'server' / 'mlflow.db'}") as server:
            ratios = []
            for number in range(rounds):
                pair = {uri: seconds(uri, store) for uri in sorted([server.url, hanging], reverse=number % 2 == 1)}
                ratios.append(pair[hanging] / pair[server.url])
                print(f"healthy {pair[server.url]:.2f} s, hanging {pair[hanging]:.2f} s", flush=True)
    print(f"hanging / healthy: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()

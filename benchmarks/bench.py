"""Runs every peer on every workload, in turn, and prints one table of ratios: `make bench`.

usage: python benchmarks/bench.py [--rounds 3] [--workloads digits breast_cancer]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

PEERS = ("tutorial-1", "tutorial-n", "eager-2", "tuner-1", "tuner-2")
HERE = Path(__file__).parent


def run_once(peer: str, workload: str, store: Path) -> dict[str, float]:
    """One peer in a fresh process and folder."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(store, Path(folder) / "mlflow.db")
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        finished = subprocess.run(
            [sys.executable, HERE / "study.py", peer, workload],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if finished.returncode:
        raise SystemExit(f"{peer} on {workload} failed:\n{finished.stderr[-2000:]}")
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def peaks() -> tuple[float, float]:
    """One core's best fp32 product (FLOP/s), and its bandwidth out of cache in a one-pass sum of vectors (bytes/s)."""
    import torch

    torch.set_num_threads(1)
    a, b, c = (torch.randn(1024, 1024) for _ in range(3))
    x, y = (torch.randn(20_000_000) for _ in range(2))
    product = min(_timed(lambda: torch.mm(a, b, out=c)) for _ in range(15))
    passed = min(_timed(lambda: x.add_(y)) for _ in range(7))
    return 2 * 1024**3 / product, 3 * 4 * 20_000_000 / passed


def _timed(call: object) -> float:
    started = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - started


def table(workload: str, results: dict[str, list[dict[str, float]]], peak: tuple[float, float]) -> list[str]:
    """Medians, how many times as fast as each peer, and the fraction of the roofline."""
    seconds = {peer: statistics.median(one["seconds"] for one in runs) for peer, runs in results.items()}
    best = min(("tutorial-1", "tutorial-n"), key=lambda peer: seconds[peer])
    lines = [f"| {workload} | seconds | against {best} | against eager | roofline |", "| --- | --- | --- | --- | --- |"]
    for peer, took in seconds.items():
        floor = ""
        if "busy" in results[peer][0]:
            shares = [(one["flop"] / peak[0] + one["bytes"] / peak[1]) / one["busy"] for one in results[peer]]
            floor = f"{statistics.median(shares):.2f}"
        against = f"{seconds[best] / took:.1f}x | {seconds['eager-2'] / took:.1f}x"
        lines.append(f"| {peer} | {took:.1f} | {against} | {floor} |")
    return lines


def main() -> None:
    """Measure, peers in turn so that a noisy minute hits all alike, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", nargs="+", default=["digits", "breast_cancer"])
    chosen = parser.parse_args()
    from tuner.tracking.store import ensure_store

    names = ("torch", "optuna", "mlflow", "numpy")
    print(
        time.strftime("%Y-%m-%d"), platform.machine(), f"{os.cpu_count()} cores,", *(f"{n} {version(n)}" for n in names)
    )
    peak = peaks()
    print(f"one core: {peak[0] / 1e9:.0f} GFLOP/s in products, {peak[1] / 1e9:.1f} GB/s out of cache")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        ensure_store(f"sqlite:///{store}")
        for workload in chosen.workloads:
            results: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
            for _ in range(chosen.rounds):
                for peer in PEERS:
                    results[peer].append(run_once(peer, workload, store))
                    print(f"{workload} {peer}: {results[peer][-1]['seconds']:.1f} s", file=sys.stderr)
            print("", *table(workload, results, peak), sep="\n")


if __name__ == "__main__":
    main()

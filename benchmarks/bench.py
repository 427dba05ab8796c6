"""Runs every peer on every workload, in turn, and prints one table of ratios: `make bench`.

usage: python benchmarks/bench.py [--rounds 3] [--workloads digits breast_cancer] [--peers eager-2 tuner-2]

Every measurement is a process of its own in a folder of its own. A round measures all peers in turn, so that a noisy
minute hits all alike; medians are over the rounds, each with another seed.
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
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import peers
from workloads import WORKLOADS, Job, missing, write_data

HERE = Path(__file__).parent
VERSIONS = ("torch", "optuna", "mlflow", "numpy", "ray", "modelbatch")
RIVALS = ("tutorial", "eager", "ray", "modelbatch")
Runs = dict[str, list[dict[str, Any]]]


def run_once(peer: str, job: Job, store: Path) -> dict[str, Any]:
    """One peer; ours twice, for what it imports while its workers start would else be counted in full."""
    warm = _process(peer, job, store)
    if not peer.startswith("tuner"):
        return warm
    return {**warm, "seconds": _process(peer, job, store, "--cold")["seconds"]}


def _process(peer: str, job: Job, store: Path, *options: str) -> dict[str, Any]:
    """One measurement in a fresh process and folder."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(store, Path(folder) / "mlflow.db")
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        command = [
            sys.executable,
            HERE / "study.py",
            peer,
            job.workload,
            "--seed",
            str(job.seed),
            "--folder",
            job.folder,
            *options,
        ]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer} on {job.workload} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peaks() -> tuple[float, float]:
    """One core's best fp32 product (FLOP/s), and its bandwidth out of cache in a one-pass sum of vectors (bytes/s)."""
    import torch

    torch.set_num_threads(1)
    a, b, c = (torch.randn(1024, 1024) for _ in range(3))
    x, y = (torch.randn(20_000_000) for _ in range(2))
    product = min(_timed(lambda: torch.mm(a, b, out=c)) for _ in range(15))
    passed = min(_timed(lambda: x.add_(y)) for _ in range(7))
    return 2 * 1024**3 / product, 3 * 4 * 20_000_000 / passed


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def table(workload: str, results: Runs, peak: tuple[float, float]) -> list[str]:
    """Medians; how many times as fast as each rival's better form; the fraction of the roofline.

    Ratios are of `seconds`, whole processes, and behind the slash of `warm`, without the main process' imports.
    """
    rivals = {name: [peer for peer in results if peer.startswith(name)] for name in RIVALS}
    lines = [
        f"| {workload} | seconds | warm | {' | '.join(f'against {name}' for name in RIVALS)} | roofline |",
        "| --- " * (len(RIVALS) + 4) + "|",
    ]
    for peer, runs in results.items():
        if not peer.startswith("tuner"):
            ratios = [""] * len(RIVALS)
        else:
            ratios = [_ratios(results, rivals[name], peer) for name in RIVALS]
        never = "> " if any(run["reached"] is False for run in runs) else ""
        cells = [peer, f"{never}{_median(runs, 'seconds'):.1f}", f"{never}{_median(runs, 'warm'):.1f}", *ratios]
        lines.append(f"| {' | '.join(cells)} | {_roofline(runs, peak)} |")
    return lines


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _ratios(results: Runs, rivals: list[str], peer: str) -> str:
    if not rivals:
        return "-"
    cold, warm = (min(_median(results[r], n) for r in rivals) / _median(results[peer], n) for n in ("seconds", "warm"))
    return f"{cold:.1f}x / {warm:.1f}x"


def _roofline(runs: list[dict[str, Any]], peak: tuple[float, float]) -> str:
    shares = [(run["flop"] / peak[0] + run["bytes"] / peak[1]) / run["busy"] for run in runs if "busy" in run]
    return f"{statistics.median(shares):.2f}" if shares else ""


def measure(workload: str, chosen: list[str], rounds: int, store: Path) -> Runs:
    """All peers in turn, so many times."""
    results: Runs = {peer: [] for peer in chosen}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(rounds):
            job = Job(workload, seed, folder)
            write_data(job)
            for peer in chosen:
                results[peer].append(run_once(peer, job, store))
                print(f"{workload} {peer}: {results[peer][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return results


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", choices=peers.PEERS, default=list(peers.PEERS))
    options = parser.parse_args()
    from tuner.tracking.store import ensure_store

    print(time.strftime("%Y-%m-%d"), platform.machine(), f"{os.cpu_count()} cores,", *map(_version, VERSIONS))
    for word in filter(None, [*map(missing, options.workloads), *map(peers.missing, options.peers)]):
        print(word)
    peak = peaks()
    print(f"one core: {peak[0] / 1e9:.0f} GFLOP/s in products, {peak[1] / 1e9:.1f} GB/s out of cache", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        ensure_store(f"sqlite:///{store}")
        for workload in options.workloads:
            if missing(workload) is None:
                able = [p for p in options.peers if peers.missing(p) is None and peers.fits(p, workload)]
                print("", *table(workload, measure(workload, able, options.rounds, store), peak), sep="\n", flush=True)


if __name__ == "__main__":
    main()

"""Runs every peer on every workload, in turn, and prints one table of ratios: `make bench`.

usage: python benchmarks/bench.py [--rounds 3] [--workloads digits breast_cancer] [--peers eager-2 tuner-2]

Every measurement is a process of its own in a folder of its own. A round measures all peers in turn, so that a noisy
minute hits all alike; medians are over the rounds, each with another seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Peak:
    """What one core can do.

    Attributes:
        flops: fp32 multiplications and additions a second, in registers alone.
        product: the same of the best library's product, which can be far below.
        rates: bytes a second of a one-pass sum of two vectors that take so many bytes together, in cache or out of it.
    """

    flops: float
    product: float
    rates: dict[int, float]

    def rate(self, size: float) -> float:
        """Bytes a second where so many are passed over again and again."""
        import numpy as np

        return float(np.interp(math.log(size), [math.log(known) for known in self.rates], list(self.rates.values())))

    def share(self, run: dict[str, Any], flops: float) -> float:
        """Of the time that the training took, what its products, at that rate, and its optimizer's passes have to."""
        passes = sum(moved / self.rate(size) for size, moved in run["moved"])
        return float((run["flop"] / flops + passes) / run["busy"])

    def told(self) -> str:
        rates = ", ".join(f"{rate / 1e9:.0f} ({size >> 10} KiB)" for size, rate in self.rates.items())
        known = f"{self.flops / 1e9:.0f} GFLOP/s at most, {self.product / 1e9:.0f} in a library's products"
        return f"one core: {known}, passes over vectors at {rates} GB/s"


def peak() -> Peak:
    """Measure it; without a C compiler the libraries' best product is all that is known of the arithmetic."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    with threadpool_limits(1):
        product = max(map(max, (_product(np, size) for size in (256, 384, 512, 1024))))
        return Peak(
            max(product, _flops()),
            product,
            {size: _sum(np, size) for size in (1 << power for power in range(15, 28, 2))},
        )


def _flops() -> float:
    """FLOP/s of `peak.c`; 0 where it cannot be compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        words = [compiler, "-O3", "-march=native", "-funroll-loops", str(HERE / "peak.c"), "-o", str(program)]
        subprocess.run(words, check=True)
        return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout)


def _product(np: Any, size: int) -> tuple[float, float]:
    """FLOP/s of numpy's and of torch's product of square matrices."""
    import torch

    a, b, c = (np.ones((size, size), np.float32) for _ in range(3))
    ours, theirs, out = map(torch.from_numpy, (a, b, c))
    calls = max(1, int(2e8 / (2 * size**3)))
    known = (lambda: np.matmul(a, b, out=c)), (lambda: torch.mm(ours, theirs, out=out))
    by_numpy, by_torch = (2 * size**3 / min(_timed(call, calls) for _ in range(15)) for call in known)
    return by_numpy, by_torch


def _sum(np: Any, size: int) -> float:
    """Bytes a second of `x += y`, both of them together so many bytes."""
    x, y = (np.ones(size // 8, np.float32) for _ in range(2))
    calls = max(1, int(8e7 / size))
    return 3 * x.nbytes / min(_timed(lambda: np.add(x, y, out=x), calls) for _ in range(9))


def _timed(call: Callable[[], object], calls: int) -> float:
    """Seconds a call."""
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls


def table(workload: str, results: Runs, best: Peak) -> list[str]:
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
        lines.append(f"| {' | '.join(cells)} | {_roofline(runs, best)} |")
    return lines


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _ratios(results: Runs, rivals: list[str], peer: str) -> str:
    if not rivals:
        return "-"
    cold, warm = (min(_median(results[r], n) for r in rivals) / _median(results[peer], n) for n in ("seconds", "warm"))
    return f"{cold:.1f}x / {warm:.1f}x"


def _roofline(runs: list[dict[str, Any]], best: Peak) -> str:
    """Of what the core can do; in brackets of what it does with a library's products, which ours can be above."""
    ours = [run for run in runs if "busy" in run]
    shares = (statistics.median(best.share(run, flops) for run in ours) for flops in (best.flops, best.product) if ours)
    return "{:.2f} ({:.2f})".format(*shares) if ours else ""


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
    best = peak()
    print(best.told(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        ensure_store(f"sqlite:///{store}")
        for workload in options.workloads:
            if missing(workload) is None:
                able = [p for p in options.peers if peers.missing(p) is None and peers.fits(p, workload)]
                print("", *table(workload, measure(workload, able, options.rounds, store), best), sep="\n", flush=True)


if __name__ == "__main__":
    main()

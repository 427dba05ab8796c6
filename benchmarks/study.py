"""One study of one peer in this process; `bench.py` starts this once per measurement. Prints one JSON object.

usage: python benchmarks/study.py PEER WORKLOAD [--seed 0] [--folder FOLDER] [--cold]

It writes to the current folder, and to the MLflow store that MLFLOW_TRACKING_URI names. All peers (`peers/`) train the
same number of trials and epochs of the same space, last batches included, with tracking on.
"""

from __future__ import annotations

import time

STARTED = time.time()

import argparse  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import warnings  # noqa: E402
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import peers  # noqa: E402
from workloads import WORKLOADS, Job, write_data  # noqa: E402


def measure(peer: str, job: Job, started: float, cold: bool) -> dict[str, Any]:
    """Run a study.

    Returns:
        seconds: from the start of the process to the last record published, or to the target where it was reached.
        warm: the same without the time that this process took to import its libraries; None with `--cold`.
        reached: whether the target was reached; None where there is none.
    """
    module, variant = peers.load(peer)
    before = time.time()
    for name in () if cold else module.LIBRARIES:
        import_module(name)
    imports = time.time() - before
    made = module.run(job, variant)
    ended, reached = time.time(), made.pop("reached")
    seconds = (reached or ended) - started
    known = None if job.load.target is None else reached is not None
    return {
        **made,
        "seconds": seconds,
        "warm": None if cold else seconds - imports,
        "reached": known,
        "whole": ended - started,
    }


def main() -> None:
    """Measure one peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=peers.PEERS)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cold", action="store_true", help="import nothing beforehand")
    parser.add_argument("--folder", help="where bench.py wrote the data; by default it is written here, first")
    chosen = parser.parse_args()
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", GIT_PYTHON_REFRESH="quiet", PYTHONWARNINGS="ignore")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    started = STARTED
    job = Job(chosen.workload, chosen.seed, chosen.folder or str(Path.cwd()))
    if chosen.folder is None:
        write_data(job)
        started = time.time()
    line = json.dumps(measure(chosen.peer, job, started, chosen.cold))
    sys.stdout.write(f"\n{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

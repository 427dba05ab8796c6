"""The peers, one module each: `LIBRARIES`, what it imports, and `run(job, variant)`, one study.

`run` returns a dictionary; where the workload has a target it holds `reached`, the Unix time at which a validation
loss at or below the target was first known, or None.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from workloads import WORKLOADS

PEERS = {  # peer: module, variant, distribution it needs beside the project's own
    "tutorial-1": ("tutorial", "1", None),
    "tutorial-n": ("tutorial", "n", None),
    "eager-2": ("eager", "", None),
    "ray-callback": ("raytune", "callback", "ray"),
    "ray-batch": ("raytune", "batch", "ray"),
    "modelbatch-2": ("batched", "", "modelbatch"),
    "tuner-1": ("ours", "1", None),
    "tuner-2": ("ours", "2", None),
}
STORE = ("mlflow", "mlflow.store.tracking.sqlalchemy_store")  # what every peer needs to write to a SQLite store


def missing(peer: str) -> str | None:
    """Why a peer cannot be run here, in one sentence; None where it can."""
    needs = PEERS[peer][2]
    if needs is not None and find_spec(needs) is None:
        return f"{peer} is skipped: {needs} is not installed; pip install '.[bench]'."
    return None


def load(peer: str) -> tuple[Any, str]:
    """A peer's module and variant."""
    module, variant, _ = PEERS[peer]
    return import_module(f"peers.{module}"), variant


def fits(peer: str, workload: str) -> bool:
    """modelbatch has no pruning, so it is no peer where a target is to be reached."""
    return WORKLOADS[workload].target is None or PEERS[peer][0] != "batched"

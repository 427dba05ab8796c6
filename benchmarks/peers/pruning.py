"""The pruner that Optuna's users get where a workload has a target."""

from __future__ import annotations

from typing import Any

from workloads import Job


def pruner(job: Job) -> Any:
    """Optuna's successive halving, with the rungs of ours; none where the workload has no target."""
    import optuna

    if job.load.target is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)

"""How the executor that was chosen is started."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.execution.base import Executor
from tuner.execution.choice import ExecutorChoice, Inline, Processes, Ray, Share
from tuner.execution.cluster import RayExecutor
from tuner.execution.local import InlineExecutor, ProcessExecutor
from tuner.learning import cgroups
from tuner.waiting import never


def usable_cores(root: Path = cgroups.ROOT) -> int:
    """Cores that this process may use: its affinity, and its control groups' quota where there is one; at least one.

    Args:
        root: the folder that holds proc and sys.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroups.cores(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


def sized(choice: ExecutorChoice, device: str, gpus: Sequence[str]) -> ExecutorChoice:
    """The choice with its number of workers filled in where it was left open.

    Args:
        choice: what was asked for.
        device: a resolved device.
        gpus: those that the study may use, where there are several.
    """
    if isinstance(choice, Ray):
        return replace(choice, slot=choice.slot or Share(gpu=float(device.startswith("cuda"))))
    if choice != Processes():
        return choice
    return Processes(usable_cores() if device == "cpu" else max(1, len(gpus)))


def start_executor(choice: ExecutorChoice, gpus: Sequence[str] = (), check: Callable[[], object] = never) -> Executor:
    """Begin to start workers; returns before they are ready.

    Args:
        choice: from `sized`.
        gpus: names as in CUDA_VISIBLE_DEVICES that the workers are dealt, where a study has several.
        check: called between epochs that are trained in this process; what it raises ends them.
    """
    if isinstance(choice, Inline):
        return InlineExecutor(check)
    if isinstance(choice, Ray):
        return RayExecutor(choice, usable_cores(), check)
    return ProcessExecutor(choice.workers or 1, gpus)

"""The package `modelbatch`: models of one structure are stacked and trained through `torch.vmap`, on two processes.

It can stack models of the same layers and activation function, and batches must have one size; trials that share
these with no other of their cohort are trained as the expert's are (`plain.py`). In spaces that search width and depth
few do.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from workloads import Job, enqueue, suggest

from peers import STORE
from peers.eager import COHORT, PROCESSES
from peers.plain import epochs, network, resident
from peers.tracked import Tracker

LIBRARIES = ("optuna", *STORE)  # torch and modelbatch are for the two processes
SHARED = ("batch_size", "depth", "width", "activation", "bottleneck")
Curves = list[list[tuple[float, float]]]


def run(job: Job, variant: str) -> dict[str, Any]:  # noqa: ARG001 - the peers share one signature
    """The study in cohorts, without pruning."""
    import optuna

    load, tracker = job.load, Tracker(job.workload)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job.seed))
    enqueue(study, job)
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for start in range(0, load.trials, COHORT):
            groups = defaultdict(list)
            for trial in [study.ask() for _ in range(min(COHORT, load.trials - start))]:
                point = suggest(trial, load.space)
                groups[tuple(point[name] for name in SHARED)].append((trial, point))
            packs = list(groups.values())
            results = pool.map(_train, [job] * len(packs), [[point for _, point in pack] for pack in packs])
            for pack, curves in zip(packs, results, strict=True):
                for (trial, point), curve in zip(pack, curves, strict=True):
                    study.tell(trial, min(value for _, value in curve))
                    tracker.log(point, curve)
    return {"reached": None}


def _train(job: Job, points: list[dict[str, Any]]) -> Curves:
    return _stacked(job, points) if len(points) > 1 else [list(epochs(job, points[0]))]


def _stacked(job: Job, points: list[dict[str, Any]]) -> Curves:
    import torch
    from modelbatch import ModelBatch
    from modelbatch.optimizer import OptimizerFactory

    train, held_out = resident(job)
    batch = ModelBatch([network(train.shape[1], point) for point in points], shared_input=True)
    factory = OptimizerFactory(torch.optim.AdamW, {"weight_decay": 0.0, "fused": True})
    optimizer = factory.create_optimizer(batch, [{"lr": point["learning_rate"]} for point in points])
    curves: Curves = [[] for _ in points]
    for _ in range(job.load.epochs):
        total = torch.zeros(len(points))
        for index in torch.randperm(len(train)).split(points[0]["batch_size"]):
            rows = train[index]
            optimizer.zero_grad()
            losses = (batch(rows) - rows).square().mean(dim=(1, 2))
            losses.sum().backward()
            optimizer.step()
            total += losses.detach() * len(rows)
        with torch.no_grad():
            values = (batch(held_out) - held_out).square().mean(dim=(1, 2))
        for curve, train_loss, value in zip(curves, (total / len(train)).tolist(), values.tolist(), strict=True):
            curve.append((train_loss, value))
    return curves

"""Optuna and MLflow as their tutorials show them: a DataLoader, `mlflow.log_metric` per epoch, one process.

Variants: `1`, one torch thread; `n`, torch's default.
"""

from __future__ import annotations

import math
import time
from typing import Any

from workloads import Job, enqueue, splits, suggest

from peers import STORE
from peers.plain import network

LIBRARIES = ("torch", "torch.utils.data", "optuna", *STORE)


def run(job: Job, variant: str) -> dict[str, Any]:
    """The study, sequentially."""
    import mlflow
    import optuna
    import torch

    from peers.pruning import pruner

    if variant == "1":
        torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    mlflow.set_experiment(job.workload)
    objective = Objective(job)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job.seed), pruner=pruner(job))
    enqueue(study, job)
    with mlflow.start_run():
        study.optimize(objective, n_trials=job.load.trials)
    return {"reached": objective.reached}


class Objective:
    """Trains one trial; ends the study once the target, if there is one, is reached."""

    def __init__(self, job: Job) -> None:
        self._job, self.reached = job, None
        self._train, self._held_out = splits(job)

    def __call__(self, trial: Any) -> float:
        import mlflow

        with mlflow.start_run(nested=True):
            point = suggest(trial, self._job.load.space)
            mlflow.log_params(point)
            return self._fit(trial, point)

    def _fit(self, trial: Any, point: dict[str, Any]) -> float:
        import mlflow
        import optuna
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        train, held_out, target = self._train, self._held_out, self._job.load.target
        model, criterion = network(train.shape[1], point), torch.nn.MSELoss()
        optimizer = torch.optim.AdamW(model.parameters(), lr=point["learning_rate"], weight_decay=0.0)
        batches = DataLoader(TensorDataset(train), batch_size=point["batch_size"], shuffle=True)
        best = math.inf
        for epoch in range(self._job.load.epochs):
            total = 0.0
            for (rows,) in batches:
                optimizer.zero_grad()
                loss = criterion(model(rows), rows)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            with torch.no_grad():
                value = criterion(model(held_out), held_out).item()
            mlflow.log_metric("train_loss", total / len(train), step=epoch)
            mlflow.log_metric("val_loss", value, step=epoch)
            best = min(best, value)
            if target is None:
                continue
            if value <= target:
                self.reached = time.time()
                trial.study.stop()
                break
            trial.report(value, epoch + 1)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

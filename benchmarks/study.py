"""One study, the same for every peer, run as each peer's users run it; `bench.py` starts this once per measurement.

usage: python benchmarks/study.py PEER WORKLOAD      prints one JSON object

Peers: tutorial-1 and tutorial-n (Optuna, DataLoader, mlflow.log_metric per epoch; one thread, or torch's default),
eager-2 (data in memory, fused AdamW, mlflow log_batch, two processes), tuner-1 and tuner-2 (this project with one and
two workers). All train the same number of trials and epochs of the same space, last batches included, with tracking on
a SQLite store that was made beforehand.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "batch_size": {"type": "categorical", "choices": [32, 64, 128, 256]},
    "depth": {"type": "int", "low": 1, "high": 3},
    "width": {"type": "int", "low": 32, "high": 256, "log": True},
    "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu", "tanh", "sigmoid"]},
    "bottleneck": 8,
}
WORKLOADS: dict[str, dict[str, Any]] = {
    "digits": {"source": "sklearn:digits", "trials": 64, "epochs": 20, "space": SPACE},
    "breast_cancer": {
        "source": "sklearn:breast_cancer",
        "trials": 64,
        "epochs": 20,
        "space": {
            **SPACE,
            "batch_size": {"type": "categorical", "choices": [16, 32, 64]},
            "width": {"type": "int", "low": 8, "high": 64, "log": True},
            "bottleneck": 4,
        },
    },
}


def declaration(workload: str) -> dict[str, Any]:
    """The workload as a study of ours."""
    load = WORKLOADS[workload]
    return {
        "name": workload,
        "data": {"source": load["source"]},
        "space": load["space"],
        "search": {"trials": load["trials"], "epochs": load["epochs"], "pruner": "none"},
        "device": "cpu",
    }


def splits(workload: str) -> tuple[Any, Any]:
    """Training and validation rows as tensors, the very ones that we train on."""
    import torch

    from tuner.data.prepare import examine
    from tuner.spec.reader import spec_from_mapping

    made = examine(spec_from_mapping(declaration(workload)), Path.cwd())
    rows = made.preprocessor.transform(made.data.values)
    return torch.from_numpy(rows[made.split.train]), torch.from_numpy(rows[made.split.validation])


def suggest(trial: Any, space: dict[str, Any]) -> dict[str, Any]:
    """A point of the space, as Optuna's users write it."""
    point = {}
    for name, value in space.items():
        if not isinstance(value, dict):
            point[name] = value
        elif value["type"] == "categorical":
            point[name] = trial.suggest_categorical(name, value["choices"])
        else:
            ask = trial.suggest_float if value["type"] == "float" else trial.suggest_int
            point[name] = ask(name, value["low"], value["high"], log=value.get("log", False))
    return point


def network(features: int, point: dict[str, Any]) -> Any:
    """The autoencoder of a point, as nn.Sequential."""
    from torch import nn

    from tuner.spec.architecture import encoder_sizes

    sizes = encoder_sizes(features, point["depth"], point["width"], point["bottleneck"])
    kinds = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    layers: list[nn.Module] = []
    for half in (sizes, sizes[::-1]):
        for inputs, outputs in pairwise(half):
            layers += [nn.Linear(inputs, outputs), kinds[point["activation"]]()]
        layers.pop()
    return nn.Sequential(*layers)


def tutorial(workload: str, threads: int | None) -> None:
    """Optuna and MLflow as their tutorials show them."""
    import mlflow
    import optuna
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    if threads is not None:
        torch.set_num_threads(threads)
    load, (train, held_out) = WORKLOADS[workload], splits(workload)
    mlflow.set_experiment(workload)
    criterion = torch.nn.MSELoss()

    def objective(trial: Any) -> float:
        point = suggest(trial, load["space"])
        model = network(train.shape[1], point)
        optimizer = torch.optim.AdamW(model.parameters(), lr=point["learning_rate"])
        batches = DataLoader(TensorDataset(train), batch_size=point["batch_size"], shuffle=True)
        best = math.inf
        with mlflow.start_run(nested=True):
            mlflow.log_params(point)
            for epoch in range(load["epochs"]):
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
        return best

    study = optuna.create_study()
    with mlflow.start_run():
        study.optimize(objective, n_trials=load["trials"])


def train_eagerly(workload: str, point: dict[str, Any]) -> list[tuple[float, float]]:
    """One trial as an expert writes it in plain PyTorch."""
    import torch

    load, (train, held_out) = WORKLOADS[workload], _resident(workload)
    model = network(train.shape[1], point)
    optimizer = torch.optim.AdamW(model.parameters(), lr=point["learning_rate"], fused=True)
    criterion, losses = torch.nn.MSELoss(), []
    for _ in range(load["epochs"]):
        total = torch.zeros(())
        for index in torch.randperm(len(train)).split(point["batch_size"]):
            rows = train[index]
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(rows), rows)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        with torch.no_grad():
            losses.append((total.item() / len(train), criterion(model(held_out), held_out).item()))
    return losses


_DATA: dict[str, Any] = {}


def _resident(workload: str) -> Any:
    import torch

    torch.set_num_threads(1)
    if workload not in _DATA:
        _DATA[workload] = splits(workload)
    return _DATA[workload]


def eager(workload: str) -> None:
    """Two processes, asked and told in batches; one log_batch a trial."""
    import optuna
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    load, client = WORKLOADS[workload], MlflowClient()
    experiment = client.create_experiment(workload)
    study = optuna.create_study()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for start in range(0, load["trials"], 16):
            asked = [study.ask() for _ in range(min(16, load["trials"] - start))]
            points = [suggest(trial, load["space"]) for trial in asked]
            curves = pool.map(train_eagerly, [workload] * len(points), points)
            for trial, point, curve in zip(asked, points, curves, strict=True):
                study.tell(trial, min(value for _, value in curve))
                run, at = client.create_run(experiment).info.run_id, int(time.time() * 1000)
                metrics = [
                    Metric(name, pair[place], at, step)
                    for step, pair in enumerate(curve)
                    for place, name in enumerate(("train_loss", "val_loss"))
                ]
                client.log_batch(run, metrics, [Param(name, str(value)) for name, value in point.items()])
                client.set_terminated(run)


def ours(workload: str, workers: int) -> dict[str, Any]:
    """This project, and what its workers were busy with."""
    import tuner
    from tuner.ledger.ledger import Ledger
    from tuner.spec.architecture import layer_sizes, parameter_count

    study = tuner.run(declaration(workload), workers=workers)
    if study.summary["mlflow"]["waiting"]:
        raise SystemExit("not everything was published")
    ledger = Ledger.open("sqlite:///tuner.db")
    record = ledger.study(workload)
    busy = sum(segment.seconds for segment in ledger.segments(record.id)) if record else math.nan
    ledger.close()
    train, _ = splits(workload)
    rows, features = train.shape
    products = moved = 0.0
    for trial in study.records:
        sizes = layer_sizes(features, trial.point)
        products += 6 * sum(a * b for a, b in pairwise(sizes)) * rows * trial.epochs
        moved += 28 * parameter_count(sizes) * -(-rows // trial.point.batch_size) * trial.epochs
    return {"busy": busy, "flop": products, "bytes": moved}


def measure(peer: str, workload: str) -> dict[str, Any]:
    """Seconds from the first call to the last record published, imports included for all alike."""
    started = time.perf_counter()
    more: dict[str, Any] = {}
    kind, _, count = peer.partition("-")
    if kind == "tutorial":
        tutorial(workload, 1 if count == "1" else None)
    elif kind == "eager":
        eager(workload)
    else:
        more = ours(workload, int(count))
    return {"seconds": time.perf_counter() - started, **more}


if __name__ == "__main__":
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", GIT_PYTHON_REFRESH="quiet")
    import logging

    logging.disable(logging.WARNING)
    sys.stdout.write(json.dumps(measure(sys.argv[1], sys.argv[2])) + "\n")

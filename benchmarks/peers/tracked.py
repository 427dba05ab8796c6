"""A trial's record in MLflow as an expert writes it: one `log_batch` a trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any


class Tracker:
    """Logs finished trials to one experiment."""

    def __init__(self, experiment: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        self._experiment = self._client.create_experiment(experiment)

    def log(self, point: dict[str, Any], curve: Sequence[tuple[float, float]]) -> None:
        """One run: its parameters, and the training and validation loss of every epoch."""
        from mlflow.entities import Metric, Param

        run, at = self._client.create_run(self._experiment).info.run_id, int(time.time() * 1000)
        metrics = [
            Metric(name, losses[place], at, step)
            for step, losses in enumerate(curve)
            for place, name in enumerate(("train_loss", "val_loss"))
        ]
        self._client.log_batch(run, metrics, [Param(name, str(value)) for name, value in point.items()])
        self._client.set_terminated(run)

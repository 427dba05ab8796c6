"""Ray Tune: OptunaSearch, its own MLflow callback, both cores, one torch thread a trial (`plain.py` trains).

Ray's other loggers are off, and epochs are reported to it with both losses, which its callback writes to MLflow.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from workloads import Job, first_points

from peers import STORE
from peers.plain import epochs

LIBRARIES = ("ray.tune", "ray.air.integrations.mlflow", "optuna", *STORE)
CORES = 2


def run(job: Job, variant: str) -> dict[str, Any]:  # noqa: ARG001 - the peers share one signature
    """The study."""
    os.environ.update(
        RAY_TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        RAY_AIR_NEW_OUTPUT="0",
        RAY_USAGE_STATS_ENABLED="0",
        OMP_NUM_THREADS="1",
    )
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    load = job.load
    paths = os.pathsep.join((str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")))
    ray.init(
        num_cpus=CORES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    pruner = ASHAScheduler(time_attr="epoch", max_t=load.epochs, grace_period=2, reduction_factor=3)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_train, job=job), {"cpu": 1}),
        param_space={name: _domain(tune, value) for name, value in load.space.items()},
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            num_samples=load.trials,
            max_concurrent_trials=CORES,
            reuse_actors=True,  # else every trial waits for a process that imports torch
            search_alg=OptunaSearch(seed=job.seed, points_to_evaluate=first_points(job)),
            scheduler=None if load.target is None else pruner,
        ),
        run_config=tune.RunConfig(
            name=job.workload,
            storage_path=str(Path.cwd() / "ray"),
            verbose=0,
            stop=None if load.target is None else _Reached(load.target),
            callbacks=[MLflowLoggerCallback(os.environ["MLFLOW_TRACKING_URI"], experiment_name=job.workload)],
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise SystemExit(f"a trial of Ray Tune failed: {results.errors[0]}")
    times = [
        result.metrics["timestamp"] for result in results if result.metrics.get("val_loss", 9) <= (load.target or -1)
    ]
    ray.shutdown()
    return {"reached": min(times, default=None)}


def _domain(tune: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value["type"] == "categorical":
        return tune.choice(value["choices"])
    if value["type"] == "int":
        draw = tune.lograndint if value.get("log") else tune.randint
        return draw(value["low"], value["high"] + 1)
    return (tune.loguniform if value.get("log") else tune.uniform)(value["low"], value["high"])


def _train(config: dict[str, Any], job: Job) -> None:
    from ray import tune

    for epoch, (train_loss, val_loss) in enumerate(epochs(job, config), start=1):
        tune.report({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss, "at": time.time()})


def _Reached(target: float) -> Any:  # noqa: N802 - it makes a class's object, once Ray is imported
    from ray.tune import Stopper

    class Reached(Stopper):
        """Ends the whole experiment."""

        reached = False

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
            self.reached = self.reached or result["val_loss"] <= target
            return self.reached

        def stop_all(self) -> bool:
            return self.reached

    return Reached()

"""Ray Tune: OptunaSearch, both cores, one torch thread a trial (`plain.py` trains), every epoch reported.

Ray's other loggers are off. Variants: `callback`, Ray's MLflowLoggerCallback, which writes every number of every report
with a call of its own, Ray's own numbers beside the losses; `batch`, a callback of ours with one `log_batch` a trial,
as an expert writes it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from workloads import Job, first_points

from peers import STORE
from peers.plain import epochs
from peers.tracked import Tracker

LIBRARIES = ("ray.tune", "ray.air.integrations.mlflow", "optuna", *STORE)
CORES = 2


def run(job: Job, variant: str) -> dict[str, Any]:
    """The study."""
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        RAY_AIR_NEW_OUTPUT="0",
        RAY_USAGE_STATS_ENABLED="0",
        OMP_NUM_THREADS="1",
    )
    import ray
    from ray import tune
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
            callbacks=[TRACKING[variant](job)],
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


def _callback(job: Job) -> Any:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(os.environ["MLFLOW_TRACKING_URI"], experiment_name=job.workload)


def _batch(job: Job) -> Any:
    from ray.tune import Callback

    class Batched(Callback):
        """Keeps a trial's reports until it ends."""

        def __init__(self) -> None:
            self._tracker = Tracker(job.workload)
            self._curves: dict[str, list[tuple[float, float]]] = {}

        def on_trial_result(self, trial: Any, result: dict[str, Any], **_: Any) -> None:
            self._curves.setdefault(trial.trial_id, []).append((result["train_loss"], result["val_loss"]))

        def on_trial_complete(self, trial: Any, **_: Any) -> None:
            self._tracker.log(trial.config, self._curves.pop(trial.trial_id))

    return Batched()


TRACKING = {"callback": _callback, "batch": _batch}

"""Two processes of plain PyTorch (`plain.py`), one `log_batch` a trial.

Without pruning, trials are asked for and told in batches of 16, so that this process alone knows the study. With
pruning, two processes run `study.optimize` on one journal file, as Optuna's manual advises for one machine, and this
process records what they report.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from workloads import Job, enqueue, suggest

from peers import STORE
from peers.plain import epochs
from peers.pruning import pruner
from peers.tracked import Tracker

LIBRARIES = ("optuna", *STORE)  # torch is for the two processes
PROCESSES = 2
COHORT = 16
JOURNAL = "study.journal"


def run(job: Job, variant: str) -> dict[str, Any]:  # noqa: ARG001 - the peers share one signature
    """The study on two processes."""
    return _by_cohort(job) if job.load.target is None else _by_journal(job)


def _by_cohort(job: Job) -> dict[str, Any]:
    import optuna

    load, tracker = job.load, Tracker(job.workload)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job.seed))
    enqueue(study, job)
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for start in range(0, load.trials, COHORT):
            asked = [study.ask() for _ in range(min(COHORT, load.trials - start))]
            points = [suggest(trial, load.space) for trial in asked]
            curves = pool.map(_train, [job] * len(points), points)
            for trial, point, curve in zip(asked, points, curves, strict=True):
                study.tell(trial, min(value for _, value in curve))
                tracker.log(point, curve)
    return {"reached": None}


def _train(job: Job, point: dict[str, Any]) -> list[tuple[float, float]]:
    return list(epochs(job, point))


def _by_journal(job: Job) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    news, stop = context.Queue(), context.Event()
    children = [context.Process(target=_optimize, args=(job, number, news, stop)) for number in range(PROCESSES)]
    for child in children:
        child.start()
    tracker, reached, working = Tracker(job.workload), None, len(children)
    while working:
        kind, *what = news.get()
        if kind == "trial":
            tracker.log(*what)
        elif kind == "reached":
            reached = min(what[0], reached or what[0])
        else:
            working -= 1
    for child in children:
        child.join()
        if child.exitcode:
            raise SystemExit(f"a process of eager ended with {child.exitcode}")
    return {"reached": reached}


def _optimize(job: Job, number: int, news: Any, stop: Any) -> None:
    """One of the processes: its share of the study."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(JOURNAL)),
        study_name=job.workload,
        sampler=optuna.samplers.TPESampler(seed=job.seed * PROCESSES + number),
        pruner=pruner(job),
        load_if_exists=True,
    )
    if number == 0:
        enqueue(study, job)

    def objective(trial: Any) -> float:
        point, curve = suggest(trial, job.load.space), []
        try:
            for losses in epochs(job, point):
                curve.append(losses)
                if losses[1] <= (job.load.target or 0):
                    news.put(("reached", time.time()))
                    stop.set()
                if stop.is_set():
                    study.stop()
                    break
                trial.report(losses[1], len(curve))
                if trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            news.put(("trial", point, curve))
        return min(value for _, value in curve)

    try:
        shared = optuna.study.MaxTrialsCallback(job.load.trials, states=None)
        study.optimize(objective, callbacks=[shared])
    finally:
        news.put(("done",))

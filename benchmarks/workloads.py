"""What every peer is measured on: the same data, space, trials and epochs, and the loss that counts as reached."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FASHION = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")  # Debian's dataset-fashion-mnist
IDX_HEADER = 16  # bytes before the pixels of an IDX file of images

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "batch_size": {"type": "categorical", "choices": [32, 64, 128, 256]},
    "depth": {"type": "int", "low": 1, "high": 3},
    "width": {"type": "int", "low": 32, "high": 256, "log": True},
    "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu", "tanh", "sigmoid"]},
    "bottleneck": 8,
}


@dataclass(frozen=True)
class Workload:
    """A study.

    Attributes:
        source: the array of rows that `write_data` leaves in the folder. Everybody reads files: what a bundled data set
            costs to import is scikit-learn's time, and nobody's data come so.
        trials, epochs: the budget, the same for every peer.
        space: as in a declaration.
        target: where given, every peer prunes as it can, and the time until a validation loss reaches this counts.
    """

    source: str
    trials: int
    epochs: int
    space: dict[str, Any]
    target: float | None = None


WORKLOADS = {
    "digits": Workload("digits.npy", 64, 20, SPACE),
    # The space and budget of search_spaces/digits.yaml; the target is what the better half of good trials come to.
    "digits_to_target": Workload(
        "digits.npy",
        108,
        50,
        {
            **SPACE,
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "depth": {"type": "int", "low": 1, "high": 4},
            "width": {"type": "int", "low": 32, "high": 512, "log": True},
        },
        target=0.0145,
    ),
    "breast_cancer": Workload(
        "breast_cancer.npy",
        64,
        20,
        {
            **SPACE,
            "batch_size": {"type": "categorical", "choices": [16, 32, 64]},
            "width": {"type": "int", "low": 8, "high": 64, "log": True},
            "bottleneck": 4,
        },
    ),
    "fashion_mnist": Workload(
        "fashion_mnist.npy",
        8,
        2,
        {
            **SPACE,
            "batch_size": {"type": "categorical", "choices": [64, 128, 256]},
            "width": {"type": "int", "low": 64, "high": 512, "log": True},
            "bottleneck": 16,
        },
    ),
}


@dataclass(frozen=True)
class Job:
    """One measurement: a workload, the seed of its split and search, and the folder that holds its data."""

    workload: str
    seed: int
    folder: str

    @property
    def load(self) -> Workload:
        return WORKLOADS[self.workload]


def missing(workload: str) -> str | None:
    """Why a workload cannot be run here, in one sentence; None where it can."""
    if workload == "fashion_mnist" and not FASHION.exists():
        return f"fashion_mnist is skipped: {FASHION} is not there; on Debian, apt-get install dataset-fashion-mnist."
    return None


def declaration(job: Job) -> dict[str, Any]:
    """The workload as a study of ours."""
    load = job.load
    return {
        "name": job.workload,
        "data": {"source": str(Path(job.folder) / load.source)},
        "space": load.space,
        "search": {
            "trials": load.trials,
            "epochs": load.epochs,
            "seed": job.seed,
            "pruner": "none" if load.target is None else "halving",
        },
        "device": "cpu",
        "final": "none",  # no peer has such a stage
    }


def write_data(job: Job) -> None:
    """Put into the folder what is nobody's work: the source as a file, and our splits, scaled, for the peers."""
    import numpy as np

    from tuner.data.examine import examine
    from tuner.data.sources import Sources
    from tuner.spec.reader import spec_from_mapping

    folder = Path(job.folder)
    source = folder / job.load.source
    if not source.exists():
        np.save(source, _rows(source.stem))
    made = examine(spec_from_mapping(declaration(job)), Sources(folder))
    for name in ("train", "validation"):
        values = made.data.values[getattr(made.split, name)]
        np.save(folder / f"{name}-{job.seed}.npy", made.preprocessor.transform(values))
    (folder / f"points-{job.seed}.json").write_text(json.dumps(_our_first_points(job)))


def _rows(name: str) -> Any:
    """All rows of a data set: images (N, H, W), or a table (N, F)."""
    import numpy as np

    if name == "fashion_mnist":
        return np.frombuffer(gzip.decompress(FASHION.read_bytes()), np.uint8, offset=IDX_HEADER).reshape(-1, 784)
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return bunch.images if "images" in bunch else bunch.data


def _our_first_points(job: Job) -> list[dict[str, Any]]:
    """Our first cohort, drawn at random before anything is known: all peers begin with it, so that none gets smaller
    networks by chance."""
    from tuner.search.loop import Search
    from tuner.search.rungs import cohort_size
    from tuner.spec.reader import spec_from_mapping

    spec = spec_from_mapping(declaration(job))
    asked = Search(spec).ask(0, min(cohort_size(spec.search), job.load.trials))
    searched = [name for name, value in job.load.space.items() if isinstance(value, dict)]
    return [{name: trial.point.as_dict()[name] for name in searched} for trial in asked.trials]


def first_points(job: Job) -> list[dict[str, Any]]:
    """What every peer's search begins with."""
    points: list[dict[str, Any]] = json.loads((Path(job.folder) / f"points-{job.seed}.json").read_text())
    return points


def enqueue(study: Any, job: Job) -> None:
    """Let an Optuna study begin with the shared points."""
    for point in first_points(job):
        study.enqueue_trial(point)


def splits(job: Job) -> tuple[Any, Any]:
    """Training and validation rows as tensors, the very ones that we train on."""
    import numpy as np
    import torch

    read = (np.load(Path(job.folder) / f"{name}-{job.seed}.npy") for name in ("train", "validation"))
    train, validation = map(torch.from_numpy, read)
    return train, validation


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

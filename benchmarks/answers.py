"""What a search finds in the same processor time on one core: this version, the one before, and Optuna with PyTorch.

    python benchmarks/answers.py [--seconds 60] [--seeds 5] [--sets mri ...] [--before FOLDER]

Data sets that no default was chosen on, from files that matplotlib ships: patches of an MRI slice and of a photograph,
windows of a membrane's voltage and of an EEG. Every contender gets the same rows, split by the same seed, and a code of
8. FOLDER is a checkout of the version before (`git worktree add FOLDER v0.1.0`) with its compiled step built in place.

A tuner's processor time is that of its process, set-up left out. This version plans its own search for it; the version
before searches for half of it, for its final stage takes about as much. Optuna draws from the same space with TPE and a
pruner, trains with a fused AdamW
on tensors that stay where they are, and stops when its time is up. Test losses are mean squared errors of rows scaled
to [0, 1] by column.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
CODE, VALIDATION, TEST, EPOCHS = 8, 0.2, 0.1, 50
ROWS = 1200  # of a set, at the most
SPACE: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": {"type": "categorical", "choices": [32, 64, 128, 256]},
    "depth": {"type": "int", "low": 1, "high": 4},
    "width": {"type": "int", "low": 32, "high": 512, "log": True},
    "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu", "tanh", "sigmoid"]},
    "bottleneck": CODE,
}
Rows = NDArray[np.float32]


def _sample(name: str) -> Path:
    import matplotlib as mpl

    return Path(mpl.get_data_path()) / "sample_data" / name


def _patches(picture: NDArray[Any], stride: int) -> Rows:
    windows = np.lib.stride_tricks.sliding_window_view(picture, (8, 8))[::stride, ::stride]
    return windows.reshape(-1, 64).astype(np.float32)


def _mri() -> Rows:
    with gzip.open(_sample("s1045.ima.gz")) as file:
        return _patches(np.frombuffer(file.read(), np.uint16).reshape(256, 256), 4)


def _photograph() -> Rows:
    from PIL import Image

    return _patches(np.asarray(Image.open(_sample("grace_hopper.jpg")).convert("L")), 5)


def _membrane() -> Rows:
    voltage = np.fromfile(_sample("membrane.dat"), np.float32)
    return np.lib.stride_tricks.sliding_window_view(voltage, 32)[::4].copy()


def _eeg() -> Rows:
    channels = np.fromfile(_sample("eeg.dat"), np.float64).reshape(-1, 4)
    windows = np.lib.stride_tricks.sliding_window_view(channels, 16, axis=0)[::2]
    return windows.reshape(len(windows), -1).astype(np.float32)


SETS: dict[str, Callable[[], Rows]] = {"mri": _mri, "photograph": _photograph, "membrane": _membrane, "eeg": _eeg}


def data_set(name: str) -> Rows:
    """A set's rows, drawn where there are many."""
    rows = np.unique(SETS[name](), axis=0)  # a slice's background is one patch again and again
    chosen = np.random.default_rng(0).permutation(len(rows))[:ROWS]
    return rows[np.sort(chosen)]


def declaration(seed: int, search: dict[str, Any]) -> dict[str, Any]:
    """The study of a tuner."""
    return {
        "name": "answers",
        "data": {"source": "rows.npy", "validation": VALIDATION, "test": TEST},
        "space": SPACE,
        "search": {"seed": seed, **search},
        "device": "cpu",
    }


def scaled_loss(rows: Rows, test: NDArray[np.int64], rebuilt: NDArray[Any]) -> float:
    """The mean squared error of test rows, columns scaled to [0, 1] by all rows."""
    spread = np.ptp(rows.astype(np.float64), axis=0)
    spread[spread == 0] = 1
    return float((((rebuilt - rows[test]) / spread) ** 2).mean())


def pca_loss(rows: Rows, seed: int) -> float:
    """The same of PCA, fitted on the training rows scaled to [0, 1] by column."""
    from sklearn.decomposition import PCA

    from tuner.data.split import split_rows

    split = split_rows(len(rows), VALIDATION, TEST, seed)
    low, spread = rows[split.train].min(0).astype(np.float64), np.ptp(rows[split.train].astype(np.float64), axis=0)
    spread[spread == 0] = 1
    pca = PCA(CODE).fit((rows[split.train] - low) / spread)
    rebuilt = pca.inverse_transform(pca.transform((rows[split.test] - low) / spread)) * spread + low
    return scaled_loss(rows, split.test, rebuilt)


def run_tuner(folder: Path, seed: int, seconds: float, before: bool) -> dict[str, Any]:
    """One study by whichever version is imported."""
    import tuner
    from tuner.data.split import split_rows

    os.chdir(folder)
    rows = np.load("rows.npy")

    def study(search: dict[str, Any]) -> tuple[Any, float]:
        started = time.process_time()
        made = tuner.run(declaration(seed, search), workers=0)
        return made, time.process_time() - started

    if before:  # half of its time for the search, whose trials then end and are confirmed, as they were by default
        made, took = study({"trials": 100_000, "epochs": EPOCHS, "timeout": seconds / 2})
        made, rest = study({"trials": len(made.records), "epochs": EPOCHS})
        took += rest
    else:
        made, took = study({"minutes": seconds / 60})
    test = split_rows(len(rows), VALIDATION, TEST, seed).test
    model = tuner.load_model(made.export("best", force=True))
    final = made.summary.final
    return {
        "test": scaled_loss(rows, test, np.asarray(model.reconstruct(rows[test]))),
        "pca": pca_loss(rows, seed),
        "seconds": took,
        "trials": len(made.records),
        "interval": None if final is None or final.best is None else [final.best.low, final.best.high],
    }


def run_optuna(folder: Path, seed: int, seconds: float, pruner: str) -> dict[str, Any]:
    """TPE and a pruner over plain PyTorch, until the time is up."""
    import optuna
    import torch
    from torch import nn

    from tuner.data.split import split_rows

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = np.load(folder / "rows.npy")
    split = split_rows(len(rows), VALIDATION, TEST, seed)
    low, spread = rows[split.train].min(0), np.ptp(rows[split.train], axis=0)
    spread[spread == 0] = 1
    train, held_out, test = (
        torch.from_numpy((rows[part] - low) / spread) for part in (split.train, split.validation, split.test)
    )
    activations = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    best: dict[str, Any] = {"value": np.inf}
    started = time.process_time()

    def network(point: dict[str, Any]) -> nn.Module:
        hidden = [
            round(point["width"] * (CODE / point["width"]) ** (layer / point["depth"]))
            for layer in range(point["depth"])
        ]
        sizes = [train.shape[1], *hidden, CODE, *hidden[::-1], train.shape[1]]
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            layers.append(nn.Linear(inputs, outputs))
            if place not in (len(hidden) + 1, len(sizes) - 1):
                layers.append(activations[point["activation"]]())
        return nn.Sequential(*layers)

    def objective(trial: Any) -> float:
        point = {
            "width": trial.suggest_int("width", 32, 512, log=True),
            "depth": trial.suggest_int("depth", 1, 4),
            "activation": trial.suggest_categorical("activation", list(activations)),
        }
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        batch = trial.suggest_categorical("batch_size", [32, 64, 128, 256])
        torch.manual_seed(1000 * seed + trial.number)
        model = network(point)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
        lowest = np.inf
        for epoch in range(1, EPOCHS + 1):
            for index in torch.split(torch.randperm(len(train)), batch):
                optimizer.zero_grad()
                nn.functional.mse_loss(model(train[index]), train[index]).backward()
                optimizer.step()
            with torch.no_grad():
                value = float(nn.functional.mse_loss(model(held_out), held_out))
                if value < best["value"]:
                    best["value"], best["test"] = value, model(test).numpy() * spread + low
            lowest = min(lowest, value)
            if time.process_time() - started > seconds:
                trial.study.stop()
                break
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return lowest

    made = optuna.pruners.MedianPruner() if pruner == "median" else optuna.pruners.HyperbandPruner(2, EPOCHS, 3)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=made)
    study.optimize(objective)
    took = time.process_time() - started
    return {"test": scaled_loss(rows, split.test, best["test"]), "seconds": took, "trials": len(study.trials)}


CONTENDERS = ("ours", "before", "optuna-median", "optuna-hyperband")


def one(job: str) -> None:
    """A contender in a process of its own."""
    what, folder, seed, seconds = json.loads(job)
    if what.startswith("optuna"):
        found = run_optuna(Path(folder), seed, seconds, what.removeprefix("optuna-"))
    else:
        found = run_tuner(Path(folder), seed, seconds, what == "before")
    sys.stdout.write(json.dumps(found))


def measured(what: str, name: str, seed: int, seconds: float, before: Path | None) -> dict[str, Any]:
    """What a contender's process says."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    place = {"PYTHONPATH": str(before if what == "before" else ROOT)}
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        np.save(Path(folder) / "rows.npy", data_set(name))
        job = json.dumps([what, folder, seed, seconds])
        command = [sys.executable, "-P", __file__, "--job", job]
        where = {**os.environ, **threads, **place}
        ended = subprocess.run(command, capture_output=True, text=True, env=where, check=False)
    if ended.returncode:
        raise SystemExit(f"{what} on {name}: {ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return {"what": what, "set": name, "seed": seed, **found}


def geometric(values: list[float]) -> tuple[float, float]:
    """Geometric mean of ratios, and the standard error of its logarithm."""
    logs = np.log(values)
    return float(np.exp(logs.mean())), float(logs.std(ddof=1) / np.sqrt(len(logs))) if len(logs) > 1 else float("nan")


def report(found: list[dict[str, Any]]) -> None:
    """The figures."""
    by = {(each["what"], each["set"], each["seed"]): each for each in found}
    cases = sorted({(each["set"], each["seed"]) for each in found})
    for name in dict.fromkeys(case[0] for case in cases):
        means = {
            what: np.mean([by[what, *case]["test"] for case in cases if case[0] == name and (what, *case) in by])
            for what in CONTENDERS
        }
        pca = np.mean([by["ours", *case]["pca"] for case in cases if case[0] == name])
        sys.stdout.write(
            f"{name:>12}  " + "  ".join(f"{what} {mean:.3e}" for what, mean in means.items()) + f"  PCA {pca:.3e}\n"
        )
    for what in CONTENDERS[1:]:
        ratios = [by["ours", *case]["test"] / by[what, *case]["test"] for case in cases if (what, *case) in by]
        if ratios:
            mean, error = geometric(ratios)
            sys.stdout.write(f"ours / {what}: {mean:.3f} (se of its logarithm {error:.3f}, {len(ratios)} studies)\n")
    worse = [case for case in cases if by["ours", *case]["test"] > by["ours", *case]["pca"]]
    sys.stdout.write(f"worse than PCA on the test rows: {len(worse)} of {len(cases)} studies\n")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--before", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        one(args.job)
        return
    found = []
    for name in args.sets:
        for seed in range(args.seeds):
            for what in CONTENDERS:
                if what == "before" and args.before is None:
                    continue
                found.append(measured(what, name, seed, args.seconds, args.before))
                sys.stderr.write(f"{json.dumps(found[-1])}\n")
                if args.json:
                    args.json.write_text(json.dumps(found, indent=1))
    report(found)


if __name__ == "__main__":
    main()

"""Records validation losses of random configurations, epoch by epoch: tables on which a search can be played at once.

    python benchmarks/loss_tables.py [--configurations 128] [--only digits wine ...]

Every set of `benchmarks/shipped.py` is split, scaled and trained as the product does it (`tuner.data.prepare`,
`tuner.learning.packs`), each with the same configurations, drawn by name from SPACE: whatever of it is a hyperparameter
of this version. `benchmarks/tables/NAME.npz` holds (C configurations, E epochs of EPOCHS)

    losses_CE     the lowest validation loss of epochs 1 to e, which is what rungs compare; inf where it diverged
    one array of C values for each hyperparameter
    rows, features, code, loss, pca     of the data; pca is the validation loss of as long a code by PCA

A loss is of one training with one seed: the lowest of a table is lower than what its configuration yields on average.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tuner.spec.hyperparameters import BY_NAME, TABLE, Hyperparameters
from tuner.spec.work import TrainingPlan, Trial, derive_seed

FOLDER = Path(__file__).resolve().parent / "tables"
EPOCHS = (1, 2, 3, 4, 6, 9, 13, 18, 27, 40, 50, 70, 100)
CONFIGURATIONS = 128
PACK = 16  # trained together: they share the rows in the cache
SPACE: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": {"type": "categorical", "choices": [32, 64, 128, 256]},
    "depth": {"type": "int", "low": 1, "high": 4},
    "width": {"type": "int", "low": 16, "high": 256, "log": True},
    "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu", "tanh", "sigmoid"]},
    "weight_decay": {"type": "categorical", "choices": [0.0, 0.0001, 0.01, 0.1]},
    "input_noise": {"type": "categorical", "choices": [0.0, 0.03, 0.1]},
    "skip": {"type": "categorical", "choices": ["pca", "linear", "none"]},
}
DEFAULTS = {row.name: row.default for row in TABLE}
WEIGHTS = {"weight_decay": (4, 1, 1, 1), "input_noise": (4, 1, 1), "skip": (3, 1, 1)}  # how often each choice is drawn


@dataclass(frozen=True)
class Table:
    """A recorded table; arrays as in the module's docstring."""

    name: str
    losses_CE: NDArray[np.float32]
    points: tuple[dict[str, Any], ...]
    rows: int
    features: int
    code: int
    loss: str
    pca: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file."""
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in SPACE if name in file]
            columns = [file[name].tolist() for name in names]
            points = tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
            facts = {name: file[name].item() for name in ("rows", "features", "code", "loss", "pca")}
            return cls(path.stem, file["losses_CE"], points, **facts)

    def write(self) -> None:
        """To a file of FOLDER, without pickle."""
        columns = {name: np.array([point[name] for point in self.points]) for name in self.points[0]}
        facts = {"rows": self.rows, "features": self.features, "code": self.code, "loss": self.loss, "pca": self.pca}
        FOLDER.mkdir(exist_ok=True)
        np.savez_compressed(
            FOLDER / f"{self.name}.npz",
            losses_CE=self.losses_CE,
            **{k: np.array(v) for k, v in facts.items()},
            **columns,
        )


def tables() -> list[Table]:
    """All that are recorded, by name."""
    return [Table.read(path) for path in sorted(FOLDER.glob("*.npz"))]


def searched() -> dict[str, Any]:
    """What of SPACE this version has."""
    return {name: value for name, value in SPACE.items() if name in BY_NAME}


def drawn(count: int) -> list[dict[str, Any]]:
    """Random configurations; a longer list begins with the shorter one."""
    return [_point(np.random.default_rng(derive_seed(0, "loss table", number))) for number in range(count)]


def _point(generator: np.random.Generator) -> dict[str, Any]:
    return {name: _value(name, value, float(generator.random())) for name, value in searched().items()}


def _value(name: str, value: Mapping[str, Any], unit: float) -> Any:
    """The value at a place of the unit interval."""
    if value["type"] == "categorical":
        choices = value["choices"]
        weights = np.array(WEIGHTS.get(name, (1,) * len(choices)), float)
        return choices[int(np.searchsorted(np.cumsum(weights) / weights.sum(), unit, side="right"))]
    low, high = value["low"], value["high"]
    if value["type"] == "int":
        low, high = low - 0.5, high + 0.5
    number = low * (high / low) ** unit if value.get("log") else low + unit * (high - low)
    return min(max(round(number), value["low"]), value["high"]) if value["type"] == "int" else number


def _with_rows(point: dict[str, Any], rows: int) -> dict[str, Any]:
    """The point with the largest batch that there are rows for, at most its own."""
    sizes = [size for size in SPACE["batch_size"]["choices"] if size <= min(rows, point["batch_size"])]
    return {**point, "batch_size": max(sizes)}


def record(name: str, count: int) -> Table:
    """Train a set's configurations."""
    from shipped import declaration

    from tuner.analysis.baselines import pca_losses
    from tuner.data.prepare import prepare
    from tuner.data.sources import Sources
    from tuner.spec.reader import spec_from_mapping

    with tempfile.TemporaryDirectory() as folder:
        declared = declaration(name, Path(folder))
        space = {"bottleneck": declared["space"]["bottleneck"], "batch_size": 1, "skip": SPACE["skip"]}
        spec = spec_from_mapping({**declared, "space": space, "search": {"trials": 1, "epochs": EPOCHS[-1]}})
        prepared = prepare(spec, Sources(Path(folder)), Path(folder))
        points = [_with_rows(point, prepared.train) for point in drawn(count)]
        code = spec.space.bottleneck
        trials = [
            Trial(number, Hyperparameters.of({**DEFAULTS, **point, "bottleneck": code}), derive_seed(0, name, number))
            for number, point in enumerate(points)
        ]
        losses = _trained(trials, prepared, spec)
        pca = pca_losses(prepared.open(), [code], prepared.loss)[code]
    return Table(name, losses, tuple(points), prepared.train, prepared.features, code, prepared.loss, pca)


def _trained(trials: list[Trial], prepared: Any, spec: Any) -> NDArray[np.float32]:
    """(C, E) lowest losses."""
    from tuner.learning.packs import make_pack, training_data
    from tuner.learning.training import train

    rows, plan = prepared.open(), TrainingPlan(EPOCHS[-1])
    data = training_data(rows.train, rows.validation, "cpu", spec.precision, spec.step, rows.terms, start=rows.start)
    found = []
    for first in range(0, len(trials), PACK):
        pack = make_pack(trials[first : first + PACK], data, prepared.loss, plan)
        for curve in train(pack, EPOCHS[-1]):
            values = np.full(EPOCHS[-1], np.inf)
            values[: len(curve.val_loss)] = np.where(np.isfinite(curve.val_loss), curve.val_loss, np.inf)
            if curve.diverged:
                values[curve.last - 1 :] = np.inf
            lowest = np.minimum.accumulate(values)
            if curve.diverged:
                lowest[curve.last - 1 :] = np.inf
            found.append(lowest[np.array(EPOCHS) - 1])
    return np.array(found, np.float32)


def main() -> None:
    """Record and print."""
    from shipped import SETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=CONFIGURATIONS)
    parser.add_argument("--only", choices=SETS, nargs="*", default=list(SETS))
    asked = parser.parse_args()
    for name in asked.only:
        started = time.perf_counter()
        table = record(name, asked.configurations)
        table.write()
        best, middle = np.min(table.losses_CE[:, -1]), np.median(table.losses_CE[:, -1])
        print(
            f"{name}: {table.rows} rows of {table.features}, code {table.code}, {table.loss}; best {best:.4g}, median"
            f" {middle:.4g}, PCA {table.pca:.4g}; {time.perf_counter() - started:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

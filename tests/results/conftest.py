"""Something to export: a network with random weights and the preprocessing of random rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tuner.answers.parts import ModelLosses
from tuner.data.preprocess import Preprocessor
from tuner.data.rows import Rows
from tuner.export.write import Origin, write_export
from tuner.learning.inference.network import Network
from tuner.spec.architecture import Hyperparameters, layer_sizes
from tuner.spec.study import StudySpec
from tuner.spec.work import TrainingPlan, Trial, TrialEnd, TrialState


@dataclass(frozen=True)
class Winner:
    """All that an export is made of, and raw rows that the model has not seen."""

    spec: StudySpec
    base: Path
    trial: Trial
    network: Network
    preprocessor: Preprocessor
    rows: NDArray[np.float64]
    known: NDArray[np.float64]
    epochs: int = 12
    quantile: float = 0.99

    def export(self, folder: Path, force: bool = False, losses: ModelLosses | None = None) -> Path:
        end = TrialEnd(self.trial.number, TrialState.COMPLETE, 0.125, 7, self.epochs, "")
        return write_export(
            folder,
            spec=self.spec,
            base=self.base,
            trial=self.trial,
            plan=TrainingPlan(self.epochs),
            end=end,
            network=self.network,
            preprocessor=self.preprocessor,
            rows=self.splits,
            losses=losses or ModelLosses(),
            origin=Origin("ab" * 32, "cpu"),
            force=force,
            quantile=self.quantile,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return self.preprocessor.names

    @property
    def splits(self) -> Rows:
        """Scaled training and validation rows; the test split is not exported."""
        scaled = self.preprocessor.transform(self.known)
        return Rows(scaled[:20], scaled[20:], scaled[:0])

    def other(self) -> Winner:
        """Another network of the same study."""
        point = replace(self.trial.point, depth=1)
        return replace(
            self, trial=Trial(5, point, 99), network=random_network(point, self.rows.shape[1], self.spec.loss)
        )


def random_network(point: Hyperparameters, features: int, loss: str) -> Network:
    sizes = layer_sizes(features, point)
    return Network(sizes, point.activation, loss, random_weights(sizes))


def random_weights(sizes: tuple[int, ...], seed: int = 1) -> dict[str, NDArray[np.float32]]:
    draw, middle = np.random.default_rng(seed), len(sizes) // 2
    weights = {}
    for part, units in (("encoder", sizes[: middle + 1]), ("decoder", sizes[middle:])):
        for layer, (inputs, outputs) in enumerate(pairwise(units)):
            weights[f"{part}.{2 * layer}.weight"] = draw.normal(size=(outputs, inputs)).astype(np.float32)
            weights[f"{part}.{2 * layer}.bias"] = draw.normal(size=outputs).astype(np.float32)
    return weights


def make_winner(base: Path, loss: str = "mse", shape: tuple[int, ...] = (6,), **space: Any) -> Winner:
    features = int(np.prod(shape))
    point = Hyperparameters(
        **{
            "learning_rate": 0.012345678901234567,
            "batch_size": 16,
            "depth": 2,
            "width": 10,
            "activation": "tanh",
            "bottleneck": 3,
            "weight_decay": 1e-5,
            "input_noise": 0.0,
            **space,
        }
    )
    spec = StudySpec.model_validate(
        {
            "name": "sensors",
            "data": {"source": "rows.csv", "validation": 0.25, "test": 0.15},
            "space": {
                "bottleneck": {"type": "int", "low": 2, "high": 4},
                "learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
                "width": {"type": "int", "low": 8, "high": 16},
            },
            "loss": loss,
            "search": {"trials": 50, "epochs": 40, "seed": 17, "timeout": "10m", "cohort": 9},
            "final": {"top": 2, "seeds": 3},
        }
    )
    draw = np.random.default_rng(0)
    rows = draw.normal(5.0, 3.0, size=(40, features)) * np.linspace(1, 1000, features)
    names = tuple(f"column {i}" for i in range(features))
    preprocessor = Preprocessor.fit(rows[:30], shape, names, "minmax", loss == "bce")
    return Winner(
        spec,
        base,
        Trial(3, point, 2**62 + 5),
        random_network(point, features, loss),
        preprocessor,
        rows[30:],
        rows[:30],
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The winner's export, made once."""
    return make_winner(tmp_path_factory.mktemp("template")).export(tmp_path_factory.mktemp("exports") / "best")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a model of grey images of 4 by 3, with a cross-entropy loss."""
    base = tmp_path_factory.mktemp("images")
    return make_winner(base, "bce", shape=(4, 3)).export(base / "best")


@pytest.fixture
def exported(template: Path) -> Callable[[Path], Path]:
    """Puts a copy of the winner's export somewhere: made in no time, for tests of what is done with one."""
    return lambda place: Path(shutil.copytree(template, place))


@pytest.fixture
def winner(tmp_path: Path) -> Winner:
    return make_winner(tmp_path)


@pytest.fixture
def winner_of(tmp_path: Path) -> Callable[..., Winner]:
    """A winner of another loss, shape or configuration."""
    return lambda **changes: make_winner(tmp_path, **changes)

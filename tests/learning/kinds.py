"""Every kind of pack that this machine can run: torch's stack, each build of the compiled step, and packs on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from devices import GPU, MARKS
from plain import POINT, trial

from tuner.data.linear_start import LinearStart
from tuner.data.terms import Terms
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.checkpoint import TrialTraining
from tuner.learning.compiled.library import Library, build_path, library
from tuner.learning.compiled.pack import CompiledPack
from tuner.learning.packs import TrainablePack
from tuner.learning.rows import PaddedRows
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
from tuner.spec.work import TrainingPlan, Trial


def runnable() -> list[str]:
    """The builds that this processor can run: the best one, and those that ask for less."""
    best = library()
    builds = ["avx512", "avx2", "plain"]
    made = [build for build in builds if build_path(build) is not None]
    return [] if best is None else [b for b in made if builds.index(b) >= builds.index(best.name)]


def opened(build: str) -> Library:
    path = build_path(build)
    assert path is not None
    return Library(path)


def kinds() -> list[Any]:
    """Their names, for a fixture; the claims about a GPU are marked so."""
    return ["torch", *runnable(), pytest.param("gpu", marks=MARKS)]


@dataclass(frozen=True)
class Kind:
    """How packs of one kind are made; `step` is None for torch's stack.

    Attributes:
        merged: as on a GPU, where neighbours and the way into a pack change a loss by rounding.
    """

    step: Library | None
    device: str = "cpu"
    merged: bool = False

    @classmethod
    def of(cls, name: str) -> Kind:
        if name == "gpu":
            return cls(None, GPU, merged=True)
        return cls(None if name == "torch" else opened(name))

    def data(
        self, rows: tuple[np.ndarray, np.ndarray], terms: Terms | None = None, start: LinearStart | None = None
    ) -> Any:
        if self.step is None:
            return TrainingData.of(*rows, self.device, terms=terms, start=start)
        return PaddedRows.of(*rows, terms, start)

    def assert_same(self, found: Any, expected: Any, rtol: float = 1e-5, atol: float = 0.0) -> None:
        """The same bits; where packs are merged, the same to rounding."""
        if self.merged:
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(found, expected)

    def assert_same_state(self, found: TrialTraining, expected: TrialTraining) -> None:
        """Weights and moments; where packs are merged, AdamW may turn a gradient's last bit into a hundredth."""
        for name in ("parameters", "first_moments", "second_moments", "best"):
            self.assert_same(getattr(found, name), getattr(expected, name), 1e-2, 1e-5)

    def pack(
        self,
        trials: list[Trial],
        data: Any,
        loss: str,
        states: Sequence[TrialTraining] | None = None,
        plan: TrainingPlan | None = None,
    ) -> TrainablePack:
        if self.step is None:
            return Pack(trials, data, loss, states, merged=self.merged, plan=plan)
        return CompiledPack(self.step, trials, data, loss, states, plan)

    def company(self, count: int, **changes: Any) -> list[Trial]:
        """Trials that differ in everything in which a pack's may: for the compiled step in shape, depth and batches."""
        return [trial(m, **self._point(m, changes)) for m in range(count)]

    def _point(self, m: int, changes: dict[str, Any]) -> dict[str, Any]:
        point = {
            **POINT.as_dict(),
            "activation": list(ACTIVATIONS)[m % len(ACTIVATIONS)],
            "learning_rate": 1e-3 * (1 + m % 3),
            "weight_decay": 0.05 * (m % 2),
            "input_noise": 0.1 * (m % 3 == 1),
            "width": 50 + m,
            **changes,
        }
        if self.step is not None:
            point["batch_size"] += 90 * (m % 4)
            point["depth"] = (point["depth"] + m) % 4
            point["width"] += 37 * (m % 8)
        return point


def assert_stays_in_its_room(pack: CompiledPack) -> None:
    """Train an epoch; guards before and behind the work space keep their values."""
    guard = np.full(64, 7.0, np.float32)
    room = pack.work.size
    whole = np.concatenate([guard, pack.work, guard])
    pack.work = whole[64 : 64 + room]
    with reproducible():
        pack.train_epoch()
    assert (whole[:64] == guard).all()
    assert (whole[64 + room :] == guard).all()

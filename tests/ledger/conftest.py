"""A ledger in a fresh folder, and the things that are recorded in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.spec.architecture import Hyperparameters
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, Trial


class Maker:
    """Makes trials, curves and segments that fit each other."""

    def trial(self, number: int) -> Trial:
        return Trial(number, Hyperparameters(0.1 / (number + 3), 64, 2, 128, "gelu", 8, 1e-7, 0.0), 2**63 - 1 - number)

    def curve(
        self,
        number: int,
        first: int,
        losses: Sequence[float],
        at: float = 1000.0,
        path: str = "a",
        measures: Mapping[str, float] | None = None,
    ) -> Curve:
        last = first + len(losses)
        return Curve(
            number=number,
            first=first,
            train_loss=tuple(loss * 2 for loss in losses),
            val_loss=tuple(losses),
            at=tuple(at + epoch / 8 for epoch in range(first, last)),
            diverged=False,
            checkpoint=Checkpoint(f"{path}-{number}-{last}", "0" * 64, last),
            measures=measures or {},
        )

    def segment(self, *curves: Curve, seconds: float = 2.0) -> tuple[Segment, SegmentResult]:
        trials = tuple(self.trial(curve.number) for curve in curves)
        return Segment(trials, curves[0].first, curves[0].last), SegmentResult(curves, seconds, "worker-1")


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger's url."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tuner.db'}"
    return str(request.getfixturevalue("postgres")())


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tuner.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger.open(url)
    yield ledger
    ledger.close()


@pytest.fixture
def study(ledger: Ledger, make: Maker) -> Iterator[StudyRecord]:
    """A study with a cohort of four running trials; the ledger holds both of its leases."""
    study = ledger.create_study('{"name": "s"}', "s.yaml", "f" * 64, "s", {"torch": "2.13.0"})
    with ledger.lease(study.id, "run"), ledger.lease(study.id, "publish"):
        ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [make.trial(number) for number in range(4)])])
        yield study


@pytest.fixture
def dump(tmp_path: Path) -> Callable[[], str]:
    """Everything in the database but the leases, as SQL."""

    def read() -> str:
        with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
            return "\n".join(line for line in connection.iterdump() if "tuner_lease" not in line)

    return read

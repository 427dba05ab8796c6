"""All that the ledger holds of one study, read at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tuner.ledger.records import Event, SegmentRecord, StudyRecord, TrialRecord
from tuner.spec.work import Curve

if TYPE_CHECKING:
    from tuner.answers.summary import Summary
    from tuner.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class WholeRecord:
    """All that the ledger holds of a study, but for what waits for MLflow.

    Attributes:
        study: its declaration and state.
        trials: its search's trials, by number.
        finals: the final stage's runs.
        curves: every trial's and run's epochs, by number.
        segments: in the order in which they were recorded.
        events: in the same order.
        summary: what came of the study; None until it is scored.
    """

    study: StudyRecord
    trials: Sequence[TrialRecord]
    finals: Sequence[TrialRecord]
    curves: Mapping[int, Curve]
    segments: Sequence[SegmentRecord]
    events: Sequence[Event]
    summary: Summary | None

    @classmethod
    def of(cls, ledger: Ledger, study: StudyRecord) -> Self:
        """Read it.

        Raises:
            LedgerError: something of it cannot be read.
        """
        number = study.id
        return cls(
            study,
            ledger.trials(number),
            ledger.finals(number),
            ledger.curves(number),
            ledger.segments(number),
            ledger.events(number),
            ledger.summary(number),
        )

    @property
    def features(self) -> int:
        """Of a row; 0 where no run is recorded."""
        return next((int(event.body["features"]) for event in reversed(self.events) if event.kind == "run"), 0)

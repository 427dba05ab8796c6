"""What the study's loop reads of the record and writes to it: the ledger, or what takes its place in a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tuner.ledger.records import CohortRecord, Event, TrialRecord
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, Trial, TrialEnd


class RunRecord(Protocol):
    """The methods of `Ledger` that a run of a study needs; they are described there."""

    def cohorts(self, study_id: int) -> list[CohortRecord]: ...  # noqa: D102
    def trials(self, study_id: int) -> list[TrialRecord]: ...  # noqa: D102
    def curves(self, study_id: int) -> dict[int, Curve]: ...  # noqa: D102
    def checkpoints(self, study_id: int, most: int) -> dict[int, tuple[Checkpoint, ...]]: ...  # noqa: D102
    def events(self, study_id: int) -> list[Event]: ...  # noqa: D102
    def record_cohorts(  # noqa: D102
        self, study_id: int, cohorts: Sequence[tuple[CohortRecord, Sequence[Trial]]], ends: Sequence[TrialEnd]
    ) -> None: ...
    def record_segments(self, study_id: int, trained: Sequence[tuple[Segment, SegmentResult]]) -> None: ...  # noqa: D102
    def record_ends(self, study_id: int, ends: Sequence[TrialEnd]) -> None: ...  # noqa: D102
    def record_event(self, study_id: int, kind: str, body: Mapping[str, Any]) -> None: ...  # noqa: D102

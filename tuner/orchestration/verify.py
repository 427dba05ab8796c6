"""A study's search once more, from the record alone: does it decide what is recorded?

The replay is the driver's own, as a study that goes on runs it. Nothing is trained, recorded or removed: where it would
begin something new, the record ends and so does the replay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuner.errors import LedgerError, StudyError
from tuner.ledger.checks import Evidence
from tuner.ledger.records import CohortRecord, Event, TrialRecord
from tuner.orchestration.replay import Replay
from tuner.orchestration.results import Results
from tuner.search.lengths import length_of
from tuner.search.patience import Budget
from tuner.spec.final import words_of
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, Trial, TrialEnd, TrialState


class _RecordEnds(Exception):  # noqa: N818 - it is no error
    """What would follow is not recorded yet."""


class _Witness:
    """Stands where the ledger does: answers from the evidence, and compares what a run would record."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._trials = {trial.number: trial for trial in evidence.trials}
        self.ended: set[int] = set()
        self.differences: list[str] = []

    def cohorts(self, _: int) -> list[CohortRecord]:
        return list(self._evidence.cohorts)

    def trials(self, _: int) -> list[TrialRecord]:
        return self._evidence.trials

    def curves(self, _: int) -> dict[int, Curve]:
        return dict(self._evidence.curves)

    def checkpoints(self, _: int, __: int) -> dict[int, tuple[Checkpoint, ...]]:
        return {}

    def events(self, _: int) -> list[Event]:
        return self._evidence.events

    def record_cohorts(
        self, study_id: int, _: Sequence[tuple[CohortRecord, Sequence[Trial]]], ends: Sequence[TrialEnd]
    ) -> None:
        self.record_ends(study_id, ends)
        raise _RecordEnds

    def record_segments(self, _: int, __: Sequence[tuple[Segment, SegmentResult]]) -> None:
        raise _RecordEnds

    def record_event(self, _: int, __: str, ___: Mapping[str, Any]) -> None:
        raise _RecordEnds

    def record_ends(self, _: int, ends: Sequence[TrialEnd]) -> None:
        """A run that was killed may have measured them and not yet written down how they ended.

        What their epochs say of them (value and epochs) is compared by another check.
        """
        for end in ends:
            self.ended.add(end.number)
            trial = self._trials[end.number]
            if trial.state is not TrialState.RUNNING and (trial.state, trial.reason) != (end.state, end.reason):
                recorded, found = _words(trial.state, trial.reason), _words(end.state, end.reason)
                self.differences.append(
                    f"{words_of(end.number)}: it is recorded as {recorded}, but the search says {found}"
                )


class _Verified(Replay):
    """The search, which compares what it would ask for with what is recorded."""

    def __init__(self, evidence: Evidence, witness: _Witness) -> None:
        study = evidence.study
        length = length_of(study.spec.search, evidence.events)
        self.results = Results(dict(evidence.curves), evidence.events, length)
        super().__init__(study, study.spec, witness, self.results)
        self._ended = set()  # so that every end is compared
        self._known_budgets: defaultdict[int, list[Budget]] = defaultdict(list)
        for event in evidence.of_kind("budget"):
            self._known_budgets[event.body["position"]].append(Budget.recorded(event.body))

    def run(self) -> bool:
        """Whether the record leads to the search's end; False where it ends before, in the middle of a training.

        Raises:
            _RecordEnds: the record ends, where the search would record something new.
        """
        while True:
            self.ask()
            self.record()
            if not self.rounds:
                self.finish()
                return True
            if not self.results.is_whole(self.rounds[0]):
                return False
            self.tell()
            self.record()  # before the next question, which may find a difference that ends the replay

    @property
    def cohorts_left(self) -> list[CohortRecord]:
        """Those that the search did not come to."""
        return self._cohorts[self._asked_cohorts :]

    def _due(self) -> int:
        """A recorded cohort has the size and the place that the search gives it."""
        recorded = super()._due()
        if self.cohorts_left and recorded not in (asked := self._acceptable()):
            size = " or ".join(map(str, sorted(asked)))
            raise StudyError(
                f"cohort {self._asked_cohorts} is recorded with {self.cohorts_left[0].size} trials, asked for after"
                f" {self.cohorts_left[0].position} rounds, but after {self._position} rounds the search asks for {size}"
            )
        return recorded

    def _acceptable(self) -> set[int]:
        """Where the budget was changed, a cohort may have been asked for before or after that."""
        sizes, position = {self._wanted()}, self._position
        if position in self._known_budgets:
            earlier = [at for at in self._budgets if at < position]
            before = [self._budgets[max(earlier)]] if earlier else []
            now = self._budgets[position]
            for budget in [*before, *self._known_budgets[position]]:
                self._budgets[position] = budget
                sizes.add(self._wanted())
            self._budgets[position] = now
        return sizes


def differences(evidence: Evidence) -> Iterator[str]:
    """Where the search, replayed, decides otherwise than is recorded, a sentence each."""
    if not any(event.body["position"] == 0 for event in evidence.of_kind("budget")):
        return  # the search cannot begin, which another check reports
    witness = _Witness(evidence)
    try:
        replay = _Verified(evidence, witness)
        is_over = replay.run()
    except _RecordEnds:
        is_over = False
    except (StudyError, LedgerError) as error:
        yield from witness.differences
        yield str(error).removeprefix(f"study {evidence.study.name}: ")
        return
    yield from witness.differences
    if replay.cohorts_left:
        yield f"cohort {replay.cohorts_left[0].number} is recorded, but the search does not come to it"
    for trial in evidence.trials:
        if trial.state is not TrialState.RUNNING and trial.number not in witness.ended:
            yield f"{words_of(trial.number)}: it is {trial.state}, but the search does not come to its end"
    if evidence.study.state == "finished" and not is_over:
        yield "it is finished, but what is recorded does not lead the search to its end"


def _words(state: TrialState, reason: str) -> str:
    return f"{state} ({reason})" if reason else str(state)

"""What is recorded comes back as it was, is recorded once, and cannot be contradicted."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import replace
from typing import Any

import pytest

from tuner.answers.summary import BestScore, Summary
from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.spec.work import Checkpoint, TrialEnd, TrialState

Make = Any


def bits(values: Any) -> list[bytes]:
    return [struct.pack("<d", math.nan if math.isnan(value) else value) for value in values]


def summary(number: int = 0, value: float = 0.5) -> Summary:
    return Summary(best=BestScore(number=number, value=value, test_loss=math.inf), seconds=1.0)


def test_a_study_comes_back_as_it_was_recorded_after_the_ledger_is_reopened(url: str, make: Make) -> None:
    """A closed ledger forgets nothing."""
    first = Ledger.open(url)
    study = first.create_study('{"a": 1.5}', "dir/x.yaml", "ab" * 32, "x", {"torch": "2", "optuna": "5"})
    with first.lease(study.id, "run"):
        first.record_cohorts(study.id, [(CohortRecord(0, 7), [make.trial(number) for number in range(3)])])
        first.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.25]), make.curve(1, 0, [0.5, 0.75]))])
        first.record_ends(study.id, [TrialEnd(1, TrialState.PRUNED, 0.5, 1, 2, "pruned at rung 0")])
        first.record_event(study.id, "timeout", {"after": 1.25})
        first.record_summary(study.id, summary(value=0.1 + 0.2))
    before = _everything(first, study.id)
    first.close()
    second = Ledger.open(url)
    assert second.study("x") == study
    assert second.studies() == [study]
    assert _everything(second, study.id) == before
    second.close()


def _everything(ledger: Ledger, study_id: int) -> list[Any]:
    readers = (ledger.cohorts, ledger.trials, ledger.curves, ledger.segments, ledger.events, ledger.summary)
    return [ledger.study_by_id(study_id), *(read(study_id) for read in readers), ledger.outbox.waiting(study_id, 100)]


def test_trials_come_back_with_the_same_bits(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """Hyperparameters and seeds up to 2**63 - 1 survive the ledger."""
    records = ledger.trials(study.id)
    assert [(record.number, record.point, record.seed) for record in records] == [
        (trial.number, trial.point, trial.seed) for trial in map(make.trial, range(4))
    ]
    assert ledger.trials(study.id, [2, 3]) == records[2:]


def test_losses_come_back_with_the_same_bits(url: str, ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """Any 64-bit float survives the ledger: NaN, both infinities, -0.0 and subnormal numbers included."""
    random_bits = random.Random(5)
    special = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 3.0, 2.0**53 + 2]
    values = special + [struct.unpack("<d", random_bits.randbytes(8))[0] for _ in range(1000)]
    curve = replace(make.curve(0, 0, values), train_loss=tuple(reversed(values)))
    ledger.record_segments(study.id, [make.segment(curve)])
    reopened = Ledger.open(url)
    found = reopened.curves(study.id)[0]
    reopened.close()
    assert bits(found.val_loss) == bits(values)
    assert bits(found.train_loss) == bits(reversed(values))
    assert found.at == curve.at


def test_segments_join_into_one_curve_per_trial(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """A trial's curve starts at epoch 1, holds every epoch once, and has the newest checkpoint."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4]), make.curve(1, 0, [0.9, 0.8]))])
    ledger.record_segments(study.id, [make.segment(make.curve(0, 2, [0.3]))])
    curves = ledger.curves(study.id)
    assert set(curves) == {0, 1}
    assert curves[0].val_loss == (0.5, 0.4, 0.3)
    assert (curves[0].first, curves[0].last) == (0, 3)
    assert curves[0].checkpoint == Checkpoint("a-0-3", "0" * 64, 3)
    assert curves[1].checkpoint == Checkpoint("a-1-2", "0" * 64, 2)
    assert ledger.curves(study.id, [1]) == {1: curves[1]}
    assert ledger.curves(study.id, []) == {}


def test_a_curve_that_ends_in_a_loss_that_is_not_finite_has_diverged(
    ledger: Ledger, study: StudyRecord, make: Make
) -> None:
    """That a trial diverged is read off its last epoch."""
    lost = replace(make.curve(0, 0, [0.5, math.nan]), diverged=True, checkpoint=None)
    ledger.record_segments(study.id, [make.segment(lost, make.curve(1, 0, [0.5, 0.4]))])
    curves = ledger.curves(study.id)
    assert (curves[0].diverged, curves[0].checkpoint) == (True, None)
    assert not curves[1].diverged


def test_a_running_trial_shows_its_best_epoch_so_far(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """Value, best epoch and epochs of a running trial come from its measurements, the first of equal losses counts."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [math.inf, 0.25, math.nan, 0.25]))])
    record = ledger.trials(study.id)[0]
    assert (record.state, record.value, record.best_epoch, record.epochs) == (TrialState.RUNNING, 0.25, 2, 4)
    untouched = ledger.trials(study.id)[1]
    assert (untouched.value, untouched.best_epoch, untouched.epochs, untouched.started_at) == (None, None, 0, None)


def test_a_trial_starts_when_its_first_segment_began(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """The start is the last measurement's time less the segment's seconds, and later segments leave it alone."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4], at=1000.0), seconds=2.0)])
    ledger.record_segments(study.id, [make.segment(make.curve(0, 2, [0.3], at=2000.0), seconds=1.0)])
    assert ledger.trials(study.id)[0].started_at == 1000.125 - 2.0


def test_equal_epochs_that_come_again_are_ignored(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """A retry that measured the same keeps the first record and its times, and brings nothing to the outbox."""
    losses = [0.5, math.nan, -0.0]
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, losses, at=1000.0))])
    before = ledger.curves(study.id)[0].at, ledger.outbox.waiting_count(study.id), ledger.segments(study.id)
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, losses, at=5000.0))])
    assert (ledger.curves(study.id)[0].at, ledger.outbox.waiting_count(study.id), ledger.segments(study.id)) == before


def test_a_segment_may_repeat_old_epochs_and_add_new_ones(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """A trial that was trained again from the start extends its record, with the new checkpoint."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4]))])
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4, 0.3], path="again"))])
    curve = ledger.curves(study.id)[0]
    assert curve.val_loss == (0.5, 0.4, 0.3)
    assert curve.checkpoint == Checkpoint("again-0-3", "0" * 64, 3)
    spans = [(row.first, row.last) for row in ledger.outbox.waiting(study.id, 100) if row.kind == "curve"]
    assert spans == [(0, 2), (2, 3)]


def test_a_checkpoint_that_was_made_again_takes_the_place_of_the_lost_one(
    ledger: Ledger, study: StudyRecord, make: Make
) -> None:
    """Of two checkpoints after the same epoch, the later record counts."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4]))])
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5, 0.4], path="again"))])
    assert ledger.curves(study.id)[0].checkpoint == Checkpoint("again-0-2", "0" * 64, 2)


@pytest.mark.parametrize(
    ("first", "losses", "sentence"),
    [
        (0, [0.5, 0.41], r"epoch 2 of trial 1 is recorded with .*\(0.8, 0.4\), but \(0.82, 0.41\) came"),
        (1, [0.0], r"epoch 2 of trial 1 is recorded"),
        (3, [0.3], r"trial 1 must go on from epoch 2, but epochs from 4 on came"),
    ],
)
def test_an_epoch_that_contradicts_the_record_is_refused(
    ledger: Ledger, study: StudyRecord, make: Make, first: int, losses: list[float], sentence: str
) -> None:
    """An epoch has one outcome, and none before it is missing."""
    ledger.record_segments(study.id, [make.segment(make.curve(1, 0, [0.5, 0.4]))])
    before = ledger.curves(study.id)
    with pytest.raises(LedgerError, match=sentence):
        ledger.record_segments(study.id, [make.segment(make.curve(1, first, losses))])
    assert ledger.curves(study.id) == before


def test_a_refused_epoch_takes_its_whole_segment_with_it(
    ledger: Ledger, study: StudyRecord, make: Make, dump: Any
) -> None:
    """A blameless neighbour in the same segment is not recorded either."""
    ledger.record_segments(study.id, [make.segment(make.curve(1, 0, [0.5, 0.4]))])
    before = dump()
    with pytest.raises(LedgerError):
        ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5]), make.curve(1, 0, [0.6]))])
    assert dump() == before


def test_minus_zero_contradicts_zero(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """Losses are compared by their bits."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [-0.0]))])
    with pytest.raises(LedgerError, match="epoch 1 of trial 0"):
        ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.0]))])


def test_epochs_of_an_unknown_or_ended_trial_are_refused(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """A trial is recorded before its epochs, and has none after its end."""
    with pytest.raises(LedgerError, match="trial 9 must be recorded before its epochs"):
        ledger.record_segments(study.id, [make.segment(make.curve(9, 0, [0.5]))])
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5]))])
    ledger.record_ends(study.id, [TrialEnd(0, TrialState.COMPLETE, 0.5, 1, 1, "")])
    with pytest.raises(LedgerError, match="trial 0 ended as complete after 1 epochs, but epoch 2 came"):
        ledger.record_segments(study.id, [make.segment(make.curve(0, 1, [0.4]))])


@pytest.mark.parametrize("state", [state for state in TrialState if state is not TrialState.RUNNING])
def test_an_end_is_recorded_once(ledger: Ledger, study: StudyRecord, state: TrialState) -> None:
    """The same end again changes nothing."""
    end = TrialEnd(2, state, 0.1 + 0.2, 3, 4, "because")
    ledger.record_ends(study.id, [end])
    before = ledger.trials(study.id), ledger.outbox.waiting_count()
    ledger.record_ends(study.id, [end])
    assert (ledger.trials(study.id), ledger.outbox.waiting_count()) == before
    record = before[0][2]
    assert (record.state, record.value, record.best_epoch, record.epochs, record.reason) == (
        (state, 0.1 + 0.2, 3, 4, "because")
    )
    assert record.ended_at is not None


@pytest.mark.parametrize(
    "change",
    [
        {"state": TrialState.PRUNED},
        {"value": 0.30000000000000004 + 5e-17},
        {"value": None},
        {"best_epoch": 2},
        {"epochs": 5},
        {"reason": "x"},
    ],
)
def test_an_end_that_contradicts_the_record_is_refused_with_all_that_came_with_it(
    ledger: Ledger, study: StudyRecord, dump: Any, change: dict[str, Any]
) -> None:
    """Every field of an end counts, and a blameless end in the same call is not recorded either."""
    end = TrialEnd(2, TrialState.COMPLETE, 0.30000000000000004, 3, 4, "")
    ledger.record_ends(study.id, [end])
    before = dump()
    with pytest.raises(LedgerError, match="trial 2 is recorded as"):
        ledger.record_ends(study.id, [TrialEnd(1, TrialState.COMPLETE, 0.5, 1, 4, ""), replace(end, **change)])
    assert dump() == before


@pytest.mark.parametrize(
    "end",
    [
        TrialEnd(0, TrialState.RUNNING, 0.5, 1, 1, ""),
        TrialEnd(0, TrialState.COMPLETE, math.nan, 1, 1, ""),
        TrialEnd(0, TrialState.COMPLETE, -math.inf, 1, 1, ""),
        TrialEnd(77, TrialState.COMPLETE, 0.5, 1, 1, ""),
    ],
)
def test_an_end_that_is_none_is_refused(ledger: Ledger, study: StudyRecord, end: TrialEnd) -> None:
    """A trial ends in a state, with a finite value or none, and only if it is known."""
    with pytest.raises(LedgerError, match=f"trial {end.number} must"):
        ledger.record_ends(study.id, [end])


def test_cohorts_come_back_with_their_sizes(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """A cohort's size is the number of its trials; the same number does not come twice."""
    ledger.record_cohorts(study.id, [(CohortRecord(1, 12), [make.trial(4)])])
    assert ledger.cohorts(study.id) == [CohortRecord(0, 0, 4), CohortRecord(1, 12, 1)]
    assert [record.cohort for record in ledger.trials(study.id)] == [0, 0, 0, 0, 1]
    with pytest.raises(LedgerError, match="cohort 1 came again"):
        ledger.record_cohorts(study.id, [(CohortRecord(1, 12), [make.trial(5)])])


def test_a_name_belongs_to_one_study(ledger: Ledger, study: StudyRecord) -> None:
    """A second study of the same name is refused, and unknown ones are not found."""
    with pytest.raises(LedgerError, match="there is one named 's'"):
        ledger.create_study("{}", "", "", "s", {})
    assert ledger.study("other") is None
    with pytest.raises(LedgerError, match="study 99 is unknown"), ledger.lease(99, "run"):
        pass
    with pytest.raises(LedgerError, match="study 99 is unknown"):
        ledger.study_by_id(99)
    assert ledger.study_by_id(study.id) == study


def test_studies_do_not_see_each_other(ledger: Ledger, study: StudyRecord, make: Make) -> None:
    """The same trial numbers in two studies are two trials."""
    other = ledger.create_study("{}", "o.yaml", "e" * 64, "other", {})
    with ledger.lease(other.id, "run"):
        ledger.record_cohorts(other.id, [(CohortRecord(0, 0), [make.trial(0)])])
        ledger.record_segments(other.id, [make.segment(make.curve(0, 0, [0.75]))])
    assert ledger.curves(study.id) == {}
    assert len(ledger.trials(other.id)) == 1
    assert other.key != study.key


def test_a_study_changes_its_spec_and_its_state(ledger: Ledger, study: StudyRecord) -> None:
    """The newest declaration and state count; what does not change is not shown again."""
    ledger.update_spec(study.id, '{"name": "s", "trials": 9}', "t.yaml")
    ledger.set_state(study.id, "finished")
    record = ledger.study_by_id(study.id)
    assert (record.spec_json, record.source, record.state) == ('{"name": "s", "trials": 9}', "t.yaml", "finished")
    assert record.changed_at >= record.created_at
    waiting = ledger.outbox.waiting_count()
    ledger.set_state(study.id, "finished")
    ledger.update_spec(study.id, '{"name": "s", "trials": 9}', "t.yaml")
    assert ledger.outbox.waiting_count() == waiting
    assert ledger.study_by_id(study.id) == record


def test_events_come_back_in_order(ledger: Ledger, study: StudyRecord) -> None:
    """Replay sees the events of its study in the order in which they happened."""
    bodies = [{"n": 1, "x": 0.1 + 0.2}, {"n": None}, {}]
    for body in bodies:
        ledger.record_event(study.id, "stop", body)
    events = ledger.events(study.id)
    assert [event.body for event in events] == bodies
    assert [event.seq for event in events] == sorted(event.seq for event in events)


def test_the_latest_summary_counts(ledger: Ledger, study: StudyRecord) -> None:
    """A continued study has a new summary in place of the old one."""
    assert (ledger.summary(study.id), ledger.summary_at(study.id)) == (None, None)
    ledger.record_summary(study.id, summary(number=1))
    ledger.record_summary(study.id, summary(number=2))
    assert ledger.summary(study.id) == summary(number=2)
    assert ledger.summary_at(study.id) is not None


def test_why_a_measure_has_no_number_is_an_event_of_its_segment(
    ledger: Ledger, study: StudyRecord, make: Make, dump: Any
) -> None:
    """Recorded with the losses or not at all, and once, however often the segment comes."""
    curve = replace(make.curve(0, 0, [0.5], measures={"b": 1.0}), unmeasured={"a": "it came out as nan"})
    for _ in range(2):
        ledger.record_segments(study.id, [make.segment(curve)])
    (found,) = [event for event in ledger.events(study.id) if event.kind == "unmeasured"]
    assert found.body == {"trial": 0, "measure": "a", "reason": "it came out as nan"}
    before = dump()
    other = replace(make.curve(1, 0, [0.7]), unmeasured={"a": "it came out as inf"})
    with pytest.raises(LedgerError):
        ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.6]), other)])
    assert dump() == before

"""Claims about what is recorded in one transaction: the rows of as many transactions, all of them or none."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from owning import owning
from sqlalchemy import create_engine, inspect, text

from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.spec.work import Segment, SegmentResult, TrialEnd, TrialState

Make = Any
Trained = tuple[Segment, SegmentResult]
TRIALS = 6
# When a call was made; when something was measured is compared.
NOW = {"tuner_segment": {"at"}, "tuner_event": {"at"}, "tuner_trial": {"asked_at", "ended_at"}}


def content(url: str) -> dict[str, list[str]]:
    """Every row of a ledger, its numbers included, but for leases, the study's key and the times of calls."""
    engine, found = create_engine(url), {}
    with engine.connect() as connection:
        for name in set(inspect(engine).get_table_names()) - {"tuner_lease", "tuner_study"}:
            rows = [dict(row._mapping) for row in connection.execute(text(f"SELECT * FROM {name}"))]
            found[name] = sorted(repr({k: v for k, v in row.items() if k not in NOW.get(name, ())}) for row in rows)
    engine.dispose()
    return found


def drawn(make: Make, seed: int) -> list[Trained]:
    """Segments as a study's workers finish them: of one trial or several, some again from their beginning or from
    their middle, with losses that are not finite, measures, and measures that have no number."""
    chance, done = random.Random(seed), dict.fromkeys(range(TRIALS), 0)
    losses = {number: [chance.choice([chance.random(), math.nan, -0.0]) for _ in range(40)] for number in done}
    trained = []
    for turn in range(12):
        alike = chance.choice(sorted(set(done.values())))
        numbers = [number for number, last in done.items() if last == alike][: chance.randint(1, 3)]
        first = chance.choice([0, alike // 2, alike, alike])
        last = alike + chance.randint(0, 3) or 1
        curves = [make.curve(number, first, losses[number][first:last], at=1000.0 * turn) for number in numbers]
        if chance.random() < 0.5:
            curves[0] = replace(curves[0], measures={"kl": float(turn)}, unmeasured={"auc": f"it was {turn}"})
        trained.append(make.segment(*curves, seconds=1.0 + turn))
        done |= dict.fromkeys(numbers, last)
    return trained


def recorded(make: Make, calls: Sequence[Sequence[Trained]]) -> dict[str, list[str]]:
    """What a new ledger holds after segments were recorded, some in each call."""

    def act(ledger: Ledger, study_id: int) -> None:
        for call in calls:
            ledger.record_segments(study_id, call)

    return after(make, act)


def after(make: Make, act: Callable[[Ledger, int], None]) -> dict[str, list[str]]:
    """What a new ledger with a cohort of running trials holds after the act."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'tuner.db'}"
        ledger = Ledger.open(url)
        study = ledger.create_study('{"name": "s"}', "s.yaml", "f" * 64, "s", {})
        with owning(ledger, study.id):
            ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [make.trial(number) for number in range(TRIALS)])])
            act(ledger, study.id)
        ledger.close()
        return content(url)


@pytest.mark.parametrize("seed", range(8))
def test_segments_recorded_together_are_the_rows_of_each_recorded_alone(make: Make, seed: int) -> None:
    """Every table, numbers included, for any division of the same segments among calls."""
    trained = drawn(make, seed)
    alone = recorded(make, [[each] for each in trained])
    assert {name for name, rows in alone.items() if rows} >= {
        "tuner_measurement", "tuner_checkpoint", "tuner_segment", "tuner_event", "tuner_outbox"
    }  # fmt: skip
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(1, len(trained)), 3))
    divided = [trained[first:last] for first, last in zip([0, *cuts], [*cuts, len(trained)], strict=True)]
    assert recorded(make, [trained]) == alone
    assert recorded(make, divided) == alone


def test_decisions_recorded_together_are_the_rows_of_each_recorded_alone(make: Make) -> None:
    """Ends and the cohorts that were asked for after them, in one call or in a call each."""
    ends = [
        TrialEnd(0, TrialState.PRUNED, 0.5, 1, 1, "ranked 2 of 2"),
        TrialEnd(1, TrialState.COMPLETE, 0.25, 1, 1, ""),
    ]
    cohorts = [(CohortRecord(n, n), [make.trial(10 * n + k) for k in range(3)]) for n in (1, 2)]

    def alone(ledger: Ledger, study_id: int) -> None:
        for end in ends:
            ledger.record_ends(study_id, [end])
        for cohort, trials in cohorts:
            ledger.record_cohorts(study_id, [(cohort, trials)])

    def together(ledger: Ledger, study_id: int) -> None:
        ledger.record_cohorts(study_id, cohorts, ends)

    assert after(make, together) == after(make, alone)


def test_where_one_segment_is_refused_none_of_its_call_is_recorded(
    ledger: Ledger, study: StudyRecord, make: Make, dump: Any
) -> None:
    """What was recorded before stays as it was, and the others can be recorded without it."""
    ledger.record_segments(study.id, [make.segment(make.curve(0, 0, [0.5]))])
    before = dump()
    good, gap = make.segment(make.curve(1, 0, [0.5])), make.segment(make.curve(2, 3, [0.5]))
    with pytest.raises(LedgerError, match="trial 2 must go on from epoch 0"):
        ledger.record_segments(study.id, [good, gap])
    assert dump() == before
    ledger.record_segments(study.id, [good])
    assert ledger.curves(study.id)[1].val_loss == (0.5,)

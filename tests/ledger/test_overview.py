"""Claims about lists: what they show is counted by the database, in as many statements for many studies as for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, best_trial
from tuner.spec.work import TrialEnd, TrialState

DECLARED = '{"search": {"trials": 9}}'


@contextmanager
def statements() -> Iterator[list[str]]:
    sent: list[str] = []

    def watch(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", watch)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", watch)


def fill(ledger: Ledger, make: Any, name: str, ended: int) -> int:
    """A study of five trials, so many of which are complete, and a final run that is better than all of them."""
    study = ledger.create_study(DECLARED, "s.yaml", "f" * 64, name, {})
    with ledger.lease(study.id, "run"):
        ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [make.trial(number) for number in range(5)])])
        ledger.record_finals(study.id, [make.trial(10**9)])
        numbers = [*range(ended), 10**9]
        losses = {number: 0.5 - number / 1e10 for number in numbers}
        for number in numbers:
            ledger.record_segments(study.id, [make.segment(make.curve(number, 0, [losses[number]]))])
        ends = [TrialEnd(number, TrialState.COMPLETE, losses[number], 1, 1, "") for number in numbers]
        ledger.record_ends(study.id, ends)
    return study.id


def test_a_list_says_what_the_trials_say(shared: str, make: Any) -> None:
    """Counts and best loss are those of the search's trials; the final stage's runs are not among them."""
    ledger = Ledger.open(shared)
    for number in range(4):
        fill(ledger, make, f"s{number}", number)
    for tally, study in zip(ledger.tallies(), ledger.studies(), strict=True):
        trials = ledger.trials(study.id)
        best = best_trial(trials)
        assert tally.counts == Counter(trial.state for trial in trials)
        assert tally.best == (None if best is None else best.value)
        assert (tally.name, tally.trials, tally.ended) == (study.name, 9, 5 - tally.counts[TrialState.RUNNING])
        assert ledger.tally(study.id) == tally
    assert ledger.tally(99) is None
    ledger.close()


def test_a_list_of_many_takes_as_many_statements_as_a_list_of_one(url: str, make: Any) -> None:
    """And none of them reads an epoch, or a trial's configuration."""
    ledger, counts = Ledger.open(url), []
    for number in range(6):
        fill(ledger, make, f"s{number}", 2)
        with statements() as sent:
            ledger.tallies()
        counts.append(len(sent))
        assert not any(word in statement for statement in sent for word in ("tuner_measurement", "point"))
    assert len(set(counts)) == 1
    ledger.close()


def test_a_list_says_who_runs_a_study_and_whose_run_was_killed(shared: str, make: Any) -> None:
    """A study that is recorded as running, but has no lease, is shown as stopped."""
    ledger = Ledger.open(shared)
    study_id = fill(ledger, make, "s", 1)
    with ledger.lease(study_id, "run"):
        held = ledger.tallies()[0]
    free = ledger.tallies()[0]
    assert (held.state, held.was_killed, held.owner is None) == ("running", False, False)
    assert (free.state, free.was_killed, free.owner) == ("stopped", True, None)
    ledger.close()

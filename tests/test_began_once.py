"""Claims about how a study begins: what it is made of is recorded at once, or not at all."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from studies import tiny

import tuner
from tuner.errors import LedgerError
from tuner.ledger.ledger import Ledger


def test_a_beginning_that_is_lost_is_made_again_whole(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record refuses the beginning once: nothing of it stays, and the next run's table is the undisturbed one."""
    record = Ledger.record_events

    def refuse(self: Ledger, study_id: int, events: Any) -> None:
        told = list(events)
        if any(kind == "budget" for kind, _ in told):
            monkeypatch.undo()
            monkeypatch.chdir(workspace)
            raise LedgerError("the disk is full")
        record(self, study_id, told)

    undisturbed = tuner.run(tiny(name="other"), workers=0)
    monkeypatch.setattr(Ledger, "record_events", refuse)
    with pytest.raises(LedgerError, match="the disk is full"):
        tuner.run(tiny(), workers=0)
    with closing(Ledger.look("sqlite:///tuner.db", workspace)) as ledger:
        begun = ledger.study("tiny")
        assert begun is not None and ledger.events(begun.id) == []
    again = tuner.run(tiny(), workers=0)
    assert again.csv() == undisturbed.csv()
    with closing(Ledger.look("sqlite:///tuner.db", workspace)) as ledger:
        kinds = [event.kind for event in ledger.events(begun.id)]
    assert kinds[:3] == ["warm_start", "budget", "length"]
    assert kinds.count("warm_start") == 1


def test_a_beginning_that_a_version_before_left_half_done_is_not_doubled(workspace: Path) -> None:
    """Of a study that was killed right after its first event: its first trials are those of that event, once."""
    undisturbed = tuner.run(tiny(name="other"), workers=0)
    declared = undisturbed.spec.model_copy(update={"name": "tiny"})
    with closing(Ledger.open("sqlite:///tuner.db", folder=workspace)) as ledger:
        known = ledger.study("other")
        assert known is not None
        first = ledger.events(known.id)[0]
        assert first.kind == "warm_start"
        half = ledger.create_study(declared.model_dump_json(), known.source, known.fingerprint, "tiny", known.versions)
        with ledger.lease_to_run(half.id):
            ledger.record_event(half.id, first.kind, first.body)
    assert tuner.run(tiny(), workers=0).csv() == undisturbed.csv()

"""Claims about how a service's studies share a cluster: the arithmetic, and what the ledger says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import tiny
from supervised import hand_in, now, opened

from tuner.execution.choice import Ray
from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
from tuner.ledger.standings import Ending, Standing
from tuner.orchestration.progress import Progress
from tuner.service.sharing import Claim, Sharing, claim_of, divided, grants

WANTS = st.lists(st.none() | st.integers(1, 12), min_size=1, max_size=8)
TRAINING = Progress("s", 13, {}, None, 0.0, None, 0, "training")


@given(st.integers(0, 60), WANTS)
def test_slots_are_divided_as_evenly_as_they_can_be(total: int, wants: list[int | None]) -> None:
    """One each at least and never more than is wanted; nothing is left while somebody wants it, and nothing is given
    twice; whoever has less than it wants has at most one less than any other, and only if it comes later."""
    given_out = divided(total, wants)
    assert all(1 <= slots <= (want or slots) for slots, want in zip(given_out, wants, strict=True))
    hungry = [n for n, want in enumerate(wants) if want is None or given_out[n] < want]
    assert sum(given_out) == max(total, len(wants)) if hungry else sum(given_out) <= max(total, len(wants))
    for n in hungry:
        assert all(given_out[n] >= slots - (other < n) for other, slots in enumerate(given_out))


@given(st.none() | st.integers(1, 20), st.lists(st.none() | st.integers(1, 20), min_size=2, max_size=6))
def test_studies_have_no_more_together_than_there_is(most: int | None, rooms: list[int | None]) -> None:
    """Of slots that are alike: at most `most`, and at most what the cluster has room for, unless there are more studies
    than that; where neither is known, nothing is said."""
    known = [room for room in rooms if room is not None]
    same = [None if room is None else max(known) for room in rooms]
    found = grants([Claim(room) for room in same], most)
    bounds = [bound for bound in (most, max(known, default=None)) if bound is not None]
    if not bounds:
        assert found == [None] * len(rooms)
        return
    assert sum(slots or 0 for slots in found) == max(min(bounds), len(rooms))


def test_one_study_alone_may_grow_with_the_cluster() -> None:
    """As far as the operator lets it, however small the cluster is now: so an autoscaler hears of what it wants."""
    assert grants([Claim(room=4)], None) == [None]
    assert grants([Claim(room=4)], 16) == [16]
    assert grants([Claim(room=4, wants=3)], 16) == [3]
    assert grants([Claim(room=8), Claim(room=2)], None) == [4, 1]  # a slot of the second takes four times as much
    assert grants([], 3) == []


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"room": 4}, Claim(4)),
        ({"phase": "confirming", "room": 4, "confirmed": (2, 5)}, Claim(4, 3)),
        ({"phase": "confirming", "room": 4, "confirmed": (5, 5)}, Claim(4, 1)),
        ({"phase": "starting"}, Claim()),
        ({"phase": "preparing data"}, Claim()),
        ({"room": None}, None),
        ({"phase": "scoring"}, None),
        ({"phase": "publishing"}, None),
    ],
)
def test_who_trains_on_the_cluster_has_a_claim(changes: dict[str, Any], claim: Claim | None) -> None:
    """Also who is about to; not who trains on the supervisor's machine, or needs no slots any more. In the final stage
    no more slots than runs that are left."""
    assert claim_of(replace(TRAINING, **changes)) == claim


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path) as ledger:
        yield ledger


@pytest.fixture
def owner() -> Iterator[Owner]:
    """This process, which stands for the supervisor and for every driver."""
    this = Owner.this_process()
    this.hold()
    yield this
    this.let_go()


def begun(ledger: Ledger, fence: int, owner: Owner, name: str, granted: int | None = None) -> Standing:
    """A study that was handed in and whose driver was started."""
    each = hand_in(ledger, tiny(name=name))
    assert ledger.standings.started(each, fence, owner, "ray", granted)
    standing = ledger.standings.of(each.id)
    assert standing is not None
    return standing


def granted(ledger: Ledger) -> dict[str, int | None]:
    return {each.name: each.granted for each in ledger.submissions.all()}


def test_grants_follow_what_studies_report(ledger: Ledger, owner: Owner) -> None:
    """The first has all six, then half; a second that scores or is to stop leaves them; in the final stage it keeps
    what it has runs for. What it has is there for its run to read, and gone with its driver."""
    fence = ledger.supervision.take(owner) or 0
    sharing = Sharing(ledger, fence, Ray("auto", most=6))
    first = begun(ledger, fence, owner, "first")
    sharing.grant([first])
    assert granted(ledger) == {"first": 6}
    assert sharing.first([first], replace(first, submission=replace(first.submission, id=9, wanted_at=1e12))) == 3
    begun(ledger, fence, owner, "second", 3)
    record = ledger.create_study("{}", "s.yaml", "f" * 64, "second", {})
    with ExitStack() as held:
        held.enter_context(ledger.lease_to_run(record.id))
        for report, then in (
            ({"room": 8}, {"first": 3, "second": 3}),
            ({"room": 5}, {"first": 3, "second": 2}),
            ({"room": 8, "phase": "confirming", "confirmed": (2, 3)}, {"first": 5, "second": 1}),
            ({"phase": "scoring"}, {"first": 6, "second": 1}),
            ({"room": 8}, {"first": 3, "second": 3}),
        ):
            ledger.control.report(record.id, replace(TRAINING, name="second", **report).body())
            sharing.grant(ledger.standings.open())
            assert granted(ledger) == then
        wanted = ledger.control.wanted(record.id)
        assert wanted is not None
        assert wanted.granted == ledger.control.granted("second") == 3
    ledger.submissions.want("second", "stop", "me")
    sharing.grant(ledger.standings.open())
    assert granted(ledger)["first"] == 6
    assert ledger.standings.ended(now(ledger, "second"), fence, Ending("stopped"))
    assert granted(ledger)["second"] is None


def test_there_are_no_more_studies_than_slots(ledger: Ledger, owner: Owner) -> None:
    """Each needs one, but for those that train on the supervisor's machine; all may run where nobody says how many."""
    fence = ledger.supervision.take(owner) or 0
    running = [begun(ledger, fence, owner, name) for name in ("first", "second")]
    here = [replace(running[0], submission=replace(running[0].submission, ran_on="processes")), running[1]]
    for most, there, has_room in ((2, running, False), (3, running, True), (2, here, True), (None, running, True)):
        assert Sharing(ledger, fence, Ray("auto", most=most)).has_room(there) is has_room


def test_without_a_cluster_nothing_is_granted(ledger: Ledger, owner: Owner) -> None:
    """Workers of this machine are each driver's own."""
    fence = ledger.supervision.take(owner) or 0
    sharing = Sharing(ledger, fence, None)
    first = begun(ledger, fence, owner, "first")
    sharing.grant([first])
    assert granted(ledger) == {"first": None}
    assert sharing.first([], first) is None

"""Claims about the supervisor's lease and what it writes: one at a time, and no wish is lost; SQLite and Postgres."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import update
from studies import tiny

from tuner.errors import LedgerError, StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
from tuner.ledger.schema import supervisor
from tuner.ledger.standings import Ending
from tuner.ledger.submissions import Submission
from tuner.spec.reader import spec_from_mapping

HOLD = """
import sys
from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
owner = Owner.this_process()
owner.hold()
print(Ledger.open(sys.argv[1]).supervision.take(owner), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ledger(shared: str) -> Iterator[Ledger]:
    opened = Ledger.open(shared)
    yield opened
    opened.close()


@pytest.fixture
def fence(ledger: Ledger) -> Iterator[int]:
    """Of this process, which supervises."""
    owner = Owner.this_process()
    owner.hold()
    yield ledger.supervision.take(owner) or 0
    owner.let_go()


def handed_in(ledger: Ledger) -> Submission:
    return ledger.submissions.submit("s", "text", "me")[0]


def test_of_many_that_come_at_once_one_supervises(shared: str) -> None:
    """Eight open a ledger that is not there yet, and take a lease that was never held: one gets the fence, seven get
    none, and none of them gets an error."""
    barrier = threading.Barrier(8, timeout=60)
    owners = [Owner.this_process() for _ in range(8)]

    def take(owner: Owner) -> int | None:
        mine = Ledger.open(shared)
        owner.hold()
        barrier.wait()
        try:
            return mine.supervision.take(owner)
        finally:
            mine.close()

    with ThreadPoolExecutor(8) as threads:
        fences = list(threads.map(take, owners))
    for owner in owners:
        owner.let_go()
    assert sorted(fence or 0 for fence in fences) == [0] * 7 + [1]


def test_a_supervisor_that_was_killed_is_followed_at_once(shared: str, ledger: Ledger) -> None:
    """As long as it is there it is named and nobody follows; after kill -9 the next one has a higher fence."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, shared], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    assert f"process {process.pid} on " in (ledger.supervision.holder() or "")
    owner = Owner.this_process()
    owner.hold()
    assert ledger.supervision.take(owner) is None
    process.kill()
    process.wait()
    assert ledger.supervision.holder() is None
    assert ledger.supervision.take(owner) == 2
    assert f"process {os.getpid()} on " in (ledger.supervision.holder() or "")
    ledger.supervision.let_go(2)
    owner.let_go()
    assert ledger.supervision.holder() is None


def test_slots_are_granted_to_a_driver_by_the_one_that_supervises(ledger: Ledger, fence: int) -> None:
    """From its start until its end, readable under the study's name; a supervisor that was followed grants nothing."""
    each, driver = handed_in(ledger), Owner.this_process()
    ledger.standings.grant(each, fence, 5)
    assert ledger.control.granted("s") is None
    assert ledger.standings.started(each, fence, driver, "ray", granted=2)
    assert ledger.control.granted("s") == 2
    with pytest.raises(LedgerError, match="another supervisor took this one's place"):
        ledger.standings.grant(each, fence + 1, 9)
    ledger.standings.grant(each, fence, 4)
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    assert ledger.control.wanted(study.id) is None
    with ledger.lease_to_run(study.id):
        wanted = ledger.control.wanted(study.id)
        assert wanted is not None
        assert (wanted.state, wanted.granted) == ("run", 4)
    assert ledger.standings.ended(replace(each, driver=driver), fence, Ending("finished"))
    assert ledger.control.granted("s") is None


def test_one_elsewhere_must_have_been_seen(ledger: Ledger, fence: int) -> None:
    """On another machine it is there as long as it says so; a minute of silence, and the next one takes its place."""
    elsewhere = replace(Owner.this_process(), boot="other pid:[1]", host="elsewhere").text
    with ledger._database.writing() as connection:
        connection.execute(update(supervisor).values(owner=elsewhere))
    owner = Owner.this_process()
    owner.hold()
    assert ledger.supervision.take(owner) is None
    with ledger._database.writing() as connection:
        connection.execute(update(supervisor).values(seen_at=supervisor.c.seen_at - 90))
    assert ledger.supervision.take(owner) == fence + 1
    assert not ledger.supervision.seen(fence)
    assert ledger.supervision.seen(fence + 1)
    owner.let_go()


def test_what_a_supervisor_offers_is_known_to_all(ledger: Ledger) -> None:
    """Its default first; nothing before the first one, still the same after its end, and its follower's own then."""
    assert ledger.supervision.executors() == ()
    owner = Owner.this_process()
    owner.hold()
    fence = ledger.supervision.take(owner, ("ray", "processes"))
    assert ledger.supervision.executors() == ("ray", "processes")
    ledger.supervision.let_go(fence or 0)
    assert ledger.supervision.executors() == ("ray", "processes")
    ledger.supervision.take(owner, ("processes",))
    owner.let_go()
    assert ledger.supervision.executors() == ("processes",)


def test_nobody_writes_between_transactions(ledger: Ledger) -> None:
    """On Postgres, where many write at a time, it is never asked."""
    ledger.submissions.submit("s", "text", "me")
    assert ledger.supervision.writer() is None


def test_where_a_driver_trains_is_recorded_beside_what_was_chosen(ledger: Ledger, fence: int) -> None:
    """A choice holds for the next driver; the one that is there is where it is. Who chose what is in the audit once."""
    each, _ = ledger.submissions.submit("s", "text", "me", executor="processes")
    ledger.standings.started(each, fence, Owner.of_process(os.getppid()), "processes")
    for _ in range(2):
        ledger.submissions.choose("s", "ray", "you")
    now = ledger.submissions.all()[0]
    assert (now.executor, now.ran_on) == ("ray", "processes")
    assert [(line.actor, line.action) for line in ledger.audit.newest()] == [("you", "executor"), ("me", "submit")]


def test_what_mlflow_does_not_show_is_counted(ledger: Ledger) -> None:
    """Of the submission's own study; what MLflow will never take does not wait."""
    each = handed_in(ledger)
    counted = ledger.standings.of(each.id)
    assert counted is not None and counted.waiting == 0
    spec = spec_from_mapping(tiny()).model_dump_json()
    study = ledger.create_study(spec, "s.yaml", "f", each.name, {})
    ledger.create_study(spec, "s.yaml", "f", "other", {})
    for reason, waiting in ((None, 1), ("refused", 0)):
        if reason is not None:
            (row,) = ledger.outbox.waiting(study.id, 10)
            ledger.outbox.set_aside(row.id, reason)
        counted = ledger.standings.of(each.id)
        assert counted is not None and counted.waiting == waiting


@pytest.mark.parametrize("how", ["followed", "let go"])
def test_one_that_lost_its_place_writes_nothing(ledger: Ledger, fence: int, how: str) -> None:
    """Neither that it started a driver, nor how one ended, nor a wish to stop."""
    each = handed_in(ledger)
    standing = ledger.standings.open()[0]
    if how == "let go":
        ledger.supervision.let_go(fence)
    else:
        with ledger._database.writing() as connection:
            connection.execute(update(supervisor).values(fence=fence + 1))
    for write in (
        lambda: ledger.standings.started(each, fence, Owner.of_process(os.getppid())),
        lambda: ledger.standings.ended(each, fence, Ending("finished")),
        lambda: ledger.standings.ask_to_stop(standing, fence),
    ):
        with pytest.raises(LedgerError, match="another supervisor took this one's place"):
            write()
    assert ledger.submissions.all() == [each]


def test_what_is_wanted_is_read_beside_what_is(ledger: Ledger, fence: int) -> None:
    """Before the study is recorded, while a process runs it, and after; what rests is not looked at."""
    handed_in(ledger)
    before = ledger.standings.open()[0]
    assert (before.study_id, before.state, before.is_leased, before.asked) == (None, None, False, None)
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    with ledger.lease_to_run(study.id):
        now = ledger.standings.open()[0]
        assert (now.study_id, now.state, now.is_leased, now.asked) == (study.id, "running", True, "run")
        ledger.standings.ask_to_stop(now, fence)
        assert ledger.standings.open()[0].asked == "stop"
    assert not ledger.standings.open()[0].is_leased
    assert ledger.standings.ended(now.submission, fence, Ending("stopped"))
    assert ledger.standings.open() == []
    found = ledger.standings.of(now.submission.id)
    assert found is not None
    assert (found.submission.outcome, found.segments) == ("stopped", 0)
    assert ledger.standings.of(99) is None


def test_a_driver_is_recorded_once(ledger: Ledger, fence: int) -> None:
    """A second one, and one of a submission that is wanted otherwise by now, may not begin."""
    each, driver = handed_in(ledger), Owner.of_process(os.getppid())
    assert ledger.standings.started(each, fence, driver)
    assert not ledger.standings.started(each, fence, driver)
    assert ledger.submissions.all()[0].driver == driver
    assert ledger.standings.ended(each := ledger.submissions.all()[0], fence, Ending(None))
    ledger.submissions.want("s", "stop", "me")
    assert not ledger.standings.started(each, fence, driver)
    assert ledger.submissions.all()[0].driver is None


def test_a_newer_wish_is_never_overwritten(ledger: Ledger, fence: int) -> None:
    """Asked to run again while the supervisor writes how the last driver ended: that driver is gone, the wish stays."""
    handed_in(ledger)
    ledger.standings.started(ledger.submissions.all()[0], fence, Owner.of_process(os.getppid()))
    read = ledger.standings.open()[0]
    ledger.submissions.want("s", "run", "me", trials=20)
    assert not ledger.standings.ended(read.submission, fence, Ending("failed", "why", 5))
    now = ledger.submissions.all()[0]
    assert (now.outcome, now.message, now.attempts, now.driver, now.trials) == (None, "", 0, None, 20)
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    with ledger.lease_to_run(study.id):
        ledger.standings.ask_to_stop(read, fence)
        assert ledger.standings.open()[0].asked == "run"


def test_a_study_whose_driver_begins_keeps_its_name(ledger: Ledger, fence: int) -> None:
    """A driver that was started under a name would record it again: neither renamed nor deleted nor withdrawn."""
    each = handed_in(ledger)
    ledger.standings.started(each, fence, Owner.of_process(os.getppid()))
    with pytest.raises(StudyError, match=f"process {os.getppid()} on .* was started to run it; stop it first"):
        ledger.submissions.withdraw("s", "me")
    study = ledger.create_study("{}", "s.yaml", "f" * 64, "s", {})
    with ledger.lease(study.id, "run"):
        for act in (lambda: ledger.rename_study(study.id, "t", "{}"), lambda: ledger.delete_study(study.id)):
            with pytest.raises(StudyError, match="was started to run it"):
                act()
    assert ledger.study("s") == study


def test_a_pause_is_counted_by_the_ledgers_clock(ledger: Ledger, fence: int) -> None:
    """The next driver is not started before, and a long message keeps its end, which says why."""
    each = handed_in(ledger)
    assert ledger.standings.ended(each, fence, Ending(None, "x" * 5000 + "why", 2, 60.0))
    now = ledger.submissions.all()[0]
    assert (now.attempts, len(now.message), now.message[-3:]) == (2, 4000, "why")
    assert 50 < now.not_before - each.at < 120
